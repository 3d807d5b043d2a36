//! The table of alarms: events of whoever stands above the simulator.
//!
//! Knows serial numbers; refuses to know what an alarm is for. A timer belongs to a task and
//! wakes it; an alarm is one of a fixed set of slots, and when it sounds a function is called
//! that may change the world. Setting one is a push on the queue, and one word here.

use crate::util::cold::Wipe;
use crate::util::prefetch::prefetch;

use crate::sim::queue::entry::{SLOT_BITS, Serial, too_many};

/// Slots from this one on are of alarms that are seldom set, and stand apart: so the others stand
/// close together, and more of them fit into the caches.
pub(crate) const SELDOM: u32 = 1 << (SLOT_BITS - 1);

/// Alarms by slot; one that was cancelled, or set anew, does not sound.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    often: Vec<Serial>,
    seldom: Vec<Serial>,
}

impl Alarms {
    /// Where a slot is.
    #[inline]
    fn place(&mut self, slot: u32) -> (&mut Vec<Serial>, usize) {
        match slot.checked_sub(SELDOM) {
            None => (&mut self.often, slot as usize),
            Some(slot) => (&mut self.seldom, slot as usize),
        }
    }

    #[inline]
    fn get(&self, slot: u32) -> Option<&Serial> {
        match slot.checked_sub(SELDOM) {
            None => self.often.get(slot as usize),
            Some(slot) => self.seldom.get(slot as usize),
        }
    }

    #[inline]
    fn get_mut(&mut self, slot: u32) -> Option<&mut Serial> {
        let (pending, slot) = self.place(slot);
        pending.get_mut(slot)
    }

    /// Remembers which queue entry is to sound an alarm, instead of any before.
    #[inline]
    pub(crate) fn set(&mut self, slot: u32, serial: Serial) {
        match self.get_mut(slot) {
            Some(pending) => *pending = serial,
            None => self.set_anew(slot, serial),
        }
    }

    #[cold]
    fn set_anew(&mut self, slot: u32, serial: Serial) {
        let (pending, slot) = self.place(slot);
        if slot >= SELDOM as usize {
            too_many("alarms", SLOT_BITS - 1);
        }
        pending.resize((slot + 1).next_power_of_two(), Serial::default());
        pending[slot] = serial;
    }

    /// Whether a queue entry still stands for an alarm.
    #[inline]
    pub(crate) fn awaits(&self, slot: u32, serial: Serial) -> bool {
        self.get(slot) == Some(&serial)
    }

    /// Whether a queue entry still stands for an alarm, which is forgotten then.
    #[inline]
    pub(crate) fn take(&mut self, slot: u32, serial: Serial) -> bool {
        match self.get_mut(slot) {
            Some(pending) if *pending == serial => {
                *pending = Serial::default();
                true
            }
            _ => false,
        }
    }

    /// Whether an alarm is set.
    #[inline]
    pub(crate) fn is_set(&self, slot: u32) -> bool {
        self.get(slot).is_some_and(|serial| *serial != Serial::default())
    }

    /// Has the processor load what is known of an alarm.
    #[inline]
    pub(crate) fn prefetch(&self, slot: u32) {
        if let Some(pending) = self.get(slot) {
            prefetch(pending, 1);
        }
    }

    /// Forgets an alarm.
    #[inline]
    pub(crate) fn cancel(&mut self, slot: u32) {
        if let Some(pending) = self.get_mut(slot) {
            *pending = Serial::default();
        }
    }

    /// Forgets so many alarms, from one on.
    #[inline]
    pub(crate) fn cancel_all(&mut self, from: u32, count: u32) {
        let (pending, from) = self.place(from);
        let until = pending.len().min(from + count as usize);
        if let Some(pending) = pending.get_mut(from..until) {
            pending.fill(Serial::default());
        }
    }

    /// Forgets all alarms and keeps the memory, unless there is a lot of it.
    pub(crate) fn clear(&mut self) {
        const KEPT: usize = 4096;
        self.often.wipe(KEPT);
        self.seldom.wipe(KEPT);
    }
}
