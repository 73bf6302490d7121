//! What an author asks for: groups of equal tasks.

use std::time::Duration;

use mezzo_api::{
    resources::{Resources, ResourcesError},
    v1,
};
use serde::{Deserialize, Serialize};

use super::constraint::{Constraint, ConstraintError};
use crate::backoff::BackoffPolicy;

/// When a task has done its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Lifetime {
    /// Never: whatever ends is started again.
    Service,
    /// When it finishes; one that fails is tried again, so many times in all. Lost tasks do not count.
    Job {
        /// Tries in all, at least 1.
        attempts: u32,
    },
}

/// In which order a changed task takes the old one's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// The old one is killed, then the new one is started: never more than the wanted number.
    #[default]
    StopFirst,
    /// The new one is started, and the old one killed once that is ready: never fewer.
    StartFirst,
}

/// How a change of a group's task is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// So many are replaced at a time; the next follow when these are ready. At least 1.
    pub at_once: u32,
    /// See [`Order`].
    pub order: Order,
}

impl Default for Change {
    fn default() -> Self {
        Self { at_once: 1, order: Order::default() }
    }
}

/// How soon what has ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Ceiling of the first wait; each further one is twice as high.
    pub first: Duration,
    /// No wait is longer.
    pub max: Duration,
    /// A task that has run for so long has proved itself: the waits begin anew.
    pub stable_after: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(5 * 60), stable_after: Duration::from_secs(60) }
    }
}

impl Retry {
    pub(super) fn policy(&self) -> BackoffPolicy {
        BackoffPolicy { base: self.first, max: self.max }
    }
}

/// A number of equal tasks that are to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Group {
    /// Of letters, digits, `-` and `_`: a part of its tasks' ids (`name.slot.run`).
    pub name: String,
    /// How many.
    pub count: u32,
    /// What to run and what it needs: a command or an executor, resources, health check, kill policy, labels …; ids are filled in.
    ///
    /// A port 0 of the health check or of the discovery information stands for the ports that were chosen, in order.
    #[serde(with = "super::record::task_info")]
    pub task: v1::TaskInfo,
    /// So many ports of the agent's are chosen for each task, given to it as `PORT0`, `PORT1` … (`PORT` is the first).
    pub ports: u32,
    /// Where tasks may run.
    pub constraints: Vec<Constraint>,
    /// See [`Lifetime`].
    pub lifetime: Lifetime,
    /// See [`Retry`].
    pub retry: Retry,
    /// A task whose agent cannot be reached is given up, and started elsewhere, after so long (besides the time that the
    /// master waits until it says so).
    pub unreachable_grace: Duration,
    /// See [`Change`].
    pub change: Change,
}

/// Why a group cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The name does not do.
    #[error("'{0}' is no name of a group: 1 to 100 letters, digits, '-' and '_'")]
    Name(String),
    /// There is no group of this name.
    #[error("there is no group '{0}'")]
    Unknown(String),
    /// The resources cannot be read.
    #[error("group '{name}': {source}")]
    Resources {
        /// Of the group.
        name: String,
        /// What is wrong.
        source: ResourcesError,
    },
    /// No resources are asked for.
    #[error("group '{0}' asks for no resources: a task needs some, e.g. cpus:0.1;mem:32")]
    NoResources(String),
    /// Nothing to run.
    #[error("group '{0}' has neither a command nor an executor: give exactly one")]
    NothingToRun(String),
    /// A constraint cannot be understood.
    #[error("group '{name}': {source}")]
    Constraint {
        /// Of the group.
        name: String,
        /// What is wrong.
        source: ConstraintError,
    },
    /// A number that must be at least 1 is 0.
    #[error("group '{name}': {what} must be at least 1")]
    Zero {
        /// Of the group.
        name: String,
        /// Which number.
        what: &'static str,
    },
}

const MAX_NAME: usize = 100;

impl Group {
    /// One task that runs for ever: this command, in a shell, with these resources (e.g. `cpus:0.1;mem:32`).
    ///
    /// # Errors
    /// If the resources cannot be read.
    pub fn new(name: impl Into<String>, command: impl Into<String>, resources: &str) -> Result<Self, GroupError> {
        let name = name.into();
        let resources = Resources::parse(resources, "*")
            .map_err(|source| GroupError::Resources { name: name.clone(), source })?
            .to_protos();
        let command = v1::CommandInfo { value: Some(command.into()), shell: Some(true), ..Default::default() };
        let task = v1::TaskInfo { resources, command: Some(command), ..Default::default() };
        Ok(Self::of(name, task))
    }

    /// One task that runs for ever, as it is described here.
    pub fn of(name: impl Into<String>, task: v1::TaskInfo) -> Self {
        Self {
            name: name.into(),
            count: 1,
            task,
            ports: 0,
            constraints: Vec::new(),
            lifetime: Lifetime::Service,
            retry: Retry::default(),
            unreachable_grace: Duration::ZERO,
            change: Change::default(),
        }
    }

    /// With so many tasks.
    #[must_use]
    pub fn count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// With so many ports for each task.
    #[must_use]
    pub fn ports(mut self, ports: u32) -> Self {
        self.ports = ports;
        self
    }

    /// With one more constraint.
    #[must_use]
    pub fn constraint(mut self, constraint: Constraint) -> Self {
        self.constraints.push(constraint);
        self
    }

    /// With tasks that end, and are tried so many times in all.
    #[must_use]
    pub fn job(mut self, attempts: u32) -> Self {
        self.lifetime = Lifetime::Job { attempts };
        self
    }

    /// With these waits before what has ended is started again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// With changes carried out like this.
    #[must_use]
    pub fn change(mut self, change: Change) -> Self {
        self.change = change;
        self
    }

    /// With this health check: a task is ready only once it is healthy.
    #[must_use]
    pub fn health_check(mut self, check: v1::HealthCheck) -> Self {
        self.task.health_check = Some(Box::new(check));
        self
    }

    /// What each task needs, beside the ports that are chosen.
    pub(super) fn needs(&self) -> Result<Resources, GroupError> {
        Resources::from_protos(&self.task.resources)
            .map_err(|source| GroupError::Resources { name: self.name.clone(), source })
    }

    /// Whether a task of `other` is no task of this group.
    pub(super) fn differs(&self, other: &Self) -> bool {
        self.task != other.task || self.ports != other.ports
    }

    pub(super) fn check(&self) -> Result<(), GroupError> {
        let name = || self.name.clone();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.chars().all(plain) {
            return Err(GroupError::Name(name()));
        }
        if self.needs()?.is_empty() {
            return Err(GroupError::NoResources(name()));
        }
        if self.task.command.is_some() == self.task.executor.is_some() {
            return Err(GroupError::NothingToRun(name()));
        }
        if self.change.at_once == 0 {
            return Err(GroupError::Zero { name: name(), what: "change.at_once" });
        }
        if self.lifetime == (Lifetime::Job { attempts: 0 }) {
            return Err(GroupError::Zero { name: name(), what: "attempts" });
        }
        Ok(())
    }
}
