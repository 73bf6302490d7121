//! What a container may use is what its tasks were given: when all is over, each container of an executor that runs has
//! been allotted what the executor and its tasks have, no more and no less (src/slave/slave.cpp of apache/mesos,
//! `containerizer->update`). And of a task that was ended for what it took, that is what is told
//! (docs/task-state-reasons.md: `REASON_CONTAINER_LIMITATION_MEMORY`).

use std::collections::{BTreeMap, BTreeSet};

use mezzo_agent_core::{
    isolation::Allotment,
    view::{ExecutorState, ExecutorView},
};
use mezzo_api::v1::{self, TaskState, task_status::Reason};

use super::{Books, Invariant};
use crate::{
    fact::{self, Fact},
    world::{AgentMachine, World},
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Tasks whose container was ended for what it took.
    limited: BTreeSet<(String, String)>,
}

impl Invariant for Limits {
    fn name(&self) -> &'static str {
        "limits"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, _books: &Books, _world: &World) -> Result<(), String> {
        match fact {
            Fact::Limited(_, launch) => {
                if let Some((framework, task)) = fact::of_sandbox(launch) {
                    self.limited.insert((framework.to_owned(), task.to_owned()));
                }
            }
            // The end is told, or the agent ended before it could write it down: then it finds a process that is gone.
            Fact::AgentEnded { .. } => self.limited.clear(),
            Fact::Recorded(_, record, _) if !self.limited.is_empty() => {
                let Some(update) = &record.says.update else { return Ok(()) };
                let status = &update.status;
                let key = (update.framework_id.value.clone(), status.task_id.value.clone());
                if !mezzo_agent_core::is_terminal(status.state()) || !self.limited.remove(&key) {
                    return Ok(());
                }
                let said = (status.state(), status.reason());
                if said != (TaskState::TaskFailed, Reason::ContainerLimitationMemory) {
                    return Err(format!("{} took too much memory, and is told to be {said:?}", key.1));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, _books: &Books, world: &World) -> Result<(), String> {
        for machine in &world.agents {
            let Some(agent) = &machine.agent else { continue };
            for executor in agent.core.view().frameworks.iter().flat_map(|framework| &framework.executors) {
                if executor.state == ExecutorState::Running && !executor.generated {
                    agrees(machine, executor)?;
                }
            }
        }
        Ok(())
    }
}

fn agrees(machine: &AgentMachine, executor: &ExecutorView) -> Result<(), String> {
    let tasks = executor.tasks.iter().map(|task| (&task.resources, &task.limits));
    let queued = executor.queued.iter().map(|task| (&task.resources, &task.limits));
    let mut given = amounts(&Allotment::of(&executor.info.resources, &BTreeMap::new()));
    for (resources, limits) in tasks.chain(queued) {
        let task = amounts(&Allotment::of(resources, limits));
        given.iter_mut().zip(task).for_each(|(sum, amount)| *sum += amount);
    }
    let allotted = machine.containers.allotment(&executor.container_id).map(amounts);
    if allotted.is_some_and(|allotted| allotted == given) {
        return Ok(());
    }
    let id: &v1::ExecutorId = &executor.info.executor_id;
    Err(format!(
        "on agent{}, executor {} and its tasks have {given:?} (CPUs and MB in thousandths), its container may use {allotted:?}",
        machine.number, id.value
    ))
}

/// CPUs, memory, and the most memory, in thousandths.
fn amounts(allotment: &Allotment) -> [i64; 3] {
    let limit = allotment.mem_limit_mb.unwrap_or(allotment.mem_mb);
    #[allow(clippy::cast_possible_truncation)] // what machines have fits
    [allotment.cpus, allotment.mem_mb, limit].map(|amount| (amount * 1000.0).round() as i64)
}
