//! A ring of bytes that grows as far as it has to. Knows bytes and where they lie.

use std::hint::black_box;

/// Bytes from one offset of a stream to another.
///
/// Offsets are those of the stream and only grow; a byte's place is its offset modulo the size,
/// which is a power of two.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    /// The places, and before the first of them as many bytes as are left over.
    bytes: Box<[u8]>,
    /// How many places there are: none, or a power of two.
    size: usize,
}

impl Ring {
    /// Makes room for bytes behind those from `start` to `end`.
    #[inline]
    pub(crate) fn reserve(&mut self, start: u64, end: u64, more: usize) {
        let needed = (end - start) as usize + more;
        if needed > self.size {
            self.grow(start, end, needed);
        }
    }

    /// Copies bytes in that begin at an offset, for which there is room.
    #[inline]
    pub(crate) fn copy_in(&mut self, start: u64, data: &[u8]) {
        let place = self.place(start);
        match self.bytes.get_mut(place..place + data.len()) {
            Some(bytes) => bytes.copy_from_slice(data),
            None => self.copy_in_round(place, data),
        }
    }

    /// The same for bytes that go beyond the end of the ring.
    #[cold]
    fn copy_in_round(&mut self, place: usize, data: &[u8]) {
        let (fits, rest) = data.split_at(self.bytes.len() - place);
        self.bytes[place..].copy_from_slice(fits);
        let first = self.place(0);
        self.bytes[first..first + rest.len()].copy_from_slice(rest);
    }

    /// Copies bytes out that begin at an offset.
    #[inline]
    pub(crate) fn copy_out(&self, start: u64, into: &mut [u8]) {
        let place = self.place(start);
        match self.bytes.get(place..place + into.len()) {
            Some(bytes) => into.copy_from_slice(bytes),
            None => self.copy_out_round(place, into),
        }
    }

    /// The same for bytes that go beyond the end of the ring.
    #[cold]
    fn copy_out_round(&self, place: usize, into: &mut [u8]) {
        let (fits, rest) = into.split_at_mut(self.bytes.len() - place);
        fits.copy_from_slice(&self.bytes[place..]);
        let first = self.place(0);
        rest.copy_from_slice(&self.bytes[first..first + rest.len()]);
    }

    /// Has the processor load the bytes at an offset.
    pub(crate) fn load(&self, offset: u64) {
        let place = offset as usize & self.size.wrapping_sub(1);
        black_box(self.bytes.get(place).copied());
    }

    #[inline]
    fn place(&self, offset: u64) -> usize {
        self.bytes.len() - self.size + (offset as usize & (self.size - 1))
    }

    #[cold]
    fn grow(&mut self, start: u64, end: u64, needed: usize) {
        const LEAST: usize = 64;
        /// From this size on memory comes in whole pages, as does that of whoever writes and reads:
        /// and on some processors, to copy from one place of a page to the same place of another
        /// takes up to eight times as long.
        const PAGES: usize = 64 << 10;
        const ASIDE: usize = 1 << 10;
        let size = needed.next_power_of_two().max(LEAST);
        let aside = if size < PAGES { 0 } else { ASIDE };
        let mut larger = Self { bytes: vec![0; size + aside].into(), size };
        let mut kept = vec![0; (end - start) as usize];
        if !kept.is_empty() {
            self.copy_out(start, &mut kept);
            larger.copy_in(start, &kept);
        }
        *self = larger;
    }

    /// Gives the memory back.
    pub(crate) fn release(&mut self) {
        *self = Self::default();
    }

    /// Gives the memory back if it is much; else it serves the next stream.
    #[inline]
    pub(crate) fn release_much(&mut self) {
        const KEPT: usize = 4 << 10;
        if self.size > KEPT {
            self.release();
        }
    }

    /// Lets a byte be another: how the oracle is tested.
    #[cfg(test)]
    pub(crate) fn corrupt(&mut self, offset: u64, change: impl FnOnce(u8) -> u8) {
        let place = self.place(offset);
        self.bytes[place] = change(self.bytes[place]);
    }
}
