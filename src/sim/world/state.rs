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
use crate::sim::report::ending::TaskPanic;
use crate::sim::report::limit::Limit;
use crate::sim::report::record::RecordTag;
use crate::sim::report::trace::{Event, RecordExtras, RecordPayload, Recorder};
use crate::sim::task::boxed_task::BoxedTask;
use crate::sim::task::name::TaskName;
use crate::sim::task::table::{Origin, TaskId, TaskTable};
use crate::sim::world::cached_clock;
use crate::sim::world::deferred::{Callback, DeferredQueue, DeferredWake, Requester};
use crate::sim::world::livelock::SpinCounter;
use crate::sim::world::node::{NO_NODE, NodeClock, Nodes};
use crate::sim::world::progress::Progress;

/// The slot of the main task, which is the first.
pub(crate) const MAIN: u32 = 0;
/// Stands for "no task is being polled".
pub(crate) const NO_TASK: u32 = u32::MAX;
/// Stands for no task either, while something acts that wakes each task once at most: to count how
/// often it has done so would be a waste of memory.
pub(crate) const ANONYMOUS: u32 = NO_TASK - 1;
/// Stands for no task either, while the end of a task acts: its wake-ups are delayed as a task's.
pub(crate) const ENDED_TASK: u32 = NO_TASK - 2;
/// Stands for no task either, while a waker that is not a task's own runs on behalf of a task: its
/// wake-ups are counted and delayed as that task's.
pub(crate) const REQUESTING_TASK: u32 = NO_TASK - 3;
/// The smallest of these values; every slot of a task is below it.
const FIRST_NON_TASK: u32 = REQUESTING_TASK;

/// How far a run may go.
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
    /// What it is called in traces.
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

/// What left the world and is to be dropped outside of it.
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

/// What a run calls of the networks in it.
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
    /// Tells this run's handles from all others'; no decision depends on it.
    pub(crate) run: u64,
    pub(crate) seed: u64,
    pub(crate) now: u64,
    pub(crate) steps: u64,
    pub(crate) phase: Phase,
    pub(crate) tracer: Recorder,
    pub(crate) choices: ChoiceSource,
    pub(crate) tasks: TaskTable,
    /// Tasks that the executor has yet to take in, and their slots.
    pub(crate) spawned: Vec<(u32, BoxedTask)>,
    /// How many wake-ups came from other threads.
    pub(crate) foreign_wakes: u64,
    pub(crate) foreign_wakes_seen: u64,
    /// Whom the last poll woke, while tasks are asked.
    pub(crate) woken_by_probe: Option<u32>,
    pub(crate) limits: Limits,
    /// What a thread that watches the run reads, if there is one.
    pub(crate) progress: Option<Arc<Progress>>,
    pub(crate) scheduler: Scheduler,
    pub(crate) queue: EventQueue,
    pub(crate) timers: TimerTable,
    pub(crate) callback_timers: CallbackTimers,
    pub(super) hooks: NetworkHooks,
    pub(crate) prefetch_set: PrefetchSet,
    pub(crate) nodes: Nodes,
    pub(crate) current: u32,
    /// Who acts: the task that is polled, or the timer that fires.
    pub(crate) actor: PathHash,
    /// How long the chain of wake-ups is that whoever acts continues.
    pub(crate) chain: u32,
    /// What is to be done outside, as soon as the current poll returns.
    pub(crate) deferred: DeferredQueue,
    /// Panics in destructors that crashes ran.
    pub(crate) caught_panics: Vec<TaskPanic>,
    /// The tasks whose polls or wake-ups did not end.
    pub(crate) culprits: Vec<u32>,
    /// How often tasks have woken themselves, with nothing else between.
    pub(crate) spins: SpinCounter,
    /// Whether time leaps to what is next, though tasks have woken themselves.
    pub(crate) jumps_over_spins: bool,
    /// The limit that was reached.
    pub(crate) limit_reached: Option<Limit>,
    /// Whether its time is that of the real clock.
    pub(crate) is_real_time: bool,
    /// Whether there may be entries whose instant has come.
    pub(crate) may_have_due_entries: bool,
    /// Whether what woke itself has had its turn at this instant.
    pub(crate) self_woken_ran: bool,
    /// The texts of keys, for whoever will want to read them.
    pub(crate) names: Option<BTreeMap<PathHash, String>>,
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
            foreign_wakes: 0,
            foreign_wakes_seen: 0,
            woken_by_probe: None,
            limits: Limits { time: 0, steps: 0, livelock: 0, chain: 0 },
            queue: EventQueue::default(),
            timers: TimerTable::default(),
            callback_timers: CallbackTimers::default(),
            hooks: NetworkHooks::default(),
            prefetch_set: PrefetchSet::default(),
            nodes: Nodes::default(),
            current: NO_TASK,
            actor: PathHash::NONE,
            chain: 0,
            deferred: DeferredQueue::default(),
            caught_panics: Vec::new(),
            culprits: Vec::new(),
            spins: SpinCounter::default(),
            jumps_over_spins: false,
            limit_reached: None,
            is_real_time: false,
            may_have_due_entries: false,
            self_woken_ran: false,
            names: None,
        }
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
        self.culprits.clear();
        self.spins = SpinCounter::default();
        self.jumps_over_spins = false;
        self.limit_reached = None;
        self.foreign_wakes_seen = cross_thread_count();
        self.seed = seed;
        self.steps = 0;
        self.phase = Phase::Running;
        self.names =
            (self.tracer.keeps_records() || self.choices.is_recording()).then(BTreeMap::new);
        self.scheduler = Scheduler::new(schedule);
        self.limits = limits;
        self.foreign_wakes = 0;
        if self.names.is_some() {
            for (key, name) in SOURCES {
                self.intern_name(key, || name.into());
            }
        }
        let main = self.register_task(&TaskName::Type(|| "main"), Origin::Run, NO_NODE, spawned_at);
        // The main task has nothing to be late for.
        let entry_id = self.queue.push_due(0, Action::poll(main.slot));
        (self.actor, self.chain) = (SPAWN, 0);
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
        self.timers.clear(&mut drop_queue.waiters);
        self.deferred.take_remaining(&mut drop_queue.wakers, &mut drop_queue.callbacks);
    }

    /// Forgets the run and keeps its memory for the next one, unless it is much.
    pub(crate) fn clear(&mut self) {
        const MAX_CAPACITY: usize = 1024;
        self.queue.clear();
        self.tasks.clear();
        self.callback_timers.clear();
        self.hooks = NetworkHooks::default();
        self.prefetch_set.callback_timers.clear_to_capacity(MAX_CAPACITY);
        self.prefetch_set.tasks.clear_to_capacity(MAX_CAPACITY);
        self.nodes.clear();
        self.spawned.clear_to_capacity(MAX_CAPACITY);
        self.deferred.clear();
        self.current = NO_TASK;
        self.is_real_time = false;
        self.may_have_due_entries = false;
        self.self_woken_ran = false;
        self.names = None;
    }

    /// The task that is being polled or dropped.
    pub(crate) fn current_slot(&self) -> Option<u32> {
        (self.current < FIRST_NON_TASK).then_some(self.current)
    }

    /// Makes a task current that is polled or dropped outside of the run loop.
    pub(crate) fn set_current_task(&mut self, slot: u32) -> TaskId {
        self.set_actor_task(slot);
        self.tasks.id(slot)
    }

    /// Whatever happens until the next step is this task's doing.
    #[inline]
    pub(crate) fn set_actor_task(&mut self, slot: u32) {
        let task = &self.tasks.slots[slot as usize];
        let (key, chain, node) = (task.key, task.wake_chain, task.node);
        self.set_actor_task_fast(slot, key, chain, node);
    }

    /// The same where these are known of it: its key, the chain that led to it, and its node.
    #[inline(always)]
    pub(crate) fn set_actor_task_fast(&mut self, slot: u32, key: PathHash, chain: u32, node: u16) {
        self.current = slot;
        self.actor = key;
        self.chain = chain.saturating_add(1);
        if self.nodes.any_faulty {
            self.set_cached_clock_slow(node);
        } else {
            cached_clock::set(self.run, self.now);
        }
    }

    /// Sets the clock that a task of a node reads. As long as nobody knows that it is wrong, who
    /// reads it is to be noticed.
    #[cold]
    fn set_cached_clock_slow(&mut self, node: u16) {
        match self.nodes.get(node) {
            Some(node) if node.has_own_clock && !node.clock_error_observed => {
                cached_clock::invalidate();
            }
            Some(node) if node.has_own_clock => {
                cached_clock::set(self.run, node.clock.local_time(self.now));
            }
            _ => cached_clock::set(self.run, self.now),
        }
    }

    /// The time as the current task reads it.
    pub(crate) fn read_clock(&mut self) -> u64 {
        let now = self.local_now().as_nanos();
        if now != self.now {
            self.mark_clock_error_observed();
        }
        cached_clock::set(self.run, now);
        now
    }

    /// By how many nanoseconds the wall clock of the current task is ahead of the monotonic one.
    pub(crate) fn read_wall_offset(&mut self) -> i128 {
        let offset = self.local_clock().map_or(0, NodeClock::wall_offset);
        if offset != 0 {
            self.mark_clock_error_observed();
        }
        offset
    }

    /// Notes that the current task has had to do with a clock that is wrong.
    #[cold]
    pub(crate) fn mark_clock_error_observed(&mut self) {
        if let Some(slot) = self.current_slot()
            && let Some(node) = self.nodes.get_mut(self.tasks.slots[slot as usize].node)
        {
            node.clock_error_observed = true;
        }
    }

    /// Whatever happens until the next step is the doing of something that is no task.
    #[inline]
    pub(crate) fn set_actor(&mut self, actor: PathHash) {
        self.current = NO_TASK;
        self.actor = actor;
        self.chain = 0;
    }

    /// The same for something that is foreign, and may read the clock: the true one. It continues
    /// the chain of wake-ups of what asked for it.
    pub(crate) fn set_actor_external(&mut self) {
        (self.current, self.actor) = (NO_TASK, PathHash::NONE);
        cached_clock::set(self.run, self.now);
    }

    /// The same for a waker that is not a task's own: its wake-ups are the requester's.
    pub(crate) fn set_actor_requester(&mut self, requester: Requester) {
        let Requester { actor, current, chain, cause } = requester;
        (self.actor, self.current, self.chain) = (actor, current, chain);
        self.tracer.continue_record(cause);
        cached_clock::set(self.run, self.now);
    }

    /// The current actor, to be restored for an action that is deferred.
    fn requester(&self) -> Requester {
        Requester {
            actor: self.actor,
            current: if self.current < FIRST_NON_TASK { REQUESTING_TASK } else { self.current },
            chain: self.chain,
            cause: self.tracer.current(),
        }
    }

    /// Queues a waker that is not a task's own, to be woken once the world is not borrowed, on
    /// behalf of the current actor.
    #[cold]
    pub(crate) fn defer_wake(&mut self, waker: Waker) {
        let requester = self.requester();
        self.deferred.wake(DeferredWake { waker, requester });
    }

    /// The same for something that wakes each task once at most, and of which no record tells yet.
    #[inline]
    pub(crate) fn set_actor_anonymous(&mut self, actor: PathHash) {
        self.tracer.clear_cause();
        self.set_actor(actor);
        self.current = ANONYMOUS;
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
            && (self.current >= FIRST_NON_TASK
                || !self.nodes.is_dead(self.tasks.slots[self.current as usize].node))
    }

    /// Lets it be later, which nobody sees before it is his turn.
    pub(crate) fn set_now(&mut self, now: u64) {
        self.now = now;
        self.choices.now = now;
    }

    /// Whether the texts of keys are kept.
    #[inline]
    pub(crate) const fn keeps_names(&self) -> bool {
        self.names.is_some()
    }

    /// Keeps the text of a key for whoever will want to read it.
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

    /// Records the ending, after which the fingerprint stands; `stalled` if nobody brought it
    /// about.
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
