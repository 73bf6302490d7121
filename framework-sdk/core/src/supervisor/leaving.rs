//! Tasks that are to end, or whose place was given to another.

use std::time::Duration;

use mezzo_api::v1;
use tracing::{info, warn};

use super::{Supervisor, slot::Task};
use crate::scheduler::Context;

/// Why a task leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There is one too many, or the group is gone.
    NotWanted(&'static str),
    /// A changed one takes its place.
    Replaced,
    /// Its agent could not be reached: the place was given to another.
    Unreachable,
    /// Nothing is known of it.
    Unknown,
}

/// A task on its way out.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    pub(super) group: Option<String>,
    pub(super) why: Why,
    /// Kept for the case that it comes back before its place is taken.
    pub(super) task: Option<(Task, u32)>,
    agent: Option<v1::AgentId>,
    policy: Option<v1::KillPolicy>,
    /// When the kill is (to be) said again; `None` while its agent cannot be reached.
    pub(super) kill_at: Option<Duration>,
    again: Duration,
}

const KILL_AGAIN_MAX: Duration = Duration::from_secs(120);
/// Tasks of unreachable agents that are remembered; of older ones nothing is known when they come back: they are killed all the same.
const MAX_UNREACHABLE: usize = 10_000;

impl Supervisor {
    /// The task is to end; kills it.
    pub(super) fn leave(&mut self, context: &mut Context<'_>, group: &str, task: Task, why: Why) {
        self.index.remove(&task.id);
        let unreachable = task.unreachable_since.is_some();
        let policy = self.groups.get(group).and_then(|state| state.group.task.kill_policy);
        let leaving = Leaving {
            group: Some(group.to_owned()),
            why,
            agent: Some(task.agent_id()),
            policy,
            kill_at: None,
            again: self.config.kill_again,
            task: None,
        };
        info!(group, task = task.id, host = task.place.hostname, reason = why.text(), "killing");
        self.leaving.insert(task.id.clone(), leaving);
        if !unreachable {
            self.kill(context, &task.id);
        }
    }

    /// The place is given to another; should the task come back, it is killed.
    pub(super) fn give_up(&mut self, group: &str, number: u32, task: Task) {
        self.index.remove(&task.id);
        let many = self.leaving.values().filter(|leaving| leaving.why == Why::Unreachable).count();
        if many >= MAX_UNREACHABLE
            && let Some(id) = self.leaving.iter().find(|(_, old)| old.why == Why::Unreachable).map(|(id, _)| id.clone())
        {
            self.leaving.remove(&id);
        }
        let leaving = Leaving {
            group: Some(group.to_owned()),
            why: Why::Unreachable,
            agent: Some(task.agent_id()),
            policy: None,
            kill_at: None,
            again: self.config.kill_again,
            task: Some((task.clone(), number)),
        };
        self.leaving.insert(task.id, leaving);
    }

    /// A task that nothing is known of.
    pub(super) fn kill_unknown(&mut self, context: &mut Context<'_>, status: &v1::TaskStatus) {
        let id = &status.task_id.value;
        warn!(task = id, "a task that nothing is known of: killing");
        let leaving = Leaving {
            group: None,
            why: Why::Unknown,
            agent: status.agent_id.clone(),
            policy: None,
            kill_at: None,
            again: self.config.kill_again,
            task: None,
        };
        self.leaving.insert(id.clone(), leaving);
        self.kill(context, id);
    }

    /// Kills a task that leaves, and plans to say so again.
    pub(super) fn kill(&mut self, context: &mut Context<'_>, id: &str) {
        let Some(leaving) = self.leaving.get_mut(id) else { return };
        leaving.kill_at = Some(context.now().mono + leaving.again);
        leaving.again = (leaving.again * 2).min(KILL_AGAIN_MAX);
        context.kill(v1::TaskId { value: id.to_owned() }, leaving.agent.clone(), leaving.policy);
    }

    /// Says again what nothing has come of.
    pub(super) fn kill_again(&mut self, context: &mut Context<'_>) {
        let now = context.now().mono;
        let due: Vec<String> = self
            .leaving
            .iter()
            .filter(|(_, leaving)| leaving.kill_at.is_some_and(|at| at <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.kill(context, &id);
        }
    }
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Self::NotWanted(why) => why,
            Self::Replaced => "a changed task takes its place",
            Self::Unreachable => "its place was given to another",
            Self::Unknown => "nothing is known of it",
        }
    }
}
