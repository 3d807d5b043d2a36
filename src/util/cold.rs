//! Outlining of cold code, and clearing of containers with bounded capacity.
//!
//! The code of a short run is three times as large as the instruction cache. Cold code is
//! therefore moved out of hot functions into calls. At the end of a run, where almost every
//! container is empty, this saves 90 cache lines of code.
//!
//! The opposite holds for functions with one or two callers that each run calls once: they are
//! `inline(always)`, although the compiler considers them too large. A call would save registers
//! and pass arguments in memory, which takes as much code again and as many instructions.

use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// Works out of the way. What the work needs is put together only here; an argument that is passed
/// in memory would be written there before it is known whether there is anything to do.
#[cold]
#[inline(never)]
pub(crate) fn cold<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// A container that is emptied at the end of a run, and whose memory the next one uses.
pub(crate) trait ClearToCapacity {
    /// Empties it, and keeps memory for at most `retained` elements; of a tree, none.
    fn clear_to_capacity(&mut self, retained: usize);
}

/// These do it by methods of the same names, for which there is no trait.
macro_rules! impl_clear_to_capacity {
    ($($container:ident<T $(: $bound:ident)?>),*) => {$(
        impl<T $(: $bound)?> ClearToCapacity for $container<T> {
            #[inline]
            fn clear_to_capacity(&mut self, capacity: usize) {
                if !std::mem::needs_drop::<T>() {
                    self.clear();
                }
                if !self.is_empty() || self.capacity() > capacity {
                    cold(|| {
                        self.clear();
                        self.shrink_to(capacity);
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
