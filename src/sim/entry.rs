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

/// What an entry will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Poll the task in that slot.
    Poll(u32),
    /// Fire the timer in that slot.
    Fire(u32),
    /// Sound the alarm in that slot.
    Sound(u32),
}

/// `key: 56 bits | serial: 40 bits | act: 2 bits, slot: 30 bits`.
///
/// The key is an instant of what lies ahead and a place of what is due. No act is zero, so that an
/// entry or none takes no more room than an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Entry(NonZero<u128>);

const _: () = assert!(size_of::<Option<Entry>>() == 16);

const SLOT: u32 = (1 << 30) - 1;
const POLL: u32 = 1 << 30;
const FIRE: u32 = 2 << 30;
const SOUND: u32 = 3 << 30;

impl Entry {
    #[inline]
    pub(crate) fn new(key: u64, serial: Serial, act: Act) -> Self {
        let (bits, slot) = match act {
            Act::Poll(slot) => (POLL, slot),
            Act::Fire(slot) => (FIRE, slot),
            Act::Sound(slot) => (SOUND, slot),
        };
        debug_assert!(slot <= SLOT && key <= END_OF_TIME && serial.0 < 1 << 40);
        let high = (key << 8) | (serial.0 >> 32);
        let low = (serial.0 << 32) | u64::from(bits | slot);
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
        let low = self.0.get() as u32;
        let slot = low & SLOT;
        match low & !SLOT {
            POLL => Act::Poll(slot),
            FIRE => Act::Fire(slot),
            _ => Act::Sound(slot),
        }
    }
}
