//! What a task's process did is what is said of it: nothing that exited with 0 is reported failed, nothing is reported
//! finished that did not exit with 0, and no task of a careful framework is started twice.

use foldhash::HashMap;
use mezzo_api::{
    ids::ContainerId,
    v1::{TaskState, task_status::Source},
};

use super::{Books, Invariant};
use crate::{
    fact::{self, Fact},
    world::World,
};

/// What became of a command task, or a task of a pod.
#[derive(Debug)]
struct Life {
    /// Where it was launched.
    container: ContainerId,
    /// Its last wait status.
    ended: Option<i32>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Exits {
    /// Framework and task of each container that runs.
    containers: HashMap<ContainerId, (String, String)>,
    /// By framework and task.
    lives: HashMap<String, HashMap<String, Life>>,
}

impl Invariant for Exits {
    fn name(&self) -> &'static str {
        "exits"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, _books: &Books, _world: &World) -> Result<(), String> {
        match fact {
            Fact::Launched(_, launch) => {
                let (framework, task) = fact::of_sandbox(launch).unwrap_or_default();
                let container = &launch.container_id;
                let life = Life { container: container.clone(), ended: None };
                let before = self.of(framework).insert(task.to_owned(), life);
                // Tasks of careful frameworks have ids that are never used twice (scheduler/keeper.rs).
                if let Some(Life { container: before, .. }) = before.filter(|_| task.starts_with('f')) {
                    return Err(format!("{task} is launched again, in {container} after {before}"));
                }
                self.containers.insert(container.clone(), (framework.to_owned(), task.to_owned()));
            }
            Fact::ContainerEnded(_, container, status, _) => {
                if let Some((framework, task)) = self.containers.remove(container)
                    && let Some(life) = self.of(&framework).get_mut(&task)
                {
                    life.ended = Some(*status);
                }
            }
            Fact::Recorded(_, record, _) => {
                let Some(update) = &record.says.update else { return Ok(()) };
                if !matches!(update.status.state(), TaskState::TaskFailed | TaskState::TaskFinished) {
                    return Ok(());
                }
                let task = &update.status.task_id.value;
                let of_command = update.status.executor_id.as_ref().is_some_and(|id| id.value == *task);
                let container = update.status.container_status.as_ref().and_then(|status| status.container_id.as_ref());
                let of_pod = container.is_some_and(|id| id.parent.is_some());
                if update.status.source() != Source::Executor || !(of_command || of_pod) {
                    return Ok(());
                }
                let lives = self.lives.get(&update.framework_id.value);
                let ended = lives.and_then(|lives| lives.get(task)).and_then(|life| life.ended);
                return match (update.status.state(), ended) {
                    (TaskState::TaskFailed, Some(0)) => Err(format!("{task} exited with 0 and is reported failed")),
                    (TaskState::TaskFinished, Some(0)) => Ok(()),
                    (TaskState::TaskFinished, status) => {
                        Err(format!("{task} is reported finished, its wait status is {status:?}"))
                    }
                    _ => Ok(()),
                };
            }
            _ => {}
        }
        Ok(())
    }
}

impl Exits {
    fn of(&mut self, framework: &str) -> &mut HashMap<String, Life> {
        if !self.lives.contains_key(framework) {
            self.lives.insert(framework.to_owned(), HashMap::default());
        }
        self.lives.get_mut(framework).expect("it was put there")
    }
}
