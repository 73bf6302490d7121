//! An agent counts as drained only when it is empty: what it was given has ended, and the ends are acknowledged
//! (src/master/master.cpp of apache/mesos, checkAndTransitionDrainingAgent). Else an operator takes a machine away that
//! works.

use std::collections::BTreeMap;

use foldhash::HashMap;
use mezzo_api::{
    ids::{AgentId, FrameworkId, TaskId},
    v1::DrainState,
};
use mezzo_master_core::{effect::Change, model::TaskList, registry::RegistryOp};

use super::{Books, Invariant};
use crate::{fact::Fact, ids::ProcessId, time::Moment, world::World};

/// Where each task of a master is, by framework and task.
type Tasks = HashMap<(FrameworkId, TaskId), AgentId>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Drains {
    tasks: BTreeMap<ProcessId, Tasks>,
    /// Taken for drained in the step of this moment: looked at when all of the step was seen.
    taken: Vec<(Moment, ProcessId, AgentId)>,
}

impl Invariant for Drains {
    fn name(&self) -> &'static str {
        "drains"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, _books: &Books, world: &World) -> Result<(), String> {
        if self.taken.iter().any(|(at, ..)| *at < world.now) {
            for (_, master, agent) in std::mem::take(&mut self.taken) {
                let tasks = self.tasks.get(&master).into_iter().flatten();
                let first = tasks.filter(|(_, at)| **at == agent).map(|((_, task), _)| task).min();
                if let Some(task) = first {
                    return Err(format!("agent {agent} is taken for drained, and {task} is on it"));
                }
            }
        }
        match fact {
            Fact::Published(master, change) => match &**change {
                Change::Task(task) => {
                    let key = (task.framework_id.clone(), task.id.clone());
                    let tasks = self.tasks.entry(*master).or_default();
                    if task.list == TaskList::Active {
                        tasks.insert(key, task.agent_id.clone());
                    } else {
                        tasks.remove(&key);
                    }
                }
                Change::TaskForgotten(framework, task) => {
                    let key = (framework.clone(), task.clone());
                    self.tasks.entry(*master).or_default().remove(&key);
                }
                _ => {}
            },
            Fact::Asked(master, operations) => {
                for operation in operations.iter() {
                    if let RegistryOp::PutStanding(agent, standing) = operation
                        && standing.drain.is_some_and(|drain| drain.state() == DrainState::Drained)
                    {
                        self.taken.push((world.now, *master, agent.clone()));
                    }
                }
            }
            Fact::MasterEnded { master, .. } => {
                self.tasks.remove(master);
                self.taken.retain(|(_, of, _)| of != master);
            }
            _ => {}
        }
        Ok(())
    }
}
