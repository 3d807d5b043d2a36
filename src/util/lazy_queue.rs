//! `LazyQueue`: a queue of one word, which allocates on the first push.
//!
//! A connection has six of them, almost always empty while messages are answered one by one. As
//! `VecDeque`s they would be a quarter of the memory that a message touches. A host has one and a
//! listener three: to create and drop those as `VecDeque`s would be a hundredth of a short run.

use std::collections::VecDeque;

use crate::util::cold::ClearToCapacity;

/// The elements behind the first, in order. The memory is allocated at the first use.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "a word, where a queue would be four")]
pub(crate) struct LazyQueue<T>(Option<Box<VecDeque<T>>>);

impl<T> Default for LazyQueue<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> LazyQueue<T> {
    /// The elements, in order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().flat_map(|queue| queue.iter_mut())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|queue| queue.is_empty())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.len())
    }

    pub(crate) fn push(&mut self, last: T) {
        self.0.get_or_insert_default().push_back(last);
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.0.as_mut()?.pop_front()
    }

    pub(crate) fn first(&self) -> Option<&T> {
        self.0.as_ref()?.front()
    }

    pub(crate) fn last(&self) -> Option<&T> {
        self.0.as_ref()?.back()
    }

    /// The queue itself, if an element was ever pushed.
    pub(crate) fn queue(&mut self) -> Option<&mut VecDeque<T>> {
        self.0.as_deref_mut()
    }

    /// Takes them all, and gives the memory back.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.0.take().into_iter().flat_map(|queue| *queue)
    }

    /// Forgets them all, and keeps the memory unless it is much.
    #[inline]
    pub(crate) fn clear(&mut self) {
        const MAX_CAPACITY: usize = 16;
        if let Some(queue) = &mut self.0 {
            queue.clear_to_capacity(MAX_CAPACITY);
        }
    }
}
