//! What the master must not forget: the operations on it, and what a new leader finds.
//! Operations are idempotent, so that one with an unknown outcome can be asked again.

use mezzo_api::{
    ids::{AgentId, FrameworkId},
    v1,
};

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
    /// The framework is torn down and never comes back under this id (the oldest of these are forgotten).
    CompleteFramework(FrameworkId),
}

/// What a new leader starts from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Admitted agents.
    pub agents: Vec<v1::AgentInfo>,
    /// Unreachable ones, and since when in nanoseconds since the epoch.
    pub unreachable: Vec<(AgentId, i64)>,
    /// Gone ones, and since when.
    pub gone: Vec<(AgentId, i64)>,
    /// Frameworks that were torn down, the oldest first.
    pub completed_frameworks: Vec<FrameworkId>,
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
