//! The hash functions behind names, paths and choices. All are pure and the same on every machine.

/// 2^64 divided by the golden ratio: the increment of a Weyl sequence.
pub(crate) const WEYL: u64 = 0x9E37_79B9_7F4A_7C15;
pub(crate) const MIX_A: u64 = 0xA076_1D64_78BD_642F;
pub(crate) const MIX_B: u64 = 0xE703_7ED1_A0B4_28DB;

/// Multiplies to 128 bits and folds the halves together, as wyhash does.
#[inline]
pub(crate) const fn mul_fold(a: u64, b: u64) -> u64 {
    let wide = (a as u128) * (b as u128);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// The finaliser of SplitMix64: a bijection in which every input bit changes every output bit.
#[inline]
pub(crate) const fn splitmix64(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Maps 64 random bits to `0..options` by multiplication, without division.
#[inline]
pub(crate) const fn scale_to_range(bits: u64, options: u64) -> u64 {
    (((bits as u128) * (options as u128)) >> 64) as u64
}

/// Hashes a name; the same on every machine and in every run.
pub(crate) const fn hash_name(name: &str) -> u64 {
    let mut bytes = name.as_bytes();
    let mut hash = bytes.len() as u64 ^ MIX_A;
    while let Some((chunk, rest)) = bytes.split_first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        hash = mul_fold(hash ^ word, MIX_B) ^ word.rotate_left(29);
        bytes = rest;
    }
    let mut word = 0;
    while let Some((byte, rest)) = bytes.split_last() {
        word = word << 8 | *byte as u64;
        bytes = rest;
    }
    mul_fold(hash ^ word, MIX_B) ^ word.rotate_left(29)
}
