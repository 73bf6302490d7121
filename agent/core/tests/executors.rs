//! Custom executors over the executor API.

mod support;

use std::time::Duration;

use mezzo_agent_core::{
    container::{ContainerEvent, Stop},
    effect::{Answer, Effect, StreamId},
};
use mezzo_api::{
    ids::ContainerId,
    link::{self, from_agent, to_agent},
    v1::{
        self, TaskState,
        executor::{call, event},
        task_status::{Reason, Source},
    },
};
use support::*;

const NOTHING: call::Subscribe =
    call::Subscribe { unacknowledged_tasks: Vec::new(), unacknowledged_updates: Vec::new() };

/// Executor `e` with task `t`, subscribed on stream 1; everything said is taken.
fn subscribed() -> (Agent, ContainerId) {
    let mut agent = Agent::registered();
    agent.say(run_task(&modern(), &executor_task("t", "e"), true));
    let id = agent.take_launch().container_id;
    agent.running(&id);
    assert_eq!(agent.subscribe("e", 1, NOTHING), Answer::new(200, ""));
    assert_eq!(agent.take_event_names(), ["SUBSCRIBED", "LAUNCH"]);
    (agent, id)
}

fn exited_executors(agent: &mut Agent) -> Vec<i32> {
    agent.take(|effect| match effect {
        Effect::ToMaster(message) => match &**message {
            from_agent::Message::ExitedExecutor(exited) => Some(exited.status),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn launches_wait_until_the_executor_subscribes() {
    let mut agent = Agent::registered();
    let other = call("e", call::Type::Message);
    assert_eq!(agent.call(other.clone()), Answer::new(400, "Framework cannot be found"));
    agent.say(run_task(&modern(), &executor_task("t", "e"), true));
    let launch = agent.take_launch();
    let has = |name: &str| launch.environment.iter().any(|(known, _)| known == name);
    assert!(has("MESOS_AGENT_ENDPOINT") && !has("MESOS_ALLOCATION_ROLE"));
    agent.say(run_task(&modern(), &executor_task("u", "e"), false));
    agent.assert_quiet();
    agent.running(&launch.container_id);
    assert_eq!(agent.call(other), Answer::new(403, "Executor is not subscribed"));
    assert_eq!(agent.call(call("x", call::Type::Message)), Answer::new(400, "Executor cannot be found"));

    assert_eq!(agent.subscribe("e", 1, NOTHING), Answer::new(200, ""));
    let events = agent.take_events();
    let names: Vec<_> = events.iter().map(|(_, event)| event.r#type()).collect();
    assert_eq!(names, [event::Type::Subscribed, event::Type::Launch, event::Type::Launch]);
    let hello = events[0].1.subscribed.as_ref().unwrap();
    assert_eq!(hello.executor_info, executor("e"));
    assert_eq!(hello.framework_info, modern());
    assert_eq!(hello.agent_info.id, Some(v1::AgentId { value: AGENT.into() }));
    assert_eq!(hello.container_id, Some(launch.container_id.proto()));
    assert_eq!(events[1].1.launch.as_ref().unwrap().task, executor_task("t", "e"));
    agent.assert_quiet();
}

#[test]
fn updates_are_stored_acknowledged_and_filled_in() {
    let (mut agent, id) = subscribed();
    agent.effects.clear();
    assert_eq!(agent.call(update("e", "t", TaskState::TaskStarting, 1)), Answer::accepted());
    let order: Vec<&str> = agent
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Record { .. } => Some("record"),
            Effect::ToMaster(_) => Some("update"),
            Effect::ToExecutor(..) => Some("acknowledged"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["record", "update", "acknowledged"]);
    let seen = agent.take_update();
    let container = seen.container_status.unwrap();
    assert_eq!((container.container_id, container.executor_pid), (Some(id.proto()), Some(4242)));
    let events = agent.take_events();
    let acknowledged = events[0].1.acknowledged.as_ref().unwrap();
    assert_eq!(acknowledged.task_id.value, "t");

    assert_eq!(agent.call(update("e", "t", TaskState::TaskStarting, 1)), Answer::accepted());
    assert_eq!(agent.take_event_names(), ["ACKNOWLEDGED"], "a repeated one is acknowledged again");
    assert_eq!(agent.take_updates(), [], "and not sent again");

    agent.call(update("e", "t", TaskState::TaskKilled, 2));
    agent.call(update("e", "t", TaskState::TaskRunning, 3));
    assert_eq!(agent.take_event_names(), ["ACKNOWLEDGED", "ACKNOWLEDGED"], "so is one after the end");
    assert_eq!(agent.take_states(), [TaskState::TaskKilled]);
    agent.call(update("e", "t", TaskState::TaskKilled, 2));
    assert_eq!(agent.take_event_names(), ["ACKNOWLEDGED"], "even when the end is history");
    assert_eq!(agent.take_states(), []);
}

#[test]
fn an_update_of_an_unknown_task_goes_on_bare() {
    let (mut agent, _) = subscribed();
    let mut call = update("e", "x", TaskState::TaskRunning, 9);
    if let Some(update) = call.update.as_mut() {
        update.status.executor_id = None;
    }
    assert_eq!(agent.call(call), Answer::accepted());
    let seen = agent.take_update();
    assert!(seen.container_status.is_none() && seen.executor_id.is_none());
    assert!(seen.timestamp.is_some() && seen.agent_id.is_some());
    assert_eq!(agent.take_event_names(), [""; 0]);
}

#[test]
fn messages_go_both_ways() {
    let (mut agent, _) = subscribed();
    let data =
        v1::executor::Call { message: Some(call::Message { data: "up".into() }), ..call("e", call::Type::Message) };
    assert_eq!(agent.call(data), Answer::accepted());
    let messages = agent.take_messages();
    assert!(matches!(&messages[..], [from_agent::Message::ExecutorMessage(message)] if message.data == "up"));
    agent.say(to_agent::Message::FrameworkMessage(link::FrameworkMessage {
        framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
        executor_id: v1::ExecutorId { value: "e".into() },
        data: "down".into(),
    }));
    let events = agent.take_events();
    assert_eq!(events[0].1.message.as_ref().unwrap().data, "down");
}

#[test]
fn a_kill_is_passed_on_and_waits_for_a_stream_that_is_away() {
    let (mut agent, _) = subscribed();
    agent.say(kill("t", Some(Duration::from_secs(1))));
    let events = agent.take_events();
    let passed = events[0].1.kill.as_ref().unwrap();
    assert_eq!(passed.kill_policy.as_ref().unwrap().grace_period, Some(duration(Duration::from_secs(1))));
    agent.step(|core, now, out| core.stream_closed(now, StreamId(1), out));
    agent.say(kill("t", None));
    agent.say(run_task(&modern(), &executor_task("u", "e"), false));
    agent.assert_quiet();
    let known = call::Subscribe { unacknowledged_tasks: vec![executor_task("t", "e")], ..NOTHING };
    agent.subscribe("e", 2, known);
    assert_eq!(agent.take_event_names(), ["SUBSCRIBED", "KILL", "LAUNCH"]);
    agent.assert_quiet();
}

#[test]
fn a_new_stream_closes_the_old_one() {
    let (mut agent, _) = subscribed();
    let known = call::Subscribe { unacknowledged_tasks: vec![executor_task("t", "e")], ..NOTHING };
    agent.subscribe("e", 2, known);
    let closed = agent.take(|effect| match effect {
        Effect::CloseStream(stream) => Some(stream.0),
        _ => None,
    });
    assert_eq!(closed, [1]);
    agent.step(|core, now, out| core.stream_closed(now, StreamId(1), out));
    assert_eq!(agent.take_event_names(), ["SUBSCRIBED"]);
    agent.say(kill("t", None));
    assert_eq!(agent.take_events()[0].0, 2);
}

#[test]
fn a_resubscription_brings_what_was_missed() {
    let (mut agent, _) = subscribed();
    agent.say(run_task(&modern(), &executor_task("u", "e"), false));
    assert_eq!(agent.take_event_names(), ["LAUNCH"]);
    let update = call::Update { status: status("e", "t", TaskState::TaskRunning, 1) };
    agent.subscribe("e", 2, call::Subscribe { unacknowledged_updates: vec![update], ..NOTHING });
    assert_eq!(agent.take_event_names(), ["SUBSCRIBED", "ACKNOWLEDGED"]);
    let updates = agent.take_updates();
    assert_eq!(updates[0].state(), TaskState::TaskRunning);
    let lost = &updates[1];
    assert_eq!((lost.task_id.value.as_str(), lost.state()), ("u", TaskState::TaskDropped));
    assert_eq!(lost.reason, Some(Reason::AgentRestarted as i32));
    assert_eq!(lost.message.as_deref(), Some("Task launched during agent restart"));
    assert_eq!(lost.source, Some(Source::Agent as i32));
    assert!(lost.container_status.is_none());
}

#[test]
fn an_executor_that_never_subscribes_is_ended() {
    let mut agent = Agent::registered();
    agent.never_mind_pings();
    agent.say(run_task(&modern(), &executor_task("t", "e"), true));
    let id = agent.take_launch().container_id;
    agent.running(&id);
    agent.pass(Duration::from_secs(60));
    assert_eq!(agent.take_stops(), [Stop::Kill]);
    assert_eq!(agent.subscribe("e", 1, NOTHING), Answer::new(200, ""));
    assert_eq!(agent.take_event_names(), ["SHUTDOWN"], "too late");
    agent.exited(&id, 9);
    let failed = agent.take_update();
    assert_eq!(failed.state(), TaskState::TaskFailed);
    assert_eq!(failed.reason, Some(Reason::ExecutorRegistrationTimeout as i32));
    assert_eq!(failed.message.as_deref(), Some("Executor did not register within 1mins"));
    assert_eq!(exited_executors(&mut agent), [9]);
}

#[test]
fn an_executor_that_ends_takes_its_tasks_with_it() {
    let (mut agent, id) = subscribed();
    agent.say(run_task(&modern(), &executor_task("u", "e"), false));
    agent.call(update("e", "t", TaskState::TaskRunning, 1));
    assert_eq!(agent.take_update().state(), TaskState::TaskRunning);
    agent.exited(&id, 256);
    assert_eq!(exited_executors(&mut agent), [256]);
    let updates = agent.take_updates();
    assert_eq!(updates.len(), 2);
    for update in &updates {
        assert_eq!((update.state(), update.reason), (TaskState::TaskFailed, Some(Reason::ExecutorTerminated as i32)));
        assert_eq!(update.message.as_deref(), Some("Executor terminated"));
        assert!(update.container_status.is_none());
        assert_eq!(update.executor_id, Some(v1::ExecutorId { value: "e".into() }));
    }
    assert_eq!(agent.core.view().frameworks[0].executors.len(), 1, "it waits for the acknowledgements");
    for update in &updates {
        agent.acknowledge(update);
    }
    assert!(agent.core.view().frameworks.is_empty());
    let collected = agent.take(|effect| match effect {
        Effect::Collect(path) => Some(path.clone()),
        _ => None,
    });
    assert!(collected[0].ends_with(id.as_str()));
}

#[test]
fn a_shutdown_asks_first_and_then_ends() {
    let (mut agent, id) = subscribed();
    let shutdown = to_agent::Message::ShutdownExecutor(link::ShutdownExecutor {
        framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
        executor_id: v1::ExecutorId { value: "e".into() },
    });
    agent.say(shutdown.clone());
    agent.say(shutdown);
    assert_eq!(agent.take_event_names(), ["SHUTDOWN"]);
    agent.say(run_task(&modern(), &executor_task("late", "e"), false));
    let dropped = agent.take_update();
    assert_eq!(dropped.message.as_deref(), Some("Executor terminating"));
    agent.call(update("e", "t", TaskState::TaskKilled, 1));
    assert_eq!(agent.take_update().state(), TaskState::TaskKilled);
    agent.pass(Duration::from_secs(5));
    assert_eq!(agent.take_stops(), [Stop::Kill]);
    agent.exited(&id, 0);
    assert_eq!(agent.take_states(), []);
    assert!(agent.core.view().frameworks.is_empty());
}

#[test]
fn groups_are_delivered_whole_or_not_at_all() {
    let group = || {
        to_agent::Message::RunTaskGroup(Box::new(link::RunTaskGroup {
            framework: modern(),
            executor: executor("e"),
            task_group: v1::TaskGroupInfo {
                tasks: ["a", "b"].map(|id| v1::TaskInfo { command: None, ..command_task(id, "") }).to_vec(),
            },
            launch_executor: true,
            resource_version: None,
        }))
    };
    let mut agent = Agent::registered();
    agent.say(group());
    let id = agent.take_launch().container_id;
    agent.running(&id);
    agent.subscribe("e", 1, NOTHING);
    let events = agent.take_events();
    let tasks = &events[1].1.launch_group.as_ref().unwrap().task_group.tasks;
    assert_eq!(tasks.len(), 2);
    assert_eq!(tasks[0].executor.as_deref(), Some(&executor("e")));

    let mut agent = Agent::registered();
    agent.say(group());
    let id = agent.take_launch().container_id;
    agent.say(kill("b", None));
    let updates = agent.take_updates();
    assert_eq!(updates.len(), 2);
    for update in &updates {
        assert_eq!(
            (update.state(), update.reason),
            (TaskState::TaskKilled, Some(Reason::TaskKilledDuringLaunch as i32))
        );
        let text = "A task within the task group was killed before delivery to the executor";
        assert_eq!(update.message.as_deref(), Some(text));
        agent.acknowledge(update);
    }
    agent.running(&id);
    agent.subscribe("e", 1, NOTHING);
    assert_eq!(agent.take_event_names(), ["SHUTDOWN"], "it never had a task and gets none");
}

#[test]
fn the_masters_count_of_executors_is_held_to() {
    let mut agent = Agent::registered();
    agent.say(run_task(&modern(), &executor_task("t", "e"), false));
    let dropped = agent.take_update();
    assert_eq!(dropped.state(), TaskState::TaskDropped);
    assert_eq!(dropped.message.as_deref(), Some("No executor is expected to launch and there is none running"));
    assert_eq!(exited_executors(&mut agent), [0; 0]);

    let (mut agent, id) = subscribed();
    agent.say(run_task(&modern(), &executor_task("u", "e"), true));
    let dropped = agent.take_update();
    assert_eq!(dropped.reason, Some(Reason::ExecutorTerminated as i32));
    assert_eq!(dropped.message.as_deref(), Some("Master wants to launch executor, but one already exists"));
    assert_eq!(agent.take_event_names(), ["SHUTDOWN"], "the master does not know of it");
    agent.exited(&id, 0);
    exited_executors(&mut agent);
    agent.say(run_task(&modern(), &executor_task("v", "e"), true));
    assert_eq!(exited_executors(&mut agent), [-1], "the one that waits for its acknowledgements is over");
}

#[test]
fn heartbeats_come_every_half_hour() {
    let (mut agent, _) = subscribed();
    agent.never_mind_pings();
    agent.pass(Duration::from_secs(1799));
    assert_eq!(agent.take_event_names(), [""; 0]);
    agent.pass(Duration::from_secs(1));
    assert_eq!(agent.take_event_names(), ["HEARTBEAT"]);
    agent.pass(Duration::from_secs(3600));
    assert_eq!(agent.take_event_names(), ["HEARTBEAT", "HEARTBEAT"]);
}

#[test]
fn a_launch_failure_of_a_custom_executor_fails_its_tasks_and_tells_the_master() {
    let mut agent = Agent::registered();
    agent.say(run_task(&modern(), &executor_task("t", "e"), true));
    let id = agent.take_launch().container_id;
    agent.container(&id, ContainerEvent::Failed { message: "no such user".into() });
    assert_eq!(agent.take_update().message.as_deref(), Some("Failed to launch container: no such user"));
    assert_eq!(exited_executors(&mut agent), [-1]);
}

#[test]
fn a_framework_that_is_torn_down_hears_nothing_more() {
    let (mut agent, id) = subscribed();
    agent.say(to_agent::Message::ShutdownFramework(link::ShutdownFramework {
        framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
    }));
    assert_eq!(agent.take_event_names(), ["SHUTDOWN"]);
    assert_eq!(agent.call(update("e", "t", TaskState::TaskKilled, 1)), Answer::accepted());
    agent.assert_quiet();
    agent.exited(&id, 0);
    assert_eq!(agent.take_states(), []);
    assert!(agent.core.view().frameworks.is_empty());
}
