//! A ring of bytes that grows as far as it has to. Knows bytes, and a digest of those that pass.

use crc32fast::Hasher;

/// Adds bytes to a digest of all that went before.
///
/// A CRC-32: the same however the bytes are cut up, four bytes of state, 10 ns for 64 bytes.
#[inline]
pub(crate) fn digest(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(before);
    hasher.update(bytes);
    hasher.finalize()
}

/// How many bytes are copied and digested at a time, so that they are in the cache for both.
const BLOCK: usize = 4096;

/// Bytes from one offset of a stream to another.
///
/// Offsets are those of the stream and only grow; a byte's place is its offset modulo the size,
/// which is a power of two.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    bytes: Vec<u8>,
}

impl Ring {
    /// Appends bytes to those from `start` to `end`, and to a digest.
    #[inline]
    pub(crate) fn append(&mut self, start: u64, end: u64, data: &[u8], before: u32) -> u32 {
        let needed = (end - start) as usize + data.len();
        if needed > self.bytes.len() {
            self.grow(start, end, needed);
        }
        let mut state = before;
        let mut at = end;
        for block in data.chunks(BLOCK) {
            state = digest(state, block);
            let place = self.place(at);
            let fits = block.len().min(self.bytes.len() - place);
            self.bytes[place..place + fits].copy_from_slice(&block[..fits]);
            self.bytes[..block.len() - fits].copy_from_slice(&block[fits..]);
            at += block.len() as u64;
        }
        state
    }

    /// Copies bytes out from `start` on, and adds them to a digest.
    #[inline]
    pub(crate) fn copy_out(&self, start: u64, into: &mut [u8], before: u32) -> u32 {
        let mut state = before;
        let mut at = start;
        for block in into.chunks_mut(BLOCK) {
            let place = self.place(at);
            let fits = block.len().min(self.bytes.len() - place);
            block[..fits].copy_from_slice(&self.bytes[place..place + fits]);
            let rest = block.len() - fits;
            block[fits..].copy_from_slice(&self.bytes[..rest]);
            state = digest(state, block);
            at += block.len() as u64;
        }
        state
    }

    #[inline]
    fn place(&self, offset: u64) -> usize {
        offset as usize & (self.bytes.len() - 1)
    }

    #[cold]
    fn grow(&mut self, start: u64, end: u64, needed: usize) {
        const LEAST: usize = 64;
        let mut larger = Self { bytes: vec![0; needed.next_power_of_two().max(LEAST)] };
        let mut kept = vec![0; (end - start) as usize];
        if !kept.is_empty() {
            self.copy_out(start, &mut kept, 0);
            larger.append(start, start, &kept, 0);
        }
        *self = larger;
    }

    /// Gives the memory back.
    pub(crate) fn release(&mut self) {
        self.bytes = Vec::new();
    }

    /// Lets a byte be another: how the oracle is tested.
    #[cfg(test)]
    pub(crate) fn corrupt(&mut self, offset: u64, change: impl FnOnce(u8) -> u8) {
        let place = self.place(offset);
        self.bytes[place] = change(self.bytes[place]);
    }
}
