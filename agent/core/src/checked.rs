//! The invariants of `check`, of what was touched since the last time alone: sums are carried on from step to step.

use std::{
    collections::{BTreeMap, btree_map},
    ffi::OsString,
    path::Path,
    sync::Arc,
};

use foldhash::HashSet;
use mezzo_api::{
    ids::{ExecutorId, FrameworkId, TaskId},
    resources::Resources,
};

use crate::{
    check::{check_executor, held, holds_its_own, ranges},
    core::Core,
    entity::{Executor, Framework},
    watched::Map,
};

/// What the checks of earlier steps have counted.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    frameworks: BTreeMap<FrameworkId, Counted>,
    sums: Sums,
    registered: bool,
    /// What is known of reservations, and what there is with them.
    total: Option<(Resources, Resources)>,
    /// Whose updates were touched; empty between two checks.
    streams: Vec<(FrameworkId, TaskId)>,
}

/// What there is of a framework.
#[derive(Debug, Default)]
struct Counted {
    terminating: bool,
    executors: Map<ExecutorId, Held>,
    /// Of all executors: changed with each one that is looked at.
    task_count: usize,
    /// It is to be looked at even if none of its executors is.
    anew: bool,
    /// Executors that are to be looked at; empty between two checks.
    touched: Vec<ExecutorId>,
}

/// What all executors hold.
#[derive(Debug, Default)]
struct Sums {
    /// What tasks and executors hold.
    used: Resources,
    /// What those of frameworks hold that are being ended.
    ending: Resources,
    /// The ports that are held: the begin of each range, and its end.
    ports: BTreeMap<u64, u64>,
    /// As text: paths are compared part by part.
    sandboxes: HashSet<OsString>,
    /// What is held is other than it was.
    changed: bool,
}

/// What an executor holds. The resources of a task never change.
#[derive(Debug)]
struct Held {
    tasks: Vec<TaskId>,
    /// With those that are over.
    task_count: usize,
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
        let mut checked = self.checked.take().unwrap_or_default();
        checked.note_touched(&mut self.frameworks);
        self.check_touched_streams(&mut checked);
        checked.look_at_touched(self);
        // By now both have the same frameworks.
        for (framework, counted) in self.frameworks.values().zip(checked.frameworks.values()) {
            assert_eq!(counted.task_count, framework.tasks.len(), "tasks without an executor");
        }
        checked.registered = self.registered;
        checked.check_total(self);
        self.check_operation_updates();
        self.checked = Some(checked);
    }

    /// What the agent's tasks and executors hold, as the last [`Core::check_touched`] counted it.
    pub fn checked_use(&self) -> Resources {
        self.checked.as_ref().map_or_else(Resources::new, |checked| &checked.sums.used + &checked.sums.ending)
    }

    /// Executors whose tasks' updates were touched are to be looked at too: the end of a task must be told.
    fn check_touched_streams(&mut self, checked: &mut Checked) {
        let told = self.updates.take_touched(&mut checked.streams);
        if !told || checked.registered != self.registered {
            checked.streams.clear();
            self.check_streams();
            return;
        }
        for (id, task) in checked.streams.drain(..) {
            if let Some(stream) = self.updates.get(&id, &task) {
                self.check_stream(&id, &task, stream);
            }
            if let Some(executor) = self.frameworks.get(&id).and_then(|framework| framework.tasks.get(&task))
                && let Some(counted) = checked.frameworks.get_mut(&id)
            {
                counted.touched.push(executor.clone());
            }
        }
    }
}

impl Checked {
    /// Notes what is to be looked at: the executors that were touched, all of them where that is not known.
    fn note_touched(&mut self, frameworks: &mut BTreeMap<FrameworkId, Framework>) {
        for (id, framework) in frameworks.iter_mut() {
            let counted = match self.frameworks.entry(id.clone()) {
                btree_map::Entry::Vacant(new) => new.insert(Counted { anew: true, ..Counted::default() }),
                btree_map::Entry::Occupied(known) => known.into_mut(),
            };
            counted.anew |= counted.terminating != framework.terminating;
            counted.anew |= !framework.executors.take_touched(&mut counted.touched);
            if counted.anew {
                counted.touched.extend(framework.executors.keys().chain(counted.executors.keys()).cloned());
            }
        }
        if self.frameworks.len() != frameworks.len() {
            for (_, counted) in self.frameworks.iter_mut().filter(|(id, _)| !frameworks.contains_key(*id)) {
                counted.anew = true;
                counted.touched.extend(counted.executors.keys().cloned());
            }
        }
    }

    fn look_at_touched(&mut self, core: &Core) {
        let Self { frameworks, sums, .. } = self;
        let mut gone = false;
        for (id, counted) in frameworks.iter_mut().filter(|(_, counted)| counted.anew || !counted.touched.is_empty()) {
            let framework = core.frameworks.get(id);
            gone |= framework.is_none();
            counted.touched.sort_unstable();
            counted.touched.dedup();
            sums.look_at(core, framework, counted);
            assert!(framework.is_some() || counted.executors.is_empty(), "executors outlived framework {id}");
            counted.anew = false;
        }
        if gone {
            frameworks.retain(|id, _| core.frameworks.contains_key(id));
        }
    }

    fn check_total(&mut self, core: &Core) {
        let checkpointed = &core.operations.checkpointed;
        let known = self.total.as_ref().is_some_and(|(known, _)| known == checkpointed);
        if known && !self.sums.changed {
            return;
        }
        self.sums.changed = false;
        if !known {
            self.total = Some((checkpointed.clone(), core.check_reservations()));
        }
        let Some((_, total)) = &self.total else { return };
        let used = &self.sums.used;
        assert!(total.contains(used), "{used} is used of {total}");
    }
}

impl Sums {
    /// Looks at the executors of a framework that were touched. What they held before is let go first: something may
    /// have passed from one to the other.
    fn look_at(&mut self, core: &Core, framework: Option<&Framework>, counted: &mut Counted) {
        let same = framework.is_some_and(|framework| framework.terminating == counted.terminating);
        let mut changed = Vec::new();
        for id in counted.touched.drain(..) {
            let now = framework.and_then(|framework| Some((framework, framework.executors.get(&id)?)));
            if let Some((framework, executor)) = now {
                core.check_executor_of(framework, executor);
                if same && let Some(held) = counted.executors.get_mut(&id).filter(|held| held.is_of(executor)) {
                    counted.task_count += executor.task_count();
                    counted.task_count -= std::mem::replace(&mut held.task_count, executor.task_count());
                    continue;
                }
            }
            changed.extend(now);
            if let Some(before) = counted.executors.swap_remove(&id) {
                counted.task_count -= before.task_count;
                self.let_go(&before, counted.terminating);
            }
        }
        counted.terminating = framework.map_or(counted.terminating, |framework| framework.terminating);
        for (framework, executor) in changed {
            let held = self.count(framework, executor);
            counted.task_count += held.task_count;
            counted.executors.insert(executor.id.clone(), held);
        }
    }

    fn let_go(&mut self, before: &Held, terminating: bool) {
        *self.sum(terminating) -= &before.resources;
        if !before.ports.is_empty() {
            self.ports.retain(|begin, _| !before.ports.iter().any(|(held, _)| held == begin));
        }
        self.sandboxes.remove(before.directory.as_os_str());
    }

    /// What tasks and executors hold is there, and no port is given twice.
    fn count(&mut self, framework: &Framework, executor: &Executor) -> Held {
        let directory = executor.directory.clone();
        assert!(self.sandboxes.insert(directory.as_os_str().to_owned()), "a sandbox was given twice: {directory:?}");
        let tasks = executor.queued.keys().chain(executor.launched.keys()).cloned().collect();
        let own = holds_its_own(executor);
        let task_count = executor.task_count();
        let mut count = Held { tasks, task_count, own, resources: Resources::new(), ports: Vec::new(), directory };
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
}

impl Core {
    fn check_executor_of(&self, framework: &Framework, executor: &Executor) {
        let owner = self.containers.get(&executor.container_id);
        let owner = owner.map(|(framework, executor)| (framework, executor));
        assert_eq!(owner, Some((&framework.id, &executor.id)), "a container lost its executor");
        check_executor(executor, framework.terminating);
        for task in executor.queued.keys().chain(executor.launched.keys()).chain(executor.terminated.keys()) {
            assert_eq!(framework.tasks.get(task), Some(&executor.id), "{task} is not found under its executor");
        }
        self.check_terminated_of(framework, executor);
    }
}
