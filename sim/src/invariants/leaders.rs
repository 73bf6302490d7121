//! One leads (docs/architecture.md, 4). Once a newer leader has begun, which claims the registry, nothing of an older one
//! becomes durable; and an older one says nothing any more, unless its place was taken from it by others
//! while it could not know. What is true of elections themselves (`election/invariants.rs`) is true within a cluster too.

use std::collections::BTreeMap;

use super::{Books, Invariant};
use crate::{fact::Fact, ids::ProcessId, time::Moment, world::World};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Leaders {
    /// The newest term, and since when.
    newest: (u64, Moment),
    terms: BTreeMap<ProcessId, u64>,
}

impl Leaders {
    fn term(&self, master: ProcessId) -> u64 {
        self.terms.get(&master).copied().unwrap_or_default()
    }
}

impl Invariant for Leaders {
    fn name(&self) -> &'static str {
        "leaders"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, _books: &Books, world: &World) -> Result<(), String> {
        let (newest, since) = self.newest;
        match fact {
            Fact::MasterStarted { master, term, .. } => {
                if *term <= newest {
                    return Err(format!("master{master} leads in term {term} after term {newest}"));
                }
                self.newest = (*term, world.now);
                self.terms.insert(*master, *term);
            }
            Fact::Durable(master, _) if self.term(*master) < newest => {
                let term = self.term(*master);
                return Err(format!("master{master} of term {term} writes after one of term {newest} has begun"));
            }
            Fact::ToAgent(master, ..) | Fact::Event(master, ..)
                if self.term(*master) < newest && world.now > since && world.leads_by_lease(*master) =>
            {
                let term = self.term(*master);
                return Err(format!("master{master} of term {term} acts although one of term {newest} leads"));
            }
            Fact::ElectionBroken(invariant, detail) => return Err(format!("{invariant}: {detail}")),
            _ => {}
        }
        Ok(())
    }
}
