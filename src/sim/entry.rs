//! An entry of the queue: when, what, and which one of all.
//!
//! Knows its own bits; refuses to know the queue. It is one number of 128 bits,
//! so that comparing two is one comparison and moving one is two words. There is
//! no payload: the slot that an entry names holds what is to be done, and the
//! entry's serial number tells whether the slot still waits for it, so that
//! cancelling is forgetting.

use std::num::NonZero;

/// The end of time, 834 days from the start: instants take 56 bits here.
pub(crate) const END_OF_TIME: u64 = (1 << 56) - 1;

/// Names one entry for ever: no two of a run are alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Serial(u64);

impl Serial {
    /// The number after this one.
    #[inline]
    pub(crate) fn next(self) -> Self {
        if self.0 == (1 << 40) - 1 {
            too_many();
        }
        Self(self.0 + 1)
    }
}

#[cold]
fn too_many() -> ! {
    panic!("virtnet: a run is limited to 2^40 events");
}

/// What an entry will do, and in which slot: `kind: 2 bits, slot: 30 bits`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Act(u32);

/// What kind of thing an entry will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Poll a task.
    Poll,
    /// Fire a timer.
    Fire,
    /// Sound an alarm.
    Sound,
}

const SLOT: u32 = (1 << 30) - 1;

impl Act {
    /// Poll the task in that slot.
    #[inline]
    pub(crate) const fn poll(slot: u32) -> Self {
        Self::new(1, slot)
    }

    /// Fire the timer in that slot.
    #[inline]
    pub(crate) const fn fire(slot: u32) -> Self {
        Self::new(2, slot)
    }

    /// Sound the alarm in that slot.
    #[inline]
    pub(crate) const fn sound(slot: u32) -> Self {
        Self::new(3, slot)
    }

    #[inline]
    const fn new(kind: u32, slot: u32) -> Self {
        debug_assert!(slot <= SLOT);
        Self(kind << 30 | slot)
    }

    #[inline]
    pub(crate) const fn kind(self) -> Kind {
        match self.0 >> 30 {
            1 => Kind::Poll,
            2 => Kind::Fire,
            _ => Kind::Sound,
        }
    }

    #[inline]
    pub(crate) const fn slot(self) -> u32 {
        self.0 & SLOT
    }
}

/// `key: 56 bits | serial: 40 bits | act: 32 bits`.
///
/// The key is an instant of what lies ahead and a place of what is due. No act is zero, so that an
/// entry or none takes no more room than an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Entry(NonZero<u128>);

const _: () = assert!(size_of::<Option<Entry>>() == 16);

impl Entry {
    #[inline(always)]
    pub(crate) fn new(key: u64, serial: Serial, act: Act) -> Self {
        debug_assert!(key <= END_OF_TIME && serial.0 < 1 << 40);
        let high = (key << 8) | (serial.0 >> 32);
        let low = (serial.0 << 32) | u64::from(act.0);
        match NonZero::new((u128::from(high) << 64) | u128::from(low)) {
            Some(entry) => Self(entry),
            None => unreachable!("no act is zero"),
        }
    }

    #[inline]
    pub(crate) const fn key(self) -> u64 {
        (self.0.get() >> 72) as u64
    }

    #[inline]
    pub(crate) const fn serial(self) -> Serial {
        Serial((self.0.get() >> 32) as u64 & ((1 << 40) - 1))
    }

    #[inline]
    pub(crate) const fn act(self) -> Act {
        Act(self.0.get() as u32)
    }
}
