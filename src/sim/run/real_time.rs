//! Real-time execution: the same tasks, handles and timers, driven by the real clock.
//!
//! The run loop advances to the present instant of the real clock. Then the thread sleeps until
//! the next timer is due, or until another thread wakes a task. Sockets belong to such other
//! threads.

use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::thread;
use std::time::Duration;

use crate::util::run_cell::enter_run;

use crate::sim::choice::schedule::Schedule;
use crate::sim::choice::tape::Tape;
use crate::sim::queue::entry::END_OF_TIME;
use crate::sim::report::ending::Ending;
use crate::sim::run::builder::run_steps;
use crate::sim::run::teardown::finish;
use crate::sim::task::boxed_task::box_task;
use crate::sim::world::current::{enter_current, install, try_enter, uninstall};
use crate::sim::world::state::{EndReason, Limits, World};

/// The number of polls between two looks at the clock and at wake-ups by other threads.
const POLLS_PER_CHECK: u64 = 64;

/// Runs a future and all tasks that it spawns, as `clock` goes on: nanoseconds since the beginning.
#[track_caller]
pub(crate) fn run_real_time<F: Future + 'static>(
    seed: u64,
    clock: impl Fn() -> u64,
    future: F,
) -> F::Output {
    let called_at = Location::caller();
    let unlimited = u64::MAX;
    let limits = Limits { time: 0, steps: 0, livelock: unlimited, chain: unlimited };
    let (mut executor, main) = install(|world, run| {
        world.is_real_time = true;
        world.events.queue.renumber_ids = true;
        world.choices.begin(seed);
        world.tracer.begin(false);
        world.begin((run, seed), limits, Schedule::Fifo, called_at)
    });
    // Other threads may work on what is made in here: no lock is one of this thread alone.
    enter_run(0);
    let loop_result = catch_unwind(AssertUnwindSafe(|| {
        enter_current(|world| world.push_spawned(main, box_task(future)));
        loop {
            enter_current(|world| wait_for_work(world, &clock));
            match run_steps(&mut executor) {
                EndReason::TimeLimit | EndReason::StepLimit | EndReason::Deadlock => {}
                end => return end,
            }
        }
    }));
    let finished = finish(loop_result, &mut executor);
    uninstall(executor);
    let tape = Tape::from_seed(seed, Schedule::Fifo);
    match finished.into_outcome(seed, tape, Schedule::Fifo).ending {
        Ending::Done(output) => output,
        Ending::Panicked(panic) => {
            panic!("virtnet::os::run: the task {} panicked: {}", panic.task, panic.message)
        }
        _ => unreachable!("it waits for as long as it has to"),
    }
}

/// Whether a simulated run goes on in this thread.
pub(crate) fn is_simulated() -> bool {
    try_enter(|world| !world.is_real_time).unwrap_or(false)
}

/// Sleeps until there is something to do, and lets the loop come as far as real time has.
fn wait_for_work(world: &mut World, clock: impl Fn() -> u64) {
    loop {
        world.set_now(clock().clamp(world.now, END_OF_TIME - 1));
        world.events.may_have_due_entries = true;
        world.limits.time = world.now;
        world.limits.steps = world.steps + POLLS_PER_CHECK;
        if world.handle_foreign_wakes() {
            return;
        }
        match world.next_deadline() {
            Some(at) if at <= world.now => return,
            Some(at) => thread::park_timeout(Duration::from_nanos(at - world.now)),
            None => thread::park(),
        }
    }
}

impl World {
    /// The instant at which there is something to do again; the present one if there is now, and
    /// `None` if only another thread can change that.
    fn next_deadline(&mut self) -> Option<u64> {
        let has_work =
            self.deferred.has_any() || !self.events.queue.is_idle() || self.has_self_woken_task();
        if has_work { Some(self.now) } else { self.next_entry_instant() }
    }
}
