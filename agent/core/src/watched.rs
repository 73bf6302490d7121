//! A map that remembers which of its entries were handed out to be changed: so that the simulator can check after each
//! step what the step touched, and not all that the agent has.

use std::{borrow::Borrow, collections::BTreeMap, ops::Deref, vec};

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

    /// What was touched since the last time, once each; `None` if that is too much. The room for it stays.
    pub(crate) fn take(&mut self) -> Option<vec::Drain<'_, K>> {
        if self.0.len() >= MOST_TOUCHED {
            self.0.clear();
            return None;
        }
        if self.0.len() > 1 {
            self.0.sort_unstable();
            self.0.dedup();
        }
        Some(self.0.drain(..))
    }
}

impl<K> Default for Touched<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Watched<K, V> {
    map: BTreeMap<K, V>,
    touched: Touched<K>,
}

impl<K: Clone + Ord, V> Watched<K, V> {
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let value = self.map.get_mut(key)?;
        self.touched.add(key);
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.touched.add(&key);
        self.map.insert(key, value)
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (found, value) = self.map.remove_entry(key)?;
        self.touched.add(&found);
        Some(value)
    }

    /// What was touched since the last time, once each; `None` if that is too much.
    pub(crate) fn take_touched(&mut self) -> Option<vec::Drain<'_, K>> {
        self.touched.take()
    }
}

impl<K, V> Default for Watched<K, V> {
    fn default() -> Self {
        Self { map: BTreeMap::new(), touched: Touched::default() }
    }
}

impl<K, V> Deref for Watched<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touched<V>(map: &mut Watched<usize, V>) -> Option<Vec<usize>> {
        map.take_touched().map(Iterator::collect)
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
    fn too_much_is_everything() {
        let mut map: Watched<usize, ()> = Watched::default();
        for key in 0..MOST_TOUCHED {
            map.insert(key, ());
        }
        assert_eq!(touched(&mut map), None);
        assert_eq!(touched(&mut map), Some(vec![]));
    }
}
