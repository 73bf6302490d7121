//! A task is given to an agent only because its framework accepted offers that were outstanding and its own, each of
//! them once (src/master/master.cpp of apache/mesos, accept); an offer's id is never used twice.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashSet};
use mezzo_api::{
    ids::{AgentId, OfferId},
    link::to_agent,
    v1::scheduler::call,
};
use mezzo_master_core::effect::Change;

use super::{Books, Invariant, books::is_stream};
use crate::{
    fact::{self, Fact},
    ids::ProcessId,
    world::World,
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Launches {
    /// By master, framework and task: where it may be launched.
    granted: HashMap<(ProcessId, String, String), AgentId>,
    offered: HashSet<OfferId>,
}

impl Invariant for Launches {
    fn name(&self) -> &'static str {
        "launches"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, books: &Books, _world: &World) -> Result<(), String> {
        match fact {
            Fact::Published(_, change) => {
                if let Change::Offer(offer) = &**change
                    && !self.offered.insert(offer.id.clone())
                {
                    return Err(format!("offer {} is made twice", offer.id));
                }
            }
            Fact::Called(process, _, stream_id, call) if call.r#type() == call::Type::Accept => {
                let (Some(accept), Some(master)) = (&call.accept, books.masters.get(process)) else { return Ok(()) };
                let id = call.framework_id.as_ref().map_or("", |id| id.value.as_str());
                let current = master.frameworks.get(id).and_then(|framework| framework.stream);
                if !is_stream(current, stream_id) {
                    return Ok(());
                }
                let offers: Vec<_> =
                    accept.offer_ids.iter().map(|offer| master.offers.get(offer.value.as_str())).collect();
                let unique: BTreeSet<&String> = accept.offer_ids.iter().map(|offer| &offer.value).collect();
                let own = |offer: &Option<&std::sync::Arc<mezzo_master_core::model::Offer>>| {
                    offer.is_some_and(|offer| offer.framework_id.as_str() == id)
                };
                if unique.len() != offers.len() || !offers.iter().all(own) {
                    return Ok(()); // nothing may come of it
                }
                if let Some(agent) = offers.first().and_then(|offer| offer.map(|offer| offer.agent_id.clone())) {
                    for task in fact::launched(call) {
                        self.granted.insert((*process, id.to_owned(), task.task_id.value.clone()), agent.clone());
                    }
                }
            }
            Fact::ToAgent(process, link, message) => {
                let (framework, tasks) = match &**message {
                    to_agent::Message::RunTask(run) => (&run.framework, vec![&run.task]),
                    to_agent::Message::RunTaskGroup(run) => (&run.framework, run.task_group.tasks.iter().collect()),
                    _ => return Ok(()),
                };
                let framework = framework.id.as_ref().map_or("", |id| id.value.as_str());
                let agent = books.masters.get(process).and_then(|master| master.links.get(link));
                for task in tasks {
                    let id = task.task_id.value.clone();
                    let granted = self.granted.remove(&(*process, framework.to_owned(), id.clone()));
                    if granted.is_none() || granted.as_ref() != agent {
                        return Err(format!("{id} is given to {agent:?}, accepted was {granted:?}"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
