//! A task of a pod that fails or is killed takes its group with it (src/launcher/default_executor.cpp of apache/mesos,
//! waited): no other of its group ends by itself some time later, and when all is over, nothing of such a group runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mezzo_api::{
    ids::ContainerId,
    link::to_agent,
    v1::{TaskState, executor_info, task_status::Source},
};

use super::{Books, Invariant};
use crate::{fact::Fact, fault::Fault, ids::Host, plan::Plan, time::Moment, world::World};

/// See the module.
#[derive(Debug)]
pub(super) struct Groups {
    /// The group of each task of a pod, by its first task.
    of: BTreeMap<String, String>,
    /// Groups of which one has not finished.
    doomed: BTreeMap<String, Doomed>,
    /// The task of each container in a pod.
    containers: BTreeMap<ContainerId, String>,
    /// Agents that stand still now and then: what they do comes late.
    frozen: BTreeSet<u16>,
}

#[derive(Debug)]
struct Doomed {
    cause: String,
    /// Since when its agent has known, without a restart.
    since: Option<(u16, Moment)>,
}

/// An agent kills the others of a group at once, and writes that down first.
const AT_ONCE: Duration = Duration::from_secs(2);

impl Groups {
    pub(super) fn new(plan: &Plan) -> Self {
        let frozen = plan.faults.iter().filter_map(|planned| match planned.fault {
            Fault::Freeze(Host::Agent(agent), _) => Some(agent),
            _ => None,
        });
        Self { of: BTreeMap::new(), doomed: BTreeMap::new(), containers: BTreeMap::new(), frozen: frozen.collect() }
    }

    fn ended(&self, agent: u16, container: &ContainerId, now: Moment) -> Result<(), String> {
        let Some(task) = self.containers.get(container) else { return Ok(()) };
        let Some(doomed) = self.of.get(task).and_then(|group| self.doomed.get(group)) else { return Ok(()) };
        match doomed.since {
            Some((of, since)) if of == agent && doomed.cause != *task && now - since > AT_ONCE => {
                Err(format!("{task} was let run on for {:?} although {} did not finish", now - since, doomed.cause))
            }
            _ => Ok(()),
        }
    }
}

impl Invariant for Groups {
    fn name(&self) -> &'static str {
        "groups"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, _books: &Books, world: &World) -> Result<(), String> {
        match fact {
            Fact::ToAgent(_, _, message) => {
                let to_agent::Message::RunTaskGroup(run) = &**message else { return Ok(()) };
                if run.executor.r#type() != executor_info::Type::Default {
                    return Ok(());
                }
                let tasks = run.task_group.tasks.iter().map(|task| task.task_id.value.clone());
                let first = tasks.clone().next().unwrap_or_default();
                self.of.extend(tasks.map(|task| (task, first.clone())));
            }
            Fact::Launched(_, launch) => {
                if let Some(nested) = &launch.nested {
                    self.containers.insert(launch.container_id.clone(), nested.task.clone());
                }
            }
            Fact::AgentStarted { agent, .. } => {
                let own = |doomed: &&mut Doomed| doomed.since.is_some_and(|(of, _)| of == *agent);
                self.doomed.values_mut().filter(own).for_each(|doomed| doomed.since = None);
            }
            Fact::ContainerEnded(agent, container, _, false) if !self.frozen.contains(agent) => {
                return self.ended(*agent, container, world.now);
            }
            Fact::Recorded(agent, record, _) => {
                let Some(update) = &record.says.update else { return Ok(()) };
                let failed = matches!(update.status.state(), TaskState::TaskFailed | TaskState::TaskKilled);
                let task = &update.status.task_id.value;
                if let Some(group) = self.of.get(task).filter(|_| failed && update.status.source() == Source::Executor)
                {
                    let since = Some((*agent, world.now));
                    self.doomed.entry(group.clone()).or_insert_with(|| Doomed { cause: task.clone(), since });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, _books: &Books, world: &World) -> Result<(), String> {
        for agent in world.agents.iter().filter_map(|machine| machine.agent.as_ref()) {
            let view = agent.core.view();
            let executors = view.frameworks.iter().flat_map(|framework| &framework.executors);
            for task in executors.flat_map(|executor| &executor.tasks) {
                let id = &task.task_id.value;
                if let Some(doomed) = self.of.get(id).and_then(|group| self.doomed.get(group)) {
                    return Err(format!("{id} runs although {} of its group did not finish", doomed.cause));
                }
            }
        }
        Ok(())
    }
}
