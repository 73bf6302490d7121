//! The invariants of `check`, of what was touched since the last time alone: sums are carried on from step to step.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ffi::OsString,
    path::Path,
    sync::Arc,
};

use mezzo_api::{
    ids::{ExecutorId, FrameworkId, TaskId},
    resources::Resources,
};

use crate::{
    check::{check_executor, held, holds_its_own, ranges},
    core::Core,
    entity::{Executor, Framework},
};

/// What the checks of earlier steps have counted.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    frameworks: BTreeMap<FrameworkId, Counted>,
    /// What tasks and executors hold.
    used: Resources,
    /// What those of frameworks hold that are being ended.
    ending: Resources,
    /// The ports that are held: the begin of each range, and its end.
    ports: BTreeMap<u64, u64>,
    /// As text: paths are compared part by part.
    sandboxes: HashSet<OsString>,
    registered: bool,
    /// What is held is other than it was.
    changed: bool,
    /// What is known of reservations, and what there is with them.
    total: Option<(Resources, Resources)>,
}

#[derive(Debug, Default)]
struct Counted {
    terminating: bool,
    executors: BTreeMap<ExecutorId, Held>,
}

/// What an executor holds. The resources of a task never change.
#[derive(Debug)]
struct Held {
    tasks: Vec<TaskId>,
    own: bool,
    resources: Resources,
    ports: Vec<(u64, u64)>,
    directory: Arc<Path>,
}

impl Held {
    fn is_of(&self, executor: &Executor) -> bool {
        let tasks = executor.queued.keys().chain(executor.launched.keys());
        self.own == holds_its_own(executor)
            && Arc::ptr_eq(&self.directory, &executor.directory)
            && tasks.eq(self.tasks.iter())
    }
}

impl Core {
    /// The invariants of what was touched since the last time: after each step as good as [`Core::check`], and cheaper.
    ///
    /// # Panics
    /// If one is broken; for tests and the simulator.
    pub fn check_touched(&mut self) {
        let mut checked = std::mem::take(&mut self.checked);
        let mut touched = self.touched_executors(&checked);
        self.check_touched_streams(&checked, &mut touched);
        for (framework, executors) in touched {
            checked.look_at(self, &framework, &executors);
        }
        for framework in self.frameworks.values() {
            let tasks: usize = framework.executors.values().map(Executor::task_count).sum();
            assert_eq!(tasks, framework.tasks.len(), "tasks without an executor");
        }
        checked.registered = self.registered;
        checked.check_total(self);
        self.check_operation_updates();
        self.checked = checked;
    }

    /// What the agent's tasks and executors hold, as the last [`Core::check_touched`] counted it.
    pub fn checked_use(&self) -> Resources {
        &self.checked.used + &self.checked.ending
    }

    fn touched_executors(&mut self, checked: &Checked) -> BTreeMap<FrameworkId, BTreeSet<ExecutorId>> {
        let mut touched: BTreeMap<FrameworkId, BTreeSet<ExecutorId>> = BTreeMap::new();
        for (id, framework) in &mut self.frameworks {
            let counted = checked.frameworks.get(id);
            let executors = framework.executors.take_touched();
            let whole = counted.is_none_or(|counted| counted.terminating != framework.terminating);
            match executors {
                Some(executors) if !whole => {
                    if !executors.is_empty() {
                        touched.insert(id.clone(), executors.into_iter().collect());
                    }
                }
                _ => {
                    let known = counted.into_iter().flat_map(|counted| counted.executors.keys());
                    touched.insert(id.clone(), framework.executors.keys().chain(known).cloned().collect());
                }
            }
        }
        for (id, counted) in checked.frameworks.iter().filter(|(id, _)| !self.frameworks.contains_key(*id)) {
            touched.insert(id.clone(), counted.executors.keys().cloned().collect());
        }
        touched
    }

    /// Executors whose tasks' updates were touched are to be looked at too: the end of a task must be told.
    fn check_touched_streams(&mut self, checked: &Checked, touched: &mut BTreeMap<FrameworkId, BTreeSet<ExecutorId>>) {
        let streams = self.updates.take_touched().filter(|_| checked.registered == self.registered);
        let Some(streams) = streams else {
            self.check_streams();
            return;
        };
        for (id, task) in streams {
            if let Some(stream) = self.updates.get(&id, &task) {
                self.check_stream(&id, &task, stream);
            }
            if let Some(executor) = self.frameworks.get(&id).and_then(|framework| framework.tasks.get(&task)) {
                touched.entry(id).or_default().insert(executor.clone());
            }
        }
    }
}

impl Checked {
    fn look_at(&mut self, core: &Core, id: &FrameworkId, executors: &BTreeSet<ExecutorId>) {
        let mut counted = self.frameworks.remove(id).unwrap_or_default();
        let framework = core.frameworks.get(id);
        let same = framework.is_some_and(|framework| framework.terminating == counted.terminating);
        let mut changed = Vec::new();
        for executor in executors {
            let now = framework.and_then(|framework| framework.executors.get(executor));
            if same && now.is_some_and(|now| counted.executors.get(executor).is_some_and(|held| held.is_of(now))) {
                continue;
            }
            changed.extend(now);
            if let Some(before) = counted.executors.remove(executor) {
                *self.sum(counted.terminating) -= &before.resources;
                self.ports.retain(|begin, _| !before.ports.iter().any(|(held, _)| held == begin));
                self.sandboxes.remove(before.directory.as_os_str());
            }
        }
        let Some(framework) = framework else {
            assert!(counted.executors.is_empty(), "executors outlived framework {id}");
            return;
        };
        for executor in executors.iter().filter_map(|executor| framework.executors.get(executor)) {
            core.check_executor_of(framework, executor);
        }
        counted.terminating = framework.terminating;
        for executor in changed {
            let held = self.count(framework, executor);
            counted.executors.insert(executor.id.clone(), held);
        }
        self.frameworks.insert(id.clone(), counted);
    }

    /// What tasks and executors hold is there, and no port is given twice.
    fn count(&mut self, framework: &Framework, executor: &Executor) -> Held {
        let directory = executor.directory.clone();
        assert!(self.sandboxes.insert(directory.as_os_str().to_owned()), "a sandbox was given twice: {directory:?}");
        let tasks = executor.queued.keys().chain(executor.launched.keys()).cloned().collect();
        let own = holds_its_own(executor);
        let mut count = Held { tasks, own, resources: Resources::new(), ports: Vec::new(), directory };
        for resources in held(executor) {
            let mut sum = Resources::from_protos(resources).expect("resources that the master checked");
            sum.unallocate();
            count.resources += &sum;
            let ports = resources.iter().filter(|resource| resource.name == "ports" && !framework.terminating);
            count.ports.extend(ports.flat_map(ranges));
        }
        for (begin, end) in &count.ports {
            let before = self.ports.range(..=end).next_back();
            assert!(before.is_none_or(|(_, before)| before < begin), "port {begin} was given twice");
            self.ports.insert(*begin, *end);
        }
        *self.sum(framework.terminating) += &count.resources;
        count
    }

    fn sum(&mut self, terminating: bool) -> &mut Resources {
        self.changed = true;
        if terminating { &mut self.ending } else { &mut self.used }
    }

    fn check_total(&mut self, core: &Core) {
        let checkpointed = &core.operations.checkpointed;
        let known = self.total.as_ref().is_some_and(|(known, _)| known == checkpointed);
        if known && !self.changed {
            return;
        }
        self.changed = false;
        if !known {
            self.total = Some((checkpointed.clone(), core.check_reservations()));
        }
        let Some((_, total)) = &self.total else { return };
        assert!(total.contains(&self.used), "{} is used of {total}", self.used);
    }
}

impl Core {
    fn check_executor_of(&self, framework: &Framework, executor: &Executor) {
        let owner = self.containers.get(&executor.container_id);
        assert_eq!(owner, Some(&(framework.id.clone(), executor.id.clone())), "a container lost its executor");
        check_executor(executor, framework.terminating);
        for task in executor.queued.keys().chain(executor.launched.keys()).chain(executor.terminated.keys()) {
            assert_eq!(framework.tasks.get(task), Some(&executor.id), "{task} is not found under its executor");
        }
        self.check_terminated_of(framework, executor);
    }
}
