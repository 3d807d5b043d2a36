//! A ring of bytes that grows as far as it has to. Knows bytes and where they lie.

use std::hint::black_box;

/// Bytes from one offset of a stream to another.
///
/// Offsets are those of the stream and only grow; a byte's place is its offset modulo the size,
/// which is a power of two.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    /// None, or a power of two.
    bytes: Box<[u8]>,
}

impl Ring {
    /// Makes room for bytes behind those from `start` to `end`.
    #[inline]
    pub(crate) fn reserve(&mut self, start: u64, end: u64, more: usize) {
        let needed = (end - start) as usize + more;
        if needed > self.bytes.len() {
            self.grow(start, end, needed);
        }
    }

    /// So many bytes from an offset on, in two parts if they go beyond the end of the ring.
    pub(crate) fn parts(&self, start: u64, len: usize) -> [&[u8]; 2] {
        let place = self.place(start);
        let fits = len.min(self.bytes.len() - place);
        [&self.bytes[place..place + fits], &self.bytes[..len - fits]]
    }

    /// The same, to be written, if there is room for them.
    pub(crate) fn parts_mut(&mut self, start: u64, len: usize) -> [&mut [u8]; 2] {
        let place = self.place(start);
        let fits = len.min(self.bytes.len() - place);
        let (before, behind) = self.bytes.split_at_mut(place);
        [&mut behind[..fits], &mut before[..len - fits]]
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
        self.bytes[..rest.len()].copy_from_slice(rest);
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
        rest.copy_from_slice(&self.bytes[..rest.len()]);
    }

    /// Has the processor load the bytes at an offset.
    pub(crate) fn load(&self, offset: u64) {
        black_box(self.bytes.get(self.place(offset)).copied());
    }

    #[inline]
    fn place(&self, offset: u64) -> usize {
        offset as usize & self.bytes.len().wrapping_sub(1)
    }

    #[cold]
    fn grow(&mut self, start: u64, end: u64, needed: usize) {
        const LEAST: usize = 64;
        let size = needed.next_power_of_two().max(LEAST);
        let mut larger = Self { bytes: vec![0; size].into() };
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

    /// Lets a byte be another: how the oracle is tested.
    #[cfg(test)]
    pub(crate) fn corrupt(&mut self, offset: u64, change: impl FnOnce(u8) -> u8) {
        let place = self.place(offset);
        self.bytes[place] = change(self.bytes[place]);
    }
}
