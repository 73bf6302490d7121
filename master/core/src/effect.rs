//! What the core asks for: the one exhaustive list. The shell carries the effects of a batch out in order,
//! except that replies wait until the changes before them are published (read your own writes).

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use mezzo_api::{
    ids::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId},
    link, v1,
};

use crate::{
    description::Description,
    input::{LinkId, RequestId, StreamId, Ticket},
    model,
    registry::RegistryOp,
};

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Answer a request. Each request is answered exactly once.
    Reply(RequestId, Answer),
    /// Send an event on a framework's stream. A stream that cannot take it (its bounded buffer is full) is cut by
    /// the shell, which reports it as closed.
    ToFramework(StreamId, Box<v1::scheduler::Event>),
    /// End a stream after what was sent before.
    CloseStream(StreamId),
    /// Send a message to an agent; the shell adds the term.
    ToAgent(LinkId, Box<link::to_agent::Message>),
    /// End a link after what was sent before.
    CloseLink(LinkId, CloseReason),
    /// Try whether the agent is found at the address that it advertises, then call `Core::probed`.
    Probe(AgentId, SocketAddr),
    /// Make these operations durable, all or none, then call `Core::registry` with the ticket.
    Write(Ticket, Vec<RegistryOp>),
    /// A change that readers shall see.
    Publish(Change),
}

/// Why the master ends a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The agent opened another one.
    #[error("replaced by a newer link of the same agent")]
    Replaced,
    /// The agent did not answer its pings.
    #[error("the agent did not answer its pings")]
    PingTimeout,
    /// The agent was told to shut down.
    #[error("the agent was told to shut down")]
    Shutdown,
    /// The agent broke the protocol.
    #[error("the agent broke the protocol")]
    Protocol,
    /// The agent is not taken as it is; it was told why.
    #[error("the agent is not taken as it is")]
    Refused,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status: 200, 202, 400, 403, 404, 409, 501 …
    pub status: u16,
    /// The body as plain text; empty for 202.
    pub body: String,
}

impl Answer {
    /// 202 with an empty body: the call will be carried out.
    pub fn accepted() -> Self {
        Self { status: 202, body: String::new() }
    }

    /// Any other answer.
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into() }
    }
}

/// A change of what readers see. Entities come whole and shared; the published view puts the new one in the place of
/// the old one. The operator's event stream is made from the same changes.
#[derive(Clone, Debug)]
pub enum Change {
    /// A registered agent, new or changed.
    Agent(Arc<model::Agent>),
    /// The agent is registered no more.
    AgentRemoved(AgentId, model::AgentGone),
    /// An agent of the registry that has not come back since the master leads, or has (`None`).
    RecoveredAgent(AgentId, Option<Description>),
    /// The agent is unreachable or gone since then, or is so no more (`None`): it is back, or forgotten.
    AgentMarked(AgentId, Option<model::Mark>),
    /// A framework, new or changed; completed ones too.
    Framework(Arc<model::Framework>),
    /// A completed framework fell out of the bounded history.
    FrameworkForgotten(FrameworkId),
    /// A task, new or changed; `Task::list` says where it stands.
    Task(Arc<model::Task>),
    /// A task fell out of the bounded history, or its framework did.
    TaskForgotten(FrameworkId, TaskId),
    /// An executor that a framework (not the agent) defined started to use resources of an agent.
    Executor(Arc<model::Executor>),
    /// It ended.
    ExecutorRemoved(AgentId, FrameworkId, ExecutorId),
    /// An offer went out.
    Offer(Arc<model::Offer>),
    /// An offer was taken, declined, rescinded or discarded.
    OfferRemoved(OfferId),
    /// An inverse offer went out.
    InverseOffer(Arc<model::InverseOffer>),
    /// It was answered, rescinded or discarded.
    InverseOfferRemoved(OfferId),
    /// An operation, new or with another status.
    Operation(Arc<model::Operation>),
    /// Nobody has anything more to say of it.
    OperationRemoved(Bytes),
    /// A role's quota, set or reset.
    Quota(Box<v1::quota::QuotaConfig>),
    /// A role has no quota any more.
    QuotaRemoved(String),
    /// A role's weight.
    Weight(String, f64),
    /// The maintenance schedule, or what frameworks said to it.
    Maintenance(Arc<model::Maintenance>),
}

/// The effects of a batch, in order.
pub type Effects = Vec<Effect>;
