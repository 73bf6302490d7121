//! A scheduler's driver: finds the leading master, subscribes, stays subscribed, and keeps the framework's picture of
//! its tasks true. The protocol is that of docs/scheduler-http-api.md of apache/mesos.
//!
//! | state | leaves it when |
//! |---|---|
//! | detecting | a master is known |
//! | subscribing | SUBSCRIBED came; the attempt failed or took too long; a redirect named another master |
//! | subscribed | the stream ended or fell silent; the master refused a call because it does not lead any more |
//! | backing off | the wait is over, or another leader was detected |
//! | ended | never |

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use mezzo_api::{time::Now, v1};
use rand::{SeedableRng, rngs::SmallRng};

pub mod author;
pub mod calls;
mod config;
mod effect;
mod incoming;
mod masters;
mod operations;
mod outgoing;
mod subscription;
mod tasks;
#[cfg(test)]
mod tests;

pub use author::{Act, Context, Scheduler};
pub use config::{Config, Masters, ReconcilePolicy, WhenRemoved};
pub use effect::{CallError, Effect, Effects, EndReason, Event, Outgoing, StreamId, Subscribed, Ticket};

use crate::{address::Address, backoff::Backoff};

/// The driver's decisions.
#[derive(Debug)]
pub struct Core {
    config: Config,
    rng: SmallRng,
    state: State,
    masters: masters::Candidates,
    backoff: Backoff,
    last_stream: u64,
    /// As it will be subscribed next: with its id once there is one.
    framework: v1::FrameworkInfo,
    suppressed: BTreeSet<String>,
    tasks: tasks::Tasks,
    operations: operations::Operations,
    /// Calls for the next subscription, in order.
    held: VecDeque<Outgoing>,
    teardown: Teardown,
    /// Broken connections of calls since the last answer.
    calls_lost_in_a_row: u32,
}

#[derive(Debug)]
enum State {
    Detecting,
    BackingOff {
        until: Duration,
    },
    Subscribing {
        stream: StreamId,
        master: Address,
        until: Duration,
        /// Roles for which its SUBSCRIBE wants no offers.
        suppressed: BTreeSet<String>,
    },
    Subscribed {
        stream: StreamId,
        interval: Duration,
        silent_at: Duration,
    },
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Teardown {
    No,
    Asked,
}

/// Calls that are kept for the next subscription; more are refused.
const MAX_HELD: usize = 100_000;

impl Core {
    /// A driver that has not dialled anyone yet.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
            state: State::Detecting,
            masters: masters::Candidates::new(&config.masters),
            backoff: Backoff::new(config.backoff),
            last_stream: 0,
            framework: config.framework.clone(),
            suppressed: config.suppressed_roles.iter().cloned().collect(),
            tasks: tasks::Tasks::new(config.reconcile.clone(), &config.known_tasks),
            operations: operations::Operations::new(config.reconcile.clone()),
            held: VecDeque::new(),
            teardown: Teardown::No,
            calls_lost_in_a_row: 0,
            config,
        }
    }

    /// Begins: dials the first master at once if one is known.
    pub fn start(&mut self, now: Now, out: &mut Effects) {
        if matches!(self.state, State::Detecting) {
            self.dial(now, out);
        }
    }

    /// A detector says who leads, or that nobody does. Another leader than the one in use is dialled at once.
    pub fn detected(&mut self, now: Now, leader: Option<Address>, out: &mut Effects) {
        if matches!(self.state, State::Ended) {
            return;
        }
        if leader.is_some() && self.masters.current() == leader.as_ref() && self.stream().is_some() {
            return;
        }
        let reason = match &leader {
            Some(leader) => format!("another master leads: {leader}"),
            None => "no master leads".to_owned(),
        };
        self.masters.detected(leader);
        self.backoff.reset();
        self.drop_stream(reason, out);
        self.dial(now, out);
    }

    /// Carries out what is due.
    pub fn tick(&mut self, now: Now, out: &mut Effects) {
        match self.state {
            State::BackingOff { until } if until <= now.mono => self.dial(now, out),
            State::Subscribing { stream, until, .. } if until <= now.mono => {
                out.push(Effect::Close(stream));
                let waited = self.config.subscribe_timeout.as_secs();
                self.attempt_failed(now, format!("no subscription within {waited} s"), out);
            }
            State::Subscribed { stream, silent_at, interval } => {
                if silent_at <= now.mono && !mezzo_api::mutant!("silence-unnoticed") {
                    let missed = self.config.missed_heartbeats;
                    let reason = format!("{missed} heartbeats of {} s missed", interval.as_secs_f64());
                    self.lose(now, stream, reason, out);
                } else {
                    self.reconcile(now, stream, out);
                }
            }
            State::Detecting | State::BackingOff { .. } | State::Subscribing { .. } | State::Ended => {}
        }
    }

    /// When to [`tick`](Self::tick) at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Detecting | State::Ended => None,
            State::BackingOff { until } | State::Subscribing { until, .. } => Some(until),
            State::Subscribed { silent_at, .. } => {
                self.tasks.deadline().into_iter().chain(self.operations.deadline()).chain([silent_at]).min()
            }
        }
    }

    /// Whether the driver has ended: it will ask for nothing more.
    pub fn ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The framework's id, once it has one.
    pub fn framework_id(&self) -> Option<&v1::FrameworkId> {
        self.framework.id.as_ref()
    }

    /// Of the attempt or subscription in use.
    fn stream(&self) -> Option<StreamId> {
        match self.state {
            State::Subscribing { stream, .. } | State::Subscribed { stream, .. } => Some(stream),
            State::Detecting | State::BackingOff { .. } | State::Ended => None,
        }
    }

    fn subscribed(&self) -> Option<StreamId> {
        match self.state {
            State::Subscribed { stream, .. } => Some(stream),
            _ => None,
        }
    }

    fn has(&self, capability: v1::framework_info::capability::Type) -> bool {
        self.framework.capabilities.iter().any(|has| has.r#type() == capability)
    }

    /// The roles of the framework, as Mesos reads them (`role` unless MULTI_ROLE).
    fn roles(&self) -> Vec<String> {
        if self.has(v1::framework_info::capability::Type::MultiRole) {
            return self.framework.roles.clone();
        }
        #[allow(deprecated)] // what frameworks without MULTI_ROLE have
        let role = self.framework.role();
        vec![role.to_owned()]
    }

    /// Every invariant; for tests and simulators, after each step.
    #[cfg(test)]
    fn check(&self) {
        self.tasks.check();
        self.operations.check();
        if self.subscribed().is_some() {
            assert!(self.framework.id.is_some());
            assert!(self.held.is_empty());
        }
        if self.ended() {
            assert!(self.held.is_empty());
            assert_eq!(self.deadline(), None);
        }
    }
}
