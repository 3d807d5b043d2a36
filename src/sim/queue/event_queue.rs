//! `EventQueue`: the one queue of all events of a run.
//!
//! Future entries are ordered by time. Due entries are ordered by rank, and by id within a rank:
//! first come, first served. Polls of self-woken tasks come after all due entries.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::util::cold::ClearToCapacity;

use crate::sim::queue::entry::{Action, ActionKind, END_OF_TIME, Entry, EntryId};
use crate::sim::queue::radix_heap::RadixHeap;

/// The due and the future events.
#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    last_id: EntryId,
    /// Whether numbers begin anew when they have run out, in place of a panic: those of a program
    /// of real time, which may go on for years.
    pub(crate) renumber_ids: bool,
    /// The only due entry, while there is but one: no heap is touched for it.
    sole: Option<Entry>,
    /// Whether the place of `first` has yet to be chosen: nothing contends.
    sole_is_unranked: bool,
    due: BinaryHeap<Reverse<Entry>>,
    /// Polls of tasks that woke themselves: behind all due events. Keys are positions.
    yielded: Vec<Entry>,
    future: RadixHeap,
}

impl EventQueue {
    /// Forgets everything and keeps the memory, unless there is a lot of it.
    pub(crate) fn clear(&mut self) {
        const MAX_CAPACITY: usize = 4096;
        self.last_id = EntryId::default();
        self.renumber_ids = false;
        self.sole = None;
        self.sole_is_unranked = false;
        self.due.clear_to_capacity(MAX_CAPACITY);
        self.yielded.clear_to_capacity(MAX_CAPACITY);
        self.future.clear();
    }

    #[inline]
    fn next_id(&mut self) -> EntryId {
        self.last_id = match self.last_id.next() {
            Some(next) => next,
            None => self.wrap_id(),
        };
        self.last_id
    }

    /// Begins with the first number again.
    ///
    /// Earlier future entries keep their instants, and go behind new entries of the same instant.
    /// Two entries of one slot and one number would be mistaken for each other only if they were
    /// 2^36 events apart, and the first one cancelled and not yet removed.
    #[cold]
    fn wrap_id(&self) -> EntryId {
        assert!(self.renumber_ids, "virtnet: a run is limited to 2^36 events");
        EntryId::FIRST
    }

    /// Adds what is to happen at once, in its place among what is due.
    #[inline]
    pub(crate) fn push_due(&mut self, index: u16, act: Action) -> EntryId {
        let serial = self.next_id();
        self.make_due(index, serial, act);
        serial
    }

    /// Adds what is to happen at once if nothing else is due; then its place
    /// need not be chosen until something is.
    #[inline(always)]
    pub(crate) fn push_if_idle(&mut self, act: Action) -> Option<EntryId> {
        if !self.is_idle() {
            return None;
        }
        let serial = self.next_id();
        self.make_sole(serial, act);
        Some(serial)
    }

    /// Makes an entry due while nothing else is.
    #[inline]
    pub(crate) fn make_sole(&mut self, serial: EntryId, act: Action) {
        self.sole = Some(Entry::new(0, serial, act));
        self.sole_is_unranked = true;
    }

    /// Whether nothing is due.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.sole.is_none() && self.due.is_empty()
    }

    /// Whose poll is due alone, its place being open.
    #[inline]
    pub(crate) fn unranked_sole(&self) -> Option<u32> {
        let first = self.sole.filter(|_| self.sole_is_unranked)?;
        Some(first.action().slot())
    }

    /// Gives what was due alone its place.
    pub(crate) fn rank_sole(&mut self, index: u16) {
        self.sole_is_unranked = false;
        self.sole = self.sole.map(|entry| Entry::new(index.into(), entry.id(), entry.action()));
    }

    /// Makes an entry due under a serial number that it has already.
    #[inline]
    pub(crate) fn make_due(&mut self, index: u16, serial: EntryId, act: Action) {
        let entry = Entry::new(index.into(), serial, act);
        if self.is_idle() {
            self.sole_is_unranked = false;
            self.sole = Some(entry);
        } else {
            self.push_to_heap(entry);
        }
    }

    fn push_to_heap(&mut self, entry: Entry) {
        self.due.extend(self.sole.take().map(Reverse));
        self.due.push(Reverse(entry));
    }

    /// Adds what is to happen at once, but behind all that is due.
    #[inline]
    pub(crate) fn push_yielded(&mut self, index: u16, act: Action) -> EntryId {
        let serial = self.next_id();
        self.yielded.push(Entry::new(index.into(), serial, act));
        serial
    }

    /// Adds what is to happen at a later instant.
    #[inline(never)]
    pub(crate) fn push_at(&mut self, at: u64, act: Action) -> EntryId {
        let serial = self.next_id();
        self.future.push(Entry::new(at.min(END_OF_TIME), serial, act));
        serial
    }

    /// Takes the first of what is due: the poll of a task in that slot.
    #[inline]
    pub(crate) fn pop_due(&mut self) -> Option<(EntryId, u32)> {
        let entry = match self.sole.take() {
            Some(first) => first,
            None if self.due.is_empty() => return None,
            None => self.due.pop()?.0,
        };
        debug_assert_eq!(entry.action().kind(), ActionKind::Poll, "all else happens as it arrives");
        Some((entry.id(), entry.action().slot()))
    }

    /// Makes due what woke itself.
    pub(crate) fn promote_yielded(&mut self) {
        let mut yielded = std::mem::take(&mut self.yielded);
        for entry in yielded.drain(..) {
            self.make_due(entry.key() as u16, entry.id(), entry.action());
        }
        self.yielded = yielded;
    }

    /// Whether anything woke itself and waits behind all that is due.
    #[inline]
    pub(crate) const fn has_any_yielded(&self) -> bool {
        !self.yielded.is_empty()
    }

    /// The polls of tasks that woke themselves, in no order.
    pub(crate) fn yielded_actions(&self) -> impl Iterator<Item = Action> {
        self.yielded.iter().map(|entry| entry.action())
    }

    /// Whether something woke itself, is still awaited, and waits behind all
    /// that is due.
    #[inline]
    pub(crate) fn has_yielded(&mut self, mut awaited: impl FnMut(EntryId, u32) -> bool) -> bool {
        if self.yielded.is_empty() {
            return false;
        }
        self.yielded.retain(|entry| awaited(entry.id(), entry.action().slot()));
        !self.yielded.is_empty()
    }

    /// The earliest entry ahead; its key is its instant.
    #[inline]
    pub(crate) fn peek_future(&mut self) -> Option<Entry> {
        self.future.peek()
    }

    /// Whether there are many entries ahead, and others are the nearest than when
    /// [`Self::near_actions`] were asked for before.
    #[inline]
    pub(crate) const fn has_fresh(&self) -> bool {
        self.future.is_fresh()
    }

    /// The actions of the nearest future entries, in no order.
    pub(crate) fn near_actions(&mut self) -> impl Iterator<Item = Action> {
        self.future.take_near().map(Entry::action)
    }

    /// Takes out the earliest entry ahead if its instant is no later than this.
    #[inline]
    pub(crate) fn pop_until(&mut self, now: u64) -> Option<Entry> {
        let entry = self.future.peek().filter(|entry| entry.key() <= now)?;
        self.future.pop();
        Some(entry)
    }

    /// Takes out the entry that was peeked.
    #[inline]
    pub(crate) fn pop_future(&mut self) {
        self.future.pop();
    }

    /// The number of future entries, with the cancelled ones.
    pub(crate) fn future_len(&self) -> usize {
        self.future.len()
    }

    /// All entries ahead, in no order, those included that stand for nothing any more.
    pub(crate) fn future_entries(&self) -> impl Iterator<Item = Entry> {
        self.future.iter()
    }

    /// Drops the future entries for which `awaited` is false.
    pub(crate) fn retain_future(&mut self, mut awaited: impl FnMut(EntryId, Action) -> bool) {
        self.future.retain(|entry| awaited(entry.id(), entry.action()));
    }
}
