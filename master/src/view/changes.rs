//! What a change means to a subscriber of the operator's event stream (src/master/master.cpp, Subscribers::send and its
//! callers; shapes of src/common/protobuf_utils.cpp, event::create*).

use std::sync::Arc;

use mezzo_api::{
    ids::AgentId,
    v1::{
        TaskStatus,
        master::{
            Event,
            event::{
                self, AgentAdded, AgentRemoved, FrameworkAdded, FrameworkRemoved, FrameworkUpdated, TaskAdded,
                TaskUpdated,
            },
            response::get_agents,
        },
        task_status::Reason,
    },
};
use mezzo_master_core::{
    effect::Change,
    model::{Agent, AgentGone, Framework, FrameworkState, Task, TaskList},
};

use prost::Message;

use super::{View, messages, tasks};

/// An event that is not written yet: cheap to make where the core waits.
#[derive(Clone, Debug)]
pub(crate) enum Draft {
    TaskAdded(Arc<Task>),
    TaskUpdated(Arc<Task>),
    AgentAdded(Arc<Agent>),
    AgentRemoved(AgentId),
    FrameworkAdded(Arc<Framework>),
    FrameworkUpdated(Arc<Framework>),
    FrameworkRemoved(Arc<Framework>),
}

impl Draft {
    /// What `change` means, `before` it is made.
    pub(super) fn of(before: &View, change: &Change) -> Option<Self> {
        match change {
            Change::Task(task) => of_task(before, task),
            Change::Agent(agent) => {
                (!before.agents.contains_key(&agent.id)).then(|| Self::AgentAdded(Arc::clone(agent)))
            }
            Change::AgentRemoved(id, AgentGone::Removed) => Some(Self::AgentRemoved(id.clone())),
            Change::Framework(framework) => of_framework(before, framework),
            _ => None,
        }
    }

    /// The event in full.
    pub(crate) fn event(&self) -> Event {
        let of = |kind: event::Type| Event { r#type: Some(kind as i32), ..Event::default() };
        match self {
            Self::TaskAdded(task) => {
                Event { task_added: Some(TaskAdded { task: tasks::message(task) }), ..of(event::Type::TaskAdded) }
            }
            Self::TaskUpdated(task) => {
                let task_updated = TaskUpdated {
                    framework_id: task.framework_id.proto(),
                    status: task.statuses.last().unwrap_or_default(),
                    state: task.state as i32,
                };
                Event { task_updated: Some(task_updated), ..of(event::Type::TaskUpdated) }
            }
            Self::AgentAdded(agent) => {
                // It is told of before it is offered.
                let agent = get_agents::Agent { offered_resources: Vec::new(), ..messages::agent(agent) };
                let agent_added = Some(AgentAdded { agent });
                Event { agent_added, ..of(event::Type::AgentAdded) }
            }
            Self::AgentRemoved(id) => {
                let agent_removed = Some(AgentRemoved { agent_id: id.proto() });
                Event { agent_removed, ..of(event::Type::AgentRemoved) }
            }
            Self::FrameworkAdded(framework) => {
                let framework = messages::announced_framework(framework);
                Event { framework_added: Some(FrameworkAdded { framework }), ..of(event::Type::FrameworkAdded) }
            }
            Self::FrameworkUpdated(framework) => {
                let framework = messages::announced_framework(framework);
                Event { framework_updated: Some(FrameworkUpdated { framework }), ..of(event::Type::FrameworkUpdated) }
            }
            Self::FrameworkRemoved(framework) => {
                let framework_removed = Some(FrameworkRemoved { framework_info: (*framework.info).clone() });
                Event { framework_removed, ..of(event::Type::FrameworkRemoved) }
            }
        }
    }

    /// What the event holds while it waits, roughly: its parts in protobuf and what goes around them.
    pub(super) fn bytes(&self) -> usize {
        256 + match self {
            Self::TaskAdded(task) | Self::TaskUpdated(task) => task.fixed.len() + task.statuses.bytes(),
            Self::AgentAdded(agent) => 4 * agent.info.bytes(),
            Self::AgentRemoved(_) => 0,
            Self::FrameworkAdded(framework) | Self::FrameworkUpdated(framework) | Self::FrameworkRemoved(framework) => {
                framework.info.encoded_len()
            }
        }
    }

    /// Agents and frameworks that a returning agent brought come before its tasks; else the order is the core's.
    fn rank(&self) -> u8 {
        match self {
            Self::AgentAdded(_) => 0,
            Self::FrameworkAdded(_) => 1,
            _ => 2,
        }
    }
}

/// Puts the drafts of one batch in the order in which Mesos announces: an agent that comes back with tasks of a framework
/// that nobody knew is told of first, then the framework. The tasks of known frameworks come before their agent.
pub(super) fn ordered(mut drafts: Vec<Draft>) -> Vec<Draft> {
    let recovers = |draft: &Draft| matches!(draft, Draft::FrameworkAdded(framework) if framework.state == FrameworkState::Recovered);
    if drafts.iter().any(recovers) {
        drafts.sort_by_key(Draft::rank);
    }
    drafts
}

fn of_task(before: &View, task: &Arc<Task>) -> Option<Draft> {
    let known = before.tasks.get(&task.framework_id).and_then(|tasks| tasks.get(&task.id));
    let was_active = known.is_some_and(|known| known.list == TaskList::Active);
    if task.list == TaskList::Active && !was_active {
        return Some(Draft::TaskAdded(Arc::clone(task)));
    }
    let known = known?;
    let latest = |task: &Task| task.statuses.last_state();
    let moved = known.state != task.state || latest(known) != latest(task);
    let checked = task.statuses.last().as_ref().is_some_and(is_check) && known.statuses.last() != task.statuses.last();
    ((moved || checked) && !task.statuses.is_empty()).then(|| Draft::TaskUpdated(Arc::clone(task)))
}

/// Results of checks are told although the task's state stays.
fn is_check(status: &TaskStatus) -> bool {
    let reason = status.reason.and_then(|reason| Reason::try_from(reason).ok());
    matches!(reason, Some(Reason::TaskCheckStatusUpdated | Reason::TaskHealthCheckStatusUpdated))
}

fn of_framework(before: &View, framework: &Arc<Framework>) -> Option<Draft> {
    let completed = framework.state == FrameworkState::Completed;
    let Some(known) = before.frameworks.get(&framework.id) else {
        return (!completed).then(|| Draft::FrameworkAdded(Arc::clone(framework)));
    };
    if completed {
        let was = known.state == FrameworkState::Completed;
        return (!was).then(|| Draft::FrameworkRemoved(Arc::clone(framework)));
    }
    let same_info = Arc::ptr_eq(&known.info, &framework.info) || known.info == framework.info;
    let came_back = known.reregistered_time.to_bits() != framework.reregistered_time.to_bits()
        || (known.state == FrameworkState::Recovered && framework.state == FrameworkState::Active);
    let updated = !same_info || came_back || known.offer_constraints != framework.offer_constraints;
    updated.then(|| Draft::FrameworkUpdated(Arc::clone(framework)))
}

#[cfg(test)]
mod tests {
    use mezzo_api::v1::{self, TaskState};

    use super::*;
    use crate::view::tests;

    fn kinds(view: &mut View, changes: Vec<Change>) -> Vec<&'static str> {
        let drafts = changes.into_iter().filter_map(|change| {
            let draft = Draft::of(view, &change);
            view.apply(change);
            draft
        });
        let drafts: Vec<_> = drafts.collect();
        ordered(drafts).iter().map(|draft| draft.event().r#type().as_str_name()).collect()
    }

    fn task(state: TaskState, list: TaskList, statuses: &[TaskState]) -> Change {
        let statuses = statuses.iter().map(|state| TaskStatus { state: (*state).into(), ..TaskStatus::default() });
        let statuses = statuses.collect();
        Change::Task(Arc::new(Task { state, list, statuses, ..tests::task("t", list, &[]) }))
    }

    #[test]
    fn a_tasks_life_is_told_once_for_each_state() {
        use TaskState::{TaskFinished, TaskRunning, TaskStaging, TaskStarting, TaskUnreachable};
        let mut view = View::default();
        let active = TaskList::Active;
        let told = kinds(
            &mut view,
            vec![
                task(TaskStaging, active, &[]),
                task(TaskRunning, active, &[TaskStarting]),
                task(TaskRunning, active, &[TaskStarting, TaskRunning]),
                task(TaskRunning, active, &[TaskStarting, TaskRunning]),
                task(TaskUnreachable, active, &[TaskStarting, TaskRunning, TaskUnreachable]),
                task(TaskUnreachable, TaskList::Unreachable, &[TaskStarting, TaskRunning, TaskUnreachable]),
                task(TaskRunning, active, &[TaskStarting, TaskRunning]),
                task(TaskFinished, active, &[TaskStarting, TaskRunning, TaskFinished]),
                task(TaskFinished, TaskList::Completed, &[TaskStarting, TaskRunning, TaskFinished]),
            ],
        );
        let updated = "TASK_UPDATED";
        assert_eq!(told, ["TASK_ADDED", updated, updated, updated, "TASK_ADDED", updated]);
        let history = kinds(&mut View::default(), vec![task(TaskFinished, TaskList::Completed, &[TaskFinished])]);
        assert!(history.is_empty(), "{history:?}");
    }

    #[test]
    fn frameworks_come_change_and_go() {
        let framework = |state, name: &str| {
            let info = v1::FrameworkInfo { name: name.to_owned(), ..v1::FrameworkInfo::default() };
            Change::Framework(Arc::new(Framework { state, info: Arc::new(info), ..tests::framework(state) }))
        };
        use FrameworkState::{Active, Completed, Disconnected};
        let told = kinds(
            &mut View::default(),
            vec![
                framework(Active, "a"),
                framework(Active, "a"),
                framework(Active, "b"),
                framework(Disconnected, "b"),
                framework(Completed, "b"),
                framework(Completed, "b"),
            ],
        );
        assert_eq!(told, ["FRAMEWORK_ADDED", "FRAMEWORK_UPDATED", "FRAMEWORK_REMOVED"]);
    }

    #[test]
    fn only_agents_that_left_are_told_as_removed() {
        let agent = || Change::Agent(Arc::new(tests::agent()));
        let gone = |how| Change::AgentRemoved(tests::agent().id, how);
        let told = kinds(
            &mut View::default(),
            vec![agent(), agent(), gone(AgentGone::Unreachable), agent(), gone(AgentGone::Removed)],
        );
        assert_eq!(told, ["AGENT_ADDED", "AGENT_ADDED", "AGENT_REMOVED"]);
    }

    #[test]
    fn what_an_agent_brings_is_told_in_mesos_order() {
        let recovered = tests::framework(FrameworkState::Recovered);
        let changes = vec![
            task(TaskState::TaskRunning, TaskList::Active, &[]),
            Change::Agent(Arc::new(tests::agent())),
            Change::Framework(Arc::new(recovered)),
        ];
        assert_eq!(kinds(&mut View::default(), changes), ["AGENT_ADDED", "FRAMEWORK_ADDED", "TASK_ADDED"]);
        let known = vec![task(TaskState::TaskRunning, TaskList::Active, &[]), Change::Agent(Arc::new(tests::agent()))];
        assert_eq!(kinds(&mut View::default(), known), ["TASK_ADDED", "AGENT_ADDED"]);
    }
}
