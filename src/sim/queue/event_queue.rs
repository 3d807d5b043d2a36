//! The one queue of everything that is going to happen.
//!
//! Knows instants, places and numbers of slots; refuses to know what a slot
//! stands for. What lies ahead is ordered by time; what is due is ordered by
//! place, and first come, first served within a place.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::util::cold::Wipe;

use crate::sim::queue::entry::{Act, END_OF_TIME, Entry, Kind, Serial};
use crate::sim::queue::radix_heap::Radix;

/// What is due and what lies ahead.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    serial: Serial,
    /// Whether numbers begin anew when they have run out, in place of a panic: those of a program
    /// of real time, which may go on for years.
    pub(crate) renumbers: bool,
    /// The only due entry, while there is but one: no heap is touched for it.
    first: Option<Entry>,
    /// Whether the place of `first` has yet to be chosen: nothing contends.
    first_is_open: bool,
    due: BinaryHeap<Reverse<Entry>>,
    /// What woke itself: behind all that is due. Keys are places.
    behind: Vec<Entry>,
    ahead: Radix,
}

impl Queue {
    /// Forgets everything and keeps the memory, unless there is a lot of it.
    pub(crate) fn clear(&mut self) {
        const KEPT: usize = 4096;
        self.serial = Serial::default();
        self.renumbers = false;
        self.first = None;
        self.first_is_open = false;
        self.due.wipe(KEPT);
        self.behind.wipe(KEPT);
        self.ahead.clear();
    }

    #[inline]
    fn next_serial(&mut self) -> Serial {
        self.serial = match self.serial.next() {
            Some(next) => next,
            None => self.begin_anew(),
        };
        self.serial
    }

    /// Begins with the first number again.
    ///
    /// What lies ahead from before keeps its place in time, and goes behind what is new at the same
    /// instant. Two entries of one slot and one number would have to be 2^36 events apart, the
    /// first one cancelled and not yet swept up, for one to be taken for the other.
    #[cold]
    fn begin_anew(&self) -> Serial {
        assert!(self.renumbers, "virtnet: a run is limited to 2^36 events");
        Serial::FIRST
    }

    /// Adds what is to happen at once, in its place among what is due.
    #[inline]
    pub(crate) fn push_due(&mut self, place: u16, act: Act) -> Serial {
        let serial = self.next_serial();
        self.arrive(place, serial, act);
        serial
    }

    /// Adds what is to happen at once if nothing else is due; then its place
    /// need not be chosen until something is.
    #[inline(always)]
    pub(crate) fn push_lone(&mut self, act: Act) -> Option<Serial> {
        if !self.is_idle() {
            return None;
        }
        let serial = self.next_serial();
        self.arrive_lone(serial, act);
        Some(serial)
    }

    /// Makes an entry due while nothing else is.
    #[inline]
    pub(crate) fn arrive_lone(&mut self, serial: Serial, act: Act) {
        self.first = Some(Entry::new(0, serial, act));
        self.first_is_open = true;
    }

    /// Whether nothing is due.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.first.is_none() && self.due.is_empty()
    }

    /// Whose poll is due alone, its place being open.
    #[inline]
    pub(crate) fn lone(&self) -> Option<u32> {
        let first = self.first.filter(|_| self.first_is_open)?;
        Some(first.act().slot())
    }

    /// Gives what was due alone its place.
    pub(crate) fn place_lone(&mut self, place: u16) {
        self.first_is_open = false;
        self.first = self.first.map(|lone| Entry::new(place.into(), lone.serial(), lone.act()));
    }

    /// Makes an entry due under a serial number that it has already.
    #[inline]
    pub(crate) fn arrive(&mut self, place: u16, serial: Serial, act: Act) {
        let entry = Entry::new(place.into(), serial, act);
        if self.is_idle() {
            self.first_is_open = false;
            self.first = Some(entry);
        } else {
            self.crowd(entry);
        }
    }

    fn crowd(&mut self, entry: Entry) {
        self.due.extend(self.first.take().map(Reverse));
        self.due.push(Reverse(entry));
    }

    /// Adds what is to happen at once, but behind all that is due.
    #[inline]
    pub(crate) fn push_behind(&mut self, place: u16, act: Act) -> Serial {
        let serial = self.next_serial();
        self.behind.push(Entry::new(place.into(), serial, act));
        serial
    }

    /// Adds what is to happen at a later instant.
    #[inline(never)]
    pub(crate) fn push_at(&mut self, at: u64, act: Act) -> Serial {
        let serial = self.next_serial();
        self.ahead.push(Entry::new(at.min(END_OF_TIME), serial, act));
        serial
    }

    /// Takes the first of what is due: the poll of a task in that slot.
    #[inline]
    pub(crate) fn pop_due(&mut self) -> Option<(Serial, u32)> {
        let entry = match self.first.take() {
            Some(first) => first,
            None if self.due.is_empty() => return None,
            None => self.due.pop()?.0,
        };
        debug_assert_eq!(entry.act().kind(), Kind::Poll, "all else happens as it arrives");
        Some((entry.serial(), entry.act().slot()))
    }

    /// Makes due what woke itself.
    pub(crate) fn call_up_behind(&mut self) {
        let mut behind = std::mem::take(&mut self.behind);
        for entry in behind.drain(..) {
            self.arrive(entry.key() as u16, entry.serial(), entry.act());
        }
        self.behind = behind;
    }

    /// Whether anything woke itself and waits behind all that is due.
    #[inline]
    pub(crate) const fn has_any_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// What woke itself and waits behind all that is due, in no order.
    pub(crate) fn behind(&self) -> impl Iterator<Item = Act> {
        self.behind.iter().map(|entry| entry.act())
    }

    /// Whether something woke itself, is still awaited, and waits behind all
    /// that is due.
    #[inline]
    pub(crate) fn has_behind(&mut self, mut awaited: impl FnMut(Serial, u32) -> bool) -> bool {
        if self.behind.is_empty() {
            return false;
        }
        self.behind.retain(|entry| awaited(entry.serial(), entry.act().slot()));
        !self.behind.is_empty()
    }

    /// The earliest entry ahead; its key is its instant.
    #[inline]
    pub(crate) fn peek_ahead(&mut self) -> Option<Entry> {
        self.ahead.peek()
    }

    /// Whether there are many entries ahead, and others are the nearest than when [`Self::nearest`]
    /// were asked for before.
    #[inline]
    pub(crate) const fn has_fresh(&self) -> bool {
        self.ahead.is_fresh()
    }

    /// What the nearest entries ahead will do, in no order.
    pub(crate) fn nearest(&mut self) -> impl Iterator<Item = Act> {
        self.ahead.take_near().map(Entry::act)
    }

    /// Takes out the earliest entry ahead if its instant is no later than this.
    #[inline]
    pub(crate) fn pop_until(&mut self, now: u64) -> Option<Entry> {
        let entry = self.ahead.peek().filter(|entry| entry.key() <= now)?;
        self.ahead.pop();
        Some(entry)
    }

    /// Takes out the entry that was peeked.
    #[inline]
    pub(crate) fn pop_ahead(&mut self) {
        self.ahead.pop();
    }

    /// How many entries lie ahead, the forgotten ones included.
    pub(crate) fn ahead_len(&self) -> usize {
        self.ahead.len()
    }

    /// All entries ahead, in no order, those included that stand for nothing any more.
    pub(crate) fn ahead(&self) -> impl Iterator<Item = Entry> {
        self.ahead.iter()
    }

    /// Drops entries ahead that nobody waits for.
    pub(crate) fn retain_ahead(&mut self, mut awaited: impl FnMut(Serial, Act) -> bool) {
        self.ahead.retain(|entry| awaited(entry.serial(), entry.act()));
    }
}
