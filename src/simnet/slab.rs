//! A slab that reuses the memory of freed entries.
//!
//! A connection is as large as ten cache lines. Building it elsewhere and moving it into the slab,
//! and out again at its end, would take a tenth of a dial. So an entry is initialised in place.

use crate::util::cold::{ClearToCapacity, cold};

/// An entry whose memory is used again.
pub(crate) trait SlabEntry: Default {
    /// Whether it is in use.
    fn is_used(&self) -> bool;
}

/// Things by number. The number that was given back last is the next to be given out.
#[derive(Debug, Default)]
pub(crate) struct RecyclingSlab<T> {
    entries: Vec<T>,
    free: Vec<u32>,
}

impl<T: SlabEntry> RecyclingSlab<T> {
    /// Gives a number, and what is to begin there: as new, or as another has left it.
    #[inline]
    pub(crate) fn insert(&mut self) -> (usize, &mut T) {
        let index = match self.free.pop() {
            Some(index) => index as usize,
            None => {
                self.entries.push(T::default());
                self.entries.len() - 1
            }
        };
        (index, &mut self.entries[index])
    }

    /// Takes a number back; what was there is not in use any more.
    #[inline]
    pub(crate) fn free(&mut self, index: usize) {
        debug_assert!(!self.entries[index].is_used(), "number {index} is in use");
        self.free.push(index as u32);
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.entries.get(index).filter(|thing| thing.is_used())
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.entries.get_mut(index).filter(|thing| thing.is_used())
    }

    /// The same for an entry that is known to be in use.
    #[inline]
    pub(crate) fn get_used(&mut self, index: usize) -> Option<&mut T> {
        let entry = self.entries.get_mut(index);
        debug_assert!(entry.as_ref().is_none_or(|entry| entry.is_used()), "{index} is not in use");
        entry
    }

    /// The entries in use, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.entries.iter().enumerate().filter(|(_, thing)| thing.is_used())
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.entries.iter_mut().enumerate().filter(|(_, thing)| thing.is_used())
    }

    /// Begins with number 0 again: drops the entries in use, and keeps the memory of at most
    /// `max_capacity` others.
    pub(crate) fn clear(&mut self, max_capacity: usize) {
        if self.free.len() < self.entries.len() {
            cold(|| {
                let used = self.entries.iter_mut().filter(|thing| thing.is_used());
                used.for_each(|thing| *thing = T::default());
            });
        }
        if self.entries.capacity() > max_capacity {
            cold(|| {
                self.entries.truncate(max_capacity);
                self.entries.shrink_to(max_capacity);
            });
        }
        self.free.clear_to_capacity(max_capacity);
        self.free.extend((0..self.entries.len() as u32).rev());
    }
}

#[cfg(test)]
mod tests {
    use super::{RecyclingSlab, SlabEntry};

    #[derive(Default)]
    struct TestEntry {
        name: Option<char>,
        history: Vec<char>,
    }

    impl SlabEntry for TestEntry {
        fn is_used(&self) -> bool {
            self.name.is_some()
        }
    }

    #[inline]
    fn insert_named(slab: &mut RecyclingSlab<TestEntry>, name: char) -> usize {
        let (index, entry) = slab.insert();
        entry.name = Some(name);
        entry.history.push(name);
        index
    }

    fn names(slab: &RecyclingSlab<TestEntry>) -> String {
        slab.iter().filter_map(|(_, thing)| thing.name).collect()
    }

    #[test]
    fn freed_slot_is_reused_with_its_memory() {
        let mut slab = RecyclingSlab::default();
        assert_eq!(['a', 'b', 'c'].map(|name| insert_named(&mut slab, name)), [0, 1, 2]);
        for index in [0, 1] {
            slab.get_mut(index).unwrap().name = None;
            slab.free(index);
        }
        assert!(slab.get(0).is_none() && slab.get_mut(1).is_none() && slab.get(3).is_none());
        assert_eq!(names(&slab), "c");
        assert_eq!((insert_named(&mut slab, 'd'), names(&slab)), (1, "dc".to_string()));
        assert_eq!(slab.get(1).unwrap().history, ['b', 'd']);
        slab.clear(2);
        assert_eq!((names(&slab), slab.iter_mut().count()), (String::new(), 0));
        assert_eq!(['e', 'f', 'g'].map(|name| insert_named(&mut slab, name)), [0, 1, 2]);
        assert_eq!(slab.get(0).unwrap().history, ['a', 'e'], "its memory is kept");
        assert_eq!(slab.get(1).unwrap().history, ['f'], "what was in use is not");
    }
}
