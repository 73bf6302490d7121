//! A driver does not take a stream for alive on which nothing comes: after five missed heartbeats of 15 s it gives it up
//! and subscribes again (docs/scheduler-http-api.md of apache/mesos, HEARTBEAT). Else its framework, which no master
//! reaches, is not told so, for as long as its kernel keeps the connection.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mezzo_sdk_core::scheduler::Event;

use super::{Books, Invariant};
use crate::{fact::Fact, fault::Fault, ids::Host, plan::Plan, time::Moment, world::World};

/// See the module.
#[derive(Debug)]
pub(super) struct Attention {
    /// When each framework that believes itself subscribed last heard something on its stream.
    heard: BTreeMap<u16, Moment>,
    /// Frameworks that stand still now and then: what they do comes late.
    frozen: BTreeSet<u16>,
}

/// Five heartbeats of 15 s, by a clock that runs too slow.
const LONGEST: Duration = Duration::from_millis(75_100);

impl Attention {
    pub(super) fn new(plan: &Plan) -> Self {
        let frozen = plan.faults.iter().filter_map(|planned| match planned.fault {
            Fault::Freeze(Host::Framework(framework), _) => Some(framework),
            _ => None,
        });
        Self { heard: BTreeMap::new(), frozen: frozen.collect() }
    }
}

impl Invariant for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, _books: &Books, world: &World) -> Result<(), String> {
        match fact {
            Fact::Told(framework, event) => match &**event {
                Event::Subscribed(_) if !self.frozen.contains(framework) => {
                    self.heard.insert(*framework, world.now);
                }
                Event::Disconnected { .. } | Event::Ended(_) => drop(self.heard.remove(framework)),
                _ => {}
            },
            Fact::SchedulerEnded(framework, _) => drop(self.heard.remove(framework)),
            Fact::Delivered { framework, .. } => {
                if let Some(heard) = self.heard.get_mut(framework) {
                    *heard = world.now;
                }
            }
            // Something that comes again and again while anything lives.
            Fact::Said(..) | Fact::Sent(..) => {
                if let Some((framework, heard)) = self.heard.iter().find(|(_, heard)| world.now - **heard > LONGEST) {
                    let silent = world.now - *heard;
                    return Err(format!("framework{framework} takes its stream for alive after {silent:?} of silence"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
