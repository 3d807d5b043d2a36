//! The explanation of a stall: what each task waits for, and which task lost a wake-up.
//!
//! Each parked task is polled once more while no operation of this crate completes (see `wait`).
//! The poll therefore runs no code of the program beyond the point at which the task had stopped.
//! Tasks are polled in spawn order, up to the first one that could make progress: later tasks may
//! be affected by its poll.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::util::stall_probe::{Probe, ProbeDeadline, ProbeStopped, probe};
use crate::util::waiter::drain_cross_thread_wakes;

use crate::sim::choice::key::{FOREIGN, PathHash, SPAWN, TIMER};
use crate::sim::instant::Instant;
use crate::sim::report::stall::{History, LostWakeup, SelectEnd, Stall, StalledState, StalledTask};
use crate::sim::report::task_panic::NO_MESSAGE;
use crate::sim::task::executor::Executor;
use crate::sim::task::table::{LastSelect, TaskId, TaskState};
use crate::sim::world::current::enter_current;
use crate::sim::world::state::{Phase, World};

pub(crate) type PanicPayload = Box<dyn Any + Send>;

/// The real time for which a task that could go on may still be woken by another thread, whose
/// answer may have come after the run had ended.
const FOREIGN_GRACE: Duration = Duration::from_millis(10);

/// Returns what a panic said, and drops its payload.
pub(crate) fn panic_message(payload: PanicPayload) -> String {
    let message = match (payload.downcast_ref::<String>(), payload.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (_, Some(text)) => (*text).into(),
        _ => NO_MESSAGE.into(),
    };
    // A payload may be anything, and panic in its turn.
    if let Err(second_payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second_payload);
    }
    message
}

/// Finds out what every task waits for, and whether one could go on.
pub(crate) fn explain_stall(executor: &mut Executor) -> Stall {
    let (mut stall, parked) = enter_current(|world| {
        world.phase = Phase::Probing;
        world.choices.force_zero();
        list_tasks(world)
    });
    let deadline = ProbeDeadline::begin();
    let mut foreign_woken = Vec::new();
    for (index, slot) in parked {
        if deadline.is_over() {
            stall.cut_short = true;
            break;
        }
        // Looked at first: a task that goes on may drop what has its waker.
        let is_waker_cloned = executor.is_waker_cloned(slot);
        let (state, evidence) = probe_task(executor, slot, is_waker_cloned, deadline);
        let woken_by_thread =
            evidence.is_some() && is_waker_cloned && is_woken_by_thread(slot, &mut foreign_woken);
        stall.tasks[index].state = if woken_by_thread {
            let source = "another thread, after the run had ended".into();
            StalledState::Woken { by: source, polls_at_instant: 0 }
        } else {
            state
        };
        if let Some(evidence) = evidence {
            if !woken_by_thread {
                let task = stall.tasks[index].task.clone();
                stall.lost_wakeup = Some(LostWakeup { task, evidence });
            }
            break;
        }
    }
    stall
}

/// Lists the tasks, and which of them are parked: place in list, slot.
fn list_tasks(world: &World) -> (Stall, Vec<(usize, u32)>) {
    let slots = world.tasks.live_in_spawn_order(|_| true);
    let mut names = BTreeMap::new();
    for slot in &slots {
        let (key, path) = (world.tasks.slots[*slot as usize].key, world.tasks.path(*slot));
        names.insert(key.exit(), format!("the end of task {path}"));
        names.insert(key, format!("task {path}"));
    }
    let mut parked = Vec::new();
    let mut tasks = Vec::new();
    for slot in slots {
        let task = &world.tasks.slots[slot as usize];
        let woken_by = source_name(world, &names, task.woken_by);
        let state = if task.state == TaskState::Scheduled {
            let polled_now = task.polled_at == world.now;
            let polls_at_instant = if polled_now { task.polls_at_instant.into() } else { 0 };
            StalledState::Woken { by: woken_by.clone(), polls_at_instant }
        } else {
            parked.push((tasks.len(), slot));
            StalledState::NotProbed
        };
        tasks.push(StalledTask {
            task: world.tasks.path(slot),
            spawned_at: world.tasks.info[slot as usize].spawned_at,
            state,
            history: (task.state == TaskState::Parked && task.polls_at_instant > 0)
                .then(|| History { polled_at: Instant::from_nanos(task.polled_at), woken_by }),
            last_select: world.tasks.last_select(slot).map(select_end),
            paused: world.nodes.get(task.node).is_some_and(|node| node.is_paused),
        });
    }
    let at = Instant::from_nanos(world.now);
    let culprits: Vec<String> =
        world.findings.culprits.iter().map(|slot| world.tasks.path(*slot)).collect();
    let stall = Stall {
        at,
        tasks,
        culprit: culprits.first().cloned(),
        culprits,
        limit: world.findings.limit_reached,
        lost_wakeup: None,
        foreign_wakes: world.findings.foreign_wakes,
        cut_short: false,
    };
    (stall, parked)
}

/// Says what a `select!` took and what it dropped.
fn select_end(LastSelect { at, location: index, branches, taken: took }: LastSelect) -> SelectEnd {
    let dropped = branches.iter().enumerate().filter(|(n, _)| *n != took);
    SelectEnd {
        at: Instant::from_nanos(at),
        location: index,
        taken: branches.get(took).map_or_else(|| "else".into(), ToString::to_string),
        dropped: dropped.map(|(_, branch)| branch.to_string()).collect(),
    }
}

/// Says what has woken a task.
fn source_name(world: &World, names: &BTreeMap<PathHash, String>, source: PathHash) -> String {
    match source {
        TIMER => "a timer".into(),
        FOREIGN => "another thread".into(),
        SPAWN => "its spawner".into(),
        PathHash::NONE => "a waker of another crate".into(),
        _ => names
            .get(&source)
            .cloned()
            .or_else(|| world.describe_network_key(source))
            .or_else(|| world.names.as_ref()?.get(&source).cloned())
            .unwrap_or_else(|| "a task or a connection that is gone".into()),
    }
}

/// Polls a parked task once more. Returns what it waits for, and how it was seen to go on.
fn probe_task(
    executor: &mut Executor,
    slot: u32,
    is_waker_cloned: bool,
    deadline: ProbeDeadline,
) -> (StalledState, Option<String>) {
    let task = enter_current(|world| {
        world.woken_by_probe = None;
        world.set_current_task(slot)
    });
    let poll = || catch_unwind(AssertUnwindSafe(|| executor.poll(task.to_bits()).is_some()));
    let Probe { polled, reasons, progress, stopped } = probe(deadline, poll);
    let (completed, panic) = match polled {
        Ok(completed) => (completed, None),
        Err(payload) if payload.is::<ProbeStopped>() => (false, None),
        Err(payload) => (false, Some(panic_message(payload))),
    };
    let woken = enter_current(|world| {
        let woken = world.woken_by_probe.take().map(|woken| world.tasks.path(woken));
        woken.map(|path| format!("wakes task {path}"))
    });
    let panics = panic.map(|message| format!("gets on and panics: {message}"));
    let completes = completed.then(|| "completes".into());
    let evidence = progress.or(completes).or(panics).or(woken);
    let state = match stopped {
        Some(operations) => StalledState::Endless { operations: operations.into(), reasons },
        None => {
            let elsewhere = is_waker_cloned || reasons.is_empty();
            StalledState::Waiting { reasons, elsewhere }
        }
    };
    (state, evidence)
}

/// Returns whether another thread wakes a task that could go on: then its answer has come after the
/// run had ended, and no wake-up is lost. What it woke besides is kept for the next question.
fn is_woken_by_thread(slot: u32, woken: &mut Vec<u64>) -> bool {
    let drain_wakes = |woken: &mut Vec<u64>| {
        enter_current(|world| {
            let new_wakes = drain_cross_thread_wakes(&mut world.foreign_wakes_seen, world.run);
            world.findings.foreign_wakes += new_wakes.len() as u64;
            woken.extend(new_wakes.into_iter().map(|task_ref| task_ref.task));
            woken.iter().any(|task| TaskId::from_bits(*task).slot == slot)
        })
    };
    drain_wakes(woken) || {
        // The thread that wakes it unparks this one.
        std::thread::park_timeout(FOREIGN_GRACE);
        drain_wakes(woken)
    }
}
