//! What an onlooker who sees every fact knows of each master's agents, frameworks and offers: kept here once for all
//! invariants.

use std::collections::{BTreeMap, BTreeSet};

use mezzo_api::{
    ids::{AgentId, OfferId},
    link::to_agent,
    v1::{
        self,
        scheduler::{call, event},
    },
};
use mezzo_master_core::{
    effect::Change,
    input::{LinkId, OperatorCall, RequestId, StreamId},
    model,
};

use uuid::Uuid;

use crate::{fact::Fact, ids::ProcessId, time::Moment};

/// A framework as one master has it.
#[derive(Clone, Debug)]
pub struct Framework {
    /// Its description, as it last subscribed.
    pub info: v1::FrameworkInfo,
    /// Its stream, while it has one.
    pub stream: Option<StreamId>,
    /// Since when it has none, or has this one.
    pub since: Moment,
    /// It wants no offers (simulated frameworks have one role each).
    pub suppressed: bool,
}

/// One master.
#[derive(Clone, Debug, Default)]
pub struct Master {
    /// When it began.
    pub begun: Moment,
    /// Its term.
    pub term: u64,
    /// The agents of its links.
    pub links: BTreeMap<LinkId, AgentId>,
    /// When something was last heard of an agent.
    pub heard: BTreeMap<AgentId, Moment>,
    /// The ids of its streams.
    pub streams: BTreeMap<StreamId, String>,
    /// Streams on which SUBSCRIBED is awaited.
    pub opening: BTreeMap<StreamId, v1::scheduler::call::Subscribe>,
    /// Its frameworks.
    pub frameworks: BTreeMap<String, Framework>,
    /// Its outstanding offers, as it shows them.
    pub offers: BTreeMap<OfferId, std::sync::Arc<model::Offer>>,
    /// Calls that it has not answered, when they came, and whether their stream id was the right one.
    pub unanswered: BTreeMap<RequestId, (Moment, bool)>,
    /// Frameworks whose end was asked for.
    pub torn_down: BTreeSet<String>,
    /// The registry has told it that it leads no more.
    pub fenced: bool,
}

/// Whether a call names this stream, or there is neither.
pub(crate) fn is_stream(stream: Option<StreamId>, named: &Option<String>) -> bool {
    match (stream, named) {
        (Some(stream), Some(named)) => stream.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == named,
        (stream, named) => stream.is_none() && named.is_none(),
    }
}

/// All masters that live.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// By process.
    pub masters: BTreeMap<ProcessId, Master>,
    /// The ids of frameworks that say PARTITION_AWARE; others are in `known`.
    pub partition_aware: BTreeSet<String>,
    /// Frameworks that say TASK_KILLING_STATE.
    pub killing_state: BTreeSet<String>,
}

impl Books {
    /// Enters a fact.
    pub fn enter(&mut self, now: Moment, fact: &Fact) {
        match fact {
            Fact::MasterStarted { master, term, .. } => {
                self.masters.insert(*master, Master { begun: now, term: *term, ..Master::default() });
            }
            Fact::MasterEnded { master, .. } => {
                self.masters.remove(master);
            }
            Fact::LinkDown(master, link) => {
                if let Some(master) = self.masters.get_mut(master) {
                    master.links.remove(link);
                }
            }
            Fact::FromAgent(master, link, _) => {
                let Some(master) = self.masters.get_mut(master) else { return };
                let Some(agent) = master.links.get(link) else { return };
                match master.heard.get_mut(agent) {
                    Some(heard) => *heard = now,
                    None => drop(master.heard.insert(agent.clone(), now)),
                }
            }
            Fact::ToAgent(master, link, message) => {
                let Some(master) = self.masters.get_mut(master) else { return };
                let id = match &**message {
                    to_agent::Message::Registered(message) => &message.agent_id,
                    to_agent::Message::Reregistered(message) => &message.agent_id,
                    _ => return,
                };
                let id = AgentId::from(id);
                master.links.insert(*link, id.clone());
                master.heard.insert(id, now);
            }
            Fact::StreamOpened(master, stream, call) => {
                let Some(master) = self.masters.get_mut(master) else { return };
                if let Some(subscribe) = &call.subscribe {
                    master.opening.insert(*stream, (**subscribe).clone());
                }
            }
            Fact::Event(master, stream, event) => self.event(now, *master, *stream, event),
            Fact::StreamClosed(master, stream, _) => {
                let Some(master) = self.masters.get_mut(master) else { return };
                master.opening.remove(stream);
                let Some(id) = master.streams.remove(stream) else { return };
                if let Some(framework) = master.frameworks.get_mut(&id)
                    && framework.stream == Some(*stream)
                {
                    framework.stream = None;
                    framework.since = now;
                }
            }
            Fact::Operated(master, _, call) => {
                if let OperatorCall::Teardown { framework_id } = &**call
                    && let Some(master) = self.masters.get_mut(master)
                {
                    master.torn_down.insert(framework_id.value.clone());
                }
            }
            Fact::Called(master, request, stream_id, call) => self.called(now, *master, *request, stream_id, call),
            Fact::Answered(master, request, _) => {
                if let Some(master) = self.masters.get_mut(master) {
                    master.unanswered.remove(request);
                }
            }
            Fact::Published(master, change) => {
                let Some(master) = self.masters.get_mut(master) else { return };
                match &**change {
                    Change::Offer(offer) => {
                        master.offers.insert(offer.id.clone(), offer.clone());
                    }
                    Change::OfferRemoved(id) => {
                        master.offers.remove(id);
                    }
                    Change::AgentRemoved(id, _) => {
                        master.heard.remove(id);
                        master.links.retain(|_, agent| agent != id);
                    }
                    _ => {}
                }
            }
            Fact::Written(master, Err(mezzo_master_core::registry::RegistryError::Fenced)) => {
                if let Some(master) = self.masters.get_mut(master) {
                    master.fenced = true;
                }
            }
            _ => {}
        }
    }

    fn event(&mut self, now: Moment, master: ProcessId, stream: StreamId, event: &v1::scheduler::Event) {
        let (event::Type::Subscribed, Some(subscribed)) = (event.r#type(), &event.subscribed) else { return };
        let Some(master) = self.masters.get_mut(&master) else { return };
        let Some(subscribe) = master.opening.remove(&stream) else { return };
        let (info, suppressed) = (subscribe.framework_info, !subscribe.suppressed_roles.is_empty());
        let id = subscribed.framework_id.value.clone();
        use v1::framework_info::capability::Type;
        let has = |kind: Type| info.capabilities.iter().any(|capability| capability.r#type() == kind);
        for (set, kind) in
            [(&mut self.partition_aware, Type::PartitionAware), (&mut self.killing_state, Type::TaskKillingState)]
        {
            if has(kind) {
                set.insert(id.clone());
            }
        }
        master.streams.insert(stream, id.clone());
        let framework = Framework { info, stream: Some(stream), since: now, suppressed };
        master.frameworks.insert(id, framework);
    }

    fn called(
        &mut self,
        now: Moment,
        master: ProcessId,
        request: RequestId,
        stream_id: &Option<String>,
        call: &v1::scheduler::Call,
    ) {
        let Some(master) = self.masters.get_mut(&master) else { return };
        let id = call.framework_id.as_ref().map_or("", |id| id.value.as_str());
        let framework = master.frameworks.get_mut(id);
        let right = framework
            .as_ref()
            .is_some_and(|framework| framework.stream.is_some() && is_stream(framework.stream, stream_id));
        master.unanswered.insert(request, (now, right));
        let Some(framework) = framework.filter(|_| right) else { return };
        match call.r#type() {
            call::Type::Teardown => drop(master.torn_down.insert(id.to_owned())),
            call::Type::Suppress if call.suppress.as_ref().is_none_or(|suppress| suppress.roles.is_empty()) => {
                framework.suppressed = true;
            }
            call::Type::Revive | call::Type::UpdateFramework => framework.suppressed = false,
            _ => {}
        }
    }
}
