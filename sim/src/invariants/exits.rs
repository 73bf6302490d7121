//! What a task's process did is what is said of it: nothing that exited with 0 is reported failed, nothing is reported
//! finished that did not exit with 0, and no task of a careful framework is started twice.

use std::collections::HashMap;

use mezzo_api::{
    ids::ContainerId,
    v1::{TaskState, task_status::Source},
};

use super::{Books, Invariant};
use crate::{fact::Fact, world::World};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Exits {
    /// Framework and executor of each container that was launched.
    containers: HashMap<ContainerId, (String, String)>,
    launched: HashMap<(String, String), ContainerId>,
    /// The last wait status of a command task, or a task of a pod.
    ended: HashMap<(String, String), i32>,
}

impl Invariant for Exits {
    fn name(&self) -> &'static str {
        "exits"
    }

    fn see(&mut self, fact: &Fact, _books: &Books, _world: &World) -> Result<(), String> {
        match fact {
            Fact::Launched(_, launch) => {
                let parts: Vec<&str> = launch.sandbox.iter().filter_map(|part| part.to_str()).collect();
                let after = |name: &str| {
                    let place = parts.iter().position(|part| *part == name);
                    place.and_then(|place| parts.get(place + 1)).map_or(String::new(), |part| (*part).to_owned())
                };
                let task = launch.nested.as_ref().map_or_else(|| after("executors"), |nested| nested.task.clone());
                let key = (after("frameworks"), task);
                // Tasks of careful frameworks have ids that are never used twice (scheduler/keeper.rs).
                let careful = key.1.starts_with('f');
                if let Some(before) = self.launched.insert(key.clone(), launch.container_id.clone()).filter(|_| careful)
                {
                    return Err(format!("{} is launched again, in {} after {before}", key.1, launch.container_id));
                }
                self.ended.remove(&key);
                self.containers.insert(launch.container_id.clone(), key);
            }
            Fact::ContainerEnded(_, container, status, _) => {
                if let Some(key) = self.containers.remove(container) {
                    self.ended.insert(key, *status);
                }
            }
            Fact::Recorded(_, record, _) => {
                let Some(update) = &record.says.update else { return Ok(()) };
                if !matches!(update.status.state(), TaskState::TaskFailed | TaskState::TaskFinished) {
                    return Ok(());
                }
                let task = update.status.task_id.value.clone();
                let of_command = update.status.executor_id.as_ref().is_some_and(|id| id.value == task);
                let container = update.status.container_status.as_ref().and_then(|status| status.container_id.as_ref());
                let of_pod = container.is_some_and(|id| id.parent.is_some());
                if update.status.source() != Source::Executor || !(of_command || of_pod) {
                    return Ok(());
                }
                let ended = self.ended.get(&(update.framework_id.value.clone(), task.clone())).copied();
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
