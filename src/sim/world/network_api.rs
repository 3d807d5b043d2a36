//! World operations for networks: callback timers, choices, wake-ups, records.
//!
//! Every operation is called with the world borrowed, also from the callback of a timer.

use crate::util::waiter::Waiter;

use crate::sim::choice::distribution::Distribution;
use crate::sim::choice::family::ChoiceFamily;
use crate::sim::choice::hash::hash_name;
use crate::sim::choice::key::{ChoiceKey, PathHash};

use crate::sim::queue::entry::{Action, END_OF_TIME};
use crate::sim::report::record::{FaultChange, RecordKind, RecordTag};
use crate::sim::report::trace::{Event, RecordExtras, RecordIndex, RecordPayload};
use crate::sim::task::table::TaskId;
use crate::sim::world::deferred::Callback;
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

    /// Sets a callback timer, instead of its previous instant.
    #[inline]
    pub(crate) fn set_callback_timer(&mut self, slot: u32, at: u64) {
        if at <= self.now {
            self.events.may_have_due_entries = true;
        }
        let entry_id = self.events.queue.push_at(at.max(self.now), Action::callback(slot));
        self.events.callback_timers.set(slot, entry_id);
    }

    /// Cancels a callback timer.
    #[inline]
    pub(crate) fn cancel_callback_timer(&mut self, timer: u32) {
        self.events.callback_timers.cancel(timer);
    }

    /// Cancels `count` callback timers from `first` on.
    #[inline]
    pub(crate) fn cancel_callback_timers(&mut self, first: u32, count: u32) {
        self.events.callback_timers.cancel_range(first, count);
    }

    /// Whether a callback timer is set.
    #[inline]
    pub(crate) fn is_callback_timer_set(&self, timer: u32) -> bool {
        self.events.callback_timers.is_set(timer)
    }

    /// Counts the action of a callback timer as a step. Returns whether the action is to be done:
    /// if the run has taken all its steps, it ends instead.
    ///
    /// A callback timer that may set itself again without a poll of a task has to be counted,
    /// because nothing else would end the run.
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

    /// The instant `nanos` nanoseconds from now.
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
        let choice_key = ChoiceKey::new(family, self.actor.key, question_hash);
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

    /// Whether a task is not over.
    pub(crate) fn is_task_live(&mut self, task: TaskId) -> bool {
        self.tasks.get_live(task).is_some()
    }

    /// The number of events that are not due.
    #[cfg(test)]
    pub(crate) fn future_event_count(&self) -> usize {
        self.events.queue.future_len()
    }

    /// The task that acts, if one does.
    pub(crate) fn current_task(&self) -> Option<TaskId> {
        self.current_slot().map(|slot| self.tasks.id(slot))
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
            let (actor, digest) = (self.actor.key, hash_name(text));
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
