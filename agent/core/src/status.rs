//! Task states and statuses as Mesos makes them (src/common/protobuf_utils.cpp).

use bytes::Bytes;
use mezzo_api::{
    ids::{AgentId, ExecutorId, FrameworkId, TaskId},
    signals,
    time::Now,
    v1::{
        self, TaskState,
        task_status::{Reason, Source},
    },
};
use rand::RngCore;
use uuid::Uuid;

/// Whether a task in this state will never run again.
pub fn is_terminal(state: TaskState) -> bool {
    match state {
        TaskState::TaskFinished
        | TaskState::TaskFailed
        | TaskState::TaskKilled
        | TaskState::TaskLost
        | TaskState::TaskError
        | TaskState::TaskDropped
        | TaskState::TaskGone
        | TaskState::TaskGoneByOperator => true,
        TaskState::TaskKilling
        | TaskState::TaskStaging
        | TaskState::TaskStarting
        | TaskState::TaskRunning
        | TaskState::TaskUnreachable
        | TaskState::TaskUnknown => false,
    }
}

/// A random UUID from the core's own source.
pub(crate) fn uuid(random: &mut impl RngCore) -> Uuid {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// Whether a status' uuid is one as Mesos reads it: 16 bytes of a version from 1 to 5 (boost::uuids).
pub(crate) fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 16 && (1..=5).contains(&(bytes[6] >> 4))
}

/// What an agent or an executor says of a task.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) state: TaskState,
    pub(crate) reason: Option<Reason>,
    pub(crate) message: Option<String>,
    pub(crate) executor_id: Option<ExecutorId>,
    /// What the task took too much of.
    pub(crate) limitation: Vec<v1::Resource>,
}

impl Report {
    pub(crate) fn new(state: TaskState) -> Self {
        Self { state, reason: None, message: None, executor_id: None, limitation: Vec::new() }
    }

    pub(crate) fn reason(self, reason: Reason) -> Self {
        Self { reason: Some(reason), ..self }
    }

    pub(crate) fn message(self, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..self }
    }

    pub(crate) fn executor(self, id: &ExecutorId) -> Self {
        Self { executor_id: Some(id.clone()), ..self }
    }

    pub(crate) fn limited(self, resources: Vec<v1::Resource>) -> Self {
        Self { limitation: resources, ..self }
    }

    /// The whole status.
    pub(crate) fn status(
        self,
        now: Now,
        random: &mut impl RngCore,
        task: &TaskId,
        agent: Option<&AgentId>,
        source: Source,
    ) -> v1::TaskStatus {
        v1::TaskStatus {
            task_id: task.proto(),
            state: self.state as i32,
            message: self.message,
            source: Some(source as i32),
            reason: self.reason.map(|reason| reason as i32),
            agent_id: agent.map(AgentId::proto),
            executor_id: self.executor_id.map(|id| id.proto()),
            timestamp: Some(now.timestamp()),
            uuid: Some(Bytes::copy_from_slice(uuid(random).as_bytes())),
            limitation: (!self.limitation.is_empty())
                .then_some(v1::TaskResourceLimitation { resources: self.limitation }),
            ..Default::default()
        }
    }
}

/// A task as it is when it is given to an executor.
pub fn staging(task: &v1::TaskInfo, framework: &FrameworkId) -> v1::Task {
    let executor = task.executor.as_ref();
    let user = match &task.command {
        Some(command) => command.user.clone(),
        None => None,
    };
    v1::Task {
        name: task.name.clone(),
        task_id: task.task_id.clone(),
        framework_id: framework.proto(),
        executor_id: executor.map(|executor| executor.executor_id.clone()),
        agent_id: task.agent_id.clone(),
        state: TaskState::TaskStaging as i32,
        resources: task.resources.clone(),
        labels: task.labels.clone(),
        discovery: task.discovery.clone(),
        container: task.container.clone(),
        health_check: task.health_check.clone(),
        kill_policy: task.kill_policy,
        user: user.or_else(|| executor.and_then(|executor| executor.command.as_ref()?.user.clone())),
        limits: task.limits.clone(),
        ..Default::default()
    }
}

/// Enters a status into a task: one status is kept for each run of equal states (src/slave/slave.cpp, updateTaskState).
pub(crate) fn enter(task: &mut v1::Task, status: &v1::TaskStatus) {
    if task.statuses.last().is_some_and(|last| last.state == status.state) {
        task.statuses.pop();
    }
    task.statuses.push(status.clone());
    task.state = status.state;
}

/// How a wait status reads in Mesos' messages (stout's WSTRINGIFY).
pub(crate) fn describe_exit(status: i32) -> String {
    if status & 0x7f == 0 {
        return format!("exited with status {}", (status >> 8) & 0xff);
    }
    let core = if status & 0x80 == 0 { "" } else { " (core dumped)" };
    format!("terminated with signal {}{core}", signal_name(status & 0x7f))
}

/// Whether a wait status says that the process ended by itself with 0.
pub(crate) fn succeeded(status: i32) -> bool {
    status & if mezzo_api::mutant!("exit-code-misread") { 0xff } else { 0xffff } == 0
}

/// strsignal(3), with the real-time signals.
fn signal_name(signal: i32) -> String {
    let name = usize::try_from(signal - 1).ok().and_then(|index| signals::NAMES.get(index));
    match name {
        Some(name) => (*name).to_string(),
        None if (34..=64).contains(&signal) => format!("Real-time signal {}", signal - 34),
        None => format!("Unknown signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_exits_as_mesos_does() {
        assert_eq!(describe_exit(0), "exited with status 0");
        assert_eq!(describe_exit(3 << 8), "exited with status 3");
        assert_eq!(describe_exit(9), "terminated with signal Killed");
        assert_eq!(describe_exit(15), "terminated with signal Terminated");
        assert_eq!(describe_exit(11 | 0x80), "terminated with signal Segmentation fault (core dumped)");
        assert_eq!(describe_exit(34), "terminated with signal Real-time signal 0");
    }

    #[test]
    fn knows_a_uuid() {
        assert!(!is_uuid(b"abc"));
        assert!(!is_uuid(&[0; 16]));
        assert!(!is_uuid(b"yyyyyyyyyyyyyyyy"));
        assert!(is_uuid(Uuid::from_u128(0x0b9e_1d4c_7a53_4f6d_9c1b_2d3e_4f5a_6b7c).as_bytes()));
    }
}
