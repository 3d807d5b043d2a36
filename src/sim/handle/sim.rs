//! `Sim`, the handle to a run, and free functions for code that holds none.

use crate::sim::handle::rng::SimRng;
use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::sim::handle::join::JoinHandle;
use crate::sim::handle::sleep::{Interval, Sleep, Timeout, YieldNow};
use crate::sim::instant::{EPOCH, Instant};
use crate::sim::task::boxed_task::{BoxedTask, box_task};
use crate::sim::task::name::TaskName;
use crate::sim::task::table::TaskId;
use crate::sim::world::current::{assert_active, current_run, enter_run, now, try_current_run};
use crate::sim::world::node::{NO_NODE, NodeDeath};
use crate::sim::world::state::World;

/// The handle to a simulated run.
///
/// It is a token: each call acts for the task that is being polled, whichever task holds the token.
/// It is `Copy`, and `Send + Sync` so that it fits into types that demand that.
///
/// # Panics
///
/// Its methods panic after the run and on another thread than the run's; none
/// gives a wrong answer there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sim {
    run: u64,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sim")
    }
}

impl Sim {
    /// Returns the run that goes on in this thread.
    ///
    /// # Panics
    ///
    /// Outside a run; see [`Sim::try_current`].
    #[track_caller]
    #[inline]
    pub fn current() -> Self {
        Self { run: current_run("Sim::current()") }
    }

    /// Returns the run that goes on in this thread, if one does.
    pub fn try_current() -> Option<Self> {
        try_current_run().map(|run| Self { run })
    }

    /// Starts a task. It may be `!Send`: one thread runs them all.
    ///
    /// The task is known by the type of its future, which names the function it
    /// was written in, and by its index among siblings of that name. Give tasks
    /// that matter a name of their own with [`Sim::task`]: then what is chosen
    /// for them survives a renamed function.
    #[track_caller]
    pub fn spawn<F: Future + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.spawn_named(&TaskName::Type(type_name::<F>), future, Location::caller())
    }

    /// Names a task that is to be spawned.
    ///
    /// ```
    /// virtnet::Run::new(0).execute(async |sim| {
    ///     let worker = sim.task("worker").spawn(async { 6 * 7 });
    ///     assert_eq!(worker.await.unwrap(), 42);
    /// }).unwrap();
    /// ```
    pub fn task(&self, name: &str) -> TaskBuilder {
        TaskBuilder { sim: *self, name: name.into() }
    }

    fn spawn_named<F: Future + 'static>(
        &self,
        name: &TaskName,
        future: F,
        spawned_at: &'static Location<'static>,
    ) -> JoinHandle<F::Output> {
        let spawned = self.spawn_boxed(name, box_task(future), spawned_at);
        JoinHandle::from_spawn_result(self.run, spawned, (NO_NODE, spawned_at))
    }

    /// Starts a task, unless the run is over or its node is down: the same code for all types.
    fn spawn_boxed(
        &self,
        name: &TaskName,
        task: BoxedTask,
        spawned_at: &'static Location<'static>,
    ) -> Result<TaskId, ()> {
        let spawned = enter_run(self.run, |world| world.spawn(name, task, spawned_at));
        // A task that never begins is dropped here, outside the world.
        spawned.map_err(drop)
    }

    /// Returns the virtual time: monotonic, from the beginning of the run.
    #[inline]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(now(self.run))
    }

    /// Returns the virtual wall clock, which begins at 2026-01-01 00:00 UTC; on a node, that of
    /// the node, which may be ahead or behind.
    pub fn system_time(&self) -> SystemTime {
        let true_time = SystemTime::UNIX_EPOCH + EPOCH + (self.now() - Instant::ZERO);
        let offset_nanos = enter_run(self.run, World::read_wall_offset);
        const NANOS_PER_SEC: u128 = 1_000_000_000;
        let nanos = offset_nanos.unsigned_abs();
        let secs = u64::try_from(nanos / NANOS_PER_SEC).unwrap_or(u64::MAX);
        let offset = Duration::new(secs, (nanos % NANOS_PER_SEC) as u32);
        let shifted = if offset_nanos < 0 {
            true_time.checked_sub(offset)
        } else {
            true_time.checked_add(offset)
        };
        shifted.unwrap_or(true_time)
    }

    /// Waits until `duration` of virtual time has passed.
    ///
    /// # Cancel safety
    ///
    /// Dropping it forgets the timer; nothing is lost.
    #[inline]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Waits until the instant has come; at once if it has passed.
    #[inline]
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        assert_active(self.run);
        Sleep::new(self.run, at)
    }

    /// Drops a future if it is not ready after `limit`.
    ///
    /// # Errors
    ///
    /// [`Elapsed`](crate::sim::Elapsed) if it did not complete in time.
    pub fn timeout<F: Future>(&self, limit: Duration, future: F) -> Timeout<F> {
        Timeout::new(self.sleep(limit), future)
    }

    /// Ticks at a fixed period; the first tick comes at once.
    ///
    /// # Panics
    ///
    /// If `period` is zero.
    #[track_caller]
    pub fn interval(&self, period: Duration) -> Interval {
        Interval::new(self.run, self.now(), period)
    }

    /// Lets all else that is due go first. Spinning on it makes time pass, by a
    /// microsecond a round, and is a livelock if nothing else happens for 100 000 polls: see
    /// [`Run::livelock_limit`](crate::Run::livelock_limit).
    pub fn yield_now(&self) -> YieldNow {
        assert_active(self.run);
        YieldNow::new()
    }

    /// Returns the calling task's random generator.
    pub fn rng(&self) -> SimRng {
        assert_active(self.run);
        SimRng { run: self.run }
    }

    /// Chooses one of `options` options; 0 is the benign one.
    ///
    /// The choice is keyed by the calling task, the name and how often that pair
    /// has chosen before. It stands on tapes, and shrinking makes it 0 unless it
    /// matters; words of [`Sim::rng`] are not choices.
    ///
    /// # Panics
    ///
    /// If there are no options.
    #[track_caller]
    pub fn choose(&self, subject: &str, options: usize) -> usize {
        assert!(options > 0, "virtnet: `choose({subject:?}, 0)`: nothing to choose from");
        enter_run(self.run, |world| world.choose(subject, options))
    }

    /// Adds a record to the trace, and so to the fingerprint.
    pub fn note(&self, text: impl fmt::Display) {
        let text = text.to_string();
        enter_run(self.run, |world| world.note(&text));
    }

    /// The word of the tape's input for this run: see `Tape::input`.
    #[cfg(feature = "proptest")]
    pub(crate) fn input_word(&self, ordinal: u64) -> u64 {
        enter_run(self.run, |world| world.input_word(ordinal))
    }

    /// Returns how the previous life of the node of the calling task ended; `None` in its first
    /// life, and in a task that belongs to no node.
    ///
    /// A program that keeps its own model of a disk needs it: what was written and not synced
    /// outlives a crash, but no power failure, and nothing outlives
    /// [`Node::restart_wiped`](crate::simnet::Node::restart_wiped).
    pub fn previous_death(&self) -> Option<NodeDeath> {
        enter_run(self.run, |world| {
            let node = world.current_slot().map(|slot| world.tasks.slots[slot as usize].node);
            world.last_death(node?)
        })
    }

    /// Returns the seed of this run.
    pub fn seed(&self) -> u64 {
        enter_run(self.run, |world| world.seed)
    }
}

/// A task that has a name and is to be spawned.
#[derive(Clone, Debug)]
#[must_use = "a task is started by `.spawn(future)`"]
pub struct TaskBuilder {
    sim: Sim,
    name: Arc<str>,
}

impl TaskBuilder {
    /// Starts the task.
    #[track_caller]
    pub fn spawn<F: Future + 'static>(self, future: F) -> JoinHandle<F::Output> {
        self.sim.spawn_named(&TaskName::Given(self.name), future, Location::caller())
    }
}

/// Starts a task of the current run; see [`Sim::spawn`].
///
/// # Panics
///
/// Outside a run.
#[track_caller]
pub fn spawn<F: Future + 'static>(future: F) -> JoinHandle<F::Output> {
    let sim = Sim { run: current_run("virtnet::spawn") };
    sim.spawn_named(&TaskName::Type(type_name::<F>), future, Location::caller())
}
