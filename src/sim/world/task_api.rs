//! World operations behind the public handles: spawn, join, abort, timers, choices.
//!
//! Each operation acts for the task being polled. None has an effect once the run is over.

use std::panic::Location;

use rand_chacha::ChaCha8Rng;

use crate::util::cold::cold;
use crate::util::stall_probe::report_effect;
use crate::util::waiter::Waiter;

use crate::sim::choice::distribution::{DelayPolicy, Distribution};
use crate::sim::choice::draw::task_rng;
use crate::sim::choice::family::ChoiceFamily;
use crate::sim::choice::hash::hash_name;
use crate::sim::choice::key::{ChoiceKey, PathHash, SPAWN, escape, path_segment};
use crate::sim::choice::schedule::PctState;
use crate::sim::queue::entry::Action;
use crate::sim::queue::timer_table::TimerId;
use crate::sim::report::record::RecordTag;
use crate::sim::report::trace::RecordPayload;
use crate::sim::task::boxed_task::BoxedTask;
use crate::sim::task::name::TaskName;
use crate::sim::task::table::{DropReason, LastSelect, Origin, TaskId, TaskState};
use crate::sim::world::deferred::Aborted;
use crate::sim::world::node::NO_NODE;
use crate::sim::world::state::{MAIN, Phase, World};
use crate::sim::world::step::is_entry_live;

/// The name of the `select!`s of a task in subjects.
const SELECT: &str = "select";

/// Why a join gives nothing. A whole word, because it is read as one at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum JoinStatus {
    Pending,
    Aborted,
}

impl World {
    /// Adds a task, which is not scheduled yet.
    #[inline(always)]
    pub(crate) fn register_task(
        &mut self,
        name: &TaskName,
        origin: Origin,
        node: u16,
        spawned_at: &'static Location<'static>,
    ) -> TaskId {
        let task = self.tasks.spawn(name, origin, node, spawned_at);
        if self.names.is_some() || self.scheduler.is_pct() {
            self.register_task_slow(task.slot);
        }
        task
    }

    /// Keeps the name of a task that is new, and gives it a standing. Cold, because it would be in
    /// the way of a run that needs neither.
    #[cold]
    fn register_task_slow(&mut self, slot: u32) {
        let key = self.tasks.slots[slot as usize].key;
        if self.names.is_some() {
            let path = self.tasks.path(slot);
            self.intern_name(key, || path);
        }
        if self.scheduler.is_pct() {
            let pct_state = self.scheduler.draw_pct_state(&mut self.choices, key);
            let (slot, pct_states) = (slot as usize, &mut self.tasks.pct_states);
            pct_states.resize(pct_states.len().max(slot + 1), PctState::default());
            pct_states[slot] = pct_state;
        }
    }

    /// Spawns a child of the current task, or gives the future back if the run
    /// is over and nothing is spawned any more.
    #[inline]
    pub(crate) fn spawn(
        &mut self,
        name: &TaskName,
        future: BoxedTask,
        spawned_at: &'static Location<'static>,
    ) -> Result<TaskId, BoxedTask> {
        let parent = self.current_slot().unwrap_or(MAIN);
        let node = self.tasks.slots[parent as usize].node;
        if self.phase != Phase::Running || self.nodes.is_dead(node) {
            report_effect(|| "goes on and spawns a task".into());
            return Err(future);
        }
        Ok(self.spawn_and_schedule(node, Origin::Task(parent), name, future, spawned_at))
    }

    /// Spawns a task on a node, or gives the future back if nothing is spawned there any more.
    pub(crate) fn spawn_on(
        &mut self,
        node: u16,
        origin: Origin,
        name: &TaskName,
        future: BoxedTask,
        spawned_at: &'static Location<'static>,
    ) -> Result<TaskId, BoxedTask> {
        if !self.accepts_effect() || self.nodes.is_dead(node) {
            report_effect(|| "goes on and spawns a task".into());
            return Err(future);
        }
        Ok(self.spawn_and_schedule(node, origin, name, future, spawned_at))
    }

    /// The node that keeps a task from being spawned, because it is down: that of the current task,
    /// or `target`. No node if the run is over.
    #[cold]
    pub(crate) fn find_down_node(&self, target: u16) -> u16 {
        let parent_node = self.tasks.slots[self.current_slot().unwrap_or(MAIN) as usize].node;
        match self.phase {
            Phase::Running if self.nodes.is_dead(parent_node) => parent_node,
            Phase::Running => target,
            Phase::Probing | Phase::Closing => NO_NODE,
        }
    }

    /// Takes in a task that is due at once, unless it is late.
    #[inline(always)]
    fn spawn_and_schedule(
        &mut self,
        node: u16,
        origin: Origin,
        name: &TaskName,
        future: BoxedTask,
        spawned_at: &'static Location<'static>,
    ) -> TaskId {
        let task = self.register_task(name, origin, node, spawned_at);
        self.push_spawned(task, future);
        self.schedule_poll(task.slot, SPAWN, 0, DelayPolicy::TASK_WAKE);
        task
    }

    /// Has the executor take in a task that was enrolled.
    #[inline]
    pub(crate) fn push_spawned(&mut self, task: TaskId, future: BoxedTask) {
        self.spawned.push((task.slot, future));
    }

    /// Takes what the main task has returned.
    pub(crate) fn take_main_output(&mut self) -> BoxedTask {
        match self.tasks.info[MAIN as usize].output.take() {
            Some(result) => result,
            None => unreachable!("a main task that is done has returned"),
        }
    }

    /// Takes what a task has returned, or has `wait` woken when it ends; leaves there who is not
    /// to be woken any more. A task that was aborted is forgotten by [`World::detach`].
    #[inline]
    pub(crate) fn join(
        &mut self,
        task: TaskId,
        waiter: &mut Option<Waiter>,
    ) -> Result<BoxedTask, JoinStatus> {
        let Some((state, info)) = self.tasks.get_info(task) else {
            return Err(JoinStatus::Aborted);
        };
        if state != TaskState::Done {
            if info.joiner.is_some() {
                cold(|| std::mem::swap(&mut info.joiner, waiter));
            } else {
                info.joiner = waiter.take();
            }
            return Err(JoinStatus::Pending);
        }
        let output = info.output.take().ok_or(JoinStatus::Aborted)?;
        info.has_handle = false;
        self.tasks.release(task.slot);
        Ok(output)
    }

    /// Forgets a task's handle. Returns the output and the waiter, which are not needed any more.
    pub(crate) fn detach(&mut self, task: TaskId) -> (Option<BoxedTask>, Option<Waiter>) {
        let Some((_, info)) = self.tasks.get_info(task) else {
            return (None, None);
        };
        info.has_handle = false;
        let output_and_joiner = (info.output.take(), info.joiner.take());
        self.tasks.release(task.slot);
        output_and_joiner
    }

    /// Has a task dropped before anything else happens.
    pub(crate) fn abort(&mut self, task: TaskId) {
        if !self.accepts_effect() || self.tasks.get_live(task).is_none() {
            report_effect(|| "goes on and aborts a task".into());
            return;
        }
        let info = &mut self.tasks.info[task.slot as usize];
        if info.drop_reason == DropReason::No {
            info.drop_reason = DropReason::Aborted;
            let (source, cause) = (self.actor.key, self.tracer.current());
            self.deferred.abort(Aborted { task, actor: source, cause });
        }
    }

    /// Arms a timer, or gives an armed one another waiter. Returns the previous waiter, to be
    /// dropped outside of the world, or `new_waiter` if the timer has fired.
    ///
    /// The instant is that of the current task's clock, and is fixed by this.
    #[inline]
    pub(crate) fn arm_timer(
        &mut self,
        timer: &mut Option<TimerId>,
        at: u64,
        new_waiter: Waiter,
    ) -> Result<Option<Waiter>, Waiter> {
        if let Some(timer_id) = *timer {
            return match self.events.timers.waiter(timer_id) {
                Some(waiter) => Ok(Some(std::mem::replace(waiter, new_waiter))),
                None => Err(new_waiter),
            };
        }
        let at = if self.nodes.any_faulty { self.true_time_of(at) } else { at };
        let slot = self.events.timers.insert_slot();
        let entry_id = self.events.queue.push_at(at, Action::timer(slot));
        let timer_id = TimerId { slot, entry: entry_id };
        self.events.timers.arm(timer_id, new_waiter);
        *timer = Some(timer_id);
        Ok(None)
    }

    /// The true time at which the clock of the current task comes to an instant.
    #[cold]
    fn true_time_of(&mut self, at: u64) -> u64 {
        let true_at = self.local_clock().map_or(at, |clock| clock.true_time(at));
        if true_at != at {
            self.mark_clock_error_observed();
        }
        true_at
    }

    /// Cancels a timer; its queue entry is forgotten, and swept up some time.
    pub(crate) fn cancel_timer(&mut self, timer: TimerId) -> Option<Waiter> {
        let waiter = self.events.timers.disarm(timer)?;
        self.events.timers.cancelled += 1;
        if self.events.timers.cancelled > 1024
            && self.events.timers.cancelled > self.events.queue.future_len() / 2
        {
            let (timers, tasks, callback_timers) =
                (&mut self.events.timers, &self.tasks, &self.events.callback_timers);
            self.events.queue.retain_future(|entry_id, action| {
                is_entry_live(tasks, timers, callback_timers, entry_id, action)
            });
            self.events.timers.cancelled = 0;
        }
        Some(waiter)
    }

    /// Makes a choice of the user's own.
    pub(crate) fn choose(&mut self, name: &str, options: usize) -> usize {
        if !self.accepts_requests() {
            return 0;
        }
        let name_hash = PathHash::of_name(name);
        self.intern_name(name_hash, || escape(name));
        let choice_key = ChoiceKey::new(ChoiceFamily::Choose, self.actor.key, name_hash);
        let slot = self.current_slot().unwrap_or(MAIN);
        let next_ordinal = self.tasks.extras(slot).user_choices.entry(name_hash).or_insert(0);
        let ordinal = std::mem::replace(next_ordinal, *next_ordinal + 1);
        let value = self.choices.draw(choice_key, ordinal, Distribution::Uniform(options as u64));
        self.record(RecordTag::Choose, choice_key.actor, name_hash, ordinal, value, || {
            RecordPayload::None
        });
        value as usize
    }

    /// A word of the tape's input of the main task: the steps by which it is simpler than the drawn
    /// input, up to 0.
    #[cfg(feature = "proptest")]
    pub(crate) fn input_word(&mut self, ordinal: u64) -> u64 {
        let main = self.tasks.slots[MAIN as usize].key;
        let choice_key = ChoiceKey::new(ChoiceFamily::Input, main, PathHash::NONE);
        self.choices.overridden_value(choice_key, ordinal, Distribution::Uniform(u64::MAX))
    }

    /// Numbers a `select!` of the current task.
    pub(crate) fn begin_select(&mut self) -> u32 {
        let Some(slot) = self.current_slot() else { return 0 };
        let selects = &mut self.tasks.extras(slot).selects;
        *selects = selects.wrapping_add(1);
        *selects - 1
    }

    /// Chooses the branch with which a `select!` begins when it is polled for the `ordinal`-th
    /// time.
    pub(crate) fn choose_first_branch(&mut self, select: u32, ordinal: u64, branches: u64) -> u64 {
        if !self.accepts_requests() || self.current_slot().is_none() {
            return 0;
        }
        let select_hash = PathHash::NONE.child(const { hash_name(SELECT) }, select);
        self.intern_name(select_hash, || path_segment(SELECT, select));
        let choice_key = ChoiceKey::new(ChoiceFamily::Select, self.actor.key, select_hash);
        self.scheduler.first_branch(&mut self.choices, choice_key, ordinal, branches)
    }

    /// Notes the `select!` that the current task has completed.
    pub(crate) fn end_select(&mut self, mut select: LastSelect) {
        if let Some(slot) = self.current_slot().filter(|_| self.accepts_requests()) {
            select.at = self.now;
            self.tasks.extras(slot).last_select = Some(select);
        }
    }

    /// Adds a note of the current task to the trace.
    pub(crate) fn note(&mut self, text: &str) {
        if self.accepts_requests() {
            let (actor, digest) = (self.actor.key, hash_name(text));
            self.record(RecordTag::Note, actor, PathHash::NONE, 0, digest, || {
                RecordPayload::Text(text.into())
            });
        }
    }

    /// The current task's random generator.
    pub(crate) fn rng(&mut self) -> &mut ChaCha8Rng {
        let slot = self.current_slot().unwrap_or(MAIN);
        let (seed, task) = (self.seed, self.tasks.slots[slot as usize].key);
        self.tasks.extras(slot).rng.get_or_insert_with(|| Box::new(task_rng(seed, task)))
    }
}
