//! Prefetch hints for memory that the next events need.
//!
//! A hint reads nothing, changes nothing and does not wait. With thousands of tasks, the data of
//! several near events is loaded at once instead of one item after the other.

use std::slice::from_ref;

use prefetch_index::prefetch_index;

/// The number of bytes of a cache line.
const LINE: usize = 64;

/// Begins to load `bytes` bytes, of which the first are these.
#[inline(always)]
pub(crate) fn prefetch<T>(first: &T, bytes: usize) {
    const { assert!(LINE.is_multiple_of(size_of::<T>()), "lines are counted in these") };
    for line in 0..bytes.div_ceil(LINE) {
        prefetch_index(from_ref(first), line * (LINE / size_of::<T>()));
    }
}
