//! What is going to be needed, on its way into the caches.
//!
//! Knows memory and how long it is; refuses to know what lies there. Nothing is read, nothing
//! changes, and nobody waits: among thousands of tasks, all of what the nearest events need is
//! loaded at a time, and not one thing after the other.

use std::slice::from_ref;

use prefetch_index::prefetch_index;

/// What a cache loads at a time.
const LINE: usize = 64;

/// Begins to load so many bytes, of which the first are these.
#[inline(always)]
pub(crate) fn prefetch<T>(first: &T, bytes: usize) {
    const { assert!(LINE.is_multiple_of(size_of::<T>()), "lines are counted in these") };
    for line in 0..bytes.div_ceil(LINE) {
        prefetch_index(from_ref(first), line * (LINE / size_of::<T>()));
    }
}
