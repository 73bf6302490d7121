//! An update whose acknowledgement the agent has recorded is never sent again, and updates of one task are sent in the
//! order in which they were recorded, each only when the ones before it are acknowledged
//! (docs/architecture.md, 2). What a task's last update says is not taken back by a power cut once it is sent. The updates of a framework that is ended on the agent, or of an agent that is taken out
//! of the cluster, are void, as in Mesos (src/slave/slave.cpp, shutdownFramework; src/slave/task_status_update_manager.cpp of apache/mesos).

use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt, HashSet};
use mezzo_api::link::from_agent;

use super::{Books, Invariant};
use crate::{
    fact::{self, End, Fact},
    record::{Record, uuid},
    world::World,
};

type Uuid = [u8; 16];

/// Updates that are not acknowledged, by task, in order.
type Pending = HashMap<String, Vec<Uuid>>;

#[derive(Clone, Debug)]
enum Step {
    Update(Uuid),
    /// Of this framework and task.
    Acknowledged(String, String, Uuid),
    /// A framework is ended: these updates are void.
    Shutdown(String, Pending),
    Other,
}

#[derive(Debug, Default)]
struct Log {
    /// By framework.
    pending: BTreeMap<String, Pending>,
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

    #[inline]
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
                    let (framework, task) = (&update.framework_id.value, &update.status.task_id.value);
                    let uuid = uuid(update.status.uuid.as_deref().unwrap_or_default());
                    let log = self.logs.entry(*agent).or_default();
                    if mezzo_agent_core::is_terminal(update.status.state()) && log.may_lose(&uuid) {
                        let short = fact::uuid(&uuid);
                        return Err(format!(
                            "{task} update {short} is its last, is sent, and would be lost with the power"
                        ));
                    }
                    return log.may_send(framework, task, &uuid);
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
            let void = self.pending.remove(&framework.value).unwrap_or_default();
            return Step::Shutdown(framework.value.clone(), void);
        }
        if let Some(update) = &record.update {
            let uuid = uuid(update.status.uuid.as_deref().unwrap_or_default());
            self.of(&update.framework_id.value, &update.status.task_id.value).push(uuid);
            return Step::Update(uuid);
        }
        if let Some(acknowledged) = &record.acknowledged {
            let (framework, task) = (&acknowledged.framework_id.value, &acknowledged.task_id.value);
            let uuid = uuid(&acknowledged.uuid);
            self.forget(framework, task, &uuid);
            self.acknowledged.insert(uuid);
            return Step::Acknowledged(framework.clone(), task.clone(), uuid);
        }
        Step::Other
    }

    fn of(&mut self, framework: &str, task: &str) -> &mut Vec<Uuid> {
        if !self.pending.contains_key(framework) {
            self.pending.insert(framework.to_owned(), Pending::new());
        }
        let tasks = self.pending.get_mut(framework).expect("it was put there");
        if !tasks.contains_key(task) {
            tasks.insert(task.to_owned(), Vec::new());
        }
        tasks.get_mut(task).expect("it was put there")
    }

    fn forget(&mut self, framework: &str, task: &str, uuid: &Uuid) {
        let Some(tasks) = self.pending.get_mut(framework) else { return };
        let Some(pending) = tasks.get_mut(task) else { return };
        pending.retain(|held| held != uuid);
        if pending.is_empty() {
            tasks.remove(task);
        }
    }

    /// The last records are gone.
    fn lose(&mut self, count: usize) {
        for _ in 0..count {
            match self.unsynced.pop() {
                Some(Step::Update(uuid)) => {
                    let all = self.pending.values_mut().flat_map(HashMap::values_mut);
                    all.for_each(|pending| pending.retain(|held| *held != uuid));
                }
                Some(Step::Acknowledged(framework, task, uuid)) => {
                    self.acknowledged.remove(&uuid);
                    self.of(&framework, &task).insert(0, uuid);
                }
                Some(Step::Shutdown(framework, void)) => self.pending.entry(framework).or_default().extend(void),
                Some(Step::Other) | None => {}
            }
        }
        self.unsynced.clear();
    }

    /// Whether the update is written down, but not for sure.
    fn may_lose(&self, uuid: &Uuid) -> bool {
        self.unsynced.iter().any(|step| matches!(step, Step::Update(held) if held == uuid))
    }

    fn may_send(&self, framework: &str, task: &str, uuid: &Uuid) -> Result<(), String> {
        let short = fact::uuid;
        if self.acknowledged.contains(uuid) {
            return Err(format!("{task} update {} is sent although its acknowledgement is recorded", short(uuid)));
        }
        match self.pending.get(framework).and_then(|tasks| tasks.get(task)).and_then(|pending| pending.first()) {
            Some(first) if first == uuid => Ok(()),
            Some(first) => Err(format!("{task} update {} is sent before {}", short(uuid), short(first))),
            None => Err(format!("{task} update {} is sent and was never recorded", short(uuid))),
        }
    }
}
