//! A ring buffer of bytes that is addressed by offsets of a stream and grows on demand.

use prefetch_index::prefetch_index;

/// Bytes from one offset of a stream to another.
///
/// Offsets are those of the stream and only grow; a byte's place is its offset modulo the size,
/// which is a power of two.
#[derive(Debug, Default)]
pub(crate) struct RingBuffer {
    /// None, or a power of two.
    bytes: Box<[u8]>,
}

impl RingBuffer {
    /// Makes room for bytes behind those from `start` to `end`.
    #[inline]
    pub(crate) fn reserve(&mut self, start: u64, end: u64, additional: usize) {
        let needed = (end - start) as usize + additional;
        if needed > self.bytes.len() {
            self.grow(start, end, needed);
        }
    }

    /// The `len` bytes from an offset on, in two parts if they go beyond the end of the ring.
    pub(crate) fn parts(&self, start: u64, len: usize) -> [&[u8]; 2] {
        let index = self.index_of(start);
        let fits = len.min(self.bytes.len() - index);
        [&self.bytes[index..index + fits], &self.bytes[..len - fits]]
    }

    /// The same, to be written, if there is room for them.
    pub(crate) fn parts_mut(&mut self, start: u64, len: usize) -> [&mut [u8]; 2] {
        let index = self.index_of(start);
        let fits = len.min(self.bytes.len() - index);
        let (wrapped, rest) = self.bytes.split_at_mut(index);
        [&mut rest[..fits], &mut wrapped[..len - fits]]
    }

    /// The same where it is one part.
    #[inline]
    pub(crate) fn contiguous(&self, start: u64, len: usize) -> Option<&[u8]> {
        let index = self.index_of(start);
        self.bytes.get(index..index + len)
    }

    /// The same, to be written.
    #[inline]
    pub(crate) fn contiguous_mut(&mut self, start: u64, len: usize) -> Option<&mut [u8]> {
        let index = self.index_of(start);
        self.bytes.get_mut(index..index + len)
    }

    /// Has the processor load the bytes at an offset.
    pub(crate) fn prefetch(&self, offset: u64) {
        prefetch_index(&self.bytes, self.index_of(offset));
    }

    #[inline]
    fn index_of(&self, offset: u64) -> usize {
        offset as usize & self.bytes.len().saturating_sub(1)
    }

    #[cold]
    fn grow(&mut self, start: u64, end: u64, needed: usize) {
        const MIN_LEN: usize = 64;
        let size = needed.next_power_of_two().max(MIN_LEN);
        let old_bytes = self.parts(start, (end - start) as usize).concat();
        self.bytes = vec![0; size].into();
        let mut rest = old_bytes.as_slice();
        for target in self.parts_mut(start, rest.len()) {
            let (part, later) = rest.split_at(target.len());
            target.copy_from_slice(part);
            rest = later;
        }
    }

    /// Gives the memory back.
    #[cold]
    pub(crate) fn release(&mut self) {
        *self = Self::default();
    }

    /// Gives the memory back if it is much; else it serves the next stream.
    #[inline]
    pub(crate) fn release_if_large(&mut self) {
        const MAX_RETAINED_LEN: usize = 4 << 10;
        if self.bytes.len() > MAX_RETAINED_LEN {
            self.release();
        }
    }

    /// Lets a byte be another: how the oracle is tested.
    #[cfg(test)]
    pub(crate) fn corrupt(&mut self, offset: u64, change: impl FnOnce(u8) -> u8) {
        let index = self.index_of(offset);
        self.bytes[index] = change(self.bytes[index]);
    }
}
