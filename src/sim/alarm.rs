//! The table of alarms: events of whoever stands above the simulator.
//!
//! Knows serial numbers; refuses to know what an alarm is for. A timer belongs to a task and
//! wakes it; an alarm is one of a fixed set of slots, and when it sounds a function is called
//! that may change the world. Setting one is a push on the queue, and one word here.

use std::hint::black_box;

use super::entry::Serial;

/// Alarms by slot; one that was cancelled, or set anew, does not sound.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    pending: Vec<Serial>,
}

impl Alarms {
    /// Remembers which queue entry is to sound an alarm, instead of any before.
    #[inline]
    pub(crate) fn set(&mut self, slot: u32, serial: Serial) {
        let slot = slot as usize;
        if slot >= self.pending.len() {
            self.pending.resize((slot + 1).next_power_of_two(), Serial::default());
        }
        self.pending[slot] = serial;
    }

    /// Whether a queue entry still stands for an alarm.
    #[inline]
    pub(crate) fn awaits(&self, slot: u32, serial: Serial) -> bool {
        self.pending.get(slot as usize) == Some(&serial)
    }

    /// Whether a queue entry still stands for an alarm, which is forgotten then.
    #[inline]
    pub(crate) fn take(&mut self, slot: u32, serial: Serial) -> bool {
        match self.pending.get_mut(slot as usize) {
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
        self.pending.get(slot as usize).is_some_and(|serial| *serial != Serial::default())
    }

    /// Has the processor load what is known of an alarm.
    #[inline]
    pub(crate) fn load(&self, slot: u32) {
        black_box(self.pending.get(slot as usize).copied());
    }

    /// Forgets an alarm.
    #[inline]
    pub(crate) fn cancel(&mut self, slot: u32) {
        if let Some(pending) = self.pending.get_mut(slot as usize) {
            *pending = Serial::default();
        }
    }

    /// Forgets so many alarms, from one on.
    #[inline]
    pub(crate) fn cancel_all(&mut self, from: u32, count: u32) {
        let until = self.pending.len().min((from + count) as usize);
        if let Some(pending) = self.pending.get_mut(from as usize..until) {
            pending.fill(Serial::default());
        }
    }

    /// Forgets all alarms and keeps the memory, unless there is a lot of it.
    pub(crate) fn clear(&mut self) {
        const KEPT: usize = 4096;
        self.pending.clear();
        self.pending.shrink_to(KEPT);
    }
}
