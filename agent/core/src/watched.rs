//! A map that remembers which of its entries were handed out to be changed: so that the simulator can check after each
//! step what the step touched, and not all that the agent has.

use std::hash::Hash;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

/// With more than this nobody looks; then everything counts as touched.
const MOST_TOUCHED: usize = 64;

/// Keys that were touched, or too many to be told.
#[derive(Debug)]
pub(crate) struct Touched<K>(Vec<K>);

impl<K: Clone + Ord> Touched<K> {
    fn add(&mut self, key: &K) {
        self.add_unless(|last| last == key, || key.clone());
    }

    /// Adds what `key` makes, if the last one that was touched is not `same`.
    pub(crate) fn add_unless(&mut self, same: impl FnOnce(&K) -> bool, key: impl FnOnce() -> K) {
        if self.0.len() < MOST_TOUCHED && !self.0.last().is_some_and(same) {
            self.0.push(key());
        }
    }

    /// Moves what was touched since the last time to `into`, once each; `false` if that is too much.
    pub(crate) fn take(&mut self, into: &mut Vec<K>) -> bool {
        if self.0.len() >= MOST_TOUCHED {
            self.0.clear();
            return false;
        }
        if self.0.len() > 1 {
            self.0.sort_unstable();
            self.0.dedup();
        }
        into.append(&mut self.0);
        true
    }
}

impl<K> Default for Touched<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// For maps in which much is looked up by key, and little is gone through.
pub(crate) type Map<K, V> = IndexMap<K, V, RandomState>;

/// What is in a map, in order of the keys.
pub(crate) fn in_order<K: Ord, V>(map: &Map<K, V>) -> impl Iterator<Item = (&K, &V)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries.into_iter()
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Watched<K, V> {
    map: Map<K, V>,
    touched: Touched<K>,
}

impl<K: Clone + Ord + Hash, V> Watched<K, V> {
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// In order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        in_order(&self.map).map(|(key, _)| key)
    }

    /// In order of their keys.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        in_order(&self.map).map(|(_, value)| value)
    }

    /// In order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        in_order(&self.map)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let value = self.map.get_mut(key)?;
        self.touched.add(key);
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.touched.add(&key);
        self.map.insert(key, value)
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let value = self.map.swap_remove(key)?;
        self.touched.add(key);
        Some(value)
    }

    /// Moves what was touched since the last time to `into`, once each; `false` if that is too much.
    pub(crate) fn take_touched(&mut self, into: &mut Vec<K>) -> bool {
        self.touched.take(into)
    }
}

impl<K, V> Default for Watched<K, V> {
    fn default() -> Self {
        Self { map: Map::default(), touched: Touched::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touched<V>(map: &mut Watched<usize, V>) -> Option<Vec<usize>> {
        let mut touched = Vec::new();
        map.take_touched(&mut touched).then_some(touched)
    }

    #[test]
    fn what_was_touched_is_told_once() {
        let mut map: Watched<usize, usize> = Watched::default();
        map.insert(1, 1);
        map.insert(2, 2);
        assert_eq!(touched(&mut map), Some(vec![1, 2]));
        assert_eq!(touched(&mut map), Some(vec![]));
        assert!(map.get(&1).is_some() && map.get_mut(&3).is_none());
        map.get_mut(&2);
        map.remove(&1);
        map.get_mut(&2);
        assert_eq!(touched(&mut map), Some(vec![1, 2]));
    }

    #[test]
    fn it_is_gone_through_in_order() {
        let mut map: Watched<usize, usize> = Watched::default();
        for key in [5, 3, 9, 1] {
            map.insert(key, key + 1);
        }
        map.remove(&3);
        assert_eq!(map.keys().copied().collect::<Vec<_>>(), [1, 5, 9]);
        assert_eq!(map.values().copied().collect::<Vec<_>>(), [2, 6, 10]);
    }

    #[test]
    fn too_much_is_everything() {
        let mut map: Watched<usize, ()> = Watched::default();
        for key in 0..MOST_TOUCHED {
            map.insert(key, ());
        }
        assert_eq!(touched(&mut map), None);
        assert_eq!(touched(&mut map), Some(vec![]));
    }
}
