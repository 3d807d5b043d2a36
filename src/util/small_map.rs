//! `SmallMap`: a sorted map with room for four entries inline.
//!
//! Most hosts have two sockets, and most networks three names. A tree allocates for the first
//! entry and takes three times as long for a lookup and for the drop. The map becomes a tree when
//! a fifth entry is inserted.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use arrayvec::ArrayVec;

use crate::util::cold::cold;

/// Things found by a key, in the order of the keys.
#[derive(Debug)]
pub(crate) enum SmallMap<K, V> {
    /// Sorted.
    Inline(ArrayVec<(K, V), 4>),
    Spilled(BTreeMap<K, V>),
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self::Inline(ArrayVec::new_const())
    }
}

impl<K: Ord, V> SmallMap<K, V> {
    /// Finds a key and what belongs to it.
    #[inline]
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Inline(few) => {
                few.iter().find(|(k, _)| k.borrow() == key).map(|(k, value)| (k, value))
            }
            Self::Spilled(many) => cold(|| many.get_key_value(key)),
        }
    }

    /// Finds what belongs to a key, to be changed.
    #[inline]
    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Inline(few) => {
                few.iter_mut().find(|(k, _)| k.borrow() == key).map(|(_, value)| value)
            }
            Self::Spilled(many) => cold(|| many.get_mut(key)),
        }
    }

    /// Puts in what `make` makes, unless its key is here already. Returns whether it was not.
    ///
    /// It is made where it stays: to move it there would take longer than to make it.
    #[inline]
    pub(crate) fn insert<Q: Ord + ?Sized>(&mut self, key: &Q, make: impl FnOnce() -> (K, V)) -> bool
    where
        K: Borrow<Q>,
    {
        if let Self::Inline(few) = self {
            let index = few.iter().take_while(|(k, _)| k.borrow() < key).count();
            if few.get(index).is_some_and(|(k, _)| k.borrow() == key) {
                return false;
            }
            if !few.is_full() {
                few.push(make());
                if index + 1 < few.len() {
                    cold(|| few[index..].rotate_right(1));
                }
                return true;
            }
        }
        cold(|| {
            let many = self.spill();
            let is_new = !many.contains_key(key);
            if is_new {
                many.extend([make()]);
            }
            is_new
        })
    }

    /// Finds what belongs to a key, which is the default of its type at first.
    #[inline]
    pub(crate) fn or_default(&mut self, key: K) -> &mut V
    where
        K: Copy,
        V: Default,
    {
        if matches!(self, Self::Inline(_)) {
            self.insert(&key, || (key, V::default()));
        }
        match self {
            Self::Inline(few) => match few.iter_mut().find(|(k, _)| *k == key) {
                Some((_, value)) => value,
                None => unreachable!("it was put in"),
            },
            Self::Spilled(many) => cold(|| many.entry(key).or_default()),
        }
    }

    fn spill(&mut self) -> &mut BTreeMap<K, V> {
        if let Self::Inline(few) = self {
            *self = Self::Spilled(few.drain(..).collect());
        }
        match self {
            Self::Spilled(many) => many,
            Self::Inline(_) => unreachable!("there are many by now"),
        }
    }

    /// Takes out what belongs to a key.
    #[inline]
    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Inline(few) => {
                let index = few.iter().position(|(k, _)| k.borrow() == key)?;
                Some(few.remove(index).1)
            }
            Self::Spilled(many) => cold(|| many.remove(key)),
        }
    }

    /// Forgets them all.
    #[inline]
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Inline(few) => few.clear(),
            Self::Spilled(_) => cold(|| *self = Self::default()),
        }
    }

    /// Goes through all keys, in their order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        let (few, many) = match self {
            Self::Inline(few) => (&few[..], None),
            Self::Spilled(many) => (&[][..], Some(many)),
        };
        few.iter().map(|(key, _)| key).chain(many.into_iter().flat_map(BTreeMap::keys))
    }

    /// Goes through all things, in the order of their keys.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        let (few, many) = match self {
            Self::Inline(few) => (&mut few[..], None),
            Self::Spilled(many) => (&mut [][..], Some(many)),
        };
        let few = few.iter_mut().map(|(key, value)| (&*key, value));
        few.chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::SmallMap;

    fn insert(map: &mut SmallMap<i32, i32>, key: i32, value: i32) -> bool {
        map.insert(&key, || (key, value))
    }

    #[test]
    fn few_or_many_it_is_a_sorted_map() {
        for count in [3, 4, 5, 100] {
            let mut map = SmallMap::default();
            // 37 is prime to all of them, so that every key comes once, in no order.
            (0..count).for_each(|n| assert!(insert(&mut map, n * 37 % count, n * 37 % count * 10)));
            assert!((0..count).all(|key| !insert(&mut map, key, 0)));
            assert_eq!((map.get(&1), map.get(&count)), (Some((&1, &10)), None));
            assert_eq!((map.remove(&1), map.remove(&1), map.get_mut(&1)), (Some(10), None, None));
            assert!(insert(&mut map, 1, 11));
            assert_eq!(map.get_mut(&1), Some(&mut 11));
            assert_eq!(map.remove(&1), Some(11));
            *map.or_default(1) += 5;
            *map.or_default(1) += 5;
            assert_eq!((map.remove(&1), map.keys().count()), (Some(10), count as usize - 1));
            assert!(map.keys().copied().eq((0..count).filter(|key| *key != 1)));
            let rest: Vec<(i32, i32)> = map.iter_mut().map(|(key, value)| (*key, *value)).collect();
            let expected = (0..count).filter(|key| *key != 1).map(|key| (key, 10 * key));
            assert_eq!(rest, expected.collect::<Vec<_>>());
        }
    }
}
