//! What the scheduler's core asks for, and what a framework's author is told.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use mezzo_api::v1::{
    self,
    scheduler::{Call, call},
};

use crate::address::Address;

/// One attempt to subscribe, and the event stream that it may become; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// A call whose outcome someone waits for; numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A call on its way: given back to the core with its answer, or as lost.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// Complete, framework id included. Shared: whoever sends it may keep it until it is answered.
    pub call: Arc<Call>,
    /// Who waits for the outcome.
    pub ticket: Option<Ticket>,
}

impl Outgoing {
    /// The call's type; what is unknown reads as UNKNOWN.
    pub fn kind(&self) -> call::Type {
        self.call.r#type()
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Connect to this master and POST this SUBSCRIBE; report its head, its events and its end under this id.
    Open {
        /// Of this attempt.
        stream: StreamId,
        /// Whom to dial.
        master: Address,
        /// The SUBSCRIBE.
        call: Box<Call>,
    },
    /// Drop this attempt or stream and the connection of its calls. Calls without an answer come back through
    /// [`Core::calls_lost`](super::Core::calls_lost).
    Close(StreamId),
    /// Send this call, after those before it, with the id of this stream.
    Send(StreamId, Outgoing),
    /// Tell the framework.
    Deliver(Event),
    /// This call's outcome is known.
    Settle(Ticket, Result<(), CallError>),
}

/// The effects of a batch, in order.
pub type Effects = Vec<Effect>;

/// What a framework is told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The framework is subscribed: for the first time, or again. Offers from before are void.
    Subscribed(Box<Subscribed>),
    /// The connection to the master is gone, and with it every offer. The driver reconnects by itself.
    Disconnected {
        /// What happened.
        reason: String,
    },
    /// An attempt to subscribe failed; the driver tries again.
    Retrying {
        /// Who was tried; `None` while no master is known.
        master: Option<Address>,
        /// What happened.
        reason: String,
        /// When the next attempt follows.
        delay: Duration,
    },
    /// Resources to take or to decline.
    Offers(Vec<v1::Offer>),
    /// The master asks for resources back, for maintenance.
    InverseOffers(Vec<v1::InverseOffer>),
    /// This offer is void.
    Rescind(v1::OfferId),
    /// This inverse offer is void.
    RescindInverseOffer(v1::OfferId),
    /// A task's status. Acknowledged by the driver once the next event is asked for, unless acknowledging by hand was
    /// chosen. One that the driver made itself (a launch that could not be sent) has no uuid, as those of the master.
    Update(Box<v1::TaskStatus>),
    /// The status of an operation that was given an id.
    OperationUpdate(Box<v1::OperationStatus>),
    /// A message of an executor; best effort.
    Message {
        /// Its agent.
        agent_id: v1::AgentId,
        /// Its sender.
        executor_id: v1::ExecutorId,
        /// Its text.
        data: Bytes,
    },
    /// An agent is gone, or (with an executor id) an executor ended.
    Failure {
        /// The agent.
        agent_id: Option<v1::AgentId>,
        /// The executor, if it was one.
        executor_id: Option<v1::ExecutorId>,
        /// Its raw wait status; -1 when unknown.
        status: Option<i32>,
    },
    /// After a (re)subscription: the master has answered for every task that the driver knew.
    Reconciled,
    /// The master refused a call that nobody waits for.
    Rejected {
        /// Which.
        call: call::Type,
        /// Why.
        error: CallError,
    },
    /// The last event: the driver has ended.
    Ended(EndReason),
}

/// A subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribed {
    /// To be stored by frameworks that fail over.
    pub framework_id: v1::FrameworkId,
    /// Who leads, in its own words.
    pub master: Option<v1::MasterInfo>,
    /// Who leads, as it was reached.
    pub address: Address,
    /// Whether the framework had this id before.
    pub again: bool,
}

/// Why a call had no effect, or none that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no subscription under which it could be made. It was not sent.
    #[error("not subscribed with a master: the call was not sent")]
    NotSubscribed,
    /// The connection broke before the answer: the call may have been carried out.
    #[error("the connection broke before the master answered: the call may have been carried out")]
    Unknown,
    /// The master refused it.
    #[error("the master refused the call: {0}")]
    Refused(String),
    /// SUBSCRIBE is the driver's own.
    #[error("SUBSCRIBE is the driver's own call")]
    Reserved,
    /// The driver has ended.
    #[error("the driver has ended")]
    Ended,
}

/// Why a driver ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// As was asked: the framework is removed, its tasks are killed.
    #[error("the framework was torn down")]
    TornDown,
    /// The master has removed the framework: torn down by someone, or away for longer than its failover timeout.
    #[error("the master has removed this framework: its tasks are gone, its id cannot be used again")]
    Removed,
    /// Another process subscribed with this id.
    #[error("another process subscribed with this framework's id and took over")]
    FailedOver,
    /// The master refuses the subscription, and would again.
    #[error("the master refuses the subscription: {0}")]
    Refused(String),
}
