//! The whole state as records: what a compacted checkpoint starts with.

use std::sync::Arc;

use bytes::Bytes;
use mezzo_api::v1;

use crate::{
    core::Core,
    entity::{Container, Executor, Framework},
    record::{self, Entry},
    run::Run,
    view::{ExecutorState, ExecutorView},
};

impl Core {
    /// The records that a new checkpoint starts with: replaying them gives this state.
    pub fn snapshot(&self) -> Vec<Bytes> {
        let mut entries = vec![Entry::Boot(self.config.boot_id.clone()), Entry::Term(self.term)];
        if self.agent_id.is_some() {
            entries.push(Entry::Agent(self.info.clone().into()));
        }
        entries.extend(self.operation_records());
        if let Some(config) = self.draining {
            entries.push(Entry::Drain(record::Drain { config: Some(config) }));
        }
        for framework in &self.completed_frameworks {
            entries.push(Entry::Framework(framework.info.clone().into()));
            history(framework, &mut entries);
            entries.push(Entry::FrameworkDone(framework.id.proto()));
        }
        for framework in self.frameworks.values() {
            entries.push(Entry::Framework(framework.info.clone().into()));
            history(framework, &mut entries);
            for entry in framework.executors.values() {
                executor(framework, entry, &mut entries);
            }
            if framework.terminating {
                entries.push(Entry::FrameworkShutdown(framework.id.proto()));
            }
        }
        for (framework, task, stream) in self.updates.iter() {
            entries.push(Entry::Stream(record::Stream {
                framework_id: framework.proto(),
                task_id: task.proto(),
                acknowledged: stream.acknowledged.iter().cloned().collect(),
                pending: stream.pending.iter().cloned().map(Into::into).collect(),
            }));
        }
        entries.iter().map(Entry::to_bytes).collect()
    }
}

fn history(framework: &Framework, entries: &mut Vec<Entry>) {
    for executor in &framework.completed {
        entries.push(Entry::Completed(completed(framework, executor)));
    }
}

fn completed(framework: &Framework, executor: &ExecutorView) -> record::Completed {
    let tasks = executor.completed.iter().chain(&executor.terminated);
    record::Completed {
        framework_id: framework.id.proto(),
        info: executor.info.clone().into(),
        container_id: executor.container_id.to_string(),
        tasks: tasks.cloned().map(Into::into).collect(),
    }
}

fn executor(framework: &Framework, executor: &Executor, entries: &mut Vec<Entry>) {
    let (framework_id, executor_id) = (framework.id.proto(), executor.id.proto());
    let container_id = executor.container_id.to_string();
    let command = executor.runs().first().filter(|_| executor.generated());
    entries.push(Entry::Executor(record::Executor {
        framework_id: framework_id.clone(),
        info: executor.info.clone().into(),
        container_id: container_id.clone(),
        command: command.map(|run| Box::new(run.spec.record())),
        subscribed: executor.subscribed,
        pod: executor.is_pod().then_some(true),
    }));
    if executor.container == Container::Started && !executor.is_pod() {
        entries.push(Entry::Started(record::Started {
            framework_id: framework_id.clone(),
            executor_id: executor_id.clone(),
            container_id: container_id.clone(),
            pid: executor.pid,
            at: command.map_or(0.0, |run| run.started_at),
        }));
    }
    let task = |mut task: v1::Task, completed: bool| {
        // What was forwarded to a master is no record: it is forwarded again.
        (task.status_update_state, task.status_update_uuid) = (None, None);
        Entry::Task(record::Task { executor_id: executor_id.clone(), task: Arc::new(task).into(), completed })
    };
    entries.extend(executor.completed.iter().map(|entry| task((**entry).clone(), true)));
    let present = executor.launched.values().chain(executor.terminated.values());
    entries.extend(present.map(|entry| task((**entry).clone(), false)));
    entries.extend(executor.queued.values().map(|queued| task((*queued.task).clone(), false)));
    for run in executor.runs() {
        played(framework, executor, run, entries);
    }
    match executor.state {
        ExecutorState::Registering | ExecutorState::Running => {}
        ExecutorState::Terminating => entries.push(Entry::Shutdown(record::Shutdown {
            framework_id,
            executor_id,
            container_id,
            termination: executor.termination.clone(),
        })),
        ExecutorState::Terminated => {
            entries.push(Entry::Exited(record::Container { framework_id, executor_id, container_id }));
        }
    }
}

fn played(framework: &Framework, executor: &Executor, run: &Run, entries: &mut Vec<Entry>) {
    let (framework_id, executor_id) = (framework.id.proto(), executor.id.proto());
    if executor.is_pod() {
        entries.push(Entry::Nested(Box::new(record::Nested {
            framework_id: framework_id.clone(),
            executor_id: executor_id.clone(),
            parent_id: executor.container_id.to_string(),
            container_id: run.container_id.to_string(),
            task_id: run.task.proto(),
            group: run.group,
            command: run.spec.record(),
        })));
        if run.container == Container::Started {
            entries.push(Entry::Started(record::Started {
                framework_id: framework_id.clone(),
                executor_id: executor_id.clone(),
                container_id: run.container_id.to_string(),
                pid: run.pid,
                at: run.started_at,
            }));
        }
    }
    if run.health != Default::default() {
        entries.push(Entry::Health(record::Health {
            framework_id: framework_id.clone(),
            task_id: run.task.proto(),
            failures: run.health.failures,
            succeeded: run.health.succeeded,
        }));
    }
    if let Some(kill) = run.kill {
        entries.push(Entry::Kill(kill.record(framework_id, executor_id, &run.container_id)));
    }
}
