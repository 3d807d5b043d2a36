//! What is rare, out of the way of what is not.
//!
//! Knows neither. What hardly ever happens would lie between what always does, and the code of a
//! short run is three times as large as what a processor keeps at hand. So it is a call: at the end
//! of a run, where nearly everything that might be filled is empty, that is ninety lines of a cache
//! less to fetch.
//!
//! The other way round, what such a run does once, and one or two places call, is compiled into
//! these (`inline(always)`), though the compiler thinks it too large: to save registers, pass words
//! in memory and come back is as much code again, and as many instructions.

use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// Works out of the way. What the work needs is put together only here; an argument that is passed
/// in memory would be written there before it is known whether there is anything to do.
#[cold]
#[inline(never)]
pub(crate) fn cold<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// What is emptied at the end of a run, and kept for the next.
pub(crate) trait ClearToCapacity {
    /// Empties it, and keeps the memory of at most so many; of a tree, none.
    fn clear_to_capacity(&mut self, retained: usize);
}

/// These do it by methods of the same names, for which there is no trait.
macro_rules! impl_clear_to_capacity {
    ($($container:ident<T $(: $bound:ident)?>),*) => {$(
        impl<T $(: $bound)?> ClearToCapacity for $container<T> {
            #[inline]
            fn clear_to_capacity(&mut self, kept: usize) {
                if !std::mem::needs_drop::<T>() {
                    self.clear();
                }
                if !self.is_empty() || self.capacity() > kept {
                    cold(|| {
                        self.clear();
                        self.shrink_to(kept);
                    });
                }
            }
        }
    )*};
}
impl_clear_to_capacity!(Vec<T>, VecDeque<T>, BinaryHeap<T: Ord>);

impl<K: Ord, V> ClearToCapacity for BTreeMap<K, V> {
    #[inline]
    fn clear_to_capacity(&mut self, _kept: usize) {
        if !self.is_empty() {
            cold(|| self.clear());
        }
    }
}
