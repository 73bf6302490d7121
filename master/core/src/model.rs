//! The entities as readers see them: immutable, shared between the core and the published view.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use mezzo_api::{
    ids::{AgentId, FrameworkId, OfferId, TaskId},
    resources::Resources,
    v1,
};

pub use crate::statuses::Statuses;

use crate::{description::Description, registry::Standing};

/// A registered agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// Its description as it registered, with id, resources, attributes and domain.
    pub info: Description,
    /// What it calls itself in `pid`, offers and `/slaves`: the advertised address (never dialled).
    pub advertised: (IpAddr, u16),
    /// Where its link comes from.
    pub peer: IpAddr,
    /// The Mesos version that it speaks.
    pub version: String,
    /// Mezzo's own version of it.
    pub mezzo_version: Option<String>,
    /// Its capabilities.
    pub capabilities: Vec<v1::agent_info::capability::Type>,
    /// Seconds since the epoch.
    pub registered_time: f64,
    /// Seconds since the epoch, once it has come back.
    pub reregistered_time: Option<f64>,
    /// It has a link.
    pub connected: bool,
    /// Its resources are offered.
    pub active: bool,
    /// What its operator wants of it.
    pub standing: Standing,
    /// Since when it is drained, in seconds since the epoch.
    pub drain_began: Option<f64>,
    /// All it has.
    pub total: Arc<Resources>,
    /// Held by tasks and executors.
    pub used: Resources,
    /// Held by outstanding offers.
    pub offered: Resources,
    /// What its operator should know: its advertised address is not reachable.
    pub warning: Option<Arc<str>>,
}

/// What the registry says of an agent that is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It does not answer; since when, in nanoseconds since the epoch.
    Unreachable(i64),
    /// The operator says that it will never come back; since when, in nanoseconds since the epoch.
    Gone(i64),
}

/// How an agent ceased to be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentGone {
    /// It does not answer.
    Unreachable,
    /// It said goodbye, or another one came at its address.
    Removed,
    /// The operator said so.
    Gone,
}

/// A framework.
#[derive(Clone, Debug)]
pub struct Framework {
    /// Its id.
    pub id: FrameworkId,
    /// Its description; `principal` filled in, `id` set.
    pub info: Arc<v1::FrameworkInfo>,
    /// Where it stands.
    pub state: FrameworkState,
    /// Seconds since the epoch.
    pub registered_time: f64,
    /// Seconds since the epoch; equal to `registered_time` before the first resubscription.
    pub reregistered_time: f64,
    /// Seconds since the epoch, once it is completed; else 0.
    pub unregistered_time: f64,
    /// Held by its tasks and executors. Over several agents only the amounts add up, not ports (as in Mesos:
    /// src/master/framework.hpp).
    pub used: Resources,
    /// Held by its outstanding offers; the same holds.
    pub offered: Resources,
    /// Roles for which it wants no offers.
    pub suppressed_roles: Vec<String>,
    /// As subscribed.
    pub offer_constraints: Option<Arc<v1::scheduler::OfferConstraints>>,
}

/// Where a framework stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameworkState {
    /// Subscribed: connected and offered to.
    Active,
    /// Its stream is gone; the failover timeout runs.
    Disconnected,
    /// Known only from agents since this master leads; it has not subscribed yet.
    Recovered,
    /// Torn down.
    Completed,
}

/// In which list of its framework a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskList {
    /// It holds resources, or its end is not acknowledged yet.
    Active,
    /// Its agent does not answer.
    Unreachable,
    /// History.
    Completed,
}

/// A task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Whose it is.
    pub framework_id: FrameworkId,
    /// Its id.
    pub id: TaskId,
    /// Where it runs.
    pub agent_id: AgentId,
    /// Where it stands.
    pub list: TaskList,
    /// What its latest known state is.
    pub state: v1::TaskState,
    /// The state and the uuid of the last update that was sent to the framework and is not acknowledged.
    pub status_update: Option<(v1::TaskState, bytes::Bytes)>,
    /// One status per distinct state, the oldest first (src/master/master.cpp, updateTask).
    pub statuses: Statuses,
    /// The parts that never change, encoded: a `v1::Task` without state and statuses.
    pub fixed: bytes::Bytes,
}

/// An executor that a framework defined (built-in command executors do not count: src/master/master.cpp).
#[derive(Clone, Debug)]
pub struct Executor {
    /// Where it runs.
    pub agent_id: AgentId,
    /// Whose it is.
    pub framework_id: FrameworkId,
    /// Its description.
    pub info: Arc<v1::ExecutorInfo>,
}

/// An outstanding offer.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its id.
    pub id: OfferId,
    /// To whom.
    pub framework_id: FrameworkId,
    /// Of which agent.
    pub agent_id: AgentId,
    /// For which role.
    pub role: Arc<str>,
    /// What.
    pub resources: Resources,
}

/// An outstanding inverse offer.
#[derive(Clone, Debug)]
pub struct InverseOffer {
    /// Its id.
    pub id: OfferId,
    /// To whom.
    pub framework_id: FrameworkId,
    /// Of which agent.
    pub agent_id: AgentId,
    /// When the agent will not be there.
    pub unavailability: v1::Unavailability,
}

/// An operation on an agent's resources.
#[derive(Clone, Debug)]
pub struct Operation {
    /// What master and agent call it: 16 bytes.
    pub uuid: Bytes,
    /// Whose it is; `None` is an operator's.
    pub framework_id: Option<FrameworkId>,
    /// Where.
    pub agent_id: AgentId,
    /// What is to be done.
    pub info: Arc<v1::offer::Operation>,
    /// The last status.
    pub latest: v1::OperationStatus,
    /// All statuses, the oldest first.
    pub statuses: Vec<v1::OperationStatus>,
}

/// Machines that will be, or are, taken down.
#[derive(Clone, Debug, Default)]
pub struct Maintenance {
    /// As operators gave it.
    pub schedule: v1::maintenance::Schedule,
    /// How far each machine is, and what frameworks said to it.
    pub status: v1::maintenance::ClusterStatus,
}
