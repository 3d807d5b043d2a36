//! The yardstick: a slab of boxed futures, a ready queue and a binary heap,
//! nothing else.
//!
//! No seed, no names, no trace, no limits, no hosts, no errors, no `Send`. Its
//! primitives do not even use wakers: whoever waits leaves its task's number.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Queues {
    ready: VecDeque<usize>,
    timers: BinaryHeap<Reverse<(u64, u64, usize)>>,
    born: Vec<Boxed>,
    sequence: u64,
}

thread_local! {
    static QUEUES: RefCell<Queues> = RefCell::default();
    static CURRENT: Cell<usize> = const { Cell::new(0) };
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// Runs `main` and what it spawns until `main` is done.
pub fn run(main: impl Future<Output = ()> + 'static) {
    let mut tasks: Slab<Boxed> = Slab::new();
    NOW.set(0);
    let main = tasks.insert(Box::pin(main));
    wake(main);
    let mut cx = Context::from_waker(Waker::noop());
    'run: loop {
        while let Some(task) = QUEUES.with_borrow_mut(|queues| queues.ready.pop_front()) {
            CURRENT.set(task);
            let Some(future) = tasks.get_mut(task) else {
                continue;
            };
            if future.as_mut().poll(&mut cx).is_ready() {
                drop(tasks.remove(task));
                if task == main {
                    break 'run;
                }
            }
            let mut born = QUEUES.with_borrow_mut(|queues| std::mem::take(&mut queues.born));
            for future in born.drain(..) {
                wake(tasks.insert(future));
            }
            QUEUES.with_borrow_mut(|queues| queues.born = born);
        }
        let due = QUEUES.with_borrow_mut(|queues| queues.timers.pop());
        let Some(Reverse((at, _, task))) = due else {
            panic!("the bare executor is stuck")
        };
        NOW.set(at);
        wake(task);
    }
    drop(tasks);
    QUEUES.with_borrow_mut(|queues| {
        queues.ready.clear();
        queues.timers.clear();
    });
}

fn wake(task: usize) {
    QUEUES.with_borrow_mut(|queues| queues.ready.push_back(task));
}

/// Spawns a task, and gives what joins it.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> impl Future<Output = T> {
    struct Slot<T> {
        output: Option<T>,
        joiner: Option<usize>,
    }
    let slot = Rc::new(RefCell::new(Slot {
        output: None,
        joiner: None,
    }));
    let done = slot.clone();
    let task = Box::pin(async move {
        let output = future.await;
        let mut slot = done.borrow_mut();
        slot.output = Some(output);
        slot.joiner.take().into_iter().for_each(wake);
    });
    QUEUES.with_borrow_mut(|queues| queues.born.push(task));
    poll_fn(move |_| {
        let mut slot = slot.borrow_mut();
        match slot.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                slot.joiner = Some(CURRENT.get());
                Poll::Pending
            }
        }
    })
}

/// Waits for so many nanoseconds.
pub async fn sleep(nanos: u64) {
    let at = NOW.get() + nanos;
    let mut armed = false;
    poll_fn(|_| {
        if NOW.get() >= at {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut armed, true) {
            QUEUES.with_borrow_mut(|queues| {
                queues.sequence += 1;
                queues
                    .timers
                    .push(Reverse((at, queues.sequence, CURRENT.get())));
            });
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
    reader: Option<usize>,
    writer: Option<usize>,
}

/// One end of a pipe.
pub struct End {
    read: Rc<RefCell<Way>>,
    write: Rc<RefCell<Way>>,
}

/// Makes a pipe, and gives its two ends.
pub fn pipe() -> (End, End) {
    let (there, back) = (Rc::new(RefCell::default()), Rc::new(RefCell::default()));
    let other = End {
        read: Rc::clone(&there),
        write: Rc::clone(&back),
    };
    (
        End {
            read: back,
            write: there,
        },
        other,
    )
}

impl End {
    /// Reads exactly as much as `buf` holds.
    pub async fn read_exact(&self, buf: &mut [u8]) {
        let mut filled = 0;
        poll_fn(|_| {
            while filled < buf.len() {
                let mut way = self.read.borrow_mut();
                if way.handed.is_empty() {
                    way.asked = buf.len() - filled;
                    way.reader = Some(CURRENT.get());
                    way.writer.take().into_iter().for_each(wake);
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
    pub async fn write_all(&self, buf: &[u8]) {
        let mut written = 0;
        poll_fn(|_| {
            while written < buf.len() {
                let mut way = self.write.borrow_mut();
                if way.asked == 0 {
                    way.writer = Some(CURRENT.get());
                    return Poll::Pending;
                }
                let count = way.asked.min(buf.len() - written);
                way.handed.extend_from_slice(&buf[written..written + count]);
                written += count;
                way.asked = 0;
                way.reader.take().into_iter().for_each(wake);
            }
            Poll::Ready(())
        })
        .await;
    }
}
