//! Agents: what the core knows of each, their links, and those that the registry knows but that are not there.

mod address;
mod admissible;
mod drain;
mod gone;
mod liveness;
mod prune;
mod register;
mod removals;
mod remove;
mod report;
mod reregister;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use mezzo_api::{
    ids::{AgentId, ExecutorId, FrameworkId, TaskId},
    link,
    resources::Resources,
    v1::{self, TaskInfo, Unavailability, agent_info::capability, allocator::InverseOfferStatus},
};
use smallvec::SmallVec;

pub(crate) use drain::Restanding;
pub(crate) use register::{Admission, advertised};
pub(crate) use removals::Removals;
pub(crate) use remove::{Cause, Removal};
pub(crate) use reregister::Return;

use crate::{
    core::Core,
    description::{Description, Kinds},
    input::LinkId,
    keys::{AgentKey, FrameworkKey, OfferNumber, TaskKey},
    maps::{HashMap, IndexMap, IndexSet},
    model::{self, Mark},
    registry::Standing,
    slots::Slots,
    timers::TimerId,
};

/// A registered agent.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    pub(crate) info: Description,
    pub(crate) advertised: (IpAddr, u16),
    pub(crate) peer: IpAddr,
    pub(crate) version: String,
    pub(crate) mezzo_version: Option<String>,
    pub(crate) capabilities: Vec<capability::Type>,
    pub(crate) registered_time: f64,
    pub(crate) reregistered_time: Option<f64>,
    /// Its way to us; none while it is disconnected.
    pub(crate) link: Option<LinkId>,
    /// The end of its registration is being written down.
    pub(crate) leaving: bool,
    /// What its operator wants of it.
    pub(crate) standing: Standing,
    /// Since when it is drained, in seconds since the epoch, as far as this master knows.
    pub(crate) drain_began: Option<f64>,
    pub(crate) total: Arc<Resources>,
    pub(crate) used: Resources,
    pub(crate) offered: Resources,
    pub(crate) tasks: IndexSet<TaskKey>,
    /// Executors that frameworks defined; built-in command executors are the agent's own affair.
    pub(crate) executors: BTreeMap<(FrameworkKey, ExecutorId), Executor>,
    /// Few, the oldest first.
    pub(crate) offers: SmallVec<[OfferNumber; 2]>,
    /// Operations that it has not answered, or whose answer is not acknowledged.
    pub(crate) operations: BTreeSet<Bytes>,
    /// Names what is believed of its resources; `None` of an agent that knows no such thing.
    pub(crate) resource_version: Option<Bytes>,
    /// When it will not be there, if that is planned.
    pub(crate) unavailability: Option<Unavailability>,
    pub(crate) inverse_offers: BTreeSet<OfferNumber>,
    /// What frameworks said to the plan.
    pub(crate) inverse_answers: BTreeMap<FrameworkId, InverseOfferStatus>,
    /// Tasks whose kill it may not have heard of.
    pub(crate) killed: BTreeSet<(FrameworkKey, TaskId)>,
    /// It said something since the last ping.
    pub(crate) heard: bool,
    pub(crate) missed_pings: u32,
    pub(crate) pings: u64,
    pub(crate) ping_timer: Option<TimerId>,
    /// It is to be given up when its turn has come, unless it speaks.
    pub(crate) removal_waits: bool,
    /// Since when it has no link, in the driver's monotonic time.
    pub(crate) away_since: Option<Duration>,
    /// What is wrong with its advertised address.
    pub(crate) warning: Option<Arc<str>>,
}

impl Agent {
    /// Whether its resources are offered.
    pub(crate) fn active(&self) -> bool {
        self.link.is_some() && !self.leaving && !self.standing.deactivated
    }

    /// As messages name it (src/master/master.hpp).
    pub(crate) fn display(&self) -> String {
        let pid = std::net::SocketAddr::from(self.advertised);
        format!("{} at slave(1)@{pid} ({})", self.id, self.info.hostname())
    }

    /// Where it says that it is.
    pub(crate) fn url(&self) -> v1::Url {
        v1::Url {
            scheme: "http".into(),
            address: v1::Address {
                hostname: Some(self.info.hostname().to_owned()),
                ip: Some(self.advertised.0.to_string()),
                port: self.advertised.1.into(),
            },
            path: Some("/slave(1)".into()),
            ..Default::default()
        }
    }

    /// As readers see it.
    pub(crate) fn view(&self) -> Arc<model::Agent> {
        Arc::new(model::Agent {
            id: self.id.clone(),
            info: self.info.clone(),
            advertised: self.advertised,
            peer: self.peer,
            version: self.version.clone(),
            mezzo_version: self.mezzo_version.clone(),
            capabilities: self.capabilities.clone(),
            registered_time: self.registered_time,
            reregistered_time: self.reregistered_time,
            connected: self.link.is_some(),
            active: self.active(),
            standing: self.standing.clone(),
            drain_began: self.drain_began,
            total: self.total.clone(),
            used: self.used.clone(),
            offered: self.offered.clone(),
            warning: self.warning.clone(),
        })
    }
}

/// An executor that a framework defined.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) view: Arc<model::Executor>,
    pub(crate) resources: Resources,
}

/// A link, before and after it belongs to an agent.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: IpAddr,
    pub(crate) agent: Option<AgentKey>,
    /// A report of which not all chunks are there.
    pub(crate) report: Option<Box<link::Reregister>>,
    /// A registration or report of this link waits for the registry.
    pub(crate) waiting: bool,
}

/// All agents.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    pub(crate) slots: Slots<AgentKey, Agent>,
    by_id: HashMap<AgentId, AgentKey>,
    by_address: HashMap<Address, AgentKey>,
    pub(crate) links: HashMap<LinkId, Link>,
    /// Admitted by the registry, not back since this master leads.
    pub(crate) recovered: BTreeMap<AgentId, Description>,
    /// As many of them were there when this master began to lead.
    pub(crate) recovered_count: usize,
    /// Since when, in nanoseconds since the epoch; the oldest first.
    pub(crate) unreachable: IndexMap<AgentId, i64>,
    pub(crate) gone: BTreeMap<AgentId, i64>,
    /// What operators want of agents, registered or not; the default is left out.
    pub(crate) standings: BTreeMap<AgentId, Standing>,
    /// Tasks of unreachable agents, so that they are found when the agent is back.
    pub(crate) unreachable_tasks: HashMap<AgentId, BTreeSet<(FrameworkId, TaskId)>>,
    /// Agents of which a write is in flight, and links with a report that waits for its end.
    pub(crate) writing: HashMap<AgentId, Option<LinkId>>,
    pub(crate) next_id: u64,
    /// What agents say of themselves, once.
    pub(crate) kinds: Kinds,
}

/// What tells agents apart before they have an id: where they say they are, and where they come from.
pub(crate) type Address = (IpAddr, IpAddr, u16, Arc<str>);

impl Core {
    /// The agent is unreachable or gone from now on, or neither. Its registration is another matter.
    fn mark(&mut self, id: &AgentId, mark: Option<Mark>) {
        let known = self.agents.mark(id);
        self.agents.unreachable.shift_remove(id);
        self.agents.gone.remove(id);
        match mark {
            Some(Mark::Unreachable(since)) => drop(self.agents.unreachable.insert(id.clone(), since)),
            Some(Mark::Gone(since)) => drop(self.agents.gone.insert(id.clone(), since)),
            None => {}
        }
        if mark != known {
            self.dirty.marks.insert(id.clone());
        }
    }
}

impl Agents {
    /// Whether an agent is unreachable or gone.
    pub(crate) fn mark(&self, id: &AgentId) -> Option<Mark> {
        let gone = self.gone.get(id).map(|since| Mark::Gone(*since));
        gone.or_else(|| self.unreachable.get(id).map(|since| Mark::Unreachable(*since)))
    }

    pub(crate) fn get(&self, key: AgentKey) -> Option<&Agent> {
        self.slots.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: AgentKey) -> Option<&mut Agent> {
        self.slots.get_mut(key)
    }

    pub(crate) fn find(&self, id: &str) -> Option<AgentKey> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn at_address(&self, address: &Address) -> Option<AgentKey> {
        self.by_address.get(address).copied()
    }

    pub(crate) fn insert(&mut self, agent: Agent) -> AgentKey {
        let (id, address) = (agent.id.clone(), address(&agent));
        let key = self.slots.insert(agent);
        self.by_id.insert(id, key);
        self.by_address.insert(address, key);
        key
    }

    pub(crate) fn remove(&mut self, key: AgentKey) -> Option<Agent> {
        let agent = self.slots.remove(key)?;
        self.by_id.remove(&agent.id);
        self.forget_address(&agent, key);
        if let Some(link) = agent.link.and_then(|link| self.links.get_mut(&link)) {
            link.agent = None;
        }
        Some(agent)
    }

    /// The agent has another address now than `before`.
    pub(crate) fn readdress(&mut self, key: AgentKey, before: &Address) {
        if self.by_address.get(before) == Some(&key) {
            self.by_address.remove(before);
        }
        if let Some(agent) = self.slots.get(key) {
            self.by_address.insert(address(agent), key);
        }
    }

    fn forget_address(&mut self, agent: &Agent, key: AgentKey) {
        let address = address(agent);
        if self.by_address.get(&address) == Some(&key) {
            self.by_address.remove(&address);
        }
    }
}

/// The agent's address.
pub(crate) fn address(agent: &Agent) -> Address {
    (agent.peer, agent.advertised.0, agent.advertised.1, agent.info.shared_hostname().clone())
}

/// The user that a task runs as, if its description says so (src/common/protobuf_utils.cpp, createTask).
pub(crate) fn user_of(task: &TaskInfo) -> Option<&String> {
    let command = task.command.as_ref().and_then(|command| command.user.as_ref());
    command.or_else(|| task.executor.as_ref()?.command.as_ref()?.user.as_ref())
}
