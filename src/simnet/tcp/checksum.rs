//! The checksum of a segment's bytes, which may be read in any number of parts.
//!
//! A short segment is hashed by pairs of words, whose products are added up. A long segment is
//! hashed in many lanes that step once a block, which a compiler turns into vectors. Only the
//! length of the segment decides which of the two is used, so that sender and receiver agree. The
//! result does not depend on the processor, which only decides how long the computation takes.
//!
//! Each word of a short segment is added to a constant of its position before it is multiplied, as
//! in NH (Black et al., "UMAC", CRYPTO 1999). No product waits for another, so 64 bytes take half
//! the time of two chains of multiplications. In a long segment a word has another weight in each
//! block. The weights are powers of one number modulo a prime near 2^64, of which no two are
//! equal. So two words that change places are detected, whatever they are, except for carries out
//! of 64 bits. In both kinds of segments, a change stays undetected with a probability of about
//! one in 2^64.
//!
//! Bytes are hashed while they are copied. It takes 1.5 µs to copy and hash 64 KiB with vectors of
//! 32 bytes, and 1.4 µs to copy them alone; with vectors of 16 bytes, which every processor of its
//! kind has, 3 µs. A CRC-32 takes 2.5 µs on top, and lanes of two shifts and an addition 0.9 µs.

use fearless_simd::{Level, Simd, dispatch};

use crate::sim::splitmix64;

/// The bytes of a word.
const WORD_LEN: usize = 8;

/// The number of bytes that are multiplied at a time in a short segment.
const PAIR_LEN: usize = 2 * WORD_LEN;

/// The number of words of a long segment that are mixed in side by side.
const LANE_COUNT: usize = 32;

/// The number of bytes that are mixed into all lanes at a time.
const BLOCK_LEN: usize = LANE_COUNT * WORD_LEN;

/// The number of bytes that are copied at a time, behind the mixing: as many as the widest common
/// vectors hold. With 64, a block takes a twelfth longer, because lanes no longer stay in
/// registers; word by word with the mixing, it takes a half longer.
const COPY_LEN: usize = 32;

/// A segment from this length on is long: about where both take the same time.
pub(crate) const LONG_MIN_LEN: usize = 512;

/// The numbers that are added to the words of a short segment, by position.
const POSITION_KEYS: [[u64; 2]; LONG_MIN_LEN / PAIR_LEN] = {
    let mut places = [[0; 2]; LONG_MIN_LEN / PAIR_LEN];
    let mut at = 0;
    while at < 2 * places.len() {
        places[at / 2][at % 2] = splitmix64((at as u64 + 1).wrapping_mul(GOLDEN_RATIO));
        at += 1;
    }
    places
};

/// The factor of the lower half of a lane of a long segment at each block.
const LANE_MULTIPLIER: u64 = 0xFFFE_B81B;

/// 2^64 divided by the golden ratio.
const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

/// Mixes a word in: for any state a bijection of the word, and for any word one of the state.
#[inline]
const fn mix(state: u64, word: u64) -> u64 {
    (state.rotate_left(23) ^ word).wrapping_mul(GOLDEN_RATIO)
}

/// Digests the bytes of one segment, as they come.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is on the stack, or in a box already")]
pub(crate) enum SegmentChecksum {
    Short(ShortChecksum),
    Long(LongChecksum),
}

impl SegmentChecksum {
    /// Begins with a segment of that length, which stands there in its stream.
    pub(crate) fn new(start: u64, len: usize) -> Self {
        if len < LONG_MIN_LEN {
            Self::Short(ShortChecksum::new(start))
        } else {
            Self::Long(LongChecksum::new(start))
        }
    }

    /// Copies a short segment that is all there, and digests it.
    #[inline(always)]
    pub(crate) fn copy_short(start: u64, from: &[u8], into: &mut [u8]) -> u64 {
        if !from.len().is_multiple_of(PAIR_LEN) {
            return Self::copy_uneven(start, from, into);
        }
        // Nothing is left over that would have to be kept somewhere.
        let (pairs, targets) = (from.as_chunks().0, into.as_chunks_mut().0);
        let mut sum: u128 = 0;
        for ((pair, target), keys) in pairs.iter().zip(targets).zip(&POSITION_KEYS) {
            *target = *pair;
            sum = sum.wrapping_add(pair_product(pair, keys));
        }
        finish_sum(start, sum)
    }

    #[inline(never)]
    fn copy_uneven(start: u64, from: &[u8], into: &mut [u8]) -> u64 {
        let mut digest = Self::new(start, from.len());
        digest.copy(from, into);
        digest.value()
    }

    /// Copies the next bytes, and adds them.
    pub(crate) fn copy(&mut self, from: &[u8], into: &mut [u8]) {
        match self {
            Self::Short(short) => {
                into.copy_from_slice(from);
                short.add(into);
            }
            Self::Long(long) => long.copy(from, into),
        }
    }

    /// The digest.
    pub(crate) fn value(&self) -> u64 {
        match self {
            Self::Short(short) => short.value(),
            Self::Long(long) => long.value(),
        }
    }
}

/// The product of a pair of words in its place.
#[inline]
fn pair_product(pair: &[u8; PAIR_LEN], keys: &[u64; 2]) -> u128 {
    let word = |n: usize| u64::from_le_bytes(pair.as_chunks::<WORD_LEN>().0[n]);
    u128::from(word(0).wrapping_add(keys[0])) * u128::from(word(1).wrapping_add(keys[1]))
}

/// The digest of a segment that begins at `start`, from the sum of all products.
#[inline]
const fn finish_sum(start: u64, sum: u128) -> u64 {
    mix(sum as u64 ^ mix(1, start), (sum >> 64) as u64)
}

/// The digest of a short segment.
#[derive(Debug)]
pub(crate) struct ShortChecksum {
    start: u64,
    sum: u128,
    /// The number of bytes, and the bytes of an incomplete pair.
    len: usize,
    partial_pair: [u8; PAIR_LEN],
}

impl ShortChecksum {
    const fn new(start: u64) -> Self {
        Self { start, sum: 0, len: 0, partial_pair: [0; PAIR_LEN] }
    }

    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let filled = self.len % PAIR_LEN;
            let (part, rest) = bytes.split_at(bytes.len().min(PAIR_LEN - filled));
            self.partial_pair[filled..filled + part.len()].copy_from_slice(part);
            self.len += part.len();
            if self.len.is_multiple_of(PAIR_LEN) {
                let keys = &POSITION_KEYS[self.len / PAIR_LEN - 1];
                self.sum = self.sum.wrapping_add(pair_product(&self.partial_pair, keys));
                self.partial_pair = [0; PAIR_LEN];
            }
            bytes = rest;
        }
    }

    fn value(&self) -> u64 {
        let mut sum = self.sum;
        if !self.len.is_multiple_of(PAIR_LEN) {
            sum = sum.wrapping_add(pair_product(
                &self.partial_pair,
                &POSITION_KEYS[self.len / PAIR_LEN],
            ));
        }
        finish_sum(self.start, sum)
    }
}

/// The digest of a long segment.
#[derive(Debug)]
pub(crate) struct LongChecksum {
    lanes: [u64; LANE_COUNT],
    /// The bytes of a block that is not whole, zeros behind them, and how many there are.
    partial_block: [u8; BLOCK_LEN],
    partial_len: usize,
}

impl LongChecksum {
    fn new(start: u64) -> Self {
        let lanes = std::array::from_fn(|lane| mix(1 + lane as u64, start));
        Self { lanes, partial_block: [0; BLOCK_LEN], partial_len: 0 }
    }

    /// In one pass over the bytes, block by block: 64 KiB take 1.5 µs so, and 2.1 if they are
    /// copied first and then read once more.
    fn copy(&mut self, mut from: &[u8], mut into: &mut [u8]) {
        if self.partial_len > 0 {
            let missing = from.len().min(BLOCK_LEN - self.partial_len);
            self.buffer_partial(&from[..missing], &mut into[..missing]);
            if self.partial_len < BLOCK_LEN {
                return;
            }
            mix_block(&mut self.lanes, &self.partial_block);
            (self.partial_block, self.partial_len) = ([0; BLOCK_LEN], 0);
            (from, into) = (&from[missing..], &mut into[missing..]);
        }
        let ((blocks, rest), (targets, tail)) = (from.as_chunks(), into.as_chunks_mut());
        mix_blocks(&mut self.lanes, blocks, targets);
        self.buffer_partial(rest, tail);
    }

    /// Copies what does not fill a block.
    fn buffer_partial(&mut self, from: &[u8], into: &mut [u8]) {
        into.copy_from_slice(from);
        self.partial_block[self.partial_len..self.partial_len + into.len()].copy_from_slice(into);
        self.partial_len += into.len();
    }

    fn value(&self) -> u64 {
        let mut lanes = self.lanes;
        if self.partial_len > 0 {
            mix_block(&mut lanes, &self.partial_block);
        }
        // In four chains, which do not wait for each other.
        let mut chains = [0; 4];
        for lanes in lanes.as_chunks::<4>().0 {
            for (chain, lane) in chains.iter_mut().zip(lanes) {
                *chain = mix(*chain, *lane);
            }
        }
        chains.into_iter().fold(0, mix)
    }
}

/// Mixes one block into the lanes.
fn mix_block(lanes: &mut [u64; LANE_COUNT], block: &[u8; BLOCK_LEN]) {
    mix_blocks(lanes, std::slice::from_ref(block), &mut [[0; BLOCK_LEN]]);
}

/// Copies blocks, and mixes them into the lanes, with the widest vectors that the processor has.
fn mix_blocks(
    lanes: &mut [u64; LANE_COUNT],
    from: &[[u8; BLOCK_LEN]],
    into: &mut [[u8; BLOCK_LEN]],
) {
    dispatch!(Level::new(), simd => mix_vectors(simd, lanes, from, into));
}

/// The same with vectors of a kind.
///
/// A lane steps as a generator of Marsaglia's that multiplies with carry: it is divided by 2^32
/// modulo the prime `STEP * 2^32 - 1`, of which 2^32 has some 2^62 different powers. So a word
/// weighs something else in each block.
#[inline(always)]
fn mix_vectors<S: Simd>(
    simd: S,
    lanes: &mut [u64; LANE_COUNT],
    from: &[[u8; BLOCK_LEN]],
    into: &mut [[u8; BLOCK_LEN]],
) {
    simd.vectorize(
        #[inline(always)]
        || {
            // In a copy of their own, which stays in registers.
            let mut local_lanes = *lanes;
            for (block, target) in from.iter().zip(into) {
                for (lane, word) in local_lanes.iter_mut().zip(block.as_chunks::<WORD_LEN>().0) {
                    let stepped = (*lane & 0xFFFF_FFFF) * LANE_MULTIPLIER + (*lane >> 32);
                    *lane = stepped.wrapping_add(u64::from_le_bytes(*word));
                }
                let parts = block.as_chunks::<COPY_LEN>().0;
                for (target, part) in target.as_chunks_mut::<COPY_LEN>().0.iter_mut().zip(parts) {
                    *target = *part;
                }
            }
            *lanes = local_lanes;
        },
    );
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_LEN, LONG_MIN_LEN, SegmentChecksum};

    /// The digest of a segment that is copied in one go.
    fn digest(start: u64, bytes: &[u8]) -> u64 {
        let (mut digest, mut copy) =
            (SegmentChecksum::new(start, bytes.len()), vec![0; bytes.len()]);
        digest.copy(bytes, &mut copy);
        assert_eq!(copy, bytes);
        digest.value()
    }

    /// Bytes of which no two words are alike.
    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * n / 7 + n) as u8).collect()
    }

    #[test]
    fn checksum_of_bytes_in_any_parts_equals_checksum_of_whole() {
        for len in [
            1,
            7,
            8,
            9,
            64,
            65,
            100,
            LONG_MIN_LEN - 1,
            LONG_MIN_LEN,
            LONG_MIN_LEN + 1,
            3 * LONG_MIN_LEN,
        ] {
            let bytes = bytes(len);
            let whole = digest(5, &bytes);
            for part in [1, 2, 3, 5, 7, 8, 9, 13, 64, 100, 200, BLOCK_LEN, BLOCK_LEN + 1] {
                let mut digest = SegmentChecksum::new(5, len);
                let mut copy = vec![0; len];
                let parts = bytes.chunks(part).zip(copy.chunks_mut(part));
                parts.for_each(|(from, into)| digest.copy(from, into));
                assert_eq!(digest.value(), whole, "{len} bytes in parts of {part}");
                assert_eq!(copy, bytes);
            }
        }
    }

    #[test]
    fn checksum_differs_for_any_flipped_bit_and_other_start() {
        for len in [1, 8, 12, 64, LONG_MIN_LEN, LONG_MIN_LEN + 3] {
            let bytes = bytes(len);
            let whole = digest(64, &bytes);
            for bit in 0..8 * len {
                let mut other = bytes.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(digest(64, &other), whole, "bit {bit} of {len} bytes");
            }
            assert_ne!(digest(72, &bytes), whole);
        }
    }

    #[test]
    fn checksum_differs_for_doubled_or_swapped_words() {
        let bytes = bytes(64);
        let whole = digest(0, &bytes);
        for n in 0..8 {
            for m in (0..8).filter(|m| *m != n) {
                let (mut swapped, mut doubled) = (bytes.clone(), bytes.clone());
                (0..8).for_each(|byte| swapped.swap(8 * n + byte, 8 * m + byte));
                doubled.copy_within(8 * n..8 * n + 8, 8 * m);
                assert_ne!(digest(0, &swapped), whole, "{n} and {m} swapped");
                assert_ne!(digest(0, &doubled), whole, "{n} in place of {m}");
            }
            // Also words that differ in their highest bit alone.
            let mut zeros = [0; 64];
            zeros[8 * n + 7] = 0x80;
            let one = digest(0, &zeros);
            zeros.rotate_left(8);
            assert_ne!(digest(0, &zeros), one);
        }
    }

    /// Few bits in many zeros, where no addition carries anything away.
    #[test]
    fn checksum_of_long_segment_differs_for_moved_words() {
        const WORDS: usize = 640;
        let of = |words: &[u64]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            digest(0, &bytes)
        };
        let (zero, at) = (of(&[0; WORDS]), 32 + 5);
        for value in (0..64).step_by(7).map(|bit| 1 << bit).chain([3, 0x4141_4141, u64::MAX]) {
            let placed = |index: usize, value: u64| {
                let mut words = [0; WORDS];
                words[index] = value;
                of(&words)
            };
            let there = placed(at, value);
            assert_ne!(there, zero);
            for index in (0..WORDS).filter(|index| *index != at) {
                // It, and nothing, change places.
                assert_ne!(placed(index, value), there, "{value:x} at {index}");
            }
        }
    }
}
