//! `TimerTable`: the armed timers of tasks, and the waiter that each of them wakes.

use crate::util::cold::{ClearToCapacity, cold};
use crate::util::waiter::Waiter;

use crate::sim::queue::entry::{EntryId, SLOT_BITS, too_many};

/// Names an armed timer: its slot and the queue entry that will fire it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimerId {
    pub(crate) slot: u32,
    pub(crate) entry: EntryId,
}

/// Timers by slot; one that was cancelled is simply not found any more.
#[derive(Debug, Default)]
pub(crate) struct TimerTable {
    slots: Vec<(EntryId, Option<Waiter>)>,
    free: Vec<u32>,
    /// Queue entries that stand for cancelled timers.
    pub(crate) cancelled: usize,
}

impl TimerTable {
    /// Takes a slot; [`TimerTable::arm`] must follow.
    #[inline]
    pub(crate) fn insert_slot(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            if self.slots.len() >> SLOT_BITS > 0 {
                too_many("timers", SLOT_BITS);
            }
            self.slots.push((EntryId::default(), None));
            self.slots.len() as u32 - 1
        })
    }

    #[inline]
    pub(crate) fn arm(&mut self, timer: TimerId, wait: Waiter) {
        self.slots[timer.slot as usize] = (timer.entry, Some(wait));
    }

    /// Whom an armed timer will wake.
    #[inline]
    pub(crate) fn waiter(&mut self, timer: TimerId) -> Option<&mut Waiter> {
        let (serial, wait) = self.slots.get_mut(timer.slot as usize)?;
        wait.as_mut().filter(|_| *serial == timer.entry)
    }

    /// Whom the timer in a slot will wake.
    #[inline]
    pub(crate) fn peek(&self, slot: u32) -> Option<&Waiter> {
        self.slots.get(slot as usize)?.1.as_ref()
    }

    /// Takes a timer out, if it is still armed.
    #[inline]
    pub(crate) fn disarm(&mut self, timer: TimerId) -> Option<Waiter> {
        let (serial, wait) = self.slots.get_mut(timer.slot as usize)?;
        if *serial != timer.entry {
            return None;
        }
        let wait = wait.take()?;
        self.free.push(timer.slot);
        Some(wait)
    }

    /// Notes that the queue has dropped the entry of a cancelled timer.
    #[cold]
    pub(crate) fn forget_cancelled(&mut self) {
        self.cancelled = self.cancelled.saturating_sub(1);
    }

    /// Takes what waits, to be dropped elsewhere, and empties the table.
    pub(crate) fn clear(&mut self, waits: &mut Vec<Waiter>) {
        const MAX_CAPACITY: usize = 1024;
        self.free.clear_to_capacity(MAX_CAPACITY);
        self.cancelled = 0;
        if !self.slots.is_empty() {
            cold(|| waits.extend(self.slots.drain(..).filter_map(|(_, wait)| wait)));
        }
        self.slots.clear_to_capacity(MAX_CAPACITY);
    }
}
