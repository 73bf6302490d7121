//! What the agent keeps of the tasks whose executor it plays itself: command tasks and those of the default executor.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use mezzo_api::{
    ids::{ContainerId, TaskId},
    v1,
};

use crate::{checks::Checker, entity::Container, record, timers::Handle};

/// The part of an executor that the agent plays.
#[derive(Debug, Default)]
pub(crate) struct Played {
    /// It is the default executor; else the one of a single command task, which runs in the executor's own container.
    pub(crate) pod: bool,
    /// Tasks that are not over, in the order in which they came.
    pub(crate) runs: Vec<Run>,
    /// Groups that it was given so far.
    pub(crate) groups: u32,
    /// A task of it was killed for its health (src/launcher/default_executor.cpp: told of all that end afterwards).
    pub(crate) unhealthy: bool,
}

/// One task in a container.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) task: TaskId,
    /// Its own, or the executor's if it is a command task.
    pub(crate) container_id: ContainerId,
    /// How far that is; of a container of its own only.
    pub(crate) container: Container,
    pub(crate) pid: Option<i32>,
    /// Of a network of its container's own.
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) spec: Arc<Spec>,
    /// The group it came with.
    pub(crate) group: u32,
    /// The end of another one of its group is the reason for its own.
    pub(crate) group_ends: bool,
    pub(crate) kill: Option<Kill>,
    pub(crate) health: Health,
    /// Of the container's start, in seconds since the epoch; 0 before.
    pub(crate) started_at: f64,
    /// Of its `max_completion_time`.
    pub(crate) completion: Option<Handle>,
    pub(crate) checkers: Vec<Checker>,
}

/// What the health checks have found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// Failures since the last success that count.
    pub(crate) failures: u32,
    /// It was healthy once.
    pub(crate) succeeded: bool,
}

/// What a task asks of the one who plays its executor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spec {
    /// Of the task's kill policy.
    pub(crate) grace: Option<Duration>,
    pub(crate) max_completion: Option<Duration>,
    /// The type of its check: every status then carries a `check_status`.
    pub(crate) check_type: Option<v1::check_info::Type>,
    pub(crate) check: Option<v1::CheckInfo>,
    pub(crate) health_check: Option<v1::HealthCheck>,
    /// Of a task with a container of its own.
    pub(crate) command: Option<v1::CommandInfo>,
    /// The role of its resources, in a container of its own.
    pub(crate) role: Option<String>,
}

/// A kill that goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    /// Monotonic.
    pub(crate) since: Duration,
    /// Between SIGTERM and SIGKILL, in all.
    pub(crate) grace: Duration,
    pub(crate) why: Why,
}

/// Why a task is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Somebody wants it.
    Asked,
    /// Its `max_completion_time` is up.
    Completion,
    /// Its health checks failed.
    Unhealthy,
}

impl Run {
    pub(crate) fn new(task: TaskId, container_id: ContainerId, spec: Spec, container: Container) -> Self {
        Self {
            task,
            container_id,
            container,
            pid: None,
            address: None,
            spec: Arc::new(spec),
            group: 0,
            group_ends: false,
            kill: None,
            health: Health::default(),
            started_at: 0.0,
            completion: None,
            checkers: Vec::new(),
        }
    }
}

impl Spec {
    /// Of a task; `nested`, in a container of its own.
    pub(crate) fn of(task: &v1::TaskInfo, nested: bool) -> Self {
        let grace = task.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref()).map(nanoseconds);
        let limit = task.max_completion_time.as_ref().map(nanoseconds);
        let role = || task.resources.iter().find_map(|resource| resource.allocation_info.as_ref()?.role.clone());
        Self {
            grace,
            max_completion: limit.filter(|limit| !limit.is_zero()),
            check_type: task.check.as_ref().and_then(|check| check.r#type?.try_into().ok()),
            check: task.check.as_deref().cloned(),
            health_check: task.health_check.as_deref().cloned(),
            command: task.command.clone().filter(|_| nested),
            role: if nested { role() } else { None },
        }
    }

    pub(crate) fn recorded(command: &record::Command) -> Self {
        let nanoseconds = |ns: i64| Duration::from_nanos(ns.max(0).unsigned_abs());
        Self {
            grace: command.grace_ns.map(nanoseconds),
            max_completion: command.max_completion_ns.map(nanoseconds),
            check_type: command.check.and_then(|check| check.try_into().ok()),
            check: command.check_info.clone(),
            health_check: command.health_check.clone(),
            command: command.command.clone(),
            role: command.role.clone(),
        }
    }

    pub(crate) fn record(&self) -> record::Command {
        let nanoseconds = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        record::Command {
            grace_ns: self.grace.map(nanoseconds),
            max_completion_ns: self.max_completion.map(nanoseconds),
            check: self.check_type.map(|check| check as i32),
            health_check: self.health_check.clone(),
            check_info: self.check.clone(),
            command: self.command.clone(),
            role: self.role.clone(),
        }
    }
}

impl Kill {
    pub(crate) fn recorded(record: &record::Kill, now: Duration) -> Self {
        let why = match (record.completion, record.unhealthy) {
            (true, _) => Why::Completion,
            (false, Some(true)) => Why::Unhealthy,
            (false, _) => Why::Asked,
        };
        Self { since: now, grace: Duration::from_nanos(record.grace_ns), why }
    }

    pub(crate) fn record(
        &self,
        framework_id: v1::FrameworkId,
        executor_id: v1::ExecutorId,
        container: &ContainerId,
    ) -> record::Kill {
        record::Kill {
            framework_id,
            executor_id,
            container_id: container.to_string(),
            grace_ns: u64::try_from(self.grace.as_nanos()).unwrap_or(u64::MAX),
            completion: self.why == Why::Completion,
            unhealthy: (self.why == Why::Unhealthy).then_some(true),
        }
    }
}

pub(crate) fn nanoseconds(duration: &v1::DurationInfo) -> Duration {
    Duration::from_nanos(duration.nanoseconds.max(0).unsigned_abs())
}
