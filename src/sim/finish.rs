//! After the last step: ask what stalled, drop what is left, write it down.
//!
//! Knows a run that is over; refuses to change what it was: nothing in here
//! reaches trace, tape or fingerprint but the record of the ending itself.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::lock::end_scope;
use crate::wait::{Asked, ask};
use crate::waiter::foreign_since;

use super::body::{BoxedTask, open};
use super::choice::{Decision, Key, SOURCES, hash_name};
use super::current::enter_or_bug;
use super::decided::Choice;
use super::executor::Executor;
use super::outcome::Outcome;
use super::schedule::Schedule;
use super::stall::{Ending, LostWakeup, Stall, StalledTask, TaskPanic, TaskState, WORDLESS};
use super::tape::Tape;
use super::task::Stage;
use super::time::Instant;
use super::trace::{Fingerprint, RecordKind, Trace};
use super::world::{End, Leftovers, MAIN, Phase, World};

type Payload = Box<dyn Any + Send>;

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
        (end, _) => Over::Stalled(end, Box::new(report_stall(executor))),
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

/// What a panic said.
fn message_of(payload: Payload) -> String {
    let message = match (payload.downcast_ref::<String>(), payload.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (_, Some(text)) => (*text).into(),
        _ => WORDLESS.into(),
    };
    // A payload may be anything, and panic in its turn.
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(another);
    }
    message
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

/// Finds out what every task is about, and whether one could go on.
fn report_stall(executor: &mut Executor) -> Stall {
    let (mut stall, waiting) = enter_or_bug(|world| {
        world.phase = Phase::Asking;
        world.choices.silence();
        census(world)
    });
    for (place, slot) in waiting {
        let (reasons, evidence) = ask_task(executor, slot);
        let elsewhere = executor.is_waker_kept(slot) || reasons.is_empty();
        stall.tasks[place].state = TaskState::Waiting { reasons, elsewhere };
        if let Some(evidence) = evidence {
            let task = stall.tasks[place].task.clone();
            stall.lost_wakeup = Some(LostWakeup { task, evidence });
            // What comes after was brought about by asking: it proves nothing.
            break;
        }
    }
    stall
}

/// Lists the tasks, and which of them are to be asked: place in list, slot.
fn census(world: &World) -> (Stall, Vec<(usize, u32)>) {
    let slots = world.tasks.in_spawn_order(|_| true);
    let key = |slot: &u32| world.tasks.slots[*slot as usize].key;
    let mut names: BTreeMap<Key, String> =
        slots.iter().map(|slot| (key(slot), format!("task {}", world.tasks.path(*slot)))).collect();
    names.extend(SOURCES.map(|(key, word)| (key, word.to_string())));
    let mut waiting = Vec::new();
    let mut tasks = Vec::new();
    for slot in slots {
        let task = &world.tasks.slots[slot as usize];
        let state = if task.stage == Stage::Scheduled {
            let by = names.get(&task.woken_by).cloned();
            let same = task.polled_at == world.now;
            TaskState::Woken {
                by: by.unwrap_or_else(|| "a task that has ended".into()),
                polls_at_instant: if same { task.polls_at_instant.into() } else { 0 },
            }
        } else {
            waiting.push((tasks.len(), slot));
            TaskState::NotAsked
        };
        let spawned_at = world.tasks.about[slot as usize].spawned_at;
        tasks.push(StalledTask { task: world.tasks.path(slot), spawned_at, state });
    }
    let at = Instant::from_nanos(world.now);
    let (culprit, foreign_wakes) =
        (world.culprit.map(|slot| world.tasks.path(slot)), world.foreign_wakes);
    (Stall { at, tasks, culprit, lost_wakeup: None, foreign_wakes }, waiting)
}

/// Polls a waiting task once more: what it waits for, and what it did instead.
fn ask_task(executor: &mut Executor, slot: u32) -> (Vec<String>, Option<String>) {
    let task = enter_or_bug(|world| {
        world.woken = None;
        world.set_current(slot)
    });
    let poll = || {
        // Nobody will ask what it returned.
        catch_unwind(AssertUnwindSafe(|| executor.poll(task.number()).is_some()))
    };
    let Asked { polled, reasons, got } = ask(poll);
    let evidence = match polled {
        Ok(true) => Some("completes".into()),
        Ok(false) => enter_or_bug(|world| {
            let woken = world.woken.take();
            let wakes = woken.map(|woken| format!("wakes task {}", world.tasks.path(woken)));
            wakes.or_else(|| got.then(|| "gets what it waited for".into()))
        }),
        Err(payload) => Some(format!("gets on and panics: {}", message_of(payload))),
    };
    (reasons, evidence)
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
