//! A framework that comes back within its failover timeout keeps its tasks: nobody but itself ends it before
//! (docs/architecture.md, 6; src/master/master.cpp of apache/mesos, frameworkFailoverTimeout).

use std::time::Duration;

use mezzo_master_core::registry::RegistryOp;

use super::{Books, Invariant};
use crate::{fact::Fact, world::World};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Failover;

impl Invariant for Failover {
    fn name(&self) -> &'static str {
        "failover"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, books: &Books, world: &World) -> Result<(), String> {
        let Fact::Asked(process, operations) = fact else { return Ok(()) };
        let Some(master) = books.masters.get(process) else { return Ok(()) };
        for operation in operations.iter() {
            let RegistryOp::CompleteFramework(id) = operation else { continue };
            if master.torn_down.contains(id.as_str()) {
                continue;
            }
            let (away, timeout) = match master.frameworks.get(id.as_str()) {
                Some(framework) if framework.stream.is_some() => {
                    return Err(format!("framework {id} is connected and is ended"));
                }
                Some(framework) => (world.now - framework.since, framework.info.failover_timeout()),
                // It never subscribed with this master: it is known from agents.
                None => {
                    let machine =
                        world.frameworks.iter().find(|machine| machine.ids.iter().any(|own| own == id.as_str()));
                    let timeout = machine.map_or(0.0, |machine| machine.info.failover_timeout());
                    (world.now - master.begun, timeout.max(600.0))
                }
            };
            // Clocks run too fast by up to 0.5 per mille.
            let least = Duration::try_from_secs_f64(timeout * 0.999).unwrap_or_default();
            if away < least {
                return Err(format!("framework {id} is ended after {away:?} of its {timeout} s"));
            }
        }
        Ok(())
    }
}
