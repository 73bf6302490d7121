//! An agent that missed its pings is unreachable, not before it was silent for 5 times 15 s and not much later; and
//! agents of the registry that a new leader waits for, not before they had their time to come back
//! (docs/architecture.md, 7; src/master/master.cpp of apache/mesos, SlaveObserver).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mezzo_api::ids::AgentId;
use mezzo_master_core::{effect::Change, registry::RegistryOp};

use super::{Books, Invariant};
use crate::{fact::Fact, fault::Fault, ids::ProcessId, plan::Plan, time::Moment, world::World};

/// See the module.
#[derive(Debug)]
pub(super) struct Silence {
    looked: BTreeMap<ProcessId, Moment>,
    /// Removals that are being written.
    asked: BTreeSet<(ProcessId, AgentId)>,
    /// No master was ever held up.
    punctual: bool,
}

/// What clocks that run too fast make of 75 s.
const SHORTEST: Duration = Duration::from_millis(74_900);
/// Silence is counted in intervals: one begun, five missed, and the registry.
const LONGEST: Duration = Duration::from_secs(110);
const REREGISTRATION: Duration = Duration::from_millis(599_300);

impl Silence {
    pub(super) fn new(plan: &Plan) -> Self {
        let held_up = |fault: &Fault| {
            matches!(
                fault,
                Fault::Freeze(crate::ids::Host::Master(_), _) | Fault::SlowRegistry(..) | Fault::UnknownOutcomes(..)
            )
        };
        Self {
            looked: BTreeMap::new(),
            asked: BTreeSet::new(),
            punctual: !plan.elected
                && plan.lifecycle.removal_rate_limit.is_none()
                && !plan.faults.iter().any(|planned| held_up(&planned.fault)),
        }
    }
}

impl Invariant for Silence {
    fn name(&self) -> &'static str {
        "silence"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, books: &Books, world: &World) -> Result<(), String> {
        match fact {
            Fact::Asked(process, operations) => {
                let Some(master) = books.masters.get(process) else { return Ok(()) };
                for operation in operations.iter() {
                    let RegistryOp::MarkUnreachable(id, _) = operation else { continue };
                    if !self.asked.insert((*process, id.clone())) {
                        continue; // again, since nobody knows what became of it
                    }
                    let (silent, least) = match master.heard.get(id) {
                        Some(heard) => (world.now - *heard, SHORTEST),
                        None => (world.now - master.begun, REREGISTRATION),
                    };
                    if silent < least {
                        return Err(format!("agent {id} counts as unreachable after {silent:?}"));
                    }
                }
                Ok(())
            }
            Fact::Published(process, change) => {
                if let Change::AgentRemoved(id, _) = &**change {
                    self.asked.remove(&(*process, id.clone()));
                }
                Ok(())
            }
            Fact::FromAgent(process, ..) | Fact::Event(process, ..) if self.punctual => {
                let looked = self.looked.entry(*process).or_default();
                if world.now - *looked < Duration::from_secs(10) {
                    return Ok(());
                }
                *looked = world.now;
                let Some(master) = books.masters.get(process) else { return Ok(()) };
                match master.heard.iter().find(|(_, heard)| world.now - **heard > LONGEST) {
                    Some((id, heard)) => Err(format!("agent {id} is silent for {:?}", world.now - *heard)),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
