//! A map that remembers which of its entries were handed out to be changed: so that the simulator can check after each
//! step what the step touched, and not all that the agent has.

use std::{borrow::Borrow, collections::BTreeMap, ops::Deref};

/// With more than this nobody looks; then everything counts as touched.
const MOST_TOUCHED: usize = 64;

/// Keys that were touched, or too many to be told.
#[derive(Debug)]
pub(crate) struct Touched<K>(Vec<K>);

impl<K: Clone + Ord> Touched<K> {
    pub(crate) fn add(&mut self, key: &K) {
        if self.0.len() < MOST_TOUCHED && self.0.last() != Some(key) {
            self.0.push(key.clone());
        }
    }

    /// What was touched since the last time, once each; `None` if that is too much.
    pub(crate) fn take(&mut self) -> Option<Vec<K>> {
        let mut touched = std::mem::take(&mut self.0);
        if touched.len() >= MOST_TOUCHED {
            return None;
        }
        touched.sort_unstable();
        touched.dedup();
        Some(touched)
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
    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (found, _) = self.map.get_key_value(key)?;
        self.touched.add(found);
        self.map.get_mut(key)
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
    pub(crate) fn take_touched(&mut self) -> Option<Vec<K>> {
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

    #[test]
    fn what_was_touched_is_told_once() {
        let mut map: Watched<u32, u32> = Watched::default();
        map.insert(1, 1);
        map.insert(2, 2);
        assert_eq!(map.take_touched(), Some(vec![1, 2]));
        assert_eq!(map.take_touched(), Some(vec![]));
        assert!(map.get(&1).is_some() && map.get_mut(&3).is_none());
        map.get_mut(&2);
        map.remove(&1);
        map.get_mut(&2);
        assert_eq!(map.take_touched(), Some(vec![1, 2]));
    }

    #[test]
    fn too_much_is_everything() {
        let mut map: Watched<usize, ()> = Watched::default();
        for key in 0..MOST_TOUCHED {
            map.insert(key, ());
        }
        assert_eq!(map.take_touched(), None);
        assert_eq!(map.take_touched(), Some(vec![]));
    }
}
