//! An agent that has seen a leader does nothing for one of an older term (docs/architecture.md, 4).

use std::collections::BTreeMap;

use super::{Books, Invariant};
use crate::{
    fact::{self, End, Fact},
    world::World,
};

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    now: u64,
    recorded: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Terms {
    agents: BTreeMap<u16, Seen>,
}

impl Invariant for Terms {
    fn name(&self) -> &'static str {
        "terms"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, _books: &Books, _world: &World) -> Result<(), String> {
        match fact {
            Fact::Heard { agent, term, message, effects } => {
                let seen = self.agents.entry(*agent).or_default();
                if *term < seen.now && *effects > 0 {
                    let message = fact::to_agent(message);
                    return Err(format!("agent{agent} obeys {message} of term {term} after term {}", seen.now));
                }
                seen.now = seen.now.max(*term);
            }
            Fact::Recorded(agent, record, _) => {
                if let Some(term) = record.says.term {
                    let seen = self.agents.entry(*agent).or_default();
                    seen.recorded = seen.recorded.max(term);
                }
            }
            Fact::AgentEnded { agent, how, .. } => {
                let seen = self.agents.entry(*agent).or_default();
                if *how == End::PowerCut {
                    seen.recorded = 0; // not synced: it may be lost
                }
                seen.now = seen.recorded;
            }
            _ => {}
        }
        Ok(())
    }
}
