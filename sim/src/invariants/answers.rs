//! Each call is answered exactly once, and a call under another stream's id changes nothing: it is refused
//! (src/master/http.cpp of apache/mesos, scheduler). A master that the registry has fenced says nothing more
//! (docs/architecture.md, 4).

use std::{collections::BTreeMap, time::Duration};

use mezzo_master_core::input::RequestId;

use super::{Books, Invariant};
use crate::{fact::Fact, ids::ProcessId, time::Moment, world::World};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Operators that wait, and since when.
    operators: BTreeMap<(ProcessId, RequestId), Moment>,
}

/// Registry writes may be slow: a teardown is answered when it is durable.
const LONGEST: Duration = Duration::from_secs(300);

impl Invariant for Answers {
    fn name(&self) -> &'static str {
        "answers"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, books: &Books, world: &World) -> Result<(), String> {
        match fact {
            Fact::Answered(master, request, answer) => {
                let Some(master) = books.masters.get(master) else { return Ok(()) };
                let Some((_, right)) = master.unanswered.get(request) else {
                    return Err(format!("request {} is answered, and nobody waits for it", request.0));
                };
                if !right && answer.status < 400 {
                    return Err(format!("request {} had another stream's id and was taken", request.0));
                }
            }
            Fact::Operated(master, request, _) => drop(self.operators.insert((*master, *request), world.now)),
            Fact::OperatorTold(master, request, _) if self.operators.remove(&(*master, *request)).is_none() => {
                return Err(format!("operator's request {} is answered, and nobody waits for it", request.0));
            }
            Fact::MasterEnded { master, .. } => self.operators.retain(|(of, _), _| of != master),
            Fact::ToAgent(master, ..) | Fact::Event(master, ..)
                if books.masters.get(master).is_some_and(|master| master.fenced) =>
            {
                return Err(format!("master{master} goes on although the registry has refused it"));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, books: &Books, world: &World) -> Result<(), String> {
        for (process, master) in &books.masters {
            if let Some((request, _)) = master.unanswered.iter().find(|(_, (since, _))| world.now - *since > LONGEST) {
                return Err(format!("request {} to master{process} was never answered", request.0));
            }
        }
        match self.operators.iter().find(|(_, since)| world.now - **since > LONGEST) {
            Some(((master, request), _)) => {
                Err(format!("operator's request {} to master{master} was never answered", request.0))
            }
            None => Ok(()),
        }
    }
}
