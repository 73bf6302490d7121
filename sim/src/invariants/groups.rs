//! A task of a pod that fails or is killed takes its group with it (src/launcher/default_executor.cpp of apache/mesos,
//! waited): when all is over, nothing of such a group runs.

use std::collections::BTreeMap;

use mezzo_api::{
    link::to_agent,
    v1::{TaskState, executor_info, task_status::Source},
};

use super::{Books, Invariant, records};
use crate::{fact::Fact, world::World};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The group of each task of a pod, by its first task.
    of: BTreeMap<String, String>,
    /// Groups of which one has not finished.
    doomed: BTreeMap<String, String>,
}

impl Invariant for Groups {
    fn name(&self) -> &'static str {
        "groups"
    }

    fn see(&mut self, fact: &Fact, _books: &Books, _world: &World) -> Result<(), String> {
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
            Fact::Recorded(_, record, _) => {
                let Some(update) = records::read(record).update else { return Ok(()) };
                let failed = matches!(update.status.state(), TaskState::TaskFailed | TaskState::TaskKilled);
                let task = &update.status.task_id.value;
                if let Some(group) = self.of.get(task).filter(|_| failed && update.status.source() == Source::Executor)
                {
                    self.doomed.insert(group.clone(), task.clone());
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
                if let Some(cause) = self.of.get(id).and_then(|group| self.doomed.get(group)) {
                    return Err(format!("{id} runs although {cause} of its group did not finish"));
                }
            }
        }
        Ok(())
    }
}
