//! An update whose acknowledgement the agent has recorded is never sent again, and updates of one task are sent in the
//! order in which they were recorded, each only when the ones before it are acknowledged
//! (docs/architecture.md, 2). What a task's last update says is not taken back by a power cut once it is sent. The updates of a framework that is ended on the agent, or of an agent that is taken out
//! of the cluster, are void, as in Mesos (src/slave/slave.cpp, shutdownFramework; src/slave/task_status_update_manager.cpp of apache/mesos).

use std::collections::{BTreeMap, HashMap, HashSet};

use mezzo_api::link::from_agent;

use super::{Books, Invariant};
use crate::{
    fact::{self, End, Fact},
    record::{Record, uuid},
    world::World,
};

type TaskKey = (String, String);
type Uuid = [u8; 16];

#[derive(Clone, Debug)]
enum Step {
    Update(TaskKey, Uuid),
    Acknowledged(TaskKey, Uuid),
    /// A framework is ended: these updates are void.
    Shutdown(Vec<(TaskKey, Vec<Uuid>)>),
    Other,
}

#[derive(Debug, Default)]
struct Log {
    /// Updates that are not acknowledged, by task, in order.
    pending: HashMap<TaskKey, Vec<Uuid>>,
    acknowledged: HashSet<Uuid>,
    /// What a power cut might undo, in order.
    unsynced: Vec<Step>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Acknowledgements {
    logs: BTreeMap<u16, Log>,
}

impl Invariant for Acknowledgements {
    fn name(&self) -> &'static str {
        "acknowledgements"
    }

    fn see(&mut self, fact: &Fact, _books: &Books, _world: &World) -> Result<(), String> {
        match fact {
            Fact::Recorded(agent, record, sync) => {
                let log = self.logs.entry(*agent).or_default();
                let step = log.take(&record.says);
                if *sync {
                    log.unsynced.clear();
                } else {
                    log.unsynced.push(step);
                }
            }
            // An agent begins with a log that it has written anew.
            Fact::Compacted(agent, _) | Fact::AgentStarted { agent, .. } => {
                self.logs.entry(*agent).or_default().unsynced.clear()
            }
            Fact::AgentEnded { agent, how: End::PowerCut, lost } => {
                self.logs.entry(*agent).or_default().lose(*lost);
            }
            Fact::Said(agent, message) => {
                if let from_agent::Message::StatusUpdate(update) = &**message {
                    let task = (update.framework_id.value.clone(), update.status.task_id.value.clone());
                    let uuid = uuid(update.status.uuid.as_deref().unwrap_or_default());
                    let log = self.logs.entry(*agent).or_default();
                    if mezzo_agent_core::is_terminal(update.status.state()) && log.may_lose(&uuid) {
                        let short = fact::uuid(&uuid);
                        return Err(format!(
                            "{} update {short} is its last, is sent, and would be lost with the power",
                            task.1
                        ));
                    }
                    return log.may_send(&task, &uuid);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Log {
    fn take(&mut self, record: &Record) -> Step {
        if let Some(framework) = &record.framework_shutdown {
            let (void, kept): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.pending).into_iter().partition(|((id, _), _)| *id == framework.value);
            self.pending = kept.into_iter().collect();
            return Step::Shutdown(void);
        }
        if let Some(update) = &record.update {
            let task = (update.framework_id.value.clone(), update.status.task_id.value.clone());
            let uuid = uuid(update.status.uuid.as_deref().unwrap_or_default());
            self.pending.entry(task.clone()).or_default().push(uuid);
            return Step::Update(task, uuid);
        }
        if let Some(acknowledged) = &record.acknowledged {
            let task = (acknowledged.framework_id.value.clone(), acknowledged.task_id.value.clone());
            let uuid = uuid(&acknowledged.uuid);
            if let Some(pending) = self.pending.get_mut(&task) {
                pending.retain(|pending| *pending != uuid);
                if pending.is_empty() {
                    self.pending.remove(&task);
                }
            }
            self.acknowledged.insert(uuid);
            return Step::Acknowledged(task, uuid);
        }
        Step::Other
    }

    /// The last records are gone.
    fn lose(&mut self, count: usize) {
        for _ in 0..count {
            match self.unsynced.pop() {
                Some(Step::Update(task, uuid)) => {
                    if let Some(pending) = self.pending.get_mut(&task) {
                        pending.retain(|held| *held != uuid);
                    }
                }
                Some(Step::Acknowledged(task, uuid)) => {
                    self.acknowledged.remove(&uuid);
                    self.pending.entry(task).or_default().insert(0, uuid);
                }
                Some(Step::Shutdown(void)) => self.pending.extend(void),
                Some(Step::Other) | None => {}
            }
        }
        self.unsynced.clear();
    }

    /// Whether the update is written down, but not for sure.
    fn may_lose(&self, uuid: &Uuid) -> bool {
        self.unsynced.iter().any(|step| matches!(step, Step::Update(_, held) if held == uuid))
    }

    fn may_send(&self, task: &TaskKey, uuid: &Uuid) -> Result<(), String> {
        let short = fact::uuid(uuid);
        if self.acknowledged.contains(uuid) {
            return Err(format!("{} update {short} is sent although its acknowledgement is recorded", task.1));
        }
        match self.pending.get(task).and_then(|pending| pending.first()) {
            Some(first) if first == uuid => Ok(()),
            Some(first) => Err(format!("{} update {short} is sent before {}", task.1, fact::uuid(first))),
            None => Err(format!("{} update {short} is sent and was never recorded", task.1)),
        }
    }
}
