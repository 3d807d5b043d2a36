//! The set of ports of a host that are taken, from 1 to 65 535.

use crate::util::cold::cold;

/// A set of ports, from which the lowest free one is taken.
///
/// One bit a port, grown as far as the highest one asked for: a host that uses ports below 128
/// costs two words and no allocation, one that listens on 65 535 costs 8 KiB. 0 is never given out
/// and never free.
#[derive(Debug)]
pub(crate) struct PortSet {
    /// Bit `port % 64` of word `port / 64` is set while the port is taken.
    inline: [u64; Self::INLINE_WORDS],
    spilled: Vec<u64>,
    /// No word before this one has a free bit.
    search_start: usize,
}

impl PortSet {
    const WORDS: usize = (u16::MAX as usize + 1) / 64;
    const INLINE_WORDS: usize = 2;

    pub(crate) const fn new() -> Self {
        Self { inline: [1, 0], spilled: Vec::new(), search_start: 0 }
    }

    /// Takes the lowest free port, if there is one.
    #[inline]
    pub(crate) fn take_lowest(&mut self) -> Option<u16> {
        while *self.word_mut(self.search_start) == u64::MAX {
            if self.search_start + 1 == Self::WORDS {
                return None;
            }
            self.search_start += 1;
        }
        let word = self.word_mut(self.search_start);
        let bit = word.trailing_ones();
        *word |= 1 << bit;
        u16::try_from(self.search_start as u32 * 64 + bit).ok()
    }

    /// Takes this port, unless it is taken.
    #[inline]
    pub(crate) fn take(&mut self, port: u16) -> bool {
        let (index, mask) = Self::word_and_mask(port);
        let word = self.word_mut(index);
        let was_free = *word & mask == 0;
        *word |= mask;
        was_free
    }

    /// Gives a port back.
    #[inline]
    pub(crate) fn give_back(&mut self, port: u16) {
        let (index, mask) = Self::word_and_mask(port);
        let word = self.word_mut(index);
        debug_assert!(port != 0 && *word & mask != 0, "port {port} was not taken");
        *word &= !mask;
        self.search_start = self.search_start.min(index);
    }

    #[inline]
    fn word_mut(&mut self, index: usize) -> &mut u64 {
        let Some(spill_index) = index.checked_sub(Self::INLINE_WORDS) else {
            return &mut self.inline[index];
        };
        cold(|| {
            if self.spilled.len() <= spill_index {
                self.spilled.resize(spill_index + 1, 0);
            }
            &mut self.spilled[spill_index]
        })
    }

    #[inline]
    fn word_and_mask(port: u16) -> (usize, u64) {
        (usize::from(port / 64), 1 << (port % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::PortSet;

    #[test]
    fn take_lowest_returns_lowest_free_port_and_never_zero() {
        let mut ports = PortSet::new();
        assert!(!ports.take(0));
        assert_eq!(ports.take_lowest(), Some(1));
        assert!(ports.take(3) && !ports.take(3));
        assert_eq!((ports.take_lowest(), ports.take_lowest()), (Some(2), Some(4)));
        ports.give_back(2);
        assert_eq!((ports.take_lowest(), ports.take_lowest()), (Some(2), Some(5)));
    }

    #[test]
    fn take_lowest_with_all_ports_taken_returns_none() {
        let mut ports = PortSet::new();
        assert!((1..=u16::MAX).all(|port| ports.take_lowest() == Some(port)));
        assert_eq!(ports.take_lowest(), None);
        ports.give_back(4242);
        assert_eq!((ports.take_lowest(), ports.take_lowest()), (Some(4242), None));
    }
}
