//! What the executor's core asks for, and what an executor's author is told.

use bytes::Bytes;
use mezzo_api::v1::{
    self,
    executor::{Call, event},
};

/// One attempt to subscribe, and the event stream that it may become; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Connect to the agent and POST this SUBSCRIBE; report its head, its events and its end under this id.
    Open {
        /// Of this attempt.
        stream: StreamId,
        /// The SUBSCRIBE.
        call: Box<Call>,
    },
    /// Drop this attempt or stream and the connection of its calls.
    Close(StreamId),
    /// Send this call, after those before it.
    Send(StreamId, Box<Call>),
    /// Tell the executor.
    Deliver(Event),
}

/// The effects of a batch, in order.
pub type Effects = Vec<Effect>;

/// What an executor is told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Subscribed, for the first time or again.
    Subscribed(Box<event::Subscribed>),
    /// The agent is away, and expected back (the framework checkpoints). Tasks go on.
    Disconnected {
        /// What happened.
        reason: String,
    },
    /// Run this task.
    Launch(Box<v1::TaskInfo>),
    /// Run these tasks, all or none.
    LaunchGroup(Vec<v1::TaskInfo>),
    /// Kill this task.
    Kill {
        /// Which.
        task_id: v1::TaskId,
        /// How gently.
        policy: Option<v1::KillPolicy>,
    },
    /// The agent has this update safe.
    Acknowledged {
        /// Of this task.
        task_id: v1::TaskId,
        /// Of the update.
        uuid: Bytes,
    },
    /// Data from the framework.
    Message(Bytes),
    /// Kill all tasks, report their ends and exit; after the grace period the agent kills what is left. Unless the
    /// agent asked for it, nothing more can be reported.
    Shutdown(EndReason),
}

/// Why an executor is to shut down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// The agent says so.
    #[error("the agent asks for it")]
    Asked,
    /// The agent is gone: for good, as far as this executor is concerned.
    #[error("the agent is gone: {0}")]
    Disconnected(String),
    /// The agent refuses the subscription or does not know the executor any more.
    #[error("the agent refuses this executor: {0}")]
    Refused(String),
}
