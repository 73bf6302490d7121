//! After a change of masters: where somebody is promised something, nothing is offered before most agents are back, else
//! the first ones would be given away to others (src/master/allocator/mesos/hierarchical.cpp, recover).

use std::time::Duration;

use super::Allocator;
use crate::{keys::AgentKey, maps::HashSet};

/// The time until enough agents are back.
#[derive(Debug)]
pub(super) struct Recovery {
    missing: usize,
    back: HashSet<AgentKey>,
    until: Duration,
}

impl Allocator {
    /// This leader begins with so many agents in the registry.
    pub(crate) fn recover(&mut self, now: Duration, agents: usize, factor: f64, timeout: Duration) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a part of a count
        let missing = (agents as f64 * factor.clamp(0.0, 1.0)) as usize;
        if missing > 0 {
            self.recovery = Some(Recovery { missing, back: HashSet::default(), until: now.saturating_add(timeout) });
        }
    }

    pub(super) fn agent_is_back(&mut self, key: AgentKey) {
        let Some(recovery) = &mut self.recovery else { return };
        recovery.back.insert(key);
        if recovery.back.len() >= recovery.missing {
            self.recovery = None;
        }
    }

    /// Until when nothing is offered at the latest.
    pub(crate) fn paused_until(&self) -> Option<Duration> {
        self.recovery.as_ref().filter(|_| self.tree.has_quotas()).map(|recovery| recovery.until)
    }

    pub(super) fn is_paused(&mut self, now: Duration) -> bool {
        if self.recovery.as_ref().is_some_and(|recovery| recovery.until <= now) {
            self.recovery = None;
        }
        self.paused_until().is_some()
    }
}
