//! Entities by key, which remember those that were handed out to be changed: so that the simulator can check after each
//! step what the step touched, and not the whole cluster.

use std::ops::{Deref, Index, IndexMut};

use slotmap::{Key, SecondaryMap, SlotMap};

/// With more than this nobody looks; then everything counts as touched.
const MOST_TOUCHED: usize = 1024;

/// Keys that were touched since the last time.
#[derive(Debug)]
pub(crate) struct Touched<K>(Vec<K>);

impl<K: Ord> Touched<K> {
    pub(crate) fn add(&mut self, key: K) {
        if self.0.len() < MOST_TOUCHED && self.0.last() != Some(&key) {
            self.0.push(key);
        }
    }

    fn extend(&mut self, keys: impl Iterator<Item = K>) {
        keys.for_each(|key| self.add(key));
    }

    /// Makes `keys` what was touched since the last time, once each, whether it is still there or not; false, and none
    /// of it, if that is too much. The room of `keys` is used for what will be touched.
    pub(crate) fn take(&mut self, keys: &mut Vec<K>) -> bool {
        keys.clear();
        if self.0.is_empty() {
            return true;
        }
        std::mem::swap(&mut self.0, keys);
        let all = keys.len() < MOST_TOUCHED;
        if all {
            once_each(keys)
        } else {
            keys.clear()
        }
        all
    }
}

/// In order, and nothing twice.
#[inline]
pub(crate) fn once_each<T: Ord>(list: &mut Vec<T>) {
    if list.len() > 1 {
        list.sort_unstable();
        list.dedup();
    }
}

impl<K> Default for Touched<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Slots<K: Key, V> {
    map: SlotMap<K, V>,
    touched: Touched<K>,
}

impl<K: Key, V> Slots<K, V> {
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.touched.add(key);
        self.map.get_mut(key)
    }

    pub(crate) fn insert(&mut self, value: V) -> K {
        let key = self.map.insert(value);
        self.touched.add(key);
        key
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        self.touched.add(key);
        self.map.remove(key)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.touched.extend(self.map.keys().take(MOST_TOUCHED));
        self.map.iter_mut()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.iter_mut().map(|(_, value)| value)
    }

    /// See [`Touched::take`].
    pub(crate) fn take_touched(&mut self, keys: &mut Vec<K>) -> bool {
        self.touched.take(keys)
    }
}

impl<K: Key, V> Default for Slots<K, V> {
    fn default() -> Self {
        Self { map: SlotMap::with_key(), touched: Touched::default() }
    }
}

impl<K: Key, V> Deref for Slots<K, V> {
    type Target = SlotMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

impl<K: Key, V> Index<K> for Slots<K, V> {
    type Output = V;

    fn index(&self, key: K) -> &V {
        &self.map[key]
    }
}

impl<K: Key, V> IndexMut<K> for Slots<K, V> {
    fn index_mut(&mut self, key: K) -> &mut V {
        self.touched.add(key);
        &mut self.map[key]
    }
}

impl<'a, K: Key, V> IntoIterator for &'a Slots<K, V> {
    type Item = (K, &'a V);
    type IntoIter = slotmap::basic::Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.map.iter()
    }
}

/// The same for what is kept beside entities, under their keys.
#[derive(Debug)]
pub(crate) struct Beside<K: Key, V> {
    map: SecondaryMap<K, V>,
    touched: Touched<K>,
}

impl<K: Key, V> Beside<K, V> {
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.touched.add(key);
        self.map.get_mut(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.touched.add(key);
        self.map.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        self.touched.add(key);
        self.map.remove(key)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.touched.extend(self.map.keys().take(MOST_TOUCHED));
        self.map.iter_mut()
    }

    /// See [`Touched::take`].
    pub(crate) fn take_touched(&mut self, keys: &mut Vec<K>) -> bool {
        self.touched.take(keys)
    }
}

impl<K: Key, V> Default for Beside<K, V> {
    fn default() -> Self {
        Self { map: SecondaryMap::new(), touched: Touched::default() }
    }
}

impl<K: Key, V> Deref for Beside<K, V> {
    type Target = SecondaryMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

impl<'a, K: Key, V> IntoIterator for &'a Beside<K, V> {
    type Item = (K, &'a V);
    type IntoIter = slotmap::secondary::Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.map.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    slotmap::new_key_type! { struct Number; }

    /// Nothing of what was there before stays.
    fn taken(touched: &mut Touched<Number>) -> Option<Vec<Number>> {
        let mut keys = vec![Number::default()];
        touched.take(&mut keys).then_some(keys)
    }

    #[test]
    fn what_was_touched_is_told_once() {
        let mut slots: Slots<Number, u32> = Slots::default();
        let (one, two) = (slots.insert(1), slots.insert(2));
        assert_eq!(taken(&mut slots.touched), Some(vec![one, two]));
        assert_eq!(taken(&mut slots.touched), Some(vec![]));
        slots.get_mut(two);
        slots[one] += 1;
        slots.get_mut(two);
        slots.remove(one);
        assert_eq!(taken(&mut slots.touched), Some(vec![one, two]), "what is gone was touched too");
        slots.values_mut().for_each(|value| *value += 1);
        assert_eq!(taken(&mut slots.touched), Some(vec![two]));
    }

    #[test]
    fn what_is_kept_beside_is_told_too() {
        let mut slots: Slots<Number, ()> = Slots::default();
        let key = slots.insert(());
        let mut beside: Beside<Number, u32> = Beside::default();
        beside.insert(key, 1);
        assert_eq!(taken(&mut beside.touched), Some(vec![key]));
        assert!(beside.contains_key(key));
        assert_eq!(taken(&mut beside.touched), Some(vec![]), "who only looks touches nothing");
        beside.remove(key);
        assert_eq!(taken(&mut beside.touched), Some(vec![key]));
    }

    #[test]
    fn too_much_is_everything() {
        let mut slots: Slots<Number, usize> = Slots::default();
        for value in 0..=MOST_TOUCHED {
            slots.insert(value);
        }
        let mut keys = vec![Number::default()];
        assert!(!slots.take_touched(&mut keys));
        assert_eq!(keys, []);
        assert_eq!(taken(&mut slots.touched), Some(vec![]));
    }
}
