//! What happened lately, told as it happens: the page's list of events and its counts of tasks.

use imbl::Vector;
use mezzo_api::v1::TaskState;
use mezzo_master_core::{
    effect::Change,
    model::{Agent, AgentGone, Framework, FrameworkState, Task},
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::View,
    amounts::{Amounts, Use},
};
use crate::identity::seconds_since_epoch;

/// Events that are kept.
const KEPT: usize = 200;

/// Something that an operator may want to know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Happening {
    /// Grows by one with each.
    number: u64,
    /// Seconds since the epoch.
    time: f64,
    /// What, in one word or two.
    what: &'static str,
    /// `good`, `bad`, or `note`.
    kind: &'static str,
    /// The agent, framework or task.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    framework: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    /// What people call it.
    name: String,
    /// What else there is to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

/// Kept beside the picture, and like it cheap to copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity {
    next: u64,
    happenings: Vector<Arc<Happening>>,
    /// Known tasks by their state.
    states: BTreeMap<i32, u64>,
    /// Tasks that started to run, and tasks that ended, since this master leads.
    pub(crate) started: u64,
    pub(crate) ended: u64,
}

/// The cluster at one moment: what charts are drawn from.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the epoch.
    pub(crate) time: f64,
    #[serde(flatten)]
    pub(crate) resources: Use,
    pub(crate) running: u64,
    pub(crate) waiting: u64,
    pub(crate) started: u64,
    pub(crate) ended: u64,
}

impl Activity {
    /// The latest first.
    pub(crate) fn latest(&self, count: usize) -> impl Iterator<Item = &Happening> {
        self.happenings.iter().rev().take(count).map(|happening| &**happening)
    }

    /// Known tasks by state.
    pub(crate) fn states(&self) -> BTreeMap<&'static str, u64> {
        let named = |(state, count): (&i32, &u64)| TaskState::try_from(*state).ok().map(|s| (s.as_str_name(), *count));
        self.states.iter().filter(|(_, count)| **count > 0).filter_map(named).collect()
    }

    fn forget(&mut self, state: TaskState) {
        let count = self.states.entry(state as i32).or_default();
        *count = count.saturating_sub(1);
    }

    fn tell(&mut self, happening: Happening) {
        self.next += 1;
        self.happenings.push_back(Arc::new(Happening { number: self.next, time: seconds_since_epoch(), ..happening }));
        if self.happenings.len() > KEPT {
            self.happenings.pop_front();
        }
    }
}

impl View {
    /// Looks at a change before it is made.
    pub(in crate::view) fn observe(&mut self, change: &Change) {
        match change {
            Change::Agent(agent) => {
                let before = self.agents.get(&agent.id).map(Arc::clone);
                if let Some(happening) =
                    of_agent(before.as_ref().map(|before| &***before), agent, self.unreachable.contains_key(&agent.id))
                {
                    self.activity.tell(happening);
                }
            }
            Change::AgentRemoved(id, gone) => {
                let name = self.agents.get(id).map(|agent| agent.info.hostname().to_owned());
                let (what, kind) = match gone {
                    AgentGone::Unreachable => ("agent unreachable", "bad"),
                    AgentGone::Removed => ("agent removed", "note"),
                    AgentGone::Gone => ("agent marked gone", "note"),
                };
                let name = name.unwrap_or_else(|| id.to_string());
                self.activity.tell(Happening { agent: Some(id.to_string()), name, ..plain(what, kind) });
            }
            Change::Framework(framework) => {
                let before = self.frameworks.get(&framework.id).map(|before| before.state);
                if let Some(happening) = of_framework(before, framework) {
                    self.activity.tell(happening);
                }
            }
            Change::Task(task) => {
                let tasks = self.tasks.get(&task.framework_id);
                let before = tasks.and_then(|tasks| tasks.get(&task.id)).map(|before| before.state);
                self.activity.take_task(before, task);
            }
            Change::TaskForgotten(framework, task) => {
                let known = self.tasks.get(framework).and_then(|tasks| tasks.get(task)).map(|task| task.state);
                if let Some(state) = known {
                    self.activity.forget(state);
                }
            }
            Change::FrameworkForgotten(id) => {
                for task in self.tasks.get(id).into_iter().flat_map(imbl::HashMap::values) {
                    self.activity.forget(task.state);
                }
            }
            _ => {}
        }
    }

    /// The sums of now.
    pub(crate) fn sample(&self) -> Sample {
        let mut resources = Use::default();
        for agent in self.agents.values() {
            resources += Use::of(agent);
        }
        let count = |state: TaskState| self.activity.states.get(&(state as i32)).copied().unwrap_or_default();
        Sample {
            time: seconds_since_epoch(),
            resources,
            running: count(TaskState::TaskRunning),
            waiting: count(TaskState::TaskStaging) + count(TaskState::TaskStarting),
            started: self.activity.started,
            ended: self.activity.ended,
        }
    }

    /// All that all agents have.
    pub(crate) fn capacity(&self) -> Amounts {
        let mut capacity = Amounts::default();
        for agent in self.agents.values() {
            capacity += Amounts::of(&agent.total);
        }
        capacity
    }
}

impl Activity {
    fn take_task(&mut self, before: Option<TaskState>, task: &Task) {
        if before == Some(task.state) {
            return;
        }
        if let Some(before) = before {
            self.forget(before);
        }
        *self.states.entry(task.state as i32).or_default() += 1;
        if task.state == TaskState::TaskRunning {
            self.started += 1;
        }
        if is_terminal(task.state) && before.is_some() {
            self.ended += 1;
        }
        let what = match task.state {
            TaskState::TaskFailed => "task failed",
            TaskState::TaskLost => "task lost",
            TaskState::TaskError => "task refused",
            TaskState::TaskUnreachable => "task unreachable",
            TaskState::TaskGone => "task gone",
            TaskState::TaskDropped => "task dropped",
            TaskState::TaskGoneByOperator => "task gone by operator",
            _ => return,
        };
        let detail = task.statuses.last().map(|status| status.message().to_owned()).unwrap_or_default();
        self.tell(Happening {
            framework: Some(task.framework_id.to_string()),
            task: Some(task.id.to_string()),
            name: task.id.to_string(),
            detail,
            ..plain(what, "bad")
        });
    }
}

/// Whether a task in this state has come to its end.
pub(crate) fn is_terminal(state: TaskState) -> bool {
    match state {
        TaskState::TaskFinished
        | TaskState::TaskFailed
        | TaskState::TaskKilled
        | TaskState::TaskLost
        | TaskState::TaskError
        | TaskState::TaskDropped
        | TaskState::TaskGone
        | TaskState::TaskGoneByOperator => true,
        TaskState::TaskStaging
        | TaskState::TaskStarting
        | TaskState::TaskRunning
        | TaskState::TaskKilling
        | TaskState::TaskUnreachable
        | TaskState::TaskUnknown => false,
    }
}

fn plain(what: &'static str, kind: &'static str) -> Happening {
    Happening {
        number: 0,
        time: 0.0,
        what,
        kind,
        agent: None,
        framework: None,
        task: None,
        name: String::new(),
        detail: String::new(),
    }
}

fn of_agent(before: Option<&Agent>, agent: &Agent, was_unreachable: bool) -> Option<Happening> {
    let (what, kind) = match before {
        None if was_unreachable => ("agent is back", "good"),
        None if agent.reregistered_time.is_some() => ("agent reregistered", "good"),
        None => ("agent registered", "good"),
        Some(before) if before.connected && !agent.connected => ("agent disconnected", "bad"),
        Some(before) if !before.connected && agent.connected => ("agent reconnected", "good"),
        Some(_) => return None,
    };
    Some(Happening { agent: Some(agent.id.to_string()), name: agent.info.hostname().to_owned(), ..plain(what, kind) })
}

fn of_framework(before: Option<FrameworkState>, framework: &Framework) -> Option<Happening> {
    if before == Some(framework.state) {
        return None;
    }
    let (what, kind) = match (before, framework.state) {
        (Some(FrameworkState::Disconnected | FrameworkState::Recovered), FrameworkState::Active) => {
            ("framework is back", "good")
        }
        (_, FrameworkState::Active) => ("framework subscribed", "good"),
        (_, FrameworkState::Disconnected) => ("framework disconnected", "bad"),
        (_, FrameworkState::Recovered) => ("framework known from agents", "note"),
        (_, FrameworkState::Completed) => ("framework completed", "note"),
    };
    Some(Happening {
        framework: Some(framework.id.to_string()),
        name: framework.info.name.clone(),
        ..plain(what, kind)
    })
}
