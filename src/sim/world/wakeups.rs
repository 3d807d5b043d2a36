//! How a task comes to be polled: who wakes it, in which place, and how late.
//!
//! Knows wake-ups; refuses to know the loop that makes them come true. Every
//! wake-up is a pair of a task and whoever wakes it, and its choices are keyed by
//! the pair and by how often it has met.

use crate::util::waiter::{Waiter, foreign_count, foreign_since};

use crate::sim::choice::draw::{END, FOREIGN, Key, Lateness};
use crate::sim::choice::schedule::{Scheduler, Slack, Wakeup};
use crate::sim::queue::entry::{Act, Serial};
use crate::sim::report::trace::RecordKind;
use crate::sim::task::table::{Stage, TaskId};
use crate::sim::world::state::{NOBODY, ONCE, Phase, World};

impl World {
    /// Wakes a task on behalf of whoever acts now.
    #[inline]
    pub(crate) fn wake(&mut self, task: TaskId) {
        let by_task = self.current < ONCE;
        self.wake_late(task, if by_task { Lateness::OFTEN } else { Lateness::RARELY });
    }

    /// The same where it is known whether that is a task, and so how late it may be.
    ///
    /// Here and in `schedule` all that is rare is a call at the very end: so nothing has to outlast
    /// a call, and no register be saved for it.
    #[inline(never)]
    pub(crate) fn wake_late(&mut self, task: TaskId, late: Lateness) {
        let (actor, current) = (self.actor, self.current);
        let Some(slot) = self.tasks.live(task) else {
            return;
        };
        if self.phase != Phase::Running {
            if task.slot != current {
                self.woken = Some(task.slot);
            }
            return;
        }
        // Counted even if it changes nothing, so that whether another wake-up
        // came first does not shift the numbers of this pair.
        let mut ordinal = 0;
        if current != ONCE {
            if !slot.was_woken_by(actor) {
                return self.wake_for_another(task, late);
            }
            ordinal = slot.count_wakeup();
        }
        if slot.stage != Stage::Parked {
            return;
        }
        if task.slot == current {
            self.go_behind(task.slot, ordinal);
        } else {
            self.schedule(task.slot, actor, ordinal, late);
        }
    }

    /// The same where the task was last woken by another.
    #[inline(never)]
    fn wake_for_another(&mut self, task: TaskId, late: Lateness) {
        self.tasks.meet_another(task.slot, self.actor);
        self.wake_late(task, late);
    }

    /// Has the end of a task wake who joins it.
    #[inline]
    pub(crate) fn wake_joiner(&mut self, joiner: Waiter, ended: u32) {
        if self.nodes.any_odd {
            self.act_for(ended); // by the clock of its node
        }
        let task = &self.tasks.slots[ended as usize];
        (self.actor, self.chain) = (task.key.end(), task.chain.saturating_add(1));
        self.current = NOBODY;
        if self.names.is_some() {
            let path = self.tasks.path(ended);
            self.remember(self.actor, || format!("{path}/{END}"));
        }
        match joiner {
            Waiter::Task(who) => {
                // A task ends once: there is nothing to be counted.
                let joiner = TaskId::of_number(who.task);
                if self.tasks.live(joiner).is_some_and(|task| task.stage == Stage::Parked) {
                    self.schedule(joiner.slot, self.actor, 0, Lateness::OFTEN);
                }
            }
            // Nothing foreign runs in here: the run loop wakes it, next of all.
            Waiter::Other(waker) => self.pressing.wake(waker),
        }
    }

    /// Whether other threads have woken somebody, of this run or another.
    #[inline]
    pub(crate) fn has_foreign(&self) -> bool {
        foreign_count() != self.foreign_seen
    }

    /// Wakes whom other threads have woken. Returns whether there were any.
    pub(crate) fn hear_foreign(&mut self) -> bool {
        self.has_foreign() && self.wake_foreign()
    }

    #[cold]
    fn wake_foreign(&mut self) -> bool {
        let woken = foreign_since(&mut self.foreign_seen, self.run);
        self.current = NOBODY;
        self.actor = FOREIGN;
        self.chain = 0;
        self.spins.reset();
        for who in &woken {
            let task = TaskId::of_number(who.task);
            self.foreign_wakes += 1;
            let subject = self.tasks.live(task).map_or(Key::NONE, |slot| slot.key);
            self.record(RecordKind::Foreign, subject, FOREIGN, 0, 0, || None);
            self.wake(task);
        }
        !woken.is_empty()
    }

    /// Has a task polled at the place and with the delay that are chosen.
    #[inline(always)]
    pub(crate) fn schedule(&mut self, slot: u32, source: Key, ordinal: u32, late: Lateness) {
        let task = &mut self.tasks.slots[slot as usize];
        let subject = Scheduler::delay_of(task.key, source);
        match self.scheduler.plain_delay(&self.choices, subject, ordinal.into()) {
            Some(bits) if late.is_none(bits) => match self.queue.push_lone(Act::poll(slot)) {
                Some(serial) => {
                    task.expect(serial, source, ordinal, self.chain);
                    self.note_wake(slot);
                }
                None => self.schedule_after(0, slot, source, ordinal),
            },
            Some(bits) => self.schedule_after(late.by(bits), slot, source, ordinal),
            None => self.schedule_with_care(slot, source, ordinal, late),
        }
    }

    #[inline(never)]
    fn schedule_with_care(&mut self, slot: u32, source: Key, ordinal: u32, late: Lateness) {
        let wakeup = self.wakeup(slot, source, ordinal);
        let delay = self.scheduler.delay(&mut self.choices, wakeup, late);
        self.schedule_after(delay, slot, source, ordinal);
    }

    #[inline(never)]
    fn schedule_after(&mut self, delay: u64, slot: u32, source: Key, ordinal: u32) {
        let act = Act::poll(slot);
        let serial = if delay > 0 {
            self.queue.push_at(self.now + delay, act)
        } else if let Some(serial) = self.queue.push_lone(act) {
            serial
        } else {
            self.place_lone();
            let wakeup = self.wakeup(slot, source, ordinal);
            let place = self.scheduler.place(&mut self.choices, wakeup);
            self.queue.push_due(place, act)
        };
        self.expect(slot, serial, source, ordinal);
    }

    /// Chooses the place of what was due alone: it is no longer.
    #[inline]
    pub(crate) fn place_lone(&mut self) {
        if let Some(slot) = self.queue.lone() {
            let place = self.place_of(slot);
            self.queue.place_lone(place);
        }
    }

    /// Chooses the place of a task's pending poll.
    pub(crate) fn place_of(&mut self, slot: u32) -> u16 {
        let task = &self.tasks.slots[slot as usize];
        let wakeup = self.wakeup(slot, task.woken_by, task.ordinal);
        self.scheduler.place(&mut self.choices, wakeup)
    }

    /// Has a task polled that woke itself: behind all else that is due.
    #[inline(never)]
    pub(crate) fn go_behind(&mut self, slot: u32, ordinal: u32) {
        let again = self.tasks.slots[slot as usize].woken_by == self.actor;
        self.spins.count(self.steps, again);
        let wakeup = self.wakeup(slot, self.actor, ordinal);
        let place = self.scheduler.place(&mut self.choices, wakeup);
        let serial = self.queue.push_behind(place, Act::poll(slot));
        self.expect(slot, serial, self.actor, ordinal);
        self.tasks.slots[slot as usize].chain = 0;
    }

    #[inline]
    pub(crate) fn wakeup(&self, slot: u32, source: Key, ordinal: u32) -> Wakeup {
        Wakeup {
            task: self.tasks.slots[slot as usize].key,
            source,
            ordinal: ordinal.into(),
            kept: if self.scheduler.ranks() {
                self.tasks.standings[slot as usize].slack
            } else {
                Slack::default()
            },
        }
    }

    #[inline]
    pub(crate) fn expect(&mut self, slot: u32, entry: Serial, source: Key, ordinal: u32) {
        self.tasks.slots[slot as usize].expect(entry, source, ordinal, self.chain);
        self.note_wake(slot);
    }

    /// Notes in which record a task is woken, where records are kept.
    #[inline]
    fn note_wake(&mut self, slot: u32) {
        if self.tracer.keeps() {
            self.set_mark(slot);
        }
    }

    /// Cold, because it would be in the way of a run whose records are not kept.
    #[cold]
    fn set_mark(&mut self, slot: u32) {
        self.tasks.set_mark(slot, self.tracer.mark());
    }
}
