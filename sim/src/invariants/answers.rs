//! Each call is answered exactly once, and a call under another stream's id changes nothing: it is refused
//! (src/master/http.cpp of apache/mesos, scheduler). A master that the registry has fenced says nothing more
//! (docs/architecture.md, 4).

use std::time::Duration;

use super::{Books, Invariant};
use crate::{fact::Fact, world::World};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Answers;

/// Registry writes may be slow: a teardown is answered when it is durable.
const LONGEST: Duration = Duration::from_secs(300);

impl Invariant for Answers {
    fn name(&self) -> &'static str {
        "answers"
    }

    fn see(&mut self, fact: &Fact, books: &Books, _world: &World) -> Result<(), String> {
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
        Ok(())
    }
}
