//! An entry of the queue: when, what, and which one of all.
//!
//! Knows its own bits; refuses to know the queue. It is one number of 128 bits,
//! so that comparing two is one comparison and moving one is two words. There is
//! no payload: the slot that an entry names holds what is to be done, and the
//! entry's serial number tells whether the slot still waits for it, so that
//! cancelling is forgetting.

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
/// The key is an instant of what lies ahead and a place of what is due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Entry(u128);

impl Entry {
    #[inline]
    pub(crate) fn new(key: u64, serial: Serial, act: Act) -> Self {
        let (bit, slot) = match act {
            Act::Poll(slot) => (0, slot),
            Act::Fire(slot) => (1 << 30, slot),
            Act::Sound(slot) => (2 << 30, slot),
        };
        debug_assert!(slot < 1 << 30 && key <= END_OF_TIME && serial.0 < 1 << 40);
        let high = (key << 8) | (serial.0 >> 32);
        let low = (serial.0 << 32) | u64::from(bit | slot);
        Self((u128::from(high) << 64) | u128::from(low))
    }

    #[inline]
    pub(crate) const fn key(self) -> u64 {
        (self.0 >> 72) as u64
    }

    #[inline]
    pub(crate) const fn serial(self) -> Serial {
        Serial((self.0 >> 32) as u64 & ((1 << 40) - 1))
    }

    #[inline]
    pub(crate) const fn act(self) -> Act {
        let slot = self.0 as u32 & ((1 << 30) - 1);
        match self.0 as u32 >> 30 {
            0 => Act::Poll(slot),
            1 => Act::Fire(slot),
            _ => Act::Sound(slot),
        }
    }
}
