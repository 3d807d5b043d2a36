//! The one queue of everything that is going to happen.
//!
//! Knows instants, places and numbers of slots; refuses to know what a slot
//! stands for. What lies ahead is ordered by time; what is due is ordered by
//! place, and first come, first served within a place.
//!
//! An entry is one number of 128 bits, so that comparing two is one comparison
//! and moving one is two words. There is no payload: the slot that an entry
//! names holds what is to be done, and the entry's serial number tells whether
//! the slot still waits for it, so that cancelling is forgetting.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The end of time, 834 days from the start: instants take 56 bits here.
pub(crate) const END_OF_TIME: u64 = (1 << 56) - 1;

/// Names one entry for ever: no two of a run are alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Serial(u64);

/// What an entry will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Poll the task in that slot.
    Poll(u32),
    /// Fire the timer in that slot.
    Fire(u32),
}

/// `key: 56 bits | serial: 40 bits | act: 1 bit, slot: 31 bits`.
///
/// The key is an instant in the future queue and a place in the due set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Entry(u128);

impl Entry {
    #[inline]
    fn new(key: u64, serial: Serial, act: Act) -> Self {
        let (bit, slot) = match act {
            Act::Poll(slot) => (0, slot),
            Act::Fire(slot) => (1, slot),
        };
        debug_assert!(slot < 1 << 31 && key <= END_OF_TIME && serial.0 < 1 << 40);
        let low = (u128::from(serial.0) << 32) | (bit << 31) | u128::from(slot);
        Self((u128::from(key) << 72) | low)
    }

    #[inline]
    const fn key(self) -> u64 {
        (self.0 >> 72) as u64
    }

    #[inline]
    const fn serial(self) -> Serial {
        Serial((self.0 >> 32) as u64 & ((1 << 40) - 1))
    }

    #[inline]
    const fn act(self) -> Act {
        let slot = self.0 as u32 & ((1 << 31) - 1);
        if (self.0 >> 31) & 1 == 0 {
            Act::Poll(slot)
        } else {
            Act::Fire(slot)
        }
    }
}

/// What is due and what lies ahead.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    serial: u64,
    /// The only due entry, while there is but one: no heap is touched for it.
    first: Option<Entry>,
    due: BinaryHeap<Reverse<Entry>>,
    /// What woke itself: behind all that is due. Keys are places.
    behind: Vec<Entry>,
    future: BinaryHeap<Reverse<Entry>>,
}

impl Queue {
    /// Forgets everything and keeps the memory, unless there is a lot of it.
    pub(crate) fn clear(&mut self) {
        const KEPT: usize = 4096;
        self.serial = 0;
        self.first = None;
        self.due.clear();
        self.due.shrink_to(KEPT);
        self.behind.clear();
        self.behind.shrink_to(KEPT);
        self.future.clear();
        self.future.shrink_to(KEPT);
    }

    #[inline]
    fn next_serial(&mut self) -> Serial {
        self.serial += 1;
        assert!(
            self.serial < 1 << 40,
            "virtnet: a run is limited to 2^40 events"
        );
        Serial(self.serial)
    }

    /// Adds what is to happen at once, in its place among what is due.
    #[inline]
    pub(crate) fn push_due(&mut self, place: u16, act: Act) -> Serial {
        let serial = self.next_serial();
        self.insert_due(Entry::new(place.into(), serial, act));
        serial
    }

    #[inline]
    fn insert_due(&mut self, entry: Entry) {
        if self.first.is_none() && self.due.is_empty() {
            self.first = Some(entry);
        } else {
            if let Some(first) = self.first.take() {
                self.due.push(Reverse(first));
            }
            self.due.push(Reverse(entry));
        }
    }

    /// Adds what is to happen at once, but behind all that is due.
    #[inline]
    pub(crate) fn push_behind(&mut self, place: u16, act: Act) -> Serial {
        let serial = self.next_serial();
        self.behind.push(Entry::new(place.into(), serial, act));
        serial
    }

    /// Adds what is to happen at a later instant.
    #[inline]
    pub(crate) fn push_at(&mut self, at: u64, act: Act) -> Serial {
        let serial = self.next_serial();
        self.future
            .push(Reverse(Entry::new(at.min(END_OF_TIME), serial, act)));
        serial
    }

    /// Takes the first of what is due.
    #[inline]
    pub(crate) fn pop_due(&mut self) -> Option<(Serial, Act)> {
        let entry = match self.first.take() {
            Some(first) => first,
            None => self.due.pop()?.0,
        };
        Some((entry.serial(), entry.act()))
    }

    /// Makes due what woke itself. Returns whether there was any.
    pub(crate) fn call_up_behind(&mut self) -> bool {
        let mut behind = std::mem::take(&mut self.behind);
        let any = !behind.is_empty();
        for entry in behind.drain(..) {
            self.insert_due(entry);
        }
        self.behind = behind;
        any
    }

    /// Whether something woke itself and waits behind all that is due.
    pub(crate) fn has_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// The earliest entry ahead, with its instant.
    #[inline]
    pub(crate) fn peek_ahead(&self) -> Option<(u64, Serial, Act)> {
        self.future
            .peek()
            .map(|Reverse(entry)| (entry.key(), entry.serial(), entry.act()))
    }

    /// Forgets the earliest entry ahead.
    #[inline]
    pub(crate) fn pop_ahead(&mut self) {
        self.future.pop();
    }

    /// Takes the earliest entry ahead, if it is for `now` or before.
    #[inline]
    pub(crate) fn pop_arrived(&mut self, now: u64) -> Option<(Serial, Act)> {
        let (at, serial, act) = self.peek_ahead()?;
        if at > now {
            return None;
        }
        self.future.pop();
        Some((serial, act))
    }

    /// Moves an arrived entry to what is due, under its own serial number.
    #[inline]
    pub(crate) fn arrive(&mut self, place: u16, serial: Serial, act: Act) {
        self.insert_due(Entry::new(place.into(), serial, act));
    }

    /// How many entries lie ahead, the forgotten ones included.
    pub(crate) fn ahead(&self) -> usize {
        self.future.len()
    }

    /// Drops entries ahead that nobody waits for.
    pub(crate) fn retain_ahead(&mut self, mut awaited: impl FnMut(Serial, Act) -> bool) {
        self.future
            .retain(|entry| awaited(entry.0.serial(), entry.0.act()));
    }
}
