//! The torn-down frameworks in their order: the newest are remembered, the oldest forgotten.

use std::collections::{BTreeMap, HashSet};

use mezzo_api::ids::FrameworkId;

use crate::registry::MAX_COMPLETED;

/// All that are remembered.
#[derive(Debug, Default)]
pub(super) struct TornDown {
    by_number: BTreeMap<u64, FrameworkId>,
    known: HashSet<FrameworkId>,
}

impl TornDown {
    /// As read.
    pub(super) fn new(found: Vec<(u64, FrameworkId)>) -> Self {
        let mut all = Self::default();
        for (number, id) in found {
            // Numbers are never given twice; should two meet all the same, both are kept.
            let number = if all.by_number.contains_key(&number) { all.next() } else { number };
            all.known.insert(id.clone());
            all.by_number.insert(number, id);
        }
        all
    }

    /// One more: its number, and whom to forget. `None` if it is remembered already.
    pub(super) fn add(&mut self, id: &FrameworkId) -> Option<(u64, Vec<FrameworkId>)> {
        if !self.known.insert(id.clone()) {
            return None;
        }
        let number = self.next();
        self.by_number.insert(number, id.clone());
        let mut forgotten = Vec::new();
        while self.by_number.len() > MAX_COMPLETED {
            let Some((_, oldest)) = self.by_number.pop_first() else { break };
            self.known.remove(&oldest);
            forgotten.push(oldest);
        }
        Some((number, forgotten))
    }

    /// The number of one that is remembered.
    pub(super) fn number(&self, id: &FrameworkId) -> Option<u64> {
        self.by_number.iter().rev().find(|(_, known)| *known == id).map(|(number, _)| *number)
    }

    fn next(&self) -> u64 {
        self.by_number.last_key_value().map_or(0, |(number, _)| number + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_nobody_is_remembered_twice() {
        let mut all = TornDown::new((0..MAX_COMPLETED as u64).map(|n| (n, format!("f{n}").into())).collect());
        assert_eq!(all.add(&"f3".into()), None);
        let (number, forgotten) = all.add(&"new".into()).unwrap();
        assert_eq!((number, forgotten), (MAX_COMPLETED as u64, vec!["f0".into()]));
        assert_eq!(all.number(&"new".into()), Some(number));
        assert!(all.add(&"f0".into()).is_some());
    }
}
