//! The state of one simulated run: tasks, timers, choices, clock, trace.
//!
//! The world is plain data. No foreign code runs while it is borrowed: no waker, no destructor, no
//! code of the program under test. Everything that must be woken or dropped is handed to the
//! caller, which does it outside the world.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

use crate::util::cold::{ClearToCapacity, cold};
use crate::util::stall_probe::report_effect;
use crate::util::waiter::{Waiter, cross_thread_count};

use crate::sim::choice::draw::ChoiceSource;
use crate::sim::choice::hash::hash_name;
use crate::sim::choice::key::{PathHash, SOURCES, SPAWN};
use crate::sim::choice::schedule::{Schedule, Scheduler};
use crate::sim::queue::callback_timers::CallbackTimers;
use crate::sim::queue::entry::Action;
use crate::sim::queue::event_queue::EventQueue;
use crate::sim::queue::timer_table::TimerTable;
use crate::sim::report::limit::Limit;
use crate::sim::report::record::RecordTag;
use crate::sim::report::task_panic::TaskPanic;
use crate::sim::report::trace::{Event, RecordExtras, RecordPayload, Recorder};
use crate::sim::task::boxed_task::BoxedTask;
use crate::sim::task::name::TaskName;
use crate::sim::task::table::{Origin, TaskId, TaskTable};
use crate::sim::world::actor::Actor;
use crate::sim::world::deferred::{Callback, DeferredQueue};
use crate::sim::world::livelock::SpinCounter;
use crate::sim::world::node::{NO_NODE, Nodes};
use crate::sim::world::progress::Progress;

/// The slot of the main task, which is the first.
pub(crate) const MAIN: u32 = 0;

/// The limits of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Nanoseconds of virtual time.
    pub(crate) time: u64,
    pub(crate) steps: u64,
    /// Polls of one task at one instant.
    pub(crate) livelock: u64,
    /// Wake-ups of task by task without a timer in between.
    pub(crate) chain: u64,
}

/// Why a run is over: a whole word, because it is read as one at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum EndReason {
    Done,
    Panicked,
    Deadlock,
    Livelock,
    TimeLimit,
    StepLimit,
}

impl EndReason {
    /// Its name in traces.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Panicked => "panicked",
            Self::Deadlock => "deadlock",
            Self::Livelock => "livelock",
            Self::TimeLimit => "time limit",
            Self::StepLimit => "step limit",
        }
    }
}

/// Which requests the world heeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Running,
    /// The run is over and its tasks are asked what they wait for.
    Probing,
    /// The tasks are being dropped: whatever they ask for is inert.
    Closing,
}

/// Values that left the world, to be dropped outside of it.
#[derive(Default)]
pub(crate) struct DropQueue {
    outputs: Vec<BoxedTask>,
    waiters: Vec<Waiter>,
    wakers: Vec<Waker>,
    callbacks: Vec<Callback>,
}

impl DropQueue {
    /// Drops one thing, which may panic: one at a time, because a second panic while others are
    /// dropped would end the process. Returns whether there was any.
    pub(crate) fn drop_one(&mut self) -> bool {
        self.outputs.pop().map(drop).is_some()
            || self.waiters.pop().map(drop).is_some()
            || self.wakers.pop().map(drop).is_some()
            || self.callbacks.pop().map(drop).is_some()
    }
}

/// The data to prefetch: see `World::prefetch_ahead`.
#[derive(Default)]
pub(crate) struct PrefetchSet {
    pub(crate) callback_timers: Vec<u32>,
    /// The slots of the tasks that will probably be polled.
    pub(crate) tasks: Vec<u32>,
}

/// The events of a run, and what they are about.
#[derive(Default)]
pub(crate) struct Events {
    pub(in crate::sim) queue: EventQueue,
    pub(in crate::sim) timers: TimerTable,
    pub(in crate::sim) callback_timers: CallbackTimers,
    /// Whether there may be entries whose instant has come.
    pub(in crate::sim) may_have_due_entries: bool,
}

/// Facts about a run for its outcome and its stall report.
#[derive(Default)]
pub(crate) struct Findings {
    /// The limit that was reached.
    pub(in crate::sim) limit_reached: Option<Limit>,
    /// The tasks whose polls or wake-ups did not end.
    pub(in crate::sim) culprits: Vec<u32>,
    /// Panics in destructors that crashes ran.
    pub(in crate::sim) caught_panics: Vec<TaskPanic>,
    /// The number of wake-ups by other threads.
    pub(in crate::sim) foreign_wakes: u64,
}

/// The functions of the networks that a run calls.
#[derive(Clone, Copy)]
pub(crate) struct NetworkHooks {
    /// Handles a callback timer that has come due, by its number.
    pub(crate) on_timer: fn(&mut World, u32),
    /// Describes a key of a network in a run, for a stall report.
    pub(crate) describe_key: fn(u64, PathHash) -> Option<String>,
    /// Prefetches the data of callback timers that come due soon; see `World::prefetch_ahead`.
    pub(crate) prefetch: fn(u64, &mut PrefetchSet),
}

impl Default for NetworkHooks {
    /// The hooks of a run without a network.
    fn default() -> Self {
        Self { on_timer: |_, _| (), describe_key: |_, _| None, prefetch: |_, _| () }
    }
}

/// The state of one run.
pub(crate) struct World {
    /// The number of the run, by which its handles are known. No decision depends on it.
    pub(in crate::sim) run: u64,
    pub(in crate::sim) seed: u64,
    pub(in crate::sim) now: u64,
    pub(in crate::sim) steps: u64,
    pub(in crate::sim) phase: Phase,
    pub(in crate::sim) tracer: Recorder,
    pub(in crate::sim) choices: ChoiceSource,
    pub(in crate::sim) tasks: TaskTable,
    /// Spawned tasks that the executor does not have yet, and their slots.
    pub(in crate::sim) spawned: Vec<(u32, BoxedTask)>,
    pub(in crate::sim) foreign_wakes_seen: u64,
    /// The task that the last poll woke, while a stall is explained.
    pub(in crate::sim) woken_by_probe: Option<u32>,
    pub(in crate::sim) limits: Limits,
    /// The progress that a watching thread reads, if there is one.
    pub(in crate::sim) progress: Option<Arc<Progress>>,
    pub(in crate::sim) scheduler: Scheduler,
    pub(in crate::sim) events: Events,
    pub(super) hooks: NetworkHooks,
    pub(in crate::sim) prefetch_set: PrefetchSet,
    pub(in crate::sim) nodes: Nodes,
    pub(in crate::sim) actor: Actor,
    /// The actions to be done outside of the world, as soon as the current poll returns.
    pub(in crate::sim) deferred: DeferredQueue,
    pub(in crate::sim) findings: Findings,
    pub(in crate::sim) spins: SpinCounter,
    /// Whether its time is that of the real clock.
    pub(in crate::sim) is_real_time: bool,
    /// The texts of keys, while they are kept for a trace or a report.
    pub(in crate::sim) names: Option<BTreeMap<PathHash, String>>,
}

impl World {
    /// A world that has run nothing and is to be begun.
    pub(crate) fn empty() -> Self {
        Self {
            run: 0,
            seed: 0,
            now: 0,
            steps: 0,
            phase: Phase::Closing,
            tracer: Recorder::default(),
            progress: None,
            scheduler: Scheduler::new(Schedule::Fifo),
            choices: ChoiceSource::from_seed(0),
            tasks: TaskTable::default(),
            spawned: Vec::new(),
            foreign_wakes_seen: 0,
            woken_by_probe: None,
            limits: Limits { time: 0, steps: 0, livelock: 0, chain: 0 },
            events: Events::default(),
            hooks: NetworkHooks::default(),
            prefetch_set: PrefetchSet::default(),
            nodes: Nodes::default(),
            actor: Actor::NONE,
            deferred: DeferredQueue::default(),
            findings: Findings::default(),
            spins: SpinCounter::default(),
            is_real_time: false,
            names: None,
        }
    }

    /// The number of the run.
    #[inline]
    pub(crate) const fn run(&self) -> u64 {
        self.run
    }

    /// Nanoseconds of true virtual time.
    #[inline]
    pub(crate) const fn now(&self) -> u64 {
        self.now
    }

    /// Begins a run, with its main task due and current; its choices and its tracer have begun.
    pub(crate) fn begin(
        &mut self,
        (run, seed): (u64, u64),
        limits: Limits,
        schedule: Schedule,
        spawned_at: &'static Location<'static>,
    ) -> TaskId {
        self.run = run;
        self.now = 0;
        self.findings = Findings::default();
        self.spins = SpinCounter::default();
        self.foreign_wakes_seen = cross_thread_count();
        self.seed = seed;
        self.steps = 0;
        self.phase = Phase::Running;
        self.names =
            (self.tracer.keeps_records() || self.choices.is_recording()).then(BTreeMap::new);
        self.scheduler = Scheduler::new(schedule);
        self.limits = limits;
        if self.names.is_some() {
            for (key, name) in SOURCES {
                self.intern_name(key, || name.into());
            }
        }
        let main = self.register_task(&TaskName::Type(|| "main"), Origin::Run, NO_NODE, spawned_at);
        // The main task has nothing to be late for.
        let entry_id = self.events.queue.push_due(0, Action::poll(main.slot));
        self.actor = Actor::of_key(SPAWN);
        self.set_pending_poll(main.slot, entry_id, SPAWN, 0);
        self.set_actor_task(main.slot);
        main
    }

    /// Takes what is left when all tasks have been dropped: their outputs, and
    /// the wakers of who waited. They may be the users' own.
    pub(crate) fn fill_drop_queue(&mut self, drop_queue: &mut DropQueue) {
        self.tasks.take_undropped(&mut drop_queue.waiters, &mut drop_queue.outputs);
        if !self.spawned.is_empty() {
            cold(|| drop_queue.outputs.extend(self.spawned.drain(..).map(|(_, task)| task)));
        }
        self.events.timers.clear(&mut drop_queue.waiters);
        self.deferred.take_remaining(&mut drop_queue.wakers, &mut drop_queue.callbacks);
    }

    /// Forgets the run and keeps its memory for the next one, unless it is much.
    pub(crate) fn clear(&mut self) {
        const MAX_CAPACITY: usize = 1024;
        self.events.queue.clear();
        self.tasks.clear();
        self.events.callback_timers.clear();
        self.hooks = NetworkHooks::default();
        self.prefetch_set.callback_timers.clear_to_capacity(MAX_CAPACITY);
        self.prefetch_set.tasks.clear_to_capacity(MAX_CAPACITY);
        self.nodes.clear();
        self.spawned.clear_to_capacity(MAX_CAPACITY);
        self.deferred.clear();
        self.actor = Actor::NONE;
        self.is_real_time = false;
        self.events.may_have_due_entries = false;
        self.names = None;
    }

    /// Whether what is asked for has an effect: not when the run is over, and not when it is asked
    /// by a task whose node is dead and that is being dropped.
    #[inline]
    pub(crate) fn accepts_effect(&self) -> bool {
        let accepted = self.accepts_requests();
        if !accepted {
            report_effect(|| "goes on and changes the world".into());
        }
        accepted
    }

    /// The same for what a task may ask in every poll, whether or not it goes on.
    #[inline]
    pub(crate) fn accepts_requests(&self) -> bool {
        self.phase == Phase::Running
            && self
                .actor
                .task
                .slot()
                .is_none_or(|slot| !self.nodes.is_dead(self.tasks.slots[slot as usize].node))
    }

    /// Moves the clock forward. The cached clock follows at the next step.
    pub(crate) fn set_now(&mut self, now: u64) {
        self.now = now;
        self.choices.now = now;
    }

    /// Whether the texts of keys are kept.
    #[inline]
    pub(crate) const fn keeps_names(&self) -> bool {
        self.names.is_some()
    }

    /// Keeps the text of a key for traces and reports.
    pub(crate) fn intern_name(&mut self, key: PathHash, text: impl FnOnce() -> String) {
        if let Some(names) = &mut self.names {
            names.entry(key).or_insert_with(text);
        }
    }

    /// The text of a key, where texts are kept.
    pub(crate) fn name_of(&self, key: PathHash) -> String {
        let name = self.names.as_ref().and_then(|names| names.get(&key));
        name.cloned().unwrap_or_default()
    }

    pub(crate) fn record(
        &mut self,
        tag: RecordTag,
        subject: PathHash,
        source: PathHash,
        ordinal: u64,
        digest: u64,
        payload: impl FnOnce() -> RecordPayload,
    ) {
        let event = Event { at: self.now, tag, subject, source, ordinal, digest };
        self.tracer.record(event, |cause| RecordExtras { payload: payload(), cause });
    }

    /// Records the ending, after which the fingerprint is final; `stalled` if the run ended without
    /// being done or panicking.
    pub(crate) fn record_ending(&mut self, text: &str, stalled: bool) {
        if stalled {
            self.tracer.clear_cause();
        }
        let digest = hash_name(text);
        self.record(RecordTag::Ending, PathHash::NONE, PathHash::NONE, 0, digest, || {
            RecordPayload::Text(text.into())
        });
    }
}
