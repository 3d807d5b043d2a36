//! Memory that is kept from one run for the next.
//!
//! Knows containers and how much is much; refuses to know what they hold. When a run ends, nearly
//! everything that it might have filled is empty. What is done if it is not stands apart, because
//! the code of a short run is three times as large as what a processor keeps at hand, and lines of
//! it that are fetched only to be jumped over are a tenth of its time.

use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// What is emptied and kept.
pub(crate) trait Wipe {
    /// Empties it, and keeps the memory of at most so many.
    fn wipe(&mut self, kept: usize);
}

impl<T> Wipe for Vec<T> {
    #[inline]
    fn wipe(&mut self, kept: usize) {
        if !std::mem::needs_drop::<T>() {
            self.clear();
        }
        if !self.is_empty() || self.capacity() > kept {
            wipe_much(self, kept);
        }
    }
}

impl<T> Wipe for VecDeque<T> {
    #[inline]
    fn wipe(&mut self, kept: usize) {
        if !self.is_empty() || self.capacity() > kept {
            wipe_deque(self, kept);
        }
    }
}

impl<T: Ord> Wipe for BinaryHeap<T> {
    #[inline]
    fn wipe(&mut self, kept: usize) {
        if !self.is_empty() || self.capacity() > kept {
            wipe_heap(self, kept);
        }
    }
}

impl<K: Ord, V> Wipe for BTreeMap<K, V> {
    /// No memory of it is kept.
    #[inline]
    fn wipe(&mut self, _kept: usize) {
        if !self.is_empty() {
            wipe_tree(self);
        }
    }
}

#[cold]
#[inline(never)]
fn wipe_much<T>(vec: &mut Vec<T>, kept: usize) {
    vec.clear();
    vec.shrink_to(kept);
}

#[cold]
#[inline(never)]
fn wipe_deque<T>(deque: &mut VecDeque<T>, kept: usize) {
    deque.clear();
    deque.shrink_to(kept);
}

#[cold]
#[inline(never)]
fn wipe_heap<T: Ord>(heap: &mut BinaryHeap<T>, kept: usize) {
    heap.clear();
    heap.shrink_to(kept);
}

#[cold]
#[inline(never)]
fn wipe_tree<K, V>(tree: &mut BTreeMap<K, V>) {
    tree.clear();
}
