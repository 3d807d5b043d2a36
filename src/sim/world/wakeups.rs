//! Wake-ups: source, priority and delay of a task's next poll.
//!
//! A wake-up is a pair of a task and a source. Its choices are keyed by the pair and by the number
//! of earlier wake-ups of the pair.

use crate::util::waiter::{Waiter, cross_thread_count, drain_cross_thread_wakes};

use crate::sim::choice::distribution::DelayPolicy;
use crate::sim::choice::key::{EXIT, FOREIGN, PathHash};
use crate::sim::choice::schedule::{Priority, Scheduler, Wakeup};
use crate::sim::queue::entry::{Action, EntryId};
use crate::sim::report::record::RecordTag;
use crate::sim::report::trace::RecordPayload;
use crate::sim::task::table::{TaskId, TaskState};
use crate::sim::world::actor::{Actor, ActorTask};
use crate::sim::world::state::{Phase, World};

impl World {
    /// Wakes a task on behalf of the current actor.
    #[inline]
    pub(crate) fn wake(&mut self, task: TaskId) {
        let is_task = self.actor.task.wakes_as_task();
        self.wake_with(
            task,
            if is_task { DelayPolicy::TASK_WAKE } else { DelayPolicy::TIMER_WAKE },
        );
    }

    /// The same where it is known whether that is a task, and so how late it may be.
    ///
    /// Here and in `schedule` all that is rare is a call at the very end: so nothing has to outlast
    /// a call, and no register be saved for it.
    #[inline(never)]
    fn wake_with(&mut self, task: TaskId, policy: DelayPolicy) {
        let Actor { key: actor, task: current, .. } = self.actor;
        let Some(slot) = self.tasks.get_live(task) else {
            return;
        };
        if self.phase != Phase::Running {
            if current != ActorTask::of_slot(task.slot) {
                self.woken_by_probe = Some(task.slot);
            }
            return;
        }
        // Counted even if it changes nothing, so that whether another wake-up
        // came first does not shift the numbers of this pair.
        let mut ordinal = 0;
        if current.counts_wakeups() {
            if !slot.was_woken_by(actor) {
                return self.wake_by_new_source(task, policy);
            }
            ordinal = slot.count_wakeup();
        }
        if slot.state != TaskState::Parked {
            return;
        }
        if current == ActorTask::of_slot(task.slot) {
            self.requeue_self_woken(task.slot, ordinal);
        } else {
            self.schedule_poll(task.slot, actor, ordinal, policy);
        }
    }

    /// The same where the task was last woken by another.
    #[inline(never)]
    fn wake_by_new_source(&mut self, task: TaskId, policy: DelayPolicy) {
        self.tasks.switch_source(task.slot, self.actor.key);
        self.wake_with(task, policy);
    }

    /// Has the end of a task wake who joins it.
    #[inline]
    pub(crate) fn wake_joiner(&mut self, joiner: Waiter, ended_slot: u32) {
        if self.nodes.any_faulty {
            self.set_actor_task(ended_slot); // by the clock of its node
        }
        let task = &self.tasks.slots[ended_slot as usize];
        let (key, chain) = (task.key.exit(), task.wake_chain.saturating_add(1));
        self.actor = Actor { key, task: ActorTask::ENDED, chain };
        if self.names.is_some() {
            let path = self.tasks.path(ended_slot);
            self.intern_name(self.actor.key, || format!("{path}/{EXIT}"));
        }
        match joiner {
            Waiter::Task(task_ref) => {
                // A task ends once: there is nothing to be counted.
                let joiner = TaskId::from_bits(task_ref.task);
                if self.tasks.get_live(joiner).is_some_and(|task| task.state == TaskState::Parked) {
                    self.schedule_poll(joiner.slot, self.actor.key, 0, DelayPolicy::TASK_WAKE);
                }
            }
            // User code does not run here: the run loop calls the waker next.
            Waiter::Other(waker) => self.defer_wake(waker),
        }
    }

    /// Whether other threads have called wakers of tasks, of this run or another.
    #[inline]
    pub(crate) fn has_foreign_wakes(&self) -> bool {
        cross_thread_count() != self.foreign_wakes_seen
    }

    /// Wakes the tasks whose wakers other threads have called. Returns whether there were any.
    pub(crate) fn handle_foreign_wakes(&mut self) -> bool {
        self.has_foreign_wakes() && self.handle_foreign_wakes_slow()
    }

    #[cold]
    fn handle_foreign_wakes_slow(&mut self) -> bool {
        let woken = drain_cross_thread_wakes(&mut self.foreign_wakes_seen, self.run);
        self.actor = Actor::of_key(FOREIGN);
        self.spins.reset();
        for task_ref in &woken {
            let task = TaskId::from_bits(task_ref.task);
            self.findings.foreign_wakes += 1;
            let subject = self.tasks.get_live(task).map_or(PathHash::NONE, |slot| slot.key);
            self.record(RecordTag::ForeignWake, subject, FOREIGN, 0, 0, || RecordPayload::None);
            self.wake(task);
        }
        !woken.is_empty()
    }

    /// Has a task polled at the place and with the delay that are chosen.
    #[inline(always)]
    pub(crate) fn schedule_poll(
        &mut self,
        slot: u32,
        source: PathHash,
        ordinal: u32,
        policy: DelayPolicy,
    ) {
        let task = &mut self.tasks.slots[slot as usize];
        let subject = Scheduler::delay_key(task.key, source);
        match self.scheduler.draw_delay_fast(&self.choices, subject, ordinal.into()) {
            Some(bits) if policy.is_none(bits) => {
                match self.events.queue.push_if_idle(Action::poll(slot)) {
                    Some(entry_id) => {
                        task.set_scheduled(entry_id, source, ordinal, self.actor.chain);
                        self.set_wake_record(slot);
                    }
                    None => self.schedule_poll_after(0, slot, source, ordinal),
                }
            }
            Some(bits) => self.schedule_poll_after(policy.sample(bits), slot, source, ordinal),
            None => self.schedule_poll_slow(slot, source, ordinal, policy),
        }
    }

    #[inline(never)]
    fn schedule_poll_slow(
        &mut self,
        slot: u32,
        source: PathHash,
        ordinal: u32,
        policy: DelayPolicy,
    ) {
        let wakeup = self.wakeup(slot, source, ordinal);
        let delay = self.scheduler.draw_delay(&mut self.choices, wakeup, policy);
        self.schedule_poll_after(delay, slot, source, ordinal);
    }

    #[inline(never)]
    fn schedule_poll_after(&mut self, delay: u64, slot: u32, source: PathHash, ordinal: u32) {
        let action = Action::poll(slot);
        let entry_id = if delay > 0 {
            self.events.queue.push_at(self.now + delay, action)
        } else if let Some(entry_id) = self.events.queue.push_if_idle(action) {
            entry_id
        } else {
            self.rank_sole_entry();
            let wakeup = self.wakeup(slot, source, ordinal);
            let rank = self.scheduler.draw_rank(&mut self.choices, wakeup);
            self.events.queue.push_due(rank, action)
        };
        self.set_pending_poll(slot, entry_id, source, ordinal);
    }

    /// Chooses the place of what was due alone: it is no longer.
    #[inline]
    pub(crate) fn rank_sole_entry(&mut self) {
        if let Some(slot) = self.events.queue.unranked_sole() {
            let rank = self.draw_rank(slot);
            self.events.queue.rank_sole(rank);
        }
    }

    /// Chooses the place of a task's pending poll.
    pub(crate) fn draw_rank(&mut self, slot: u32) -> u16 {
        let task = &self.tasks.slots[slot as usize];
        let wakeup = self.wakeup(slot, task.woken_by, task.ordinal);
        self.scheduler.draw_rank(&mut self.choices, wakeup)
    }

    /// Has a task polled that woke itself: behind all else that is due.
    #[inline(never)]
    pub(crate) fn requeue_self_woken(&mut self, slot: u32, ordinal: u32) {
        let was_self_woken = self.tasks.slots[slot as usize].woken_by == self.actor.key;
        self.spins.count_poll(self.steps, was_self_woken);
        let wakeup = self.wakeup(slot, self.actor.key, ordinal);
        let rank = self.scheduler.draw_rank(&mut self.choices, wakeup);
        let entry_id = self.events.queue.push_yielded(rank, Action::poll(slot));
        self.set_pending_poll(slot, entry_id, self.actor.key, ordinal);
        self.tasks.slots[slot as usize].wake_chain = 0;
    }

    #[inline]
    pub(crate) fn wakeup(&self, slot: u32, source: PathHash, ordinal: u32) -> Wakeup {
        Wakeup {
            task: self.tasks.slots[slot as usize].key,
            source,
            ordinal: ordinal.into(),
            task_priority: if self.scheduler.is_pct() {
                self.tasks.pct_states[slot as usize].priority
            } else {
                Priority::default()
            },
        }
    }

    #[inline]
    pub(crate) fn set_pending_poll(
        &mut self,
        slot: u32,
        entry_id: EntryId,
        source: PathHash,
        ordinal: u32,
    ) {
        self.tasks.slots[slot as usize].set_scheduled(entry_id, source, ordinal, self.actor.chain);
        self.set_wake_record(slot);
    }

    /// Notes in which record a task is woken, where records are kept.
    #[inline]
    fn set_wake_record(&mut self, slot: u32) {
        if self.tracer.keeps_records() {
            self.set_wake_record_slow(slot);
        }
    }

    /// Cold, because it would be in the way of a run whose records are not kept.
    #[cold]
    fn set_wake_record_slow(&mut self, slot: u32) {
        self.tasks.set_wake_record(slot, self.tracer.current());
    }
}
