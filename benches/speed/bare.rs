//! The bare executor that runs are compared with: a slab of boxed futures, a queue and a heap.
//!
//! It is a hand-written executor in safe Rust that can run any future. It has no seed, names,
//! trace, limits, hosts, errors or locks: only a slab, a ready queue and a binary heap of timers.
//! Its wakers are ordinary ones, by `Wake` on an `Arc`. There is one for each slot, shared by all
//! tasks of that slot, and the queue is in a thread-local.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use slab::Slab;

type BoxedTask = Pin<Box<dyn Future<Output = ()>>>;

struct TaskWaker(usize);

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        push_ready(self.0);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        push_ready(self.0);
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
struct ExecutorState {
    ready: VecDeque<usize>,
    timers: BinaryHeap<Timer>,
    spawned: Vec<BoxedTask>,
    last_sequence: u64,
}

thread_local! {
    static STATE: RefCell<ExecutorState> = RefCell::default();
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// Runs `main` and what it spawns until `main` is done.
pub(crate) fn run(main: impl Future<Output = ()> + 'static) {
    let mut tasks = TaskTable::default();
    NOW.set(0);
    let main = tasks.insert(Box::pin(main));
    'run: loop {
        while let Some(task) = STATE.with_borrow_mut(|state| state.ready.pop_front()) {
            let Some(future) = tasks.slots.get_mut(task) else {
                continue;
            };
            if future.as_mut().poll(&mut Context::from_waker(&tasks.wakers[task])).is_ready() {
                drop(tasks.slots.remove(task));
                if task == main {
                    break 'run;
                }
            }
            let mut spawned = STATE.with_borrow_mut(|state| std::mem::take(&mut state.spawned));
            for future in spawned.drain(..) {
                tasks.insert(future);
            }
            STATE.with_borrow_mut(|state| state.spawned = spawned);
        }
        let next_timer = STATE.with_borrow_mut(|state| state.timers.pop());
        let Some(Timer(Reverse((at, _)), waker)) = next_timer else {
            panic!("the bare executor is stuck")
        };
        NOW.set(at);
        waker.wake();
    }
    drop(tasks);
    let remaining_timers = STATE.with_borrow_mut(|state| {
        state.ready.clear();
        std::mem::take(&mut state.timers)
    });
    drop(remaining_timers);
}

#[derive(Default)]
struct TaskTable {
    slots: Slab<BoxedTask>,
    wakers: Vec<Waker>,
}

impl TaskTable {
    fn insert(&mut self, future: BoxedTask) -> usize {
        let task = self.slots.insert(future);
        if task == self.wakers.len() {
            self.wakers.push(Arc::new(TaskWaker(task)).into());
        }
        push_ready(task);
        task
    }
}

fn push_ready(task: usize) {
    STATE.with_borrow_mut(|state| state.ready.push_back(task));
}

/// Spawns a task, and gives what joins it.
pub(crate) fn spawn<T: 'static>(
    future: impl Future<Output = T> + 'static,
) -> impl Future<Output = T> {
    struct JoinState<T> {
        output: Option<T>,
        joiner: Option<Waker>,
    }
    let join_state = Rc::new(RefCell::new(JoinState { output: None, joiner: None }));
    let task_join_state = join_state.clone();
    let task = Box::pin(async move {
        let output = future.await;
        let mut join_state = task_join_state.borrow_mut();
        join_state.output = Some(output);
        join_state.joiner.take().into_iter().for_each(Waker::wake);
    });
    STATE.with_borrow_mut(|state| state.spawned.push(task));
    poll_fn(move |cx| {
        let mut join_state = join_state.borrow_mut();
        match join_state.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                join_state.joiner = Some(cx.waker().clone());
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
    STATE.with_borrow_mut(|state| {
        state.last_sequence += 1;
        let key = Reverse((at, state.last_sequence));
        state.timers.push(Timer(key, waker));
    });
}

/// Waits for so many nanoseconds.
pub(crate) async fn sleep(nanos: u64) {
    let deadline = NOW.get() + nanos;
    let mut is_armed = false;
    poll_fn(|cx| {
        if NOW.get() >= deadline {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut is_armed, true) {
            wake_at(deadline, cx.waker().clone());
        }
        Poll::Pending
    })
    .await;
}

/// One direction of a pipe without a buffer, as pipenet's.
#[derive(Default)]
struct HalfPipe {
    requested: usize,
    buffer: Vec<u8>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a pipe.
pub(crate) struct Endpoint {
    read: Rc<RefCell<HalfPipe>>,
    write: Rc<RefCell<HalfPipe>>,
}

/// Makes a pipe, and gives its two ends.
pub(crate) fn pipe() -> (Endpoint, Endpoint) {
    let (forward, reverse) = (Rc::new(RefCell::default()), Rc::new(RefCell::default()));
    let peer = Endpoint { read: Rc::clone(&forward), write: Rc::clone(&reverse) };
    (Endpoint { read: reverse, write: forward }, peer)
}

impl Endpoint {
    /// Reads exactly as much as `buf` holds.
    pub(crate) async fn read_exact(&self, buf: &mut [u8]) {
        let mut filled = 0;
        poll_fn(|cx| {
            while filled < buf.len() {
                let mut half = self.read.borrow_mut();
                if half.buffer.is_empty() {
                    half.requested = buf.len() - filled;
                    half.reader = Some(cx.waker().clone());
                    half.writer.take().into_iter().for_each(Waker::wake);
                    return Poll::Pending;
                }
                buf[filled..filled + half.buffer.len()].copy_from_slice(&half.buffer);
                filled += half.buffer.len();
                half.buffer.clear();
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
                let mut half = self.write.borrow_mut();
                if half.requested == 0 {
                    half.writer = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                let count = half.requested.min(buf.len() - written);
                half.buffer.extend_from_slice(&buf[written..written + count]);
                written += count;
                half.requested = 0;
                half.reader.take().into_iter().for_each(Waker::wake);
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// Where connections arrive.
#[derive(Default)]
struct AcceptQueue {
    endpoints: VecDeque<Endpoint>,
    acceptor: Option<Waker>,
}

/// Hands over one end of each connection.
#[derive(Clone, Default)]
pub(crate) struct Listener(Rc<RefCell<AcceptQueue>>);

impl Listener {
    /// Makes a connection, and gives its other end to whoever accepts.
    pub(crate) fn dial(&self) -> Endpoint {
        let (local, peer) = pipe();
        let mut queue = self.0.borrow_mut();
        queue.endpoints.push_back(peer);
        queue.acceptor.take().into_iter().for_each(Waker::wake);
        local
    }

    /// Waits for a connection.
    pub(crate) async fn accept(&self) -> Endpoint {
        poll_fn(|cx| {
            let mut queue = self.0.borrow_mut();
            match queue.endpoints.pop_front() {
                Some(endpoint) => Poll::Ready(endpoint),
                None => {
                    queue.acceptor = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
