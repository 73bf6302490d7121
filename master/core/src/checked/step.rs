//! What one step touched and changed; kept for its room.

use bytes::Bytes;

use super::Held;
use crate::keys::{AgentKey, FrameworkKey, OfferNumber, TaskKey};

/// What a step touched: every list is filled anew.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) tasks: Vec<TaskKey>,
    /// Those of the tasks that are there and were not, or were otherwise.
    pub(super) fresh: Vec<(TaskKey, Held)>,
    /// Of offers, or of inverse offers.
    pub(super) offers: Vec<OfferNumber>,
    pub(super) operations: Vec<Bytes>,
    pub(super) agents: Vec<AgentKey>,
    pub(super) frameworks: Vec<FrameworkKey>,
    pub(super) changed: Changed,
    /// Agents of which the sum of all parts is to be looked at.
    pub(super) unbalanced: Vec<AgentKey>,
}

/// What a step changed.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) agents: Vec<AgentKey>,
    pub(super) frameworks: Vec<FrameworkKey>,
    pub(super) pairs: Vec<(FrameworkKey, AgentKey)>,
}

impl Changed {
    pub(super) fn add(&mut self, framework: FrameworkKey, agent: AgentKey) {
        self.agents.push(agent);
        self.frameworks.push(framework);
        self.pairs.push((framework, agent));
    }

    pub(super) fn clear(&mut self) {
        self.agents.clear();
        self.frameworks.clear();
        self.pairs.clear();
    }
}
