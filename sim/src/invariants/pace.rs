//! A master that is told a pace gives up no two agents faster (src/master/flags.cpp of apache/mesos,
//! agent_removal_rate_limit).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mezzo_api::ids::AgentId;
use mezzo_master_core::{effect::Change, registry::RegistryOp};

use super::{Books, Invariant};
use crate::{fact::Fact, ids::ProcessId, plan::Plan, time::Moment, world::World};

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Option<Duration>,
    latest: BTreeMap<ProcessId, Moment>,
    /// Removals that are being written, which may be asked for again.
    asked: BTreeSet<(ProcessId, AgentId)>,
}

impl Pace {
    pub(super) fn new(plan: &Plan) -> Self {
        // A clock that runs too fast makes it a little shorter.
        let interval = plan.lifecycle.removal_rate_limit.map(|limit| limit.interval() * 999 / 1000);
        Self { interval, latest: BTreeMap::new(), asked: BTreeSet::new() }
    }
}

impl Invariant for Pace {
    fn name(&self) -> &'static str {
        "pace"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, _books: &Books, world: &World) -> Result<(), String> {
        let Some(interval) = self.interval else { return Ok(()) };
        match fact {
            Fact::Asked(process, operations) => {
                for operation in operations.iter() {
                    let RegistryOp::MarkUnreachable(id, _) = operation else { continue };
                    if !self.asked.insert((*process, id.clone())) {
                        continue;
                    }
                    let before = self.latest.insert(*process, world.now);
                    if let Some(before) = before.filter(|before| world.now - *before < interval) {
                        let after = world.now - before;
                        return Err(format!("agent {id} is given up {after:?} after another one, not {interval:?}"));
                    }
                }
                Ok(())
            }
            Fact::Published(process, change) => {
                if let Change::AgentRemoved(id, _) | Change::RecoveredAgent(id, None) = &**change {
                    self.asked.remove(&(*process, id.clone()));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
