//! `CallbackTimers`: timers that call a function of the network instead of waking a task.
//!
//! A callback timer is one of a fixed set of slots. When it fires, a function is called that may
//! change the world. To arm one takes a push to the event queue and one word here.

use crate::util::cold::ClearToCapacity;
use crate::util::prefetch::prefetch;

use crate::sim::queue::entry::{EntryId, SLOT_BITS, too_many};

/// Slots from this one on are of timers that are rarely set. They have a vector of their own, so
/// that the frequent ones are close together and more of them fit into the caches.
pub(crate) const RARE_BASE: u32 = 1 << (SLOT_BITS - 1);

/// Alarms by slot; one that was cancelled, or set anew, does not sound.
#[derive(Debug, Default)]
pub(crate) struct CallbackTimers {
    hot: Vec<EntryId>,
    rare: Vec<EntryId>,
}

impl CallbackTimers {
    /// The vector and the index of a slot.
    #[inline]
    fn slot_mut(&mut self, slot: u32) -> (&mut Vec<EntryId>, usize) {
        match slot.checked_sub(RARE_BASE) {
            None => (&mut self.hot, slot as usize),
            Some(slot) => (&mut self.rare, slot as usize),
        }
    }

    #[inline]
    fn get(&self, slot: u32) -> Option<&EntryId> {
        match slot.checked_sub(RARE_BASE) {
            None => self.hot.get(slot as usize),
            Some(slot) => self.rare.get(slot as usize),
        }
    }

    #[inline]
    fn get_mut(&mut self, slot: u32) -> Option<&mut EntryId> {
        let (pending, slot) = self.slot_mut(slot);
        pending.get_mut(slot)
    }

    /// Sets the queue entry of a timer, and forgets the previous one.
    #[inline]
    pub(crate) fn set(&mut self, slot: u32, serial: EntryId) {
        match self.get_mut(slot) {
            Some(pending) => *pending = serial,
            None => self.set_new(slot, serial),
        }
    }

    #[cold]
    fn set_new(&mut self, slot: u32, serial: EntryId) {
        let (pending, slot) = self.slot_mut(slot);
        if slot >= RARE_BASE as usize {
            too_many("alarms", SLOT_BITS - 1);
        }
        pending.resize((slot + 1).next_power_of_two(), EntryId::default());
        pending[slot] = serial;
    }

    /// Whether a queue entry is the one of a timer.
    #[inline]
    pub(crate) fn is_armed_for(&self, slot: u32, serial: EntryId) -> bool {
        self.get(slot) == Some(&serial)
    }

    /// Whether a queue entry is the one of a timer, which is unset then.
    #[inline]
    pub(crate) fn disarm(&mut self, slot: u32, serial: EntryId) -> bool {
        match self.get_mut(slot) {
            Some(pending) if *pending == serial => {
                *pending = EntryId::default();
                true
            }
            _ => false,
        }
    }

    /// Whether a timer is set.
    #[inline]
    pub(crate) fn is_set(&self, slot: u32) -> bool {
        self.get(slot).is_some_and(|serial| *serial != EntryId::default())
    }

    /// Prefetches the entry of a timer.
    #[inline]
    pub(crate) fn prefetch(&self, slot: u32) {
        if let Some(pending) = self.get(slot) {
            prefetch(pending, 1);
        }
    }

    /// Unsets a timer.
    #[inline]
    pub(crate) fn cancel(&mut self, slot: u32) {
        if let Some(pending) = self.get_mut(slot) {
            *pending = EntryId::default();
        }
    }

    /// Unsets `count` timers, from `from` on.
    #[inline]
    pub(crate) fn cancel_range(&mut self, from: u32, count: u32) {
        let (pending, from) = self.slot_mut(from);
        let until = pending.len().min(from + count as usize);
        if let Some(pending) = pending.get_mut(from..until) {
            pending.fill(EntryId::default());
        }
    }

    /// Unsets all timers and keeps the memory, unless there is a lot of it.
    pub(crate) fn clear(&mut self) {
        const MAX_CAPACITY: usize = 4096;
        self.hot.clear_to_capacity(MAX_CAPACITY);
        self.rare.clear_to_capacity(MAX_CAPACITY);
    }
}
