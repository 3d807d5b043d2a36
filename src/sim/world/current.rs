//! The world of the current thread, and access to it from handles.
//!
//! A thread has at most one world, in a cell. An operation takes the world out, works on it, and
//! puts it back, on a panic too. An empty cell means "outside a run", so this check is free. A
//! world in a `RefCell` costs 3 to 4 ns more per message; a world behind a lock costs 11 ns per
//! access, with ten accesses per message.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::util::run_cell;
use crate::util::waiter::{begin_run, end_run};

use crate::sim::task::executor::Executor;
use crate::sim::task::table::TaskId;
use crate::sim::world::cached_clock;
use crate::sim::world::state::World;

/// A world in its cell. The cell is empty when a thread ends, so that nothing has to be dropped
/// then. Because the type says so, each access saves two checks: whether there is a destructor, and
/// whether the thread-local still exists. With the state of simnet that is 190 instructions a round
/// trip.
type StoredWorld = Option<ManuallyDrop<Box<World>>>;

thread_local! {
    static WORLD: Cell<StoredWorld> = const { Cell::new(None) };
    /// The memory of the last run on this thread, for the next.
    static SPARE: Cell<Option<(Box<World>, Executor)>> = const { Cell::new(None) };
}

/// Tells the handles of different runs apart; no decision depends on it.
static NEXT_RUN: AtomicU64 = AtomicU64::new(1);

/// The world, taken out of its place; dropping this puts it back.
struct WorldGuard(StoredWorld);

impl WorldGuard {
    /// Takes the world of this thread.
    ///
    /// The world is taken here and not in the callers: a closure would move what the work has
    /// captured once more for each closure around it, in wider words than it was written in, which
    /// stalls a processor for about 7 ns.
    #[inline]
    fn take() -> Option<Self> {
        // `try_with`: a destructor may ask while the thread's locals are torn down.
        Some(Self(Some(WORLD.try_with(Cell::take).ok()??)))
    }
}

impl Drop for WorldGuard {
    #[inline]
    fn drop(&mut self) {
        WORLD.with(|cell| cell.set(self.0.take()));
    }
}

/// Works on the world of this thread, whichever run it is of; `None` outside.
#[inline]
pub(crate) fn try_enter<R>(work: impl FnOnce(&mut World) -> R) -> Option<R> {
    let mut guard = WorldGuard::take()?;
    Some(work(guard.0.as_deref_mut()?))
}

/// Works on the world of `run`; `None` outside of it.
#[inline]
pub(crate) fn try_enter_run<R>(run: u64, work: impl FnOnce(&mut World) -> R) -> Option<R> {
    let mut guard = WorldGuard::take()?;
    let world = guard.0.as_deref_mut()?;
    if world.run == run { Some(work(world)) } else { None }
}

/// Works on the world of `run`.
///
/// # Panics
///
/// Outside of it: a handle must not be used after its run or off its thread.
#[inline]
#[track_caller]
pub(crate) fn enter_run<R>(run: u64, work: impl FnOnce(&mut World) -> R) -> R {
    match try_enter_run(run, work) {
        Some(result) => result,
        None => panic_outside_run(),
    }
}

#[cold]
#[track_caller]
fn panic_outside_run() -> ! {
    panic!(
        "virtnet: this handle belongs to a run that has ended or that goes on in another thread; \
         handles may only be used inside the run that made them"
    )
}

/// The time of `run`, nearly always without a look at its world.
///
/// # Panics
///
/// Outside of it.
#[inline]
#[track_caller]
pub(crate) fn now(run: u64) -> u64 {
    match cached_clock::now(run) {
        Some(now) => now,
        None => now_slow(run),
    }
}

#[cold]
#[track_caller]
fn now_slow(run: u64) -> u64 {
    enter_run(run, World::read_clock)
}

/// Makes sure that `run` goes on in this thread.
///
/// # Panics
///
/// If it does not.
#[inline]
#[track_caller]
pub(crate) fn assert_active(run: u64) {
    if cached_clock::now(run).is_none() {
        enter_run(run, |_| ());
    }
}

/// The run that goes on in this thread and its time.
///
/// # Panics
///
/// Outside a run, naming `what` was called there.
#[inline]
#[track_caller]
pub(crate) fn run_and_now(function: &str) -> (u64, u64) {
    match cached_clock::current() {
        Some(current) => current,
        None => run_and_now_slow(function),
    }
}

#[cold]
#[track_caller]
fn run_and_now_slow(function: &str) -> (u64, u64) {
    match try_enter(|world| (world.run, world.read_clock())) {
        Some(current) => current,
        None => panic_no_run(function),
    }
}

/// The run that goes on in this thread, if one does.
#[inline]
pub(crate) fn try_current_run() -> Option<u64> {
    match cached_clock::current() {
        Some((run, _)) => Some(run),
        None => try_enter(|world| world.run),
    }
}

/// The run that goes on in this thread.
///
/// # Panics
///
/// Outside a run, naming `what` was called there.
#[inline]
#[track_caller]
pub(crate) fn current_run(function: &str) -> u64 {
    match try_current_run() {
        Some(run) => run,
        None => panic_no_run(function),
    }
}

/// Works on the world of this thread where there must be one.
#[inline]
pub(crate) fn enter_current<R>(work: impl FnOnce(&mut World) -> R) -> R {
    match try_enter(work) {
        Some(result) => result,
        None => unreachable!("the run loop has a world"),
    }
}

#[cold]
#[track_caller]
fn panic_no_run(function: &str) -> ! {
    panic!(
        "virtnet: `{function}` was called outside a simulated run; \
         call it in a future that `virtnet::Run::execute` runs"
    )
}

/// Makes a world current on this thread, with memory of an earlier run.
///
/// # Panics
///
/// Inside a run: a run inside a run is refused.
#[track_caller]
pub(crate) fn install<R>(begin: impl FnOnce(&mut World, u64) -> R) -> (Executor, R) {
    assert!(
        try_enter(|_| ()).is_none(),
        "virtnet: a run inside a run is refused; \
         spawn tasks in the run that goes on, or execute the other run after it"
    );
    let (mut world, mut executor) =
        SPARE.take().unwrap_or_else(|| (Box::new(World::empty()), Executor::default()));
    let run = NEXT_RUN.fetch_add(1, Ordering::Relaxed);
    let result = begin(&mut world, run);
    executor.begin(run);
    WORLD.set(Some(ManuallyDrop::new(world)));
    cached_clock::set(run, 0);
    run_cell::enter_run(run);
    begin_run(run, |task_ref| {
        try_enter_run(task_ref.run, |world| world.wake(TaskId::from_bits(task_ref.task)));
    });
    (executor, result)
}

/// Ends the run of this thread, of which nothing is left but memory, and keeps
/// that for the next.
pub(crate) fn uninstall(mut executor: Executor) {
    let Some(world) = WORLD.take() else { return };
    let mut world = ManuallyDrop::into_inner(world);
    end_run();
    cached_clock::set(0, 0);
    world.clear();
    executor.clear();
    SPARE.set(Some((world, executor)));
}
