//! A sorted map that nearly always has few entries.
//!
//! Knows keys and nothing else. Most hosts have two sockets and most networks three names: to
//! find a place among them, and to take the map apart in the end, costs a tree three times as much
//! as a vector. With many entries a vector would move half of them for each that comes or goes.

use std::borrow::Borrow;
use std::collections::BTreeMap;

/// Things found by a key, in the order of the keys.
#[derive(Debug)]
pub(crate) enum Few<K, V> {
    Few(Vec<(K, V)>),
    Many(BTreeMap<K, V>),
}

/// From so many entries on it is a tree.
const MANY: usize = 16;

impl<K: Ord, V> Few<K, V> {
    pub(crate) const fn new() -> Self {
        Self::Few(Vec::new())
    }

    /// Finds what belongs to a key.
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(few) => Some(&few.iter().find(|(k, _)| k.borrow() == key)?.1),
            Self::Many(many) => many.get(key),
        }
    }

    /// Finds what belongs to a key, to be changed.
    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(few) => Some(&mut few.iter_mut().find(|(k, _)| k.borrow() == key)?.1),
            Self::Many(many) => many.get_mut(key),
        }
    }

    /// Puts a thing in, and gives what had its key before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Self::Few(few) = self
            && few.len() == MANY
        {
            *self = Self::Many(few.drain(..).collect());
        }
        match self {
            Self::Few(few) => match few.binary_search_by(|(k, _)| k.cmp(&key)) {
                Ok(index) => Some(std::mem::replace(&mut few[index].1, value)),
                Err(index) => {
                    few.insert(index, (key, value));
                    None
                }
            },
            Self::Many(many) => many.insert(key, value),
        }
    }

    /// Takes out what belongs to a key.
    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(few) => {
                let index = few.iter().position(|(k, _)| k.borrow() == key)?;
                Some(few.remove(index).1)
            }
            Self::Many(many) => many.remove(key),
        }
    }

    /// Goes through all things in the order of their keys.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few), None),
            Self::Many(many) => (None, Some(many)),
        };
        let few = few.into_iter().flatten().map(|(_, value)| value);
        few.chain(many.into_iter().flat_map(BTreeMap::values_mut))
    }
}

#[cfg(test)]
mod tests {
    use super::Few;

    #[test]
    fn few_or_many_it_is_a_sorted_map() {
        for count in [3, 100] {
            let mut map = Few::new();
            // 37 is prime to both, so that every key comes once, in no order.
            let keys = || (0..count).map(|n| n * 37 % count);
            assert!(keys().all(|key| map.insert(key, key).is_none()));
            assert_eq!(map.insert(1, 7), Some(1));
            assert_eq!(map.get_mut(&1), Some(&mut 7));
            assert_eq!((map.get(&1), map.get(&count)), (Some(&7), None));
            assert_eq!((map.remove(&1), map.remove(&1), map.get_mut(&1)), (Some(7), None, None));
            let rest: Vec<i32> = map.values_mut().map(|value| *value).collect();
            assert_eq!(rest, (0..count).filter(|key| *key != 1).collect::<Vec<_>>());
        }
    }
}
