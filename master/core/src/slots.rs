//! Entities by key, which remember those that were handed out to be changed: so that the simulator can check after each
//! step what the step touched, and not the whole cluster.

use std::ops::Deref;

use slotmap::{Key, SlotMap};

/// With more than this nobody looks; then everything counts as touched.
const MOST_TOUCHED: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Slots<K: Key, V> {
    map: SlotMap<K, V>,
    touched: Vec<K>,
}

impl<K: Key, V> Slots<K, V> {
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.touch(key);
        self.map.get_mut(key)
    }

    pub(crate) fn insert(&mut self, value: V) -> K {
        let key = self.map.insert(value);
        self.touch(key);
        key
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        self.map.remove(key)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.touched.extend(self.map.keys().take(MOST_TOUCHED));
        self.map.values_mut()
    }

    /// What was touched since the last time, once each and as far as it is still there; `None` if that is too much.
    pub(crate) fn take_touched(&mut self) -> Option<Vec<K>> {
        let mut touched = std::mem::take(&mut self.touched);
        if touched.len() >= MOST_TOUCHED {
            return None;
        }
        touched.sort_unstable();
        touched.dedup();
        touched.retain(|key| self.map.contains_key(*key));
        Some(touched)
    }

    fn touch(&mut self, key: K) {
        if self.touched.len() < MOST_TOUCHED && self.touched.last() != Some(&key) {
            self.touched.push(key);
        }
    }
}

impl<K: Key, V> Default for Slots<K, V> {
    fn default() -> Self {
        Self { map: SlotMap::with_key(), touched: Vec::new() }
    }
}

impl<K: Key, V> Deref for Slots<K, V> {
    type Target = SlotMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

impl<'a, K: Key, V> IntoIterator for &'a Slots<K, V> {
    type Item = (K, &'a V);
    type IntoIter = slotmap::basic::Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.map.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    slotmap::new_key_type! { struct Number; }

    #[test]
    fn what_was_touched_is_told_once() {
        let mut slots: Slots<Number, u32> = Slots::default();
        let (one, two) = (slots.insert(1), slots.insert(2));
        assert_eq!(slots.take_touched(), Some(vec![one, two]));
        assert_eq!(slots.take_touched(), Some(vec![]));
        slots.get_mut(two);
        slots.get_mut(one);
        slots.get_mut(two);
        slots.remove(one);
        assert_eq!(slots.take_touched(), Some(vec![two]));
        slots.values_mut().for_each(|value| *value += 1);
        assert_eq!(slots.take_touched(), Some(vec![two]));
    }

    #[test]
    fn too_much_is_everything() {
        let mut slots: Slots<Number, usize> = Slots::default();
        for value in 0..=MOST_TOUCHED {
            slots.insert(value);
        }
        assert_eq!(slots.take_touched(), None);
        assert_eq!(slots.take_touched(), Some(vec![]));
    }
}
