//! Which ports of a host are taken.
//!
//! Knows numbers from 1 to 65 535 and nothing of who has them or why.

use crate::util::cold::cold;

/// A set of ports, from which the lowest free one is taken.
///
/// One bit a port, grown as far as the highest one asked for: a host that uses ports below 128
/// costs two words and no allocation, one that listens on 65 535 costs 8 KiB. 0 is never given out
/// and never free.
#[derive(Debug)]
pub(crate) struct PortSet {
    /// Bit `port % 64` of word `port / 64` is set while the port is taken.
    first: [u64; Self::FIRST],
    more: Vec<u64>,
    /// No word before this one has a free bit.
    full: usize,
}

impl PortSet {
    const WORDS: usize = (u16::MAX as usize + 1) / 64;
    const FIRST: usize = 2;

    pub(crate) const fn new() -> Self {
        Self { first: [1, 0], more: Vec::new(), full: 0 }
    }

    /// Takes the lowest free port, if there is one.
    #[inline]
    pub(crate) fn take_lowest(&mut self) -> Option<u16> {
        while *self.word(self.full) == u64::MAX {
            if self.full + 1 == Self::WORDS {
                return None;
            }
            self.full += 1;
        }
        let word = self.word(self.full);
        let bit = word.trailing_ones();
        *word |= 1 << bit;
        u16::try_from(self.full as u32 * 64 + bit).ok()
    }

    /// Takes this port, unless somebody has it.
    #[inline]
    pub(crate) fn take(&mut self, port: u16) -> bool {
        let (index, bit) = Self::place(port);
        let word = self.word(index);
        let free = *word & bit == 0;
        *word |= bit;
        free
    }

    /// Gives a port back.
    #[inline]
    pub(crate) fn give_back(&mut self, port: u16) {
        let (index, bit) = Self::place(port);
        let word = self.word(index);
        debug_assert!(port != 0 && *word & bit != 0, "port {port} was not taken");
        *word &= !bit;
        self.full = self.full.min(index);
    }

    #[inline]
    fn word(&mut self, index: usize) -> &mut u64 {
        let Some(behind) = index.checked_sub(Self::FIRST) else {
            return &mut self.first[index];
        };
        cold(|| {
            if self.more.len() <= behind {
                self.more.resize(behind + 1, 0);
            }
            &mut self.more[behind]
        })
    }

    #[inline]
    fn place(port: u16) -> (usize, u64) {
        (usize::from(port / 64), 1 << (port % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::PortSet;

    #[test]
    fn the_lowest_free_port_is_taken_and_zero_never() {
        let mut ports = PortSet::new();
        assert!(!ports.take(0));
        assert_eq!(ports.take_lowest(), Some(1));
        assert!(ports.take(3) && !ports.take(3));
        assert_eq!((ports.take_lowest(), ports.take_lowest()), (Some(2), Some(4)));
        ports.give_back(2);
        assert_eq!((ports.take_lowest(), ports.take_lowest()), (Some(2), Some(5)));
    }

    #[test]
    fn every_port_can_be_taken_and_then_there_is_none() {
        let mut ports = PortSet::new();
        assert!((1..=u16::MAX).all(|port| ports.take_lowest() == Some(port)));
        assert_eq!(ports.take_lowest(), None);
        ports.give_back(4242);
        assert_eq!((ports.take_lowest(), ports.take_lowest()), (Some(4242), None));
    }
}
