//! The step function of the run loop: selects the next event and checks the limits.
//!
//! This half of the loop works on the world; the other half, in `run`, polls futures. A step takes
//! no virtual time. When no event is due, the clock jumps to the instant of the next one.

use std::task::Waker;
use std::time::Duration;

use crate::sim::choice::key::TIMER;
use crate::sim::queue::callback_timers::CallbackTimers;
use crate::sim::queue::entry::{Action, ActionKind, END_OF_TIME, Entry, EntryId};
use crate::sim::queue::timer_table::{TimerId, TimerTable};
use crate::sim::report::limit::Limit;
use crate::sim::report::record::RecordTag;
use crate::sim::report::trace::{Event, RecordExtras, RecordPayload};
use crate::sim::task::boxed_task::BoxedTask;
use crate::sim::task::table::{MAX_CAPACITY, TaskId, TaskState, TaskTable};
use crate::sim::world::actor::ActorTask;
use crate::sim::world::deferred::{Aborted, Callback, Deferred, DeferredWake};
use crate::sim::world::livelock::{ExceededLimit, next_instant};
use crate::sim::world::progress::STOPPED;
use crate::sim::world::state::{EndReason, Limits, MAIN, World};

/// The next action of the run loop. Two words, of which the second is the number of a task if there
/// is one: so it stays in registers.
#[derive(Clone, Copy)]
pub(crate) enum NextStep {
    Poll(u64),
    Rare(RareStep),
    End(EndReason),
}

/// A rare action of the run loop, other than a poll.
#[derive(Clone, Copy)]
pub(crate) enum RareStep {
    /// Drop the output of a task that has no join handle any more.
    DiscardOutput(u64),
    /// Drop an aborted task.
    DropAborted(u64),
    /// The same after a crash: what its destructors do is no concern of others.
    DropCrashed(u64),
    /// Do what is in the hand.
    RunExternal,
}

/// The values that the halves of the run loop hand over, beside the next action.
#[derive(Default)]
pub(crate) struct StepHandoff {
    /// The box of the task that is done.
    pub(crate) output: Option<BoxedTask>,
    /// The action to be done outside of the world.
    pub(crate) external: Option<ExternalCall>,
}

/// Something foreign.
pub(crate) enum ExternalCall {
    /// A waker that is not a task's own.
    Wake(Waker),
    Callback(Callback),
}

/// A task that is over, because it was polled or dropped: its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FinishedTask(pub(crate) u32);

/// Whether a queue entry still stands for something.
#[inline]
pub(crate) fn is_entry_live(
    tasks: &TaskTable,
    timers: &mut TimerTable,
    callback_timers: &CallbackTimers,
    entry_id: EntryId,
    action: Action,
) -> bool {
    let slot = action.slot();
    match action.kind() {
        ActionKind::Poll => tasks.slots[slot as usize].entry == entry_id,
        ActionKind::Timer => timers.waiter(TimerId { slot, entry: entry_id }).is_some(),
        ActionKind::Callback => callback_timers.is_armed_for(slot, entry_id),
    }
}

impl World {
    /// Takes note of the last step and finds the next: the heart of a run.
    #[inline]
    pub(crate) fn next_step(
        &mut self,
        finished: Option<FinishedTask>,
        handoff: &mut StepHandoff,
    ) -> NextStep {
        if let Some(FinishedTask(slot)) = finished
            && let Some(next) = self.finish_task(slot, handoff)
        {
            return next;
        }
        loop {
            if self.deferred.has_any()
                && let Some(next) = self.next_deferred_step(handoff)
            {
                return next;
            }
            // A task is polled only when all that is due has arrived.
            if self.events.may_have_due_entries && self.drain_due_entries(handoff) {
                return NextStep::Rare(RareStep::RunExternal);
            }
            if self.deferred.has_any() {
                continue;
            }
            if let Some((entry_id, slot)) = self.events.queue.pop_due() {
                match self.begin_poll(slot, entry_id) {
                    Some(next) => return next,
                    None => continue,
                }
            }
            if !self.advance_fast()
                && let Err(end) = self.advance_slow()
            {
                return NextStep::End(end);
            }
        }
    }

    /// Handles all entries whose instant has come, up to one that calls a waker that is not a
    /// task's own. Returns whether there is such an entry.
    #[inline]
    fn drain_due_entries(&mut self, handoff: &mut StepHandoff) -> bool {
        while let Some(entry) = self.events.queue.pop_until(self.now) {
            self.handle_due_entry(entry);
            if self.deferred.has_any()
                && let Some(wake) = self.deferred.pop_wake()
            {
                handoff.external = Some(self.begin_wake(wake));
                return true;
            }
        }
        self.events.may_have_due_entries = false;
        false
    }

    /// Begins the first deferred action, if there is one.
    #[cold]
    fn next_deferred_step(&mut self, handoff: &mut StepHandoff) -> Option<NextStep> {
        loop {
            let call = match self.deferred.pop()? {
                // Whoever was polled last is to blame.
                Deferred::Abort => return Some(NextStep::End(EndReason::Panicked)),
                Deferred::StepLimit => return Some(NextStep::End(EndReason::StepLimit)),
                // It may have completed since.
                Deferred::Drop(aborted) if self.tasks.get_live(aborted.task).is_none() => continue,
                Deferred::Drop(aborted) => return Some(self.begin_drop(aborted)),
                Deferred::Wake(wake) => self.begin_wake(wake),
                Deferred::Callback(callback) => {
                    self.set_actor_external();
                    ExternalCall::Callback(callback)
                }
            };
            handoff.external = Some(call);
            return Some(NextStep::Rare(RareStep::RunExternal));
        }
    }

    /// Makes the requester of a wake-up the actor again, for the time of that call.
    fn begin_wake(&mut self, DeferredWake { waker, requester }: DeferredWake) -> ExternalCall {
        self.set_actor_requester(requester);
        ExternalCall::Wake(waker)
    }

    /// Buries a task that has completed or was aborted, and wakes its joiner.
    #[inline]
    fn finish_task(&mut self, slot: u32, handoff: &mut StepHandoff) -> Option<NextStep> {
        let info = &mut self.tasks.info[slot as usize];
        if handoff.output.is_some() {
            if !info.has_handle {
                return Some(NextStep::Rare(RareStep::DiscardOutput(
                    self.tasks.id(slot).to_bits(),
                )));
            }
            info.output = handoff.output.take();
        }
        if self.deferred.is_aborted() {
            return Some(NextStep::End(EndReason::Panicked));
        }
        if slot == MAIN {
            self.tasks.slots[MAIN as usize].state = TaskState::Done;
            return Some(NextStep::End(EndReason::Done));
        }
        self.tasks.slots[slot as usize].entry = EntryId::default();
        let (joiner, has_handle) = (info.joiner.take(), info.has_handle);
        info.clear_extras();
        if let Some(joiner) = joiner {
            self.wake_joiner(joiner, slot);
        }
        self.tasks.slots[slot as usize].state = TaskState::Done;
        if !has_handle {
            self.tasks.release(slot);
        }
        self.actor.task = ActorTask::NONE;
        None
    }

    /// Whether a task woke itself and is still to be polled.
    #[inline(always)]
    pub(crate) fn has_self_woken_task(&mut self) -> bool {
        let tasks = &self.tasks;
        self.events.queue.has_yielded(|entry_id, slot| tasks.slots[slot as usize].entry == entry_id)
    }

    /// The earliest entry ahead that still stands for something, and its instant.
    pub(crate) fn next_entry_instant(&mut self) -> Option<u64> {
        loop {
            let entry = self.events.queue.peek_future()?;
            if self.events.queue.has_fresh() {
                self.prefetch_ahead();
            }
            if is_entry_live(
                &self.tasks,
                &mut self.events.timers,
                &self.events.callback_timers,
                entry.id(),
                entry.action(),
            ) {
                return Some(entry.key());
            }
            // It stands for nothing any more.
            self.events.queue.pop_future();
            if entry.action().kind() == ActionKind::Timer {
                self.events.timers.forget_cancelled();
            }
        }
    }

    /// Lets the next thing happen that lies ahead, if that is as simple as it is nearly always.
    /// Returns whether it is.
    #[inline]
    fn advance_fast(&mut self) -> bool {
        if self.events.queue.has_any_yielded() || self.has_foreign_wakes() {
            return false;
        }
        let Some(entry) = self.events.queue.peek_future() else { return false };
        if entry.key() > self.limits.time || self.events.queue.has_fresh() {
            return false;
        }
        self.events.queue.pop_future();
        self.handle_due_entry(entry);
        true
    }

    #[cold]
    fn advance_slow(&mut self) -> Result<(), EndReason> {
        if !self.spins.ran_at_instant && self.events.queue.has_any_yielded() {
            self.check_spin_limit()?;
            self.events.queue.promote_yielded();
            self.spins.ran_at_instant = true;
            return Ok(());
        }
        if self.handle_foreign_wakes() {
            return Ok(());
        }
        self.spins.ran_at_instant = false;
        // Frees the memory of many tasks that were spawned at once.
        self.spawned.shrink_to(MAX_CAPACITY);
        let has_spinning_task = self.has_self_woken_task();
        let skips_spins = std::mem::take(&mut self.spins.skips_next_step);
        let next_at = self.next_entry_instant();
        let Some(at) = next_instant(self.now, next_at, has_spinning_task, skips_spins) else {
            return Err(EndReason::Deadlock);
        };
        if at > self.limits.time || at >= END_OF_TIME {
            self.set_now(self.limits.time.max(self.now));
            self.findings.limit_reached = Some(if self.limits.time >= END_OF_TIME - 1 {
                Limit::EndOfTime
            } else {
                Limit::Time(Duration::from_nanos(self.limits.time))
            });
            return Err(EndReason::TimeLimit);
        }
        self.set_now(at);
        self.events.may_have_due_entries = true;
        Ok(())
    }

    /// Ends the run if tasks have woken themselves too often while nothing else has happened.
    #[inline(never)]
    fn check_spin_limit(&mut self) -> Result<(), EndReason> {
        self.spins.count_round();
        let Limits { livelock, chain, .. } = self.limits;
        let Some(exceeded) = self.spins.exceeded(self.steps, livelock, chain) else {
            return Ok(());
        };
        let tasks = &self.tasks;
        // The schedule may hold a task back for seconds, for which others may spin: that is not
        // endless. What is next happens at once instead, so that the wait does not take millions
        // of polls.
        let is_delayed_poll = |entry: Entry| {
            entry.action().kind() == ActionKind::Poll
                && tasks.slots[entry.action().slot() as usize].entry == entry.id()
        };
        if exceeded == ExceededLimit::Consecutive
            && self.events.queue.future_entries().any(is_delayed_poll)
        {
            self.spins.skips_next_step = true;
            return Ok(());
        }
        let mut spinning_slots: Vec<u32> =
            self.events.queue.yielded_actions().map(Action::slot).collect();
        spinning_slots.sort_unstable_by_key(|slot| tasks.info[*slot as usize].spawn_number);
        self.findings.culprits = spinning_slots;
        self.findings.limit_reached = Some(match exceeded {
            ExceededLimit::Consecutive => Limit::SelfWokenPolls(livelock),
            ExceededLimit::Total => Limit::MixedPolls(chain),
        });
        Err(EndReason::Livelock)
    }

    /// Handles an entry and moves the clock to its instant, unless the entry was cancelled. Not
    /// inlined: the loop is faster with fewer registers.
    #[inline(never)]
    fn handle_due_entry(&mut self, entry: Entry) {
        let (entry_id, slot) = (entry.id(), entry.action().slot());
        match entry.action().kind() {
            ActionKind::Poll => self.handle_due_poll(entry),
            ActionKind::Timer => self.fire_timer(entry),
            ActionKind::Callback if self.events.callback_timers.disarm(slot, entry_id) => {
                self.advance_clock_to(entry.key());
                self.spins.reset();
                self.tracer.clear_cause();
                (self.hooks.on_timer)(self, slot);
            }
            ActionKind::Callback => (),
        }
    }

    #[inline(never)]
    fn handle_due_poll(&mut self, entry: Entry) {
        let (entry_id, slot) = (entry.id(), entry.action().slot());
        if self.tasks.slots[slot as usize].entry != entry_id {
            return;
        }
        self.advance_clock_to(entry.key());
        if self.events.queue.is_idle() {
            self.events.queue.make_sole(entry_id, entry.action());
        } else {
            self.push_due_poll_slow(entry_id, slot);
        }
    }

    #[inline(never)]
    fn fire_timer(&mut self, entry: Entry) {
        let (entry_id, slot) = (entry.id(), entry.action().slot());
        let Some(waiter) = self.events.timers.disarm(TimerId { slot, entry: entry_id }) else {
            return self.events.timers.forget_cancelled();
        };
        self.advance_clock_to(entry.key());
        self.spins.reset();
        self.tracer.clear_cause();
        self.set_actor(TIMER);
        self.wake_waiter(waiter);
    }

    /// Lets the clock reach the instant of something that happens.
    #[inline]
    fn advance_clock_to(&mut self, at: u64) {
        if at > self.now {
            self.set_now(at);
            self.events.may_have_due_entries = true;
            self.spins.ran_at_instant = false;
        }
    }

    #[inline(never)]
    fn push_due_poll_slow(&mut self, entry_id: EntryId, slot: u32) {
        self.rank_sole_entry();
        let rank = self.draw_rank(slot);
        self.events.queue.make_due(rank, entry_id, Action::poll(slot));
    }

    /// Does not let a task be polled whose node is paused, or busy with another poll.
    #[cold]
    fn defer_if_node_blocked(&mut self, slot: u32, entry_id: EntryId) -> bool {
        let task = &mut self.tasks.slots[slot as usize];
        if task.entry != entry_id {
            return false;
        }
        let Some(node) = self.nodes.get_mut(task.node) else {
            return false;
        };
        if node.is_paused {
            node.held_polls.push((slot, entry_id));
            return true;
        }
        if self.now < node.busy_until {
            node.slowdown_observed = true;
            task.entry = self.events.queue.push_at(node.busy_until, Action::poll(slot));
            return true;
        }
        node.busy_until = self.now.saturating_add(node.poll_cost).min(END_OF_TIME);
        false
    }

    /// Has an aborted task dropped, which is a step as well.
    fn begin_drop(&mut self, aborted: Aborted) -> NextStep {
        if self.steps >= self.limits.steps {
            self.deferred.put_back(aborted);
            self.findings.limit_reached = Some(Limit::Steps(self.limits.steps));
            return NextStep::End(EndReason::StepLimit);
        }
        let Aborted { task: TaskId { slot, .. }, actor: source, cause } = aborted;
        self.steps += 1;
        let subject = self.tasks.slots[slot as usize].key;
        let (at, tag) = (self.now, RecordTag::Abort);
        let event = Event { at, tag, subject, source, ordinal: 0, digest: 0 };
        self.tracer.record(event, |_| RecordExtras { payload: RecordPayload::None, cause });
        self.set_actor_task(slot);
        let task_bits = self.tasks.id(slot).to_bits();
        if self.nodes.is_dead(self.tasks.slots[slot as usize].node) {
            NextStep::Rare(RareStep::DropCrashed(task_bits))
        } else {
            NextStep::Rare(RareStep::DropAborted(task_bits))
        }
    }

    /// Ends the run because the thread that watches it asks for that: either to stop it, or to
    /// learn the name of the task whose turn it is.
    #[cold]
    fn end_for_watchdog(&mut self, slot: u32) -> NextStep {
        let mut reason = "the name of a task was asked for";
        if let Some(progress) = &self.progress {
            if progress.is_stopped() {
                reason = STOPPED;
            } else {
                progress.set_name(self.tasks.path(slot));
            }
        }
        self.deferred.end(reason.into());
        NextStep::End(EndReason::Panicked)
    }

    /// Ends the run before a task is polled, which is due still.
    #[cold]
    fn end_at_step_limit(&mut self, slot: u32) -> NextStep {
        self.tasks.slots[slot as usize].entry = self.events.queue.push_due(0, Action::poll(slot));
        self.findings.limit_reached = Some(Limit::Steps(self.limits.steps));
        NextStep::End(EndReason::StepLimit)
    }

    /// Ends the run before a task is polled for the `polls`-th time at this instant, or at the end
    /// of too long a chain of wake-ups.
    #[cold]
    fn end_in_livelock(&mut self, slot: u32, polls: u64) -> NextStep {
        let Limits { livelock, chain, .. } = self.limits;
        let at_instant = polls > livelock;
        self.findings.limit_reached =
            Some(if at_instant { Limit::PollsAtInstant(livelock) } else { Limit::Chain(chain) });
        self.findings.culprits = vec![slot];
        NextStep::End(EndReason::Livelock)
    }

    /// Makes a task current and counts, limits and records its poll, unless that has been aborted
    /// since, or is held up.
    #[inline]
    fn begin_poll(&mut self, slot: u32, entry_id: EntryId) -> Option<NextStep> {
        if self.nodes.any_faulty && self.defer_if_node_blocked(slot, entry_id) {
            return None;
        }
        let task = &mut self.tasks.slots[slot as usize];
        if task.entry != entry_id {
            return None;
        }
        if self.steps >= self.limits.steps {
            return Some(self.end_at_step_limit(slot));
        }
        if task.polled_at == self.now {
            task.polls_at_instant = task.polls_at_instant.saturating_add(1);
        } else {
            task.polled_at = self.now;
            task.polls_at_instant = 1;
        }
        // If wake-ups may be late, tasks that wake each other for ever move time; but no timer ever
        // wakes them.
        let polls = u64::from(task.polls_at_instant);
        if polls > self.limits.livelock || u64::from(task.wake_chain) > self.limits.chain {
            return Some(self.end_in_livelock(slot, polls));
        }
        self.steps += 1;
        if let Some(progress) = &self.progress
            && progress.tick(self.steps, task.key)
        {
            return Some(self.end_for_watchdog(slot));
        }
        task.state = TaskState::Parked;
        task.entry = EntryId::default();
        let task_bits = TaskId { slot, generation: task.generation }.to_bits();
        let event = Event {
            at: self.now,
            tag: RecordTag::Poll,
            subject: task.key,
            source: task.woken_by,
            ordinal: task.ordinal.into(),
            digest: 0,
        };
        let (chain, node) = (task.wake_chain, task.node);
        self.tracer.record(event, |_| RecordExtras {
            payload: RecordPayload::None,
            cause: self.tasks.wake_record(slot),
        });
        if self.scheduler.is_pct() {
            self.tasks.pct_states[slot as usize].count_poll();
        }
        self.set_actor_task_fast(slot, event.subject, chain, node);
        Some(NextStep::Poll(task_bits))
    }
}
