//! A task that its agent reports alive is not given up: while that agent's link stands and it has not reported the task's
//! end, the master does not say that the agent does not know it (docs/reconciliation.md and
//! src/master/master.cpp of apache/mesos: `_reregisterSlave`). Else the framework starts it again elsewhere.

use std::collections::BTreeMap;

use mezzo_api::{
    link::{from_agent, to_agent},
    v1::{
        self, TaskState,
        scheduler::event,
        task_status::{Reason, Source},
    },
};
use mezzo_master_core::input::LinkId;

use super::{Books, Invariant};
use crate::{
    fact::{self, Fact},
    ids::ProcessId,
    world::World,
};

/// Where a task was reported alive, and whether the master has said that it took the report.
#[derive(Clone, Copy, Debug)]
struct Reported {
    link: LinkId,
    taken: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Returns {
    alive: BTreeMap<ProcessId, BTreeMap<(String, String), Reported>>,
}

impl Invariant for Returns {
    fn name(&self) -> &'static str {
        "returns"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, books: &Books, _world: &World) -> Result<(), String> {
        match fact {
            Fact::FromAgent(master, link, message) => self.heard(*master, *link, message),
            Fact::ToAgent(master, link, message) => {
                let Some(tasks) = self.alive.get_mut(master) else { return Ok(()) };
                match &**message {
                    to_agent::Message::Reregistered(_) => {
                        tasks.values_mut().filter(|task| task.link == *link).for_each(|task| task.taken = true);
                    }
                    to_agent::Message::ShutdownFramework(ended) => {
                        tasks.retain(|(framework, _), _| *framework != ended.framework_id.value);
                    }
                    _ => {}
                }
            }
            Fact::LinkDown(master, link) => {
                if let Some(tasks) = self.alive.get_mut(master) {
                    tasks.retain(|_, task| task.link != *link);
                }
            }
            Fact::MasterEnded { master, .. } => {
                self.alive.remove(master);
            }
            Fact::Event(master, stream, event) if event.r#type() == event::Type::Update => {
                let framework = books.masters.get(master).and_then(|master| master.streams.get(stream));
                let (Some(framework), Some(update)) = (framework, &event.update) else { return Ok(()) };
                return self.told(*master, framework, &update.status);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Returns {
    fn heard(&mut self, master: ProcessId, link: LinkId, message: &from_agent::Message) {
        let tasks = self.alive.entry(master).or_default();
        match message {
            from_agent::Message::Reregister(report) => {
                for task in report.tasks.iter().filter(|task| !mezzo_agent_core::is_terminal(task.state())) {
                    let key = (task.framework_id.value.clone(), task.task_id.value.clone());
                    tasks.entry(key).or_insert(Reported { link, taken: false }).link = link;
                }
            }
            from_agent::Message::StatusUpdate(update) if mezzo_agent_core::is_terminal(update.status.state()) => {
                tasks.remove(&(update.framework_id.value.clone(), update.status.task_id.value.clone()));
            }
            _ => {}
        }
    }

    fn told(&self, master: ProcessId, framework: &str, status: &v1::TaskStatus) -> Result<(), String> {
        if status.source() != Source::Master || status.reason() != Reason::Reconciliation {
            return Ok(());
        }
        let key = (framework.to_owned(), status.task_id.value.clone());
        let Some(reported) = self.alive.get(&master).and_then(|tasks| tasks.get(&key)) else { return Ok(()) };
        match status.state() {
            TaskState::TaskGone => {}
            TaskState::TaskLost if reported.taken => {}
            _ => return Ok(()),
        }
        Err(format!("{}: its agent has reported that it is alive", fact::status(status)))
    }
}
