//! What the master must not forget: the operations on it, and what a new leader finds.
//! Operations are idempotent, so that one with an unknown outcome can be asked again.

use mezzo_api::{
    ids::{AgentId, FrameworkId},
    v1,
};

use crate::description::Descriptions;

/// One durable change.
#[derive(Clone, Debug, PartialEq)]
pub enum RegistryOp {
    /// The agent is admitted, or its description changed; it is reachable.
    PutAgent(Box<v1::AgentInfo>),
    /// The agent is removed: it said goodbye or its machine is down.
    RemoveAgent(AgentId),
    /// The agent does not answer; since when, in nanoseconds since the epoch.
    MarkUnreachable(AgentId, i64),
    /// The operator says that the agent will never come back.
    MarkGone(AgentId, i64),
    /// The agent has been unreachable or gone for so long that nobody needs to know.
    PruneAgent(AgentId),
    /// What its operator wants of an agent; the default is not kept. It goes with an agent that is removed or gone.
    PutStanding(AgentId, Standing),
    /// The framework is torn down and never comes back under this id (the oldest of these are forgotten).
    CompleteFramework(FrameworkId),
    /// A role's quota is this.
    PutQuota(Box<v1::quota::QuotaConfig>),
    /// The role has no quota.
    RemoveQuota(String),
    /// A role's weight is this.
    PutWeight(String, f64),
    /// A machine is in the maintenance schedule like this.
    PutMachine(Box<Machine>),
    /// The machine is in it no more.
    RemoveMachine(v1::MachineId),
}

/// A machine of the maintenance schedule. Each is kept by itself: a schedule may be long.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Machine {
    /// With mode and unavailability.
    #[prost(message, required, tag = "1")]
    pub info: v1::MachineInfo,
    /// Its window's place in the schedule, from 0.
    #[prost(uint32, required, tag = "2")]
    pub window: u32,
    /// Its place in the window, from 0.
    #[prost(uint32, required, tag = "3")]
    pub position: u32,
}

impl Machine {
    /// What tells it apart: stores may use it as a key.
    pub fn key(id: &v1::MachineId) -> String {
        format!("{}|{}", id.hostname().to_lowercase(), id.ip())
    }
}

/// What its operator wants of an agent (src/master/registry.proto, Registry.Slave).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Nothing of it is offered.
    pub deactivated: bool,
    /// It is being emptied, or is empty.
    pub drain: Option<v1::DrainInfo>,
}

impl Standing {
    /// Whether it is being emptied.
    pub fn is_draining(&self) -> bool {
        self.drain.is_some_and(|drain| drain.state() == v1::DrainState::Draining)
    }
}

/// What a new leader starts from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Admitted agents.
    pub agents: Descriptions,
    /// Unreachable ones, and since when in nanoseconds since the epoch.
    pub unreachable: Vec<(AgentId, i64)>,
    /// Gone ones, and since when.
    pub gone: Vec<(AgentId, i64)>,
    /// What operators want of agents, where it is not the default.
    pub standings: Vec<(AgentId, Standing)>,
    /// Frameworks that were torn down, the oldest first.
    pub completed_frameworks: Vec<FrameworkId>,
    /// Quota, one for each role.
    pub quotas: Vec<v1::quota::QuotaConfig>,
    /// Weights of roles that have one.
    pub weights: Vec<(String, f64)>,
    /// The maintenance schedule, in any order.
    pub machines: Vec<Machine>,
}

/// Why a write was not, or perhaps not, made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It may have happened: ask again.
    #[error("the outcome of the registry write is not known")]
    Unknown,
    /// This master leads no more.
    #[error("the registry refused the write: this master leads no more")]
    Fenced,
}
