//! The end of a run: explains a stall, drops the tasks, collects the outcome.
//!
//! The record of the ending is the last one. Nothing else in this file reaches trace, tape or
//! fingerprint.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::util::run_cell::leave_run;
use crate::util::waiter::drain_cross_thread_wakes;

use crate::sim::choice::draw::RecordedChoice;
use crate::sim::choice::hash::hash_name;
use crate::sim::choice::key::PathHash;
use crate::sim::choice::recorded::Choice;
use crate::sim::choice::schedule::Schedule;
use crate::sim::choice::tape::Tape;
use crate::sim::instant::Instant;
use crate::sim::report::ending::Ending;
use crate::sim::report::outcome::Outcome;
use crate::sim::report::record::RecordTag;
use crate::sim::report::stall::Stall;
use crate::sim::report::task_panic::TaskPanic;
use crate::sim::report::trace::{Fingerprint, RecordPayload, Trace};
use crate::sim::run::explain_stall::{PanicPayload, explain_stall, panic_message};
use crate::sim::task::boxed_task::{BoxedTask, take_output};
use crate::sim::task::executor::Executor;
use crate::sim::world::current::enter_current;
use crate::sim::world::state::{DropQueue, EndReason, MAIN, Phase, World};

/// The end of a run without its value. It is small, because it is moved often.
enum ErasedEnding {
    Done(BoxedTask),
    Panicked(Box<TaskPanic>),
    Stalled(EndReason, Box<Stall>),
}

/// A run that is over, with what its main task returned still in a box.
pub(crate) struct FinishedRun {
    ending: ErasedEnding,
    elapsed_nanos: u64,
    steps: u64,
    fingerprint: Fingerprint,
    checkpoints: Vec<Fingerprint>,
    trace: Option<Trace>,
    choices: Option<Vec<Choice>>,
    foreign_wakes: u64,
    caught_panics: Vec<TaskPanic>,
}

/// Winds a run up: `driven` is what came of its loop.
pub(crate) fn finish(
    loop_result: Result<EndReason, PanicPayload>,
    executor: &mut Executor,
) -> FinishedRun {
    let (end, panic) = match loop_result {
        Ok(EndReason::Panicked) => (EndReason::Panicked, enter_current(take_abort_panic)),
        Ok(end) => (end, None),
        Err(payload) => {
            let message = panic_message(payload);
            (EndReason::Panicked, enter_current(|world| attribute_panic(world, message, false)))
        }
    };
    let mut ending = match (end, panic) {
        (_, Some(panic)) => ErasedEnding::Panicked(Box::new(panic)),
        (EndReason::Done, _) => ErasedEnding::Done(enter_current(World::take_main_output)),
        (end, _) => ErasedEnding::Stalled(end, Box::new(explain_stall(executor))),
    };
    if let Some(drop_panic) = drop_all(executor)
        && end == EndReason::Done
    {
        ending = ErasedEnding::Panicked(Box::new(drop_panic));
    }
    enter_current(|world| {
        match &ending {
            ErasedEnding::Done(_) => world.record_ending("done", false),
            ErasedEnding::Panicked(panic) => {
                let TaskPanic { task, message, .. } = &**panic;
                world.record_ending(&format!("panicked: {task}: {message}"), false);
            }
            ErasedEnding::Stalled(end, _) => world.record_ending(end.name(), true),
        }
        collect_finished_run(world, ending)
    })
}

fn collect_finished_run(world: &mut World, ending: ErasedEnding) -> FinishedRun {
    // Wake-ups that came too late to be handled count, too.
    world.findings.foreign_wakes +=
        drain_cross_thread_wakes(&mut world.foreign_wakes_seen, world.run).len() as u64;
    let choices = world.choices.take_recorded().map(|choices| {
        let name_of = |key: PathHash| world.name_of(key);
        let to_choice = |recorded_choice: RecordedChoice| Choice {
            at: Instant::from_nanos(recorded_choice.at),
            subject: recorded_choice.key.to_text(name_of),
            ordinal: recorded_choice.ordinal,
            value: recorded_choice.value,
            options: recorded_choice.options,
        };
        choices.into_iter().map(to_choice).collect()
    });
    let trace = match world.names.take() {
        Some(names) => world.tracer.take_trace(&names),
        None => None,
    };
    FinishedRun {
        ending,
        elapsed_nanos: world.now,
        steps: world.steps,
        fingerprint: world.tracer.fingerprint(),
        checkpoints: world.tracer.take_checkpoints(),
        trace,
        choices,
        foreign_wakes: world.findings.foreign_wakes,
        caught_panics: std::mem::take(&mut world.findings.caught_panics),
    }
}

impl FinishedRun {
    /// Adds what only the caller knows.
    pub(crate) fn into_outcome<T: 'static>(
        self,
        seed: u64,
        tape: Tape,
        schedule: Schedule,
    ) -> Outcome<T> {
        let ending = match self.ending {
            ErasedEnding::Done(result) => Ending::Done(take_output(result)),
            ErasedEnding::Panicked(panic) => Ending::Panicked(*panic),
            ErasedEnding::Stalled(EndReason::Livelock, stall) => Ending::Livelock(*stall),
            ErasedEnding::Stalled(EndReason::TimeLimit, stall) => Ending::TimeLimit(*stall),
            ErasedEnding::Stalled(EndReason::StepLimit, stall) => Ending::StepLimit(*stall),
            ErasedEnding::Stalled(_, stall) => Ending::Deadlock(*stall),
        };
        Outcome {
            ending,
            seed,
            elapsed: Duration::from_nanos(self.elapsed_nanos),
            steps: self.steps,
            fingerprint: self.fingerprint,
            checkpoints: self.checkpoints,
            trace: self.trace,
            tape: tape.keyed(seed, schedule, self.choices.as_deref()),
            choices: self.choices.unwrap_or_default(),
            foreign_wakes: self.foreign_wakes,
            caught_panics: self.caught_panics,
        }
    }
}

/// Why a run was ended at once.
fn take_abort_panic(world: &mut World) -> Option<TaskPanic> {
    let message = world.deferred.take_abort_reason()?;
    attribute_panic(world, message, false)
}

/// Drops a task that died in a crash. A panic of its destructors is recorded, and does not end the
/// run.
pub(crate) fn drop_crashed_task(executor: &mut Executor, slot: u32) {
    let result = catch_unwind(AssertUnwindSafe(|| drop(executor.take(slot))));
    if let Err(payload) = result {
        let message = panic_message(payload);
        enter_current(|world| {
            let panic = attribute_panic(world, message, true);
            if let Some(panic) = &panic {
                let task = world.tasks.slots[slot as usize].key;
                let digest = hash_name(&panic.message);
                let payload = || RecordPayload::Text(panic.message.as_str().into());
                world.record(RecordTag::CaughtPanic, task, PathHash::NONE, 0, digest, payload);
            }
            world.findings.caught_panics.extend(panic);
        });
    }
}

/// Lays a panic to the task that is current.
fn attribute_panic(world: &World, message: String, during_drop: bool) -> Option<TaskPanic> {
    let slot = world.current_slot().unwrap_or(MAIN);
    let spawned_at = world.tasks.info[slot as usize].spawned_at;
    Some(TaskPanic { task: world.tasks.path(slot), message, spawned_at, during_drop })
}

/// Drops all tasks, oldest first, and then whatever else is left of the run;
/// what their destructors ask for is inert. Returns the first panic among them.
fn drop_all(executor: &mut Executor) -> Option<TaskPanic> {
    let slots = enter_current(|world| {
        world.phase = Phase::Closing;
        // A task that panics may have spawned others before.
        executor.insert_spawned(&mut world.spawned, &world.tasks);
        world.tasks.live_in_spawn_order(|_| true)
    });
    let mut slots = slots.into_iter();
    let (mut first_panic, mut drop_queue) = (None, DropQueue::default());
    // One guard for all of them, renewed only when one has panicked.
    while let Err(payload) = catch_unwind(AssertUnwindSafe(|| {
        for slot in slots.by_ref() {
            enter_current(|world| world.set_current_task(slot));
            drop(executor.take(slot));
        }
        enter_current(|world| world.fill_drop_queue(&mut drop_queue));
        while drop_queue.drop_one() {}
        leave_run();
    })) {
        let message = panic_message(payload);
        let panic = enter_current(|world| attribute_panic(world, message, true));
        first_panic = first_panic.or(panic);
    }
    first_panic
}
