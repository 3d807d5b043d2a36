//! `Entry`: an entry of the event queue, packed into 128 bits.
//!
//! An entry has a key (an instant or a rank), an id and an action. Two entries are compared by one
//! comparison, and an entry is moved in two words. It has no payload: the slot that the action
//! names has the data. The slot also has the id of the entry that it waits for, so to cancel an
//! entry is to clear or replace that id.

use std::num::NonZero;

const KEY_BITS: u32 = 63;
const ID_BITS: u32 = 36;
const KIND_BITS: u32 = 2;
/// The number of bits of a slot number.
pub(crate) const SLOT_BITS: u32 = 27;
const ACTION_BITS: u32 = KIND_BITS + SLOT_BITS;

const _: () = assert!(KEY_BITS + ID_BITS + ACTION_BITS == 128);

/// The end of time, 292 years from the start: instants take 63 bits here.
pub(crate) const END_OF_TIME: u64 = (1 << KEY_BITS) - 1;

const LAST_ID: u64 = (1 << ID_BITS) - 1;

/// Names one entry: no two of a simulated run are alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct EntryId(u64);

impl EntryId {
    /// The number after this one, if there is one: a run has up to 68 719 476 735.
    #[inline]
    pub(crate) const fn next(self) -> Option<Self> {
        if self.0 == LAST_ID { None } else { Some(Self(self.0 + 1)) }
    }

    /// The first number.
    pub(crate) const FIRST: Self = Self(1);

    /// The last number.
    #[cfg(test)]
    pub(crate) const LAST: Self = Self(LAST_ID);
}

/// The action of an entry, and its slot: `kind: 2 bits | slot: 27 bits`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Action(u32);

/// The kind of an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ActionKind {
    /// Poll a task.
    Poll,
    /// Fire a timer.
    Timer,
    /// Call the network about a callback timer.
    Callback,
}

const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;

impl Action {
    /// Poll the task in that slot.
    #[inline]
    pub(crate) const fn poll(slot: u32) -> Self {
        Self::new(1, slot)
    }

    /// Fire the timer in that slot.
    #[inline]
    pub(crate) const fn timer(slot: u32) -> Self {
        Self::new(2, slot)
    }

    /// Call the network about the callback timer in that slot.
    #[inline]
    pub(crate) const fn callback(slot: u32) -> Self {
        Self::new(3, slot)
    }

    #[inline]
    const fn new(kind: u32, slot: u32) -> Self {
        debug_assert!(slot <= SLOT_MASK);
        Self(kind << SLOT_BITS | slot)
    }

    #[inline]
    pub(crate) const fn kind(self) -> ActionKind {
        match self.0 >> SLOT_BITS {
            1 => ActionKind::Poll,
            2 => ActionKind::Timer,
            _ => ActionKind::Callback,
        }
    }

    #[inline]
    pub(crate) const fn slot(self) -> u32 {
        self.0 & SLOT_MASK
    }
}

/// `key: 63 bits | serial: 36 bits | act: 29 bits`.
///
/// The key is an instant of what lies ahead and a place of what is due. No act is zero, so that an
/// entry or none takes no more room than an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Entry(NonZero<u128>);

const _: () = assert!(size_of::<Option<Entry>>() == 16);

impl Entry {
    #[inline(always)]
    pub(crate) fn new(key: u64, serial: EntryId, act: Action) -> Self {
        debug_assert!(key <= END_OF_TIME && serial.0 <= LAST_ID);
        let high = (key << 1) | (serial.0 >> (ID_BITS - 1));
        let low = (serial.0 << ACTION_BITS) | u64::from(act.0);
        match NonZero::new((u128::from(high) << 64) | u128::from(low)) {
            Some(entry) => Self(entry),
            None => unreachable!("no act is zero"),
        }
    }

    #[inline]
    pub(crate) const fn key(self) -> u64 {
        (self.0.get() >> (ID_BITS + ACTION_BITS)) as u64
    }

    #[inline]
    pub(crate) const fn id(self) -> EntryId {
        EntryId((self.0.get() >> ACTION_BITS) as u64 & LAST_ID)
    }

    #[inline]
    pub(crate) const fn action(self) -> Action {
        Action(self.0.get() as u32 & ((1 << ACTION_BITS) - 1))
    }
}

/// Says that there are too many of something at once: slots are numbered in `bits` bits.
#[cold]
pub(crate) fn too_many(description: &str, bits: u32) -> ! {
    panic!("virtnet: a run is limited to {} {description} at once", 1u64 << bits);
}

#[cfg(test)]
mod tests {
    use super::{Action, END_OF_TIME, Entry, EntryId, SLOT_MASK};

    #[test]
    fn an_entry_gives_back_its_parts_and_is_ordered_by_key_then_serial() {
        let (first, last) = (EntryId::FIRST, EntryId::LAST);
        let mut before = None;
        for key in [0, 1, 1 << 55, 1 << 56, END_OF_TIME - 1, END_OF_TIME] {
            for serial in [first, EntryId(1 << 35), last] {
                for act in [Action::callback(SLOT_MASK), Action::timer(5), Action::poll(0)] {
                    let entry = Entry::new(key, serial, act);
                    assert_eq!((entry.key(), entry.id(), entry.action()), (key, serial, act));
                }
                let entry = Some(Entry::new(key, serial, Action::poll(SLOT_MASK)));
                assert!(entry > before);
                before = entry;
            }
        }
        assert_eq!(first.next(), Some(EntryId(2)));
        assert_eq!(last.next(), None);
    }
}
