//! The yardstick: a slab of boxed futures, a ready queue and a binary heap,
//! nothing else.
//!
//! No seed, no names, no trace, no limits, no hosts, no errors, no locks; what a
//! by-hand executor in safe Rust comes to that can run any future. Its wakers are
//! the ordinary ones, by `Wake` on an `Arc`, one for each slot and all its tasks,
//! with the queue in a thread-local.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use slab::Slab;

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

struct TaskWaker(usize);

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        ready(self.0);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        ready(self.0);
    }
}

/// Ordered by instant, then by arming, earliest first.
struct Timer(Reverse<(u64, u64)>, Waker);

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

#[derive(Default)]
struct Queues {
    ready: VecDeque<usize>,
    timers: BinaryHeap<Timer>,
    born: Vec<Boxed>,
    sequence: u64,
}

thread_local! {
    static QUEUES: RefCell<Queues> = RefCell::default();
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// Runs `main` and what it spawns until `main` is done.
pub(crate) fn run(main: impl Future<Output = ()> + 'static) {
    let mut tasks = Tasks::default();
    NOW.set(0);
    let main = tasks.insert(Box::pin(main));
    'run: loop {
        while let Some(task) = QUEUES.with_borrow_mut(|queues| queues.ready.pop_front()) {
            let Some(future) = tasks.slots.get_mut(task) else {
                continue;
            };
            if future.as_mut().poll(&mut Context::from_waker(&tasks.wakers[task])).is_ready() {
                drop(tasks.slots.remove(task));
                if task == main {
                    break 'run;
                }
            }
            let mut born = QUEUES.with_borrow_mut(|queues| std::mem::take(&mut queues.born));
            for future in born.drain(..) {
                tasks.insert(future);
            }
            QUEUES.with_borrow_mut(|queues| queues.born = born);
        }
        let due = QUEUES.with_borrow_mut(|queues| queues.timers.pop());
        let Some(Timer(Reverse((at, _)), waker)) = due else {
            panic!("the bare executor is stuck")
        };
        NOW.set(at);
        waker.wake();
    }
    drop(tasks);
    let left = QUEUES.with_borrow_mut(|queues| {
        queues.ready.clear();
        std::mem::take(&mut queues.timers)
    });
    drop(left);
}

#[derive(Default)]
struct Tasks {
    slots: Slab<Boxed>,
    wakers: Vec<Waker>,
}

impl Tasks {
    fn insert(&mut self, future: Boxed) -> usize {
        let task = self.slots.insert(future);
        if task == self.wakers.len() {
            self.wakers.push(Arc::new(TaskWaker(task)).into());
        }
        ready(task);
        task
    }
}

fn ready(task: usize) {
    QUEUES.with_borrow_mut(|queues| queues.ready.push_back(task));
}

/// Spawns a task, and gives what joins it.
pub(crate) fn spawn<T: 'static>(
    future: impl Future<Output = T> + 'static,
) -> impl Future<Output = T> {
    struct Slot<T> {
        output: Option<T>,
        joiner: Option<Waker>,
    }
    let slot = Rc::new(RefCell::new(Slot { output: None, joiner: None }));
    let done = slot.clone();
    let task = Box::pin(async move {
        let output = future.await;
        let mut slot = done.borrow_mut();
        slot.output = Some(output);
        slot.joiner.take().into_iter().for_each(Waker::wake);
    });
    QUEUES.with_borrow_mut(|queues| queues.born.push(task));
    poll_fn(move |cx| {
        let mut slot = slot.borrow_mut();
        match slot.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                slot.joiner = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    })
}

/// Gives the virtual time.
pub(crate) fn now() -> u64 {
    NOW.get()
}

/// Wakes somebody at an instant.
pub(crate) fn wake_at(at: u64, waker: Waker) {
    QUEUES.with_borrow_mut(|queues| {
        queues.sequence += 1;
        let order = Reverse((at, queues.sequence));
        queues.timers.push(Timer(order, waker));
    });
}

/// Waits for so many nanoseconds.
pub(crate) async fn sleep(nanos: u64) {
    let at = NOW.get() + nanos;
    let mut armed = false;
    poll_fn(|cx| {
        if NOW.get() >= at {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut armed, true) {
            wake_at(at, cx.waker().clone());
        }
        Poll::Pending
    })
    .await;
}

/// One direction of a pipe without a buffer, as pipenet's.
#[derive(Default)]
struct Way {
    asked: usize,
    handed: Vec<u8>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a pipe.
pub(crate) struct End {
    read: Rc<RefCell<Way>>,
    write: Rc<RefCell<Way>>,
}

/// Makes a pipe, and gives its two ends.
pub(crate) fn pipe() -> (End, End) {
    let (there, back) = (Rc::new(RefCell::default()), Rc::new(RefCell::default()));
    let other = End { read: Rc::clone(&there), write: Rc::clone(&back) };
    (End { read: back, write: there }, other)
}

impl End {
    /// Reads exactly as much as `buf` holds.
    pub(crate) async fn read_exact(&self, buf: &mut [u8]) {
        let mut filled = 0;
        poll_fn(|cx| {
            while filled < buf.len() {
                let mut way = self.read.borrow_mut();
                if way.handed.is_empty() {
                    way.asked = buf.len() - filled;
                    way.reader = Some(cx.waker().clone());
                    way.writer.take().into_iter().for_each(Waker::wake);
                    return Poll::Pending;
                }
                buf[filled..filled + way.handed.len()].copy_from_slice(&way.handed);
                filled += way.handed.len();
                way.handed.clear();
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Writes all of `buf`.
    pub(crate) async fn write_all(&self, buf: &[u8]) {
        let mut written = 0;
        poll_fn(|cx| {
            while written < buf.len() {
                let mut way = self.write.borrow_mut();
                if way.asked == 0 {
                    way.writer = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                let count = way.asked.min(buf.len() - written);
                way.handed.extend_from_slice(&buf[written..written + count]);
                written += count;
                way.asked = 0;
                way.reader.take().into_iter().for_each(Waker::wake);
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// Where connections arrive.
#[derive(Default)]
struct Queue {
    ends: VecDeque<End>,
    acceptor: Option<Waker>,
}

/// Hands over one end of each connection.
#[derive(Clone, Default)]
pub(crate) struct Listener(Rc<RefCell<Queue>>);

impl Listener {
    /// Makes a connection, and gives its other end to whoever accepts.
    pub(crate) fn dial(&self) -> End {
        let (near, far) = pipe();
        let mut queue = self.0.borrow_mut();
        queue.ends.push_back(far);
        queue.acceptor.take().into_iter().for_each(Waker::wake);
        near
    }

    /// Waits for a connection.
    pub(crate) async fn accept(&self) -> End {
        poll_fn(|cx| {
            let mut queue = self.0.borrow_mut();
            match queue.ends.pop_front() {
                Some(end) => Poll::Ready(end),
                None => {
                    queue.acceptor = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
