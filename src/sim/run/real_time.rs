//! A program of real time: the same tasks, handles and timers, and nothing simulated.
//!
//! Knows the run loop, and lets it go on only as far as real time has come; then the thread sleeps
//! until the next timer, or until another thread wakes a task. Refuses to know what such threads
//! do, which is where sockets are.

use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::thread;
use std::time::Duration;

use crate::util::run_cell::begin_scope;

use crate::sim::choice::schedule::Schedule;
use crate::sim::choice::tape::Tape;
use crate::sim::queue::entry::END_OF_TIME;
use crate::sim::report::stall::Ending;
use crate::sim::run::builder::drive;
use crate::sim::run::teardown::finish;
use crate::sim::task::boxed_task::boxed;
use crate::sim::world::current::{enter_or_bug, install, try_enter, uninstall};
use crate::sim::world::state::{End, Limits, World};

/// After so many polls it is seen how late it has become, and who was woken from elsewhere.
const POLLS: u64 = 64;

/// Runs a future and all tasks that it spawns, as `clock` goes on: nanoseconds since the beginning.
#[track_caller]
pub(crate) fn run_for_real<F: Future + 'static>(
    seed: u64,
    clock: impl Fn() -> u64,
    future: F,
) -> F::Output {
    let called_at = Location::caller();
    let most = u64::MAX;
    let limits = Limits { time: 0, steps: 0, livelock: most, chain: most };
    let (mut executor, main) = install(|world, run| {
        world.is_real = true;
        world.queue.renumbers = true;
        world.choices.begin(seed);
        world.tracer.begin(false);
        world.begin((run, seed), limits, Schedule::Fifo, called_at)
    });
    // Other threads may work on what is made in here: no lock is one of this thread alone.
    begin_scope(0);
    let driven = catch_unwind(AssertUnwindSafe(|| {
        enter_or_bug(|world| world.bear(main, boxed(future)));
        loop {
            enter_or_bug(|world| wait(world, &clock));
            match drive(&mut executor) {
                End::TimeLimit | End::StepLimit | End::Deadlock => {}
                end => return end,
            }
        }
    }));
    let finished = finish(driven, &mut executor);
    uninstall(executor);
    let tape = Tape::of_seed(seed, Schedule::Fifo);
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
    try_enter(|world| !world.is_real).unwrap_or(false)
}

/// Sleeps until there is something to do, and lets the loop come as far as real time has.
fn wait(world: &mut World, clock: impl Fn() -> u64) {
    loop {
        world.set_now(clock().clamp(world.now, END_OF_TIME - 1));
        world.arriving = true;
        world.limits.time = world.now;
        world.limits.steps = world.steps + POLLS;
        if world.hear_foreign() {
            return;
        }
        match world.rests_until() {
            Some(at) if at <= world.now => return,
            Some(at) => thread::park_timeout(Duration::from_nanos(at - world.now)),
            None => thread::park(),
        }
    }
}

impl World {
    /// The instant at which there is something to do again; the present one if there is now, and
    /// `None` if only another thread can change that.
    fn rests_until(&mut self) -> Option<u64> {
        let busy = self.pressing.any() || !self.queue.is_idle() || self.spins();
        if busy { Some(self.now) } else { self.next_ahead() }
    }
}
