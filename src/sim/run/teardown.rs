//! After the last step: explain a stall, drop the tasks, write down the outcome.
//!
//! Knows a run that is over; refuses to change what it was: nothing in here
//! reaches trace, tape or fingerprint but the record of the ending itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::util::run_cell::end_scope;
use crate::util::waiter::foreign_since;

use crate::sim::choice::draw::{Decision, Key};
use crate::sim::choice::hash::hash_name;
use crate::sim::choice::recorded::Choice;
use crate::sim::choice::schedule::Schedule;
use crate::sim::choice::tape::Tape;
use crate::sim::instant::Instant;
use crate::sim::report::outcome::Outcome;
use crate::sim::report::stall::{Ending, Stall, TaskPanic};
use crate::sim::report::trace::{Fingerprint, RecordKind, Trace};
use crate::sim::run::explain_stall::{Payload, explain_stall, message_of};
use crate::sim::task::boxed_task::{BoxedTask, open};
use crate::sim::task::executor::Executor;
use crate::sim::world::current::enter_or_bug;
use crate::sim::world::state::{End, Leftovers, MAIN, Phase, World};

/// How a run ended, in a few words, because it is moved about.
enum Over {
    Done(BoxedTask),
    Panicked(Box<TaskPanic>),
    Stalled(End, Box<Stall>),
}

/// A run that is over, with what its main task returned still in a box.
pub(crate) struct Finished {
    over: Over,
    now: u64,
    steps: u64,
    fingerprint: Fingerprint,
    checkpoints: Vec<Fingerprint>,
    trace: Option<Trace>,
    decided: Option<Vec<Choice>>,
    foreign_wakes: u64,
    caught: Vec<TaskPanic>,
}

/// Winds a run up: `driven` is what came of its loop.
pub(crate) fn finish(driven: Result<End, Payload>, executor: &mut Executor) -> Finished {
    let (end, panic) = match driven {
        Ok(End::Panicked) => (End::Panicked, enter_or_bug(doom)),
        Ok(end) => (end, None),
        Err(payload) => {
            let message = message_of(payload);
            (End::Panicked, enter_or_bug(|world| blame(world, message, false)))
        }
    };
    let mut over = match (end, panic) {
        (_, Some(panic)) => Over::Panicked(Box::new(panic)),
        (End::Done, _) => Over::Done(enter_or_bug(World::take_result)),
        (end, _) => Over::Stalled(end, Box::new(explain_stall(executor))),
    };
    if let Some(dropped) = drop_all(executor)
        && end == End::Done
    {
        over = Over::Panicked(Box::new(dropped));
    }
    enter_or_bug(|world| {
        match &over {
            Over::Done(_) => world.record_ending("done", false),
            Over::Panicked(panic) => {
                let TaskPanic { task, message, .. } = &**panic;
                world.record_ending(&format!("panicked: {task}: {message}"), false);
            }
            Over::Stalled(end, _) => world.record_ending(end.name(), true),
        }
        write_down(world, over)
    })
}

fn write_down(world: &mut World, over: Over) -> Finished {
    // Those that came too late to be heard tell of the same uncertainty.
    world.foreign_wakes += foreign_since(&mut world.foreign_seen, world.run).len() as u64;
    let decided = world.choices.take_decided().map(|decided| {
        let named = |key: Key| world.name_of(key);
        let text = |decision: Decision| Choice {
            at: Instant::from_nanos(decision.at),
            subject: decision.subject.write(named),
            ordinal: decision.ordinal,
            value: decision.value,
            options: decision.options,
        };
        decided.into_iter().map(text).collect()
    });
    let trace = match world.names.take() {
        Some(names) => world.tracer.take_trace(&names),
        None => None,
    };
    Finished {
        over,
        now: world.now,
        steps: world.steps,
        fingerprint: world.tracer.fingerprint(),
        checkpoints: world.tracer.take_checkpoints(),
        trace,
        decided,
        foreign_wakes: world.foreign_wakes,
        caught: std::mem::take(&mut world.caught),
    }
}

impl Finished {
    /// Adds what only the caller knows.
    pub(crate) fn into_outcome<T: 'static>(
        self,
        seed: u64,
        tape: Tape,
        schedule: Schedule,
    ) -> Outcome<T> {
        let ending = match self.over {
            Over::Done(result) => Ending::Done(open(result)),
            Over::Panicked(panic) => Ending::Panicked(*panic),
            Over::Stalled(End::Livelock, stall) => Ending::Livelock(*stall),
            Over::Stalled(End::TimeLimit, stall) => Ending::TimeLimit(*stall),
            Over::Stalled(End::StepLimit, stall) => Ending::StepLimit(*stall),
            Over::Stalled(_, stall) => Ending::Deadlock(*stall),
        };
        Outcome {
            ending,
            seed,
            elapsed: Duration::from_nanos(self.now),
            steps: self.steps,
            fingerprint: self.fingerprint,
            checkpoints: self.checkpoints,
            trace: self.trace,
            tape: tape.keyed(seed, schedule, self.decided.as_deref()),
            choices: self.decided.unwrap_or_default(),
            foreign_wakes: self.foreign_wakes,
            caught: self.caught,
        }
    }
}

/// Why a run was ended at once.
fn doom(world: &mut World) -> Option<TaskPanic> {
    let message = world.pressing.take_doom()?;
    blame(world, message, false)
}

/// Drops a task that died in a crash: a panic of its destructors is written down and harms nobody.
pub(crate) fn bury(executor: &mut Executor, slot: u32) {
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(executor.take(slot))));
    if let Err(payload) = dropped {
        let message = message_of(payload);
        enter_or_bug(|world| {
            let panic = blame(world, message, true);
            if let Some(panic) = &panic {
                let task = world.tasks.slots[slot as usize].key;
                let digest = hash_name(&panic.message);
                let text = || Some(panic.message.as_str().into());
                world.record(RecordKind::Caught, task, Key::NONE, 0, digest, text);
            }
            world.caught.extend(panic);
        });
    }
}

/// Lays a panic to the task that is current.
fn blame(world: &World, message: String, while_dropped: bool) -> Option<TaskPanic> {
    let slot = world.current().unwrap_or(MAIN);
    let spawned_at = world.tasks.about[slot as usize].spawned_at;
    Some(TaskPanic { task: world.tasks.path(slot), message, spawned_at, while_dropped })
}

/// Drops all tasks, oldest first, and then whatever else is left of the run;
/// what their destructors ask for is inert. Returns the first panic among them.
fn drop_all(executor: &mut Executor) -> Option<TaskPanic> {
    let slots = enter_or_bug(|world| {
        world.phase = Phase::Closing;
        // A task that panics may have spawned others before.
        executor.adopt(&mut world.born, &world.tasks);
        world.tasks.in_spawn_order(|_| true)
    });
    let mut slots = slots.into_iter();
    let (mut first, mut left) = (None, Leftovers::default());
    // One guard for all of them, renewed only when one has panicked.
    while let Err(payload) = catch_unwind(AssertUnwindSafe(|| {
        for slot in slots.by_ref() {
            enter_or_bug(|world| world.set_current(slot));
            drop(executor.take(slot));
        }
        enter_or_bug(|world| world.take_leftovers(&mut left));
        while left.drop_one() {}
        end_scope();
    })) {
        let message = message_of(payload);
        let panic = enter_or_bug(|world| blame(world, message, true));
        first = first.or(panic);
    }
    first
}
