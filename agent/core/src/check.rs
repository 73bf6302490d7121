//! What must never be false of an agent.

use std::collections::BTreeSet;

use mezzo_api::{
    ids::{FrameworkId, TaskId},
    resources::Resources,
    v1::{self},
};

use crate::{
    core::Core,
    entity::{Executor, Framework},
    status::is_terminal,
    updates::Stream,
    view::ExecutorState,
};

impl Core {
    /// Panics when an invariant is broken; for tests and the simulator.
    pub fn check(&self) {
        let mut sandboxes = BTreeSet::new();
        for framework in self.frameworks.values() {
            for (id, executor) in framework.executors.iter() {
                assert_eq!(*id, executor.id);
                assert!(
                    sandboxes.insert(executor.directory.as_os_str()),
                    "a sandbox was given twice: {:?}",
                    executor.directory
                );
                let owner = self.containers.get(&executor.container_id);
                assert_eq!(owner, Some(&(framework.id.clone(), id.clone())), "a container lost its executor");
                check_executor(executor, framework.terminating);
            }
            check_index(framework);
            self.check_terminated(framework);
        }
        self.check_streams();
        self.check_resources();
        self.check_reservations();
        self.check_operation_updates();
    }

    /// What is remembered of reservations is a part of what there is; gives what there is.
    pub(crate) fn check_reservations(&self) -> Resources {
        let started = Resources::from_protos(&self.info.resources).expect("resources of the agent");
        let total = started.with_checkpointed(&self.operations.checkpointed).expect("reservations of what there is");
        assert_eq!(total.quantities(), started.quantities(), "an operation made or lost something");
        total
    }

    /// The status of an operation that is pending will be sent again.
    pub(crate) fn check_operation_updates(&self) {
        for (uuid, scheduled) in self.operations.scheduled() {
            assert_eq!(
                scheduled, self.registered,
                "the status of operation {uuid:?} is stuck or runs without a master"
            );
        }
    }

    /// A task whose end is not acknowledged has an update that says so.
    fn check_terminated(&self, framework: &Framework) {
        framework.executors.values().for_each(|executor| self.check_terminated_of(framework, executor));
    }

    pub(crate) fn check_terminated_of(&self, framework: &Framework, executor: &Executor) {
        for task in executor.terminated.keys().filter(|_| !framework.terminating) {
            let last = self.updates.get(&framework.id, task).and_then(|stream| stream.pending.back());
            assert!(last.is_some_and(|status| is_terminal(status.state())), "the end of {task} would never be told");
        }
    }

    /// A terminal update is a task's last; what is pending is not acknowledged; a pending head will be sent again.
    pub(crate) fn check_streams(&self) {
        self.updates.iter().for_each(|(framework, task, stream)| self.check_stream(framework, task, stream));
    }

    pub(crate) fn check_stream(&self, framework: &FrameworkId, task: &TaskId, stream: &Stream) {
        let known = || self.frameworks.get(framework).is_some_and(|framework| framework.tasks.contains_key(task));
        for (place, status) in stream.pending.iter().enumerate() {
            let last = place + 1 == stream.pending.len();
            assert!(last || !is_terminal(status.state()) || !known(), "{task} goes on after its end");
            let uuid = status.uuid.as_ref().is_some_and(|uuid| !stream.acknowledged.contains(uuid));
            assert!(uuid, "an acknowledged update of {task} is pending");
        }
        assert_eq!(
            stream.is_scheduled(),
            self.registered && !stream.pending.is_empty(),
            "the update stream of {task} is stuck or runs without a master"
        );
    }

    /// What tasks and executors hold is there, and no port is given twice.
    fn check_resources(&self) {
        let mut used = Resources::new();
        let mut ports: Vec<(u64, u64)> = Vec::new();
        for framework in self.frameworks.values().filter(|framework| !framework.terminating) {
            for executor in framework.executors.values() {
                for resources in held(executor) {
                    let mut sum = Resources::from_protos(resources).expect("resources that the master checked");
                    sum.unallocate();
                    used += &sum;
                    ports.extend(resources.iter().filter(|resource| resource.name == "ports").flat_map(ranges));
                }
            }
        }
        let total = self.total();
        assert!(total.contains(&used), "{used} is used of {total}");
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0].1 < pair[1].0), "a port was given twice: {ports:?}");
    }
}

/// Whether the executor itself costs something.
pub(crate) fn holds_its_own(executor: &Executor) -> bool {
    !executor.generated() && executor.state != ExecutorState::Terminated
}

/// The resources that the master counts for an executor: a generated one itself costs nothing.
pub(crate) fn held(executor: &Executor) -> impl Iterator<Item = &[v1::Resource]> {
    let own = holds_its_own(executor).then_some(executor.info.resources.as_slice());
    let queued = executor.queued.values().map(|queued| queued.info.resources.as_slice());
    let launched = executor.launched.values().map(|task| task.resources.as_slice());
    own.into_iter().chain(queued).chain(launched)
}

pub(crate) fn ranges(resource: &v1::Resource) -> impl Iterator<Item = (u64, u64)> {
    resource.ranges.iter().flat_map(|ranges| &ranges.range).map(|range| (range.begin, range.end))
}

/// A pod goes on as long as a task of it does, or the end of one waits for its acknowledgement. Of a framework that is at
/// its end nothing is told any more: a task stays as it was until the pod is gone, and all of them are on their way.
fn check_pod(executor: &Executor, ends: bool) {
    let waits = executor.timer.is_some() && !executor.terminated.is_empty() && !ends;
    assert!(waits || !executor.runs().is_empty(), "a pod without tasks goes on: {}", executor.id);
    if ends {
        let spared = executor.runs().iter().find(|run| run.kill.is_none());
        assert!(spared.is_none(), "{:?} is let run on at its framework's end", spared.map(|run| &run.task));
        return;
    }
    let lost = executor.launched.keys().find(|task| executor.run_of(task).is_none());
    assert!(lost.is_none(), "{lost:?} has no container");
}

pub(crate) fn check_executor(executor: &Executor, ends: bool) {
    for task in executor.queued.keys() {
        assert!(
            !executor.launched.contains_key(task) && !executor.terminated.contains_key(task),
            "{task} is in two places"
        );
    }
    for (task, entry) in &executor.launched {
        assert!(!executor.terminated.contains_key(task), "{task} is in two places");
        assert!(!is_terminal(entry.state()), "{task} runs after its end");
    }
    for group in &executor.queued_groups {
        assert!(group.iter().all(|task| executor.queued.contains_key(task)), "a group was torn");
    }
    for run in executor.runs() {
        assert!(run.completion.is_none() || run.kill.is_none(), "{} is killed, and timed still", run.task);
        run.check_checkers();
    }
    if executor.is_pod() && executor.state != ExecutorState::Terminated {
        check_pod(executor, ends);
    }
    if executor.state == ExecutorState::Terminated {
        assert!(
            executor.queued.is_empty() && executor.launched.is_empty(),
            "tasks outlived their executor {}",
            executor.id
        );
    }
}

fn check_index(framework: &Framework) {
    let mut tasks = 0;
    for executor in framework.executors.values() {
        for task in executor.queued.keys().chain(executor.launched.keys()).chain(executor.terminated.keys()) {
            tasks += 1;
            assert_eq!(framework.tasks.get(task), Some(&executor.id), "{task} is not found under its executor");
        }
    }
    assert_eq!(tasks, framework.tasks.len(), "tasks without an executor");
}
