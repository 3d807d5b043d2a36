//! World operations for the network and for faults: callback timers, nodes, clocks, records.
//!
//! Every operation is called with the world borrowed, also from the callback of a timer.

use crate::util::waiter::Waiter;

use crate::sim::choice::distribution::Distribution;
use crate::sim::choice::family::ChoiceFamily;
use crate::sim::choice::hash::hash_name;
use crate::sim::choice::key::{ChoiceKey, PathHash};
use crate::sim::instant::Instant;
use crate::sim::queue::entry::{Action, END_OF_TIME};
use crate::sim::report::record::{FaultChange, RecordKind, RecordTag};
use crate::sim::report::trace::{Event, RecordExtras, RecordIndex, RecordPayload};
use crate::sim::task::table::{DropReason, TaskId};
use crate::sim::world::deferred::{Aborted, Callback};
use crate::sim::world::node::{NodeClock, NodeDeath};
use crate::sim::world::state::{MAIN, NetworkHooks, Phase, World};

impl World {
    /// Sets the hooks of the networks of the run.
    pub(crate) fn set_network_hooks(&mut self, hooks: NetworkHooks) {
        self.hooks = hooks;
    }

    /// Describes a key of a network for a stall report.
    pub(crate) fn describe_network_key(&self, key: PathHash) -> Option<String> {
        (self.hooks.describe_key)(self.run, key)
    }

    /// Sets an alarm, instead of what it was set to before.
    #[inline]
    pub(crate) fn set_callback_timer(&mut self, slot: u32, at: u64) {
        if at <= self.now {
            self.may_have_due_entries = true;
        }
        let entry_id = self.queue.push_at(at.max(self.now), Action::callback(slot));
        self.callback_timers.set(slot, entry_id);
    }

    /// Counts what an alarm does as a step. Returns whether it is to be done: when the run has
    /// taken all steps that it may, it ends instead.
    ///
    /// An alarm that may set itself again without a task being polled has to be counted, because
    /// nothing else would ever end the run.
    pub(crate) fn try_count_callback_step(&mut self) -> bool {
        if self.steps >= self.limits.steps {
            self.deferred.set_out_of_steps();
            return false;
        }
        self.steps += 1;
        if let Some(progress) = &self.progress {
            progress.resume(self.steps);
        }
        true
    }

    /// The instant so many nanoseconds from now.
    #[inline]
    pub(crate) fn instant_after(&self, nanos: u64) -> u64 {
        self.now.saturating_add(nanos).min(END_OF_TIME)
    }

    /// Whether the run is still going on, so that what happens has consequences.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Draws the value of a choice that is no task's.
    #[inline]
    pub(crate) fn draw(
        &mut self,
        choice_key: ChoiceKey,
        ordinal: u64,
        distribution: Distribution,
    ) -> u64 {
        self.choices.draw(choice_key, ordinal, distribution)
    }

    /// Draws how long the answer to a question of the current task takes, and gives the instant
    /// of true time at which it comes. Answers to one question that is asked again come in order.
    /// With the question goes its hash.
    #[inline(always)]
    pub(crate) fn draw_reply_time(
        &mut self,
        family: ChoiceFamily,
        (hash, question): (u64, &str),
        min_nanos: u64,
        extra_distribution: Distribution,
    ) -> u64 {
        let question_hash = PathHash::NONE.child(hash, 0);
        self.intern_name(question_hash, || crate::sim::choice::key::escape(question));
        let choice_key = ChoiceKey::new(family, self.actor, question_hash);
        let slot = self.current_slot().unwrap_or(MAIN);
        let after = |nanos: u64| self.now.saturating_add(nanos).min(END_OF_TIME);
        let (count, last) = self.tasks.extras(slot).queries.or_default(choice_key.hash());
        let drawn = self.choices.draw(choice_key, *count, extra_distribution);
        let at = after(min_nanos.saturating_add(drawn)).max(*last);
        (*count, *last) = (*count + 1, at);
        at
    }

    /// Draws the value of a choice of a task about something that has a name, when it is not the
    /// task that acts but what it has asked for.
    pub(crate) fn draw_for_task(
        &mut self,
        task: Option<TaskId>,
        family: ChoiceFamily,
        name: &str,
        distribution: Distribution,
    ) -> u64 {
        let name_hash = PathHash::of_name(name);
        self.intern_name(name_hash, || crate::sim::choice::key::escape(name));
        let slot =
            task.filter(|task| self.tasks.get_live(*task).is_some()).map_or(MAIN, |task| task.slot);
        let choice_key = ChoiceKey::new(family, self.tasks.slots[slot as usize].key, name_hash);
        let next_ordinal =
            self.tasks.extras(slot).user_choices.entry(choice_key.hash()).or_insert(0);
        let ordinal = std::mem::replace(next_ordinal, *next_ordinal + 1);
        self.choices.draw(choice_key, ordinal, distribution)
    }

    /// Wakes one who waited for what has just happened, now or as soon as that can be done.
    #[inline(always)]
    pub(crate) fn wake_waiter(&mut self, waiter: Waiter) {
        match waiter {
            Waiter::Task(task_ref) => self.wake(TaskId::from_bits(task_ref.task)),
            Waiter::Other(waker) => self.defer_wake(waker),
        }
    }

    /// Has something done outside of the world as soon as the current poll returns.
    pub(crate) fn defer_callback(&mut self, callback: Callback) {
        self.deferred.run(callback);
    }

    /// Ends the run at once, and blames the current task.
    #[cold]
    pub(crate) fn abort_run(&mut self, reason: String) {
        self.deferred.end(reason);
    }

    /// The task that acts, if one does.
    pub(crate) fn current_task(&self) -> Option<TaskId> {
        self.current_slot().map(|slot| self.tasks.id(slot))
    }

    /// The node of a task, if that is not over.
    pub(crate) fn node_of(&mut self, task: TaskId) -> Option<u16> {
        self.tasks.get_live(task).map(|task| task.node)
    }

    /// The clock of the current task's node, if it is not the true one.
    #[inline]
    pub(crate) fn local_clock(&self) -> Option<&NodeClock> {
        if !self.nodes.any_faulty {
            return None;
        }
        let node = self.current_slot().map(|slot| self.tasks.slots[slot as usize].node)?;
        self.nodes.clock(node)
    }

    /// What the clock of the current task says.
    pub(crate) fn local_now(&self) -> Instant {
        Instant::from_nanos(self.local_clock().map_or(self.now, |clock| clock.local_time(self.now)))
    }

    /// What the clock of the current task says at an instant of true time.
    pub(crate) fn to_local_instant(&self, at: Instant) -> Instant {
        self.local_clock().map_or(at, |clock| Instant::from_nanos(clock.local_time(at.as_nanos())))
    }

    /// Lets a node live, or live again.
    pub(crate) fn start_node(&mut self, node: u16) {
        if let Some(node) = self.nodes.get_mut(node) {
            (node.is_dead, node.is_paused) = (false, false);
            node.busy_until = 0;
            node.held_polls.clear();
        }
    }

    /// Ends a node: its tasks are dropped, oldest first, before anything else happens.
    pub(crate) fn stop_node(&mut self, node: u16, death: NodeDeath, source: PathHash) {
        let Some(state) = self.nodes.get_mut(node) else { return };
        if state.is_dead {
            // A node that has crashed can still lose its power.
            state.last_death = state.last_death.map(|_| death);
            return;
        }
        (state.is_dead, state.last_death) = (true, Some(death));
        state.is_paused = false;
        state.held_polls.clear();
        let cause = self.tracer.current();
        for slot in self.tasks.live_in_spawn_order(|task| task.node == node) {
            let dropped = &mut self.tasks.info[slot as usize].drop_reason;
            if *dropped == DropReason::No {
                *dropped = DropReason::NodeDied(death);
                self.deferred.abort(Aborted { task: self.tasks.id(slot), actor: source, cause });
            }
        }
    }

    /// Notes that a node has lost what its previous lives stored.
    pub(crate) fn wipe_node(&mut self, node: u16) {
        if let Some(state) = self.nodes.get_mut(node) {
            state.last_death = Some(NodeDeath::Wipe);
        }
    }

    /// How the latest life of a node that is over ended.
    pub(crate) fn last_death(&self, node: u16) -> Option<NodeDeath> {
        self.nodes.get(node)?.last_death
    }

    /// Lets no task of a node be polled, or all those that would have been meanwhile.
    pub(crate) fn set_paused(&mut self, node: u16, paused: bool) {
        let Some(state) = self.nodes.get_mut(node) else { return };
        state.is_paused = paused;
        if paused {
            return;
        }
        for (slot, entry_id) in std::mem::take(&mut state.held_polls) {
            if self.tasks.slots[slot as usize].entry == entry_id {
                self.rank_sole_entry();
                let rank = self.draw_rank(slot);
                let entry_id = self.queue.push_due(rank, Action::poll(slot));
                self.tasks.slots[slot as usize].entry = entry_id;
            }
        }
    }

    /// By how many nanoseconds the wall clock of a node is ahead of the true time now.
    pub(crate) fn wall_clock_error(&self, node: u16) -> i128 {
        let clock = self.nodes.get(node).map(|state| state.clock).unwrap_or_default();
        clock.wall_offset() + i128::from(clock.local_time(self.now)) - i128::from(self.now)
    }

    /// Whether the clock of a node is set to anything but the true time.
    pub(crate) fn has_clock_skew(&self, node: u16) -> bool {
        self.nodes.get(node).is_some_and(|state| state.clock.is_set())
    }

    /// Whether the polls of a node take time.
    pub(crate) fn has_poll_cost(&self, node: u16) -> bool {
        self.nodes.get(node).is_some_and(|state| state.poll_cost > 0)
    }

    /// Changes a node's clock.
    pub(crate) fn set_clock(&mut self, node: u16, offset_nanos: i64, drift_ppm: i32) {
        let now = self.now;
        if let Some(state) = self.nodes.get_mut(node) {
            state.has_own_clock = true;
            state.clock_error_observed = false;
            state.clock.set(now, offset_nanos, drift_ppm);
        }
        if let Some(slot) = self.current_slot() {
            self.set_actor_task(slot);
        }
    }

    /// Lets every poll of a task of a node keep it busy for so long.
    pub(crate) fn set_poll_cost(&mut self, node: u16, nanos: u64) {
        if let Some(state) = self.nodes.get_mut(node) {
            state.poll_cost = nanos;
            state.slowdown_observed = false;
        }
    }

    /// What a node has felt: polls that are held up by its pause; a wrong time that was read, and
    /// polls that had to wait, since its clock or its speed was changed.
    pub(crate) fn fault_effects(&self, node: u16) -> [bool; 3] {
        let state = self.nodes.get(node);
        state.map_or([false; 3], |node| {
            [!node.held_polls.is_empty(), node.clock_error_observed, node.slowdown_observed]
        })
    }

    /// Adds a record of a fault that is applied or undone. It has no subject: it can concern all
    /// tasks.
    pub(crate) fn record_fault(&mut self, change: FaultChange) {
        self.spins.reset();
        let digest = hash_name(&change.to_string());
        self.record(RecordTag::Fault, PathHash::NONE, PathHash::NONE, 0, digest, || {
            RecordKind::Fault(change).into()
        });
    }

    /// Records that an operation of the current task fails, of which no message tells.
    #[cold]
    pub(crate) fn record_failure(&mut self, text: &str) {
        if self.accepts_effect() {
            let (actor, digest) = (self.actor, hash_name(text));
            self.record(RecordTag::Fail, actor, PathHash::NONE, 0, digest, || {
                RecordPayload::Text(text.into())
            });
        }
    }

    /// The record in which that is done which is being done now.
    #[inline]
    pub(crate) const fn current_record(&self) -> RecordIndex {
        self.tracer.current()
    }

    /// Notes that something was read of a direction: from one place of its stream to another.
    #[inline]
    pub(crate) fn trace_read(&mut self, direction: PathHash, from: u64, to: u64) {
        if self.tracer.keeps_records() {
            self.tracer.record_read(direction, from, to);
        }
    }

    /// Adds a record of what became of something that was sent; `sent` is the mark of then.
    #[inline]
    pub(crate) fn record_arrival(
        &mut self,
        tag: RecordTag,
        subject: PathHash,
        (ordinal, digest): (u64, u64),
        cause: RecordIndex,
        kind: impl FnOnce() -> RecordKind,
    ) {
        let event = Event { at: self.now, tag, subject, source: PathHash::NONE, ordinal, digest };
        self.tracer.record(event, |_| RecordExtras { payload: kind().into(), cause });
    }
}
