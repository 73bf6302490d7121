//! Links and registration: an agent without an id is written down first, then told its id.

use std::{net::IpAddr, time::Duration};

use mezzo_api::{
    ids::AgentId,
    link::{self, from_agent, to_agent},
    resources::Resources,
    time::Now,
    v1::{AgentInfo, agent_info::capability},
};

use super::{Agent, Link, Removal, admissible::Inadmissible, remove::Cause};
use crate::{
    allocator::AgentAbilities,
    core::Core,
    counters::Counter,
    effect::{CloseReason, Effect, Effects},
    input::{LinkId, LinkUp},
    keys::AgentKey,
    maintenance::DOWN,
    operations::total_of,
    registry::RegistryOp,
    writes::Pending,
};

/// A registration that waits for the registry.
#[derive(Debug)]
pub(crate) struct Admission {
    link: LinkId,
    id: AgentId,
    register: link::Register,
    /// Whose place it takes.
    replaces: Option<Removal>,
}

impl Core {
    pub(crate) fn on_link_up(&mut self, up: &LinkUp) {
        let link = Link { peer: up.peer, agent: None, report: None, waiting: false };
        self.agents.links.insert(up.link, link);
    }

    pub(crate) fn on_agent_message(&mut self, now: Now, link: LinkId, message: link::FromAgent, out: &mut Effects) {
        let Some(known) = self.agents.links.get(&link) else { return };
        let agent = known.agent;
        if let Some(agent) = agent.and_then(|agent| self.agents.get_mut(agent)) {
            agent.heard = true;
        }
        match (message.message, agent) {
            (Some(from_agent::Message::Register(register)), _) => self.on_register(now, link, register, out),
            (Some(from_agent::Message::Reregister(report)), _) => self.on_report(now, link, report, out),
            (Some(from_agent::Message::StatusUpdate(update)), Some(agent)) => {
                self.on_status_update(now, agent, update, out);
            }
            (Some(from_agent::Message::ExecutorMessage(message)), Some(agent)) => {
                self.on_executor_message(agent, message, out);
            }
            (Some(from_agent::Message::ExitedExecutor(exited)), Some(agent)) => {
                self.on_exited_executor(now, agent, exited, out);
            }
            (Some(from_agent::Message::Unregister(_)), Some(agent)) => self.on_unregister(now, agent, out),
            (Some(from_agent::Message::OperationStatus(status)), Some(agent)) => {
                self.on_operation_status(agent, status, out);
            }
            (Some(from_agent::Message::ResourcesChanged(changed)), Some(agent)) => {
                self.on_resources_changed(now, agent, &changed, out);
            }
            // A pong has been counted above; what comes before registration, or is not known, is nothing to us.
            (Some(from_agent::Message::Pong(_)) | None, _) | (Some(_), None) => {}
        }
    }

    fn on_register(&mut self, now: Now, link_id: LinkId, register: link::Register, out: &mut Effects) {
        self.counters.increment(Counter::MessagesRegisterSlave);
        let Some(link) = self.agents.links.get(&link_id) else { return };
        if let Some(agent) = link.agent.and_then(|agent| self.agents.get(agent)) {
            let registered = self.registered(&agent.id);
            self.tell_link(link_id, to_agent::Message::Registered(registered), out);
            return;
        }
        if link.waiting {
            return;
        }
        if let Err(reason) = self.admissible(&register.agent) {
            self.refuse(now, link_id, &register.agent.hostname, &reason, out);
            return;
        }
        let info = self.agents.kinds.describe(&register.agent);
        if let Err(error) = total_of(&info, &register.checkpointed_resources) {
            tracing::warn!(link = link_id.0, %error, "refusing an agent with invalid resources");
            self.close_link(now, link_id, CloseReason::Protocol, out);
            return;
        }
        if self.is_down(&register, link.peer) {
            self.shut_down(now, link_id, DOWN, out);
            return;
        }
        let Some(link) = self.agents.links.get(&link_id) else { return };
        let advertised = advertised(&register, link.peer);
        let address = (link.peer, advertised.0, advertised.1, register.agent.hostname.as_str().into());
        let replaces = self.replaced_by(&address);
        let id = self.new_agent_id();
        let mut info = register.agent.clone();
        info.id = Some(id.proto());
        let mut ops: Vec<RegistryOp> =
            replaces.iter().map(|removal| RegistryOp::RemoveAgent(removal.id.clone())).collect();
        ops.push(RegistryOp::PutAgent(Box::new(info)));
        if let Some(removal) = &replaces {
            self.begin_leaving(now, removal.agent, out);
        }
        if let Some(link) = self.agents.links.get_mut(&link_id) {
            link.waiting = true;
        }
        if mezzo_api::mutant!("registered-before-durable") {
            self.tell_link(link_id, to_agent::Message::Registered(self.registered(&id)), out);
        }
        let admission = Admission { link: link_id, id, register, replaces };
        self.write(ops, Pending::Admit(Box::new(admission)), out);
    }

    /// A disconnected agent at the same address lost its memory (src/master/master.cpp, _registerSlave).
    fn replaced_by(&self, address: &super::Address) -> Option<Removal> {
        let key = self.agents.at_address(address)?;
        let agent = self.agents.get(key).filter(|agent| agent.link.is_none() && !agent.leaving)?;
        if self.agents.writing.contains_key(&agent.id) {
            return None;
        }
        Some(Removal { agent: key, id: agent.id.clone(), cause: Cause::Replaced, request: None })
    }

    /// The registry knows the agent now.
    pub(crate) fn admit(&mut self, now: Now, admission: Admission, out: &mut Effects) {
        let Admission { link, id, register, replaces } = admission;
        if let Some(removal) = replaces {
            self.finish_removal_of_agent(now, &removal, out);
        }
        let Some(peer) = self.agents.links.get_mut(&link).map(|link| {
            link.waiting = false;
            link.peer
        }) else {
            // Nobody will ever come under this id.
            self.write(vec![RegistryOp::RemoveAgent(id)], Pending::Forget, out);
            return;
        };
        self.counters.increment(Counter::SlaveRegistrations);
        let registered = self.registered(&id);
        let key = self.insert_agent(now, id, register, peer, None);
        self.connect(now, key, link, out);
        self.tell_link(link, to_agent::Message::Registered(registered), out);
    }

    fn registered(&self, id: &AgentId) -> link::Registered {
        link::Registered { agent_id: id.proto(), total_ping_timeout_ms: self.total_ping_timeout_ms() }
    }

    pub(super) fn total_ping_timeout_ms(&self) -> u64 {
        let total: Duration = self.config.agent_ping_timeout * self.config.max_agent_ping_timeouts;
        u64::try_from(total.as_millis()).unwrap_or(u64::MAX)
    }

    /// Puts an agent into the books, not connected yet. Its resources are known to be valid.
    pub(super) fn insert_agent(
        &mut self,
        now: Now,
        id: AgentId,
        register: link::Register,
        peer: IpAddr,
        reregistered_time: Option<f64>,
    ) -> AgentKey {
        let advertised = advertised(&register, peer);
        let info = self.agents.kinds.describe(&AgentInfo { id: Some(id.proto()), ..register.agent });
        let total = total_of(&info, &register.checkpointed_resources).unwrap_or_default();
        let standing = self.agents.standings.get(&id).cloned().unwrap_or_default();
        tracing::info!(agent = %id, hostname = info.hostname(), resources = %total, "agent registered");
        let capabilities = capabilities(&register.capabilities);
        let abilities = AgentAbilities::new(&capabilities);
        let key = self.agents.insert(Agent {
            id,
            info: info.clone(),
            advertised,
            peer,
            version: register.version,
            mezzo_version: register.mezzo_version,
            capabilities,
            registered_time: now.timestamp(),
            reregistered_time,
            link: None,
            leaving: false,
            standing,
            drain_began: None,
            total: total.clone(),
            used: Resources::new(),
            offered: Resources::new(),
            tasks: Default::default(),
            executors: Default::default(),
            offers: Default::default(),
            operations: Default::default(),
            resource_version: register.resource_version,
            unavailability: None,
            inverse_offers: Default::default(),
            inverse_answers: Default::default(),
            killed: Default::default(),
            heard: true,
            missed_pings: 0,
            pings: 0,
            ping_timer: None,
            removal_waits: false,
            away_since: None,
            warning: None,
        });
        self.set_ping_timer(now, key);
        self.allocator.add_agent(now.mono, key, info, total, false);
        self.plan_for_agent(now, key);
        self.allocator.set_agent_abilities(key, abilities);
        self.dirty.agents.insert(key);
        key
    }

    /// The agent speaks over this link from now on; an older one is closed.
    pub(super) fn connect(&mut self, now: Now, key: AgentKey, link_id: LinkId, out: &mut Effects) {
        let Some(agent) = self.agents.get_mut(key) else { return };
        let older = agent.link.replace(link_id).filter(|older| *older != link_id);
        agent.heard = true;
        agent.missed_pings = 0;
        agent.away_since = None;
        if let Some(link) = self.agents.links.get_mut(&link_id) {
            link.agent = Some(key);
        }
        self.keep_after_all(key);
        self.probe(key, out);
        if let Some(older) = older {
            self.close_link(now, older, CloseReason::Replaced, out);
        }
        let active = self.agents.get(key).is_some_and(Agent::active);
        self.allocator.set_agent_active(now.mono, key, active);
        self.dirty.agents.insert(key);
    }

    /// The agent is not taken: it hears why, and may come again.
    pub(super) fn refuse(&mut self, now: Now, link: LinkId, hostname: &str, reason: &Inadmissible, out: &mut Effects) {
        tracing::warn!(link = link.0, hostname, "refusing an agent: {reason}");
        let text = format!("the master does not take this agent: {reason}");
        self.tell_link(link, to_agent::Message::Notice(link::Notice { text }), out);
        self.close_link(now, link, CloseReason::Refused, out);
    }

    /// Ends a link; its messages count no more.
    pub(super) fn close_link(&mut self, now: Now, link: LinkId, reason: CloseReason, out: &mut Effects) {
        if self.agents.links.contains_key(&link) {
            out.push(Effect::CloseLink(link, reason));
            self.on_link_down(now, link, out);
        }
    }

    pub(super) fn tell_link(&self, link: LinkId, message: to_agent::Message, out: &mut Effects) {
        out.push(Effect::ToAgent(link, Box::new(message)));
    }

    fn new_agent_id(&mut self) -> AgentId {
        let id = format!("{}-S{}", self.config.master_id, self.agents.next_id);
        self.agents.next_id += 1;
        id.into()
    }
}

/// What the agent calls its address: published, never dialled.
pub(crate) fn advertised(register: &link::Register, peer: IpAddr) -> (IpAddr, u16) {
    let ip = register.advertised_ip.as_ref().and_then(|ip| ip.parse().ok()).unwrap_or(peer);
    (ip, u16::try_from(register.agent.port()).unwrap_or_default())
}

pub(super) fn capabilities(protos: &[mezzo_api::v1::agent_info::Capability]) -> Vec<capability::Type> {
    protos.iter().filter_map(|proto| capability::Type::try_from(proto.r#type?).ok()).collect()
}
