//! Status updates and their acknowledgements.

use mezzo_api::{
    link::to_agent,
    v1::{self, TaskState},
};

use super::{calls::running, *};
use crate::{counters::Counter, model::TaskList};

fn seen<'a>(world: &'a World, scheduler: &Scheduler, task: &str) -> &'a crate::model::Task {
    &world.view.tasks[&(scheduler.id.as_str().into(), task.into())]
}

#[test]
fn updates_are_passed_on_as_they_are_and_acknowledgements_back() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let sent = world.update(&agent, &scheduler, "t", TaskState::TaskFinished);
    let told = world.updates(&scheduler);
    assert_eq!(told[..], *std::slice::from_ref(&sent));
    let task = seen(&world, &scheduler, "t");
    assert_eq!((task.state, task.list), (TaskState::TaskFinished, TaskList::Active), "until it is acknowledged");
    assert_eq!(task.status_update, Some((TaskState::TaskFinished, sent.uuid.clone().unwrap())));
    let states: Vec<_> = task.statuses.states().collect();
    assert_eq!(states, [TaskState::TaskRunning, TaskState::TaskFinished]);
    assert!(world.view.agents[agent.id.as_str()].used.is_empty(), "its resources are free at once");
    world.acknowledge(&scheduler, &sent);
    let messages = world.messages(agent.link);
    let [to_agent::Message::Acknowledge(message)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(Some(&message.uuid), sent.uuid.as_ref());
    assert_eq!(seen(&world, &scheduler, "t").list, TaskList::Completed);
    assert_eq!(world.core.counters().get(Counter::TasksFinished), 1);
    // The agent did not hear the acknowledgement: the update comes again, and is acknowledged again.
    world.say(
        agent.link,
        from_agent::Message::StatusUpdate(link::StatusUpdate {
            framework_id: v1::FrameworkId { value: scheduler.id.clone() },
            status: sent.clone(),
            latest_state: None,
        }),
    );
    world.settle();
    world.events(scheduler.stream);
    world.acknowledge(&scheduler, &sent);
    assert_eq!(world.messages(agent.link).len(), 1);
    world.quiet();
}

#[test]
fn statuses_of_one_state_are_kept_once_and_without_data() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let status = TaskStatus {
        task_id: v1::TaskId { value: "t".into() },
        state: TaskState::TaskRunning.into(),
        data: Some("large".into()),
        healthy: Some(false),
        ..Default::default()
    };
    let update = link::StatusUpdate {
        framework_id: v1::FrameworkId { value: scheduler.id.clone() },
        status,
        latest_state: None,
    };
    world.say(agent.link, from_agent::Message::StatusUpdate(update));
    let told = world.updates(&scheduler).remove(0);
    assert_eq!(told.data, Some("large".into()));
    assert_eq!(told.agent_id.unwrap().value, agent.id);
    assert!(told.timestamp.is_some());
    let task = seen(&world, &scheduler, "t");
    assert_eq!(task.statuses.len(), 1);
    assert_eq!((task.statuses.last().unwrap().data, task.statuses.last().unwrap().healthy), (None, Some(false)));
    world.accepted(&scheduler, reconcile(&[]));
    assert_eq!(world.updates(&scheduler)[0].healthy, Some(false));
}

#[test]
fn the_latest_state_frees_resources_before_its_own_update_comes() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let mut status = world.update(&agent, &scheduler, "t", TaskState::TaskRunning);
    status.uuid = Some(uuid::Uuid::from_u128(0x4000 << 64 | 999).into_bytes().to_vec().into());
    world.updates(&scheduler);
    let update = |status: &TaskStatus, latest: Option<TaskState>| link::StatusUpdate {
        framework_id: v1::FrameworkId { value: scheduler.id.clone() },
        status: status.clone(),
        latest_state: latest.map(Into::into),
    };
    world.say(agent.link, from_agent::Message::StatusUpdate(update(&status, Some(TaskState::TaskFailed))));
    world.updates(&scheduler);
    assert!(world.view.agents[agent.id.as_str()].used.is_empty());
    world.acknowledge(&scheduler, &status);
    let task = seen(&world, &scheduler, "t");
    assert_eq!((task.state, task.list), (TaskState::TaskFailed, TaskList::Active), "its end was not told yet");
    world.accepted(&scheduler, reconcile(&[]));
    world.settle();
    let events = world.events(scheduler.stream);
    assert_eq!(events[0].update.clone().unwrap().status.state(), TaskState::TaskRunning, "what was told is repeated");
    status.state = TaskState::TaskFailed.into();
    world.say(agent.link, from_agent::Message::StatusUpdate(update(&status, Some(TaskState::TaskFailed))));
    world.acknowledge(&scheduler, &status);
    assert_eq!(seen(&world, &scheduler, "t").list, TaskList::Completed);
}

#[test]
fn what_has_ended_stays_ended() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    world.update(&agent, &scheduler, "t", TaskState::TaskFinished);
    world.update(&agent, &scheduler, "t", TaskState::TaskRunning);
    assert_eq!(seen(&world, &scheduler, "t").state, TaskState::TaskFinished);
}

#[test]
fn updates_of_unknown_tasks_reach_their_framework() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let status = world.update(&agent, &scheduler, "unknown", TaskState::TaskFailed);
    assert_eq!(world.updates(&scheduler).len(), 1);
    world.acknowledge(&scheduler, &status);
    assert_eq!(world.messages(agent.link).len(), 1);
    let nobody = Scheduler { id: "nobody".into(), ..scheduler.clone() };
    world.update(&agent, &nobody, "t", TaskState::TaskFailed);
    world.quiet();
}

#[test]
fn acknowledgements_that_lead_nowhere_are_dropped() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let mut status = world.update(&agent, &scheduler, "t", TaskState::TaskFinished);
    world.updates(&scheduler);
    let good = status.clone();
    status.agent_id = Some(v1::AgentId { value: "nope".into() });
    world.acknowledge(&scheduler, &status);
    world.link_down(agent.link);
    world.acknowledge(&scheduler, &good);
    assert_eq!(seen(&world, &scheduler, "t").list, TaskList::Active, "the agent will send it again");
    world.quiet();
}

#[test]
fn completed_tasks_are_bounded() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    let tasks: Vec<_> = (0..8).map(|index| task(&format!("t{index}"), &offer)).collect();
    world.launch(&scheduler, &offer, tasks, 3600.0);
    for index in 0..8 {
        let status = world.update(&agent, &scheduler, &format!("t{index}"), TaskState::TaskFinished);
        world.acknowledge(&scheduler, &status);
    }
    let kept: Vec<_> = world.view.tasks.keys().map(|(_, id)| id.as_str()).collect();
    assert_eq!(kept, ["t3", "t4", "t5", "t6", "t7"]);
}

#[test]
fn freed_resources_are_offered_in_a_moment_together() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    let tasks: Vec<_> = (0..40).map(|index| task(&format!("t{index}"), &offer)).collect();
    world.launch(&scheduler, &offer, tasks, 3600.0);
    for index in 0..10 {
        world.update(&agent, &scheduler, &format!("t{index}"), TaskState::TaskFinished);
    }
    let start = world.mono;
    let due = world.core.deadline().unwrap();
    assert!(due - start <= std::time::Duration::from_millis(5));
    world.settle();
    let offers: Vec<_> = world.events(scheduler.stream).into_iter().filter_map(|event| event.offers).collect();
    assert_eq!(offers.len(), 1, "not ten slivers");
    assert!(text(&offers[0].offers[0].resources).contains("cpus(allocated: dev):1;"));
}
