//! Whether frameworks may reach an agent where it says it is. Nothing of the cluster needs that: the agent dialled us.

use std::{net::SocketAddr, sync::Arc};

use mezzo_api::{
    ids::AgentId,
    link::{self, to_agent},
};

use crate::{
    core::Core,
    counters::Counter,
    effect::{Effect, Effects},
    keys::AgentKey,
};

impl Core {
    /// Has the shell try the agent's advertised address.
    pub(super) fn probe(&self, key: AgentKey, out: &mut Effects) {
        if let Some(agent) = self.agents.get(key) {
            out.push(Effect::Probe(agent.id.clone(), SocketAddr::from(agent.advertised)));
        }
    }

    pub(crate) fn on_probed(&mut self, id: &AgentId, address: SocketAddr, failure: Option<&str>, out: &mut Effects) {
        let Some(key) = self.agents.find(id.as_str()) else { return };
        let Some(agent) = self.agents.get_mut(key).filter(|agent| SocketAddr::from(agent.advertised) == address) else {
            return;
        };
        let warning: Option<Arc<str>> = failure.map(|failure| {
            let text = format!(
                "advertised {address} is not reachable from this master ({failure}): frameworks may not reach it either; \
                 tasks run all the same"
            );
            text.into()
        });
        if agent.warning == warning {
            return;
        }
        agent.warning.clone_from(&warning);
        let hostname = agent.info.hostname().to_owned();
        self.dirty.agents.insert(key);
        self.count_unreachable_addresses();
        match warning {
            Some(warning) => {
                tracing::warn!(agent = %id, hostname, "{warning}");
                self.tell(key, to_agent::Message::Notice(link::Notice { text: warning.to_string() }), out);
            }
            None => {
                tracing::info!(agent = %id, hostname, %address, "the agent's advertised address is reachable again")
            }
        }
    }

    /// An agent with a warning may have come or gone.
    pub(super) fn count_unreachable_addresses(&mut self) {
        let count = self.agents.slots.values().filter(|agent| agent.warning.is_some()).count();
        self.counters.set(Counter::SlavesAddressUnreachable, count);
    }
}
