//! `Waiter`: a waker that is free to store inside a run.
//!
//! To clone a `Waker` is an atomic increment and to drop it a decrement: 16 ns, the time of half a
//! poll. Inside a run, almost every waker is the polled task's own, and the task's id is enough.
//! The simulator sets the current task and the function that wakes a task; code that stores a
//! `Waiter`, in the simulator or in the network, needs neither.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::{self, Thread};

/// Names a task: the run, and a number of the run's choosing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskRef {
    pub(crate) run: u64,
    pub(crate) task: u64,
}

/// The function by which the run of a thread wakes a task.
type Wake = fn(TaskRef);

/// The run that goes on in a thread, or 0, where other threads can see it; and that thread.
type Going = Arc<(AtomicU64, Thread)>;

/// The runs of all threads that had one; dead threads are removed when another one comes.
static THREADS: Mutex<Vec<Going>> = Mutex::new(Vec::new());

thread_local! {
    static GOING: Going = {
        let going = Arc::new((AtomicU64::new(0), thread::current()));
        let mut threads = locked(&THREADS);
        threads.retain(|other| Arc::strong_count(other) > 1);
        threads.push(going.clone());
        going
    };
    /// The data pointer of the polled task's waker, and who that is.
    static POLLED: Cell<(*const (), TaskRef)> = const { Cell::new(NO_WAKER) };
    /// The run that goes on in this thread, and how it wakes; 0 is none.
    static RUN: Cell<(u64, Wake)> = const { Cell::new((0, |_| ())) };
}

/// The data pointer of no waker.
static NOTHING: u8 = 0;
/// Stands where no task is being polled.
const NO_WAKER: (*const (), TaskRef) = ((&raw const NOTHING).cast(), TaskRef { run: 0, task: 0 });

/// Says which run goes on in this thread, and how it wakes its tasks.
#[inline]
pub(crate) fn begin_run(run: u64, wake: Wake) {
    RUN.set((run, wake));
    GOING.with(|going| going.0.store(run, Ordering::Release));
    POLLED.set(NO_WAKER);
}

/// Says that none does any more.
#[inline]
pub(crate) fn end_run() {
    let (run, _) = RUN.replace((0, |_| ()));
    GOING.with(|going| going.0.store(0, Ordering::Release));
    if cross_thread_count() > 0 {
        locked(&FOREIGN).retain(|task| task.run != run);
    }
    POLLED.set(NO_WAKER);
}

/// Says who is being polled, and by which waker it is known.
#[inline]
pub(crate) fn set_current_task(waker: &Waker, task: TaskRef) {
    POLLED.with(|polled| polled.set((waker.data(), task)));
}

/// Somebody to be woken when something comes about.
#[derive(Clone, Debug)]
pub(crate) enum Waiter {
    /// A task of a simulated run.
    Task(TaskRef),
    /// Anything else: another executor's, or a waker that a combinator wraps.
    Other(Waker),
}

impl Waiter {
    /// Whoever is woken by `waker`.
    #[inline]
    pub(crate) fn of(waker: &Waker) -> Self {
        match Self::task_of(waker) {
            Some(task) => Self::Task(task),
            None => Self::Other(waker.clone()),
        }
    }

    /// The polled task, if `waker` is its own.
    #[inline]
    pub(crate) fn of_current_task(waker: &Waker) -> Option<Self> {
        Self::task_of(waker).map(Self::Task)
    }

    #[inline]
    fn task_of(waker: &Waker) -> Option<TaskRef> {
        let (identity, task) = POLLED.get();
        (identity == waker.data()).then_some(task)
    }

    /// Returns whether `waker` wakes the same.
    #[inline]
    pub(crate) fn will_wake(&self, waker: &Waker) -> bool {
        match self {
            Self::Task(task) => Self::task_of(waker) == Some(*task),
            Self::Other(other) => other.will_wake(waker),
        }
    }

    /// Becomes the waiter that `waker` wakes. Returns the previous one if that is different, to be
    /// dropped where destructors may run.
    #[inline]
    #[must_use = "it is not to be dropped under a lock"]
    pub(crate) fn set(&mut self, waker: &Waker) -> Option<Self> {
        (!self.will_wake(waker)).then(|| std::mem::replace(self, Self::of(waker)))
    }

    /// Wakes.
    #[inline]
    pub(crate) fn wake(self) {
        match self {
            Self::Task(task) => wake(task),
            Self::Other(waker) => waker.wake(),
        }
    }
}

/// Wakes a task. Does nothing after its run; on another thread than the run's,
/// which no seed decides, the wake-up is left for the run to find.
#[inline]
pub(crate) fn wake(task: TaskRef) {
    // A destructor may ask while the thread's locals are torn down.
    match RUN.try_with(Cell::get) {
        Ok((run, wake)) if run == task.run => wake(task),
        _ => wake_cross_thread(task),
    }
}

/// The number of wake-ups by other threads.
static COUNT: AtomicU64 = AtomicU64::new(0);
static FOREIGN: Mutex<Vec<TaskRef>> = Mutex::new(Vec::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cold]
fn wake_cross_thread(task: TaskRef) {
    if !is_active(task.run) {
        return;
    }
    let mut foreign = locked(&FOREIGN);
    if !foreign.contains(&task) {
        foreign.push(task);
        COUNT.fetch_add(1, Ordering::Release);
    }
    drop(foreign);
    // A simulated run comes by itself; one of real time may be asleep.
    for going in locked(&THREADS).iter().filter(|going| going.0.load(Ordering::Acquire) == task.run)
    {
        going.1.unpark();
    }
}

/// Returns whether `run` goes on in some thread.
#[cold]
pub(crate) fn is_active(run: u64) -> bool {
    locked(&THREADS).iter().any(|going| going.0.load(Ordering::Acquire) == run)
}

/// The number of wake-ups by other threads so far, for [`drain_cross_thread_wakes`].
#[inline]
pub(crate) fn cross_thread_count() -> u64 {
    COUNT.load(Ordering::Acquire)
}

/// Takes the tasks of `run` that were woken from elsewhere, if anything was
/// since the count was `seen`.
#[inline]
pub(crate) fn drain_cross_thread_wakes(seen: &mut u64, run: u64) -> Vec<TaskRef> {
    let count = cross_thread_count();
    if count == *seen {
        return Vec::new();
    }
    *seen = count;
    let mut foreign = locked(&FOREIGN);
    let (own, others) = foreign.drain(..).partition(|task| task.run == run);
    *foreign = others;
    own
}

#[cfg(test)]
mod tests {
    use super::{GOING, THREADS, locked};

    #[test]
    fn threads_that_are_no_more_are_forgotten() {
        for _ in 0..200 {
            std::thread::spawn(|| GOING.with(|_| ())).join().unwrap();
        }
        let known = locked(&THREADS).len();
        assert!(known < 100, "{known} threads are known");
    }
}
