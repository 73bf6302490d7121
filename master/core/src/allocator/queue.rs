//! Agents that are to be looked at because somebody wants them: often all of them at once, and again before the last ones
//! have had their turn.

use super::filters::slot_of;
use crate::keys::AgentKey;

/// A set that gives its members back in any order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Those that were taken out of turn are still in here.
    agents: Vec<AgentKey>,
    /// Who waits, by slot.
    waiting: Vec<u64>,
    count: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn insert(&mut self, agent: AgentKey) {
        let (word, bit) = place(agent);
        if self.waiting.len() <= word {
            self.waiting.resize(word + 1, 0);
        }
        if self.waiting[word] & bit == 0 {
            self.waiting[word] |= bit;
            self.count += 1;
            self.agents.push(agent);
        }
    }

    /// Its turn has come elsewhere, or it is gone.
    pub(super) fn remove(&mut self, agent: AgentKey) {
        let (word, bit) = place(agent);
        if self.waiting.get(word).is_some_and(|waiting| waiting & bit != 0) {
            self.waiting[word] &= !bit;
            self.count -= 1;
        }
        if self.count == 0 {
            self.agents.clear();
        }
    }

    /// Takes one out; `draw` gives a number below its argument.
    pub(super) fn pop(&mut self, mut draw: impl FnMut(usize) -> usize) -> Option<AgentKey> {
        while self.count > 0 {
            let agent = self.agents.swap_remove(draw(self.agents.len()));
            let (word, bit) = place(agent);
            if self.waiting[word] & bit != 0 {
                self.remove(agent);
                return Some(agent);
            }
        }
        None
    }
}

fn place(agent: AgentKey) -> (usize, u64) {
    let slot = slot_of(agent);
    (slot / 64, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn each_has_one_turn() {
        let mut keys: SlotMap<AgentKey, ()> = SlotMap::with_key();
        let agents: Vec<AgentKey> = (0..200).map(|_| keys.insert(())).collect();
        let mut queue = Queue::default();
        agents.iter().for_each(|agent| queue.insert(*agent));
        agents.iter().step_by(3).for_each(|agent| queue.remove(*agent));
        agents.iter().step_by(6).for_each(|agent| queue.insert(*agent));
        let expected: BTreeSet<AgentKey> =
            (0..200).filter(|at| at % 3 != 0 || at % 6 == 0).map(|at| agents[at]).collect();
        let mut seen = BTreeSet::new();
        while let Some(agent) = queue.pop(|below| below / 2) {
            assert!(seen.insert(agent), "{agent:?} twice");
        }
        assert_eq!(seen, expected);
        assert!(queue.is_empty());
    }
}
