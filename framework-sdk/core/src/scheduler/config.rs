//! How a scheduler's driver behaves.

use std::time::Duration;

use mezzo_api::v1::{self, scheduler::call::reconcile};

use crate::{address::Address, backoff::BackoffPolicy};

/// Where masters are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Masters {
    /// These hosts; whoever does not lead redirects to the leader. Never empty.
    Listed(Vec<Address>),
    /// A detector says who leads: see [`Core::detected`](super::Core::detected).
    Detected,
}

/// What to do when the master says that it has removed the framework (torn down, or away for longer than its
/// failover timeout).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenRemoved {
    /// The driver ends and says so.
    #[default]
    End,
    /// Subscribe anew, without an id: the tasks of the old one are gone.
    StartAnew,
}

/// When and how the driver asks the master what became of tasks (docs/reconciliation.md of apache/mesos).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcilePolicy {
    /// Whether to ask at all.
    pub enabled: bool,
    /// After the first question, what has not been answered is asked again after this, then after twice this, …
    pub first: Duration,
    /// … but at least once in this time.
    pub max: Duration,
    /// All is asked again this long after the last time, even if nothing seems wrong.
    pub periodic: Option<Duration>,
}

impl Default for ReconcilePolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            first: Duration::from_secs(2),
            max: Duration::from_secs(60),
            periodic: Some(Duration::from_secs(15 * 60)),
        }
    }
}

/// All of a scheduler core's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// With an id: resubscribe (failover) with it.
    pub framework: v1::FrameworkInfo,
    /// Roles for which no offers are wanted at first.
    pub suppressed_roles: Vec<String>,
    /// Which agents may be offered at all.
    pub offer_constraints: Option<v1::scheduler::OfferConstraints>,
    /// Where masters are found.
    pub masters: Masters,
    /// Waits between attempts to subscribe.
    pub backoff: BackoffPolicy,
    /// An attempt to subscribe that has not ended in SUBSCRIBED after this has failed.
    pub subscribe_timeout: Duration,
    /// So many heartbeat intervals of silence mean that the connection is dead.
    pub missed_heartbeats: u32,
    /// See [`WhenRemoved`].
    pub when_removed: WhenRemoved,
    /// See [`ReconcilePolicy`].
    pub reconcile: ReconcilePolicy,
    /// Tasks of an earlier run of the framework's program: asked about at the first subscription already.
    pub known_tasks: Vec<reconcile::Task>,
}

impl Config {
    /// The defaults for this framework.
    pub fn new(framework: v1::FrameworkInfo, masters: Masters) -> Self {
        Self {
            framework,
            suppressed_roles: Vec::new(),
            offer_constraints: None,
            masters,
            backoff: BackoffPolicy { base: Duration::from_millis(200), max: Duration::from_secs(15) },
            subscribe_timeout: Duration::from_secs(30),
            missed_heartbeats: 5,
            when_removed: WhenRemoved::End,
            reconcile: ReconcilePolicy::default(),
            known_tasks: Vec::new(),
        }
    }
}
