//! Restarts of the agent: what it recorded is all it knows.

mod support;

use std::time::Duration;

use mezzo_agent_core::{
    container::{ContainerEvent, Stop},
    effect::{Answer, Effect},
};
use mezzo_api::{
    link::{self, to_agent},
    v1::{
        self, TaskState,
        executor::call,
        task_status::{Reason, Source},
    },
};
use support::*;

/// Else a power cut could bring back what was told before the end, after the end was told.
#[test]
fn what_was_acknowledged_is_synced_before_the_end_of_its_task_is_told() {
    let mut agent = Agent::registered();
    agent.say(run_task(&modern(), &command_task("t", "true"), true));
    let container = agent.take_launch().container_id;
    agent.running(&container);
    agent.exited(&container, 0);
    for (state, sync) in [(TaskState::TaskStarting, false), (TaskState::TaskRunning, true)] {
        let told = agent.take_updates();
        assert_eq!(told.iter().map(v1::TaskStatus::state).collect::<Vec<_>>(), [state]);
        agent.effects.clear();
        agent.acknowledge(&told[0]);
        let synced = agent.take(|effect| match effect {
            Effect::Record { sync, .. } => Some(*sync),
            _ => None,
        });
        assert_eq!(synced, [sync], "the acknowledgement of {state:?}");
    }
    assert_eq!(agent.take_states(), [TaskState::TaskFinished]);
}

const NOTHING: call::Subscribe =
    call::Subscribe { unacknowledged_tasks: Vec::new(), unacknowledged_updates: Vec::new() };

#[test]
fn a_running_command_is_not_disturbed() {
    let mut agent = Agent::registered();
    let id = agent.run_command(&command_task("t", "x"), &modern());
    let mut agent = agent.restarted(2);
    assert_eq!(agent.recovered, std::slice::from_ref(&id));
    agent.link_up();
    assert_eq!(agent.take_messages(), [], "it does not register before it has heard of its containers");
    agent.running(&id);
    assert_eq!(agent.take_messages().len(), 1);
    agent.say(reregistered());
    assert_eq!(agent.take_states(), []);
    agent.exited(&id, 0);
    assert_eq!(agent.take_states(), [TaskState::TaskFinished]);
}

#[test]
fn a_command_that_ended_meanwhile_is_told() {
    let mut agent = Agent::registered();
    let id = agent.run_command(&command_task("t", "x"), &modern());
    let mut agent = agent.restarted(2);
    agent.exited(&id, 3 << 8);
    agent.reregister();
    let update = agent.take_update();
    assert_eq!(
        (update.state(), update.message.as_deref()),
        (TaskState::TaskFailed, Some("Command exited with status 3"))
    );
}

#[test]
fn a_command_that_started_and_ended_unseen_tells_its_whole_life() {
    let mut agent = Agent::registered();
    agent.say(run_task(&modern(), &command_task("t", "x"), true));
    let id = agent.take_launch().container_id;
    let mut agent = agent.restarted(2);
    agent.exited(&id, 0);
    agent.reregister();
    assert_eq!(agent.take_states(), [TaskState::TaskStarting, TaskState::TaskRunning, TaskState::TaskFinished]);
}

#[test]
fn a_launch_that_died_with_the_agent_is_dropped() {
    for event in [ContainerEvent::Exited { status: None }, ContainerEvent::Failed { message: "never started".into() }] {
        let mut agent = Agent::registered();
        agent.say(run_task(&modern(), &command_task("t", "x"), true));
        let id = agent.take_launch().container_id;
        let mut agent = agent.restarted(2);
        agent.container(&id, event);
        agent.reregister();
        let update = agent.take_update();
        assert_eq!((update.state(), update.source), (TaskState::TaskDropped, Some(Source::Agent as i32)));
        assert_eq!(update.reason, Some(Reason::AgentRestarted as i32));
        assert!(agent.core.view().frameworks.is_empty());
    }
}

#[test]
fn a_status_that_nobody_knows_fails_the_task() {
    let mut agent = Agent::registered();
    let id = agent.run_command(&command_task("t", "x"), &modern());
    let mut agent = agent.restarted(2);
    agent.container(&id, ContainerEvent::Exited { status: None });
    agent.reregister();
    let update = agent.take_update();
    assert_eq!((update.state(), update.reason), (TaskState::TaskFailed, Some(Reason::ExecutorTerminated as i32)));
}

#[test]
fn a_kill_outlives_the_agent() {
    let mut agent = Agent::registered();
    let id = agent.run_command(&command_task("t", "x"), &modern());
    agent.say(kill("t", Some(Duration::from_secs(9))));
    let mut agent = agent.restarted(2);
    agent.running(&id);
    assert_eq!(agent.take_stops(), [Stop::Graceful(Duration::from_secs(9))], "said again: it may not have been heard");
    agent.reregister();
    assert_eq!(agent.take_states(), [TaskState::TaskKilling]);
    agent.exited(&id, 15);
    assert_eq!(agent.take_states(), [TaskState::TaskKilled]);
}

#[test]
fn the_completion_time_goes_on() {
    let mut agent = Agent::registered();
    let task =
        v1::TaskInfo { max_completion_time: Some(duration(Duration::from_secs(1010))), ..command_task("t", "x") };
    let id = agent.run_command(&task, &modern());
    let mut agent = agent.restarted(2); // a thousand seconds later
    agent.running(&id);
    agent.pass(Duration::from_secs(9));
    assert_eq!(agent.take_stops(), []);
    agent.pass(Duration::from_secs(1));
    assert_eq!(agent.take_stops(), [Stop::Graceful(Duration::ZERO)]);
}

#[test]
fn unacknowledged_updates_are_sent_again_and_acknowledged_ones_never() {
    let mut agent = Agent::registered();
    agent.say(run_task(&modern(), &command_task("t", "x"), true));
    let id = agent.take_launch().container_id;
    agent.running(&id);
    assert_eq!(agent.take_update().state(), TaskState::TaskStarting);
    let running = agent.take_updates();
    let mut agent = agent.restarted(2);
    agent.running(&id);
    agent.reregister();
    assert_eq!(agent.take_updates(), running, "with the same uuid");
    agent.acknowledge(&running[0]);
    assert_eq!(agent.take_updates(), []);
}

#[test]
fn an_executor_comes_back_with_what_the_agent_missed() {
    let mut agent = Agent::registered();
    agent.say(run_task(&modern(), &executor_task("t", "e"), true));
    agent.say(run_task(&modern(), &executor_task("u", "e"), false));
    let id = agent.take_launch().container_id;
    agent.running(&id);
    agent.subscribe("e", 1, NOTHING);
    agent.call(update("e", "t", TaskState::TaskRunning, 1));
    agent.take_states();

    let mut agent = agent.restarted(2);
    agent.running(&id);
    agent.link_up();
    assert_eq!(agent.take_messages(), [], "it waits for the executor");
    assert_eq!(
        agent.call(update("e", "t", TaskState::TaskFinished, 2)),
        Answer::new(503, "Agent has not finished recovery")
    );
    let missed = call::Update { status: status("e", "t", TaskState::TaskFinished, 2) };
    let known = vec![executor_task("u", "e")];
    agent.subscribe("e", 2, call::Subscribe { unacknowledged_tasks: known, unacknowledged_updates: vec![missed] });
    assert_eq!(agent.take_event_names(), ["SUBSCRIBED", "ACKNOWLEDGED"]);
    assert_eq!(agent.take_messages().len(), 1, "everybody is back: it registers");
    agent.say(reregistered());
    assert_eq!(agent.take_states(), [TaskState::TaskFinished]);
    assert_eq!(agent.core.view().frameworks[0].executors[0].tasks.len(), 1, "the other one runs");
}

#[test]
fn an_executor_that_does_not_come_back_is_ended() {
    let mut agent = Agent::registered();
    agent.say(run_task(&modern(), &executor_task("t", "e"), true));
    let id = agent.take_launch().container_id;
    agent.running(&id);
    agent.subscribe("e", 1, NOTHING);
    let mut agent = agent.restarted(2);
    agent.running(&id);
    agent.link_up();
    agent.pass(Duration::from_secs(2));
    assert_eq!(agent.take_stops(), [Stop::Kill]);
    assert_eq!(agent.take_messages().len(), 1);
    agent.say(reregistered());
    agent.exited(&id, 9);
    let update = agent.take_update();
    assert_eq!(update.state(), TaskState::TaskGone);
    assert_eq!(update.reason, Some(Reason::ExecutorReregistrationTimeout as i32));
    assert_eq!(update.message.as_deref(), Some("Executor did not reregister within 2secs"));
}

#[test]
fn a_shutdown_outlives_the_agent() {
    let mut agent = Agent::registered();
    agent.say(run_task(&modern(), &executor_task("t", "e"), true));
    let id = agent.take_launch().container_id;
    agent.running(&id);
    agent.subscribe("e", 1, NOTHING);
    agent.say(to_agent::Message::ShutdownExecutor(link::ShutdownExecutor {
        framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
        executor_id: v1::ExecutorId { value: "e".into() },
    }));
    let mut agent = agent.restarted(2);
    agent.running(&id);
    agent.subscribe("e", 2, NOTHING);
    assert_eq!(agent.take_event_names(), ["SHUTDOWN"]);
    agent.pass(Duration::from_secs(5));
    assert_eq!(agent.take_stops(), [Stop::Kill]);
}

#[test]
fn after_a_reboot_nothing_runs() {
    let mut agent = Agent::registered();
    agent.run_command(&command_task("ran", "x"), &modern());
    agent.say(run_task(&modern(), &command_task("launched", "x"), true));
    let mut after = config();
    after.boot_id = "boot-2".into();
    let mut agent = Agent::recover_with(after, agent.records, 2);
    assert_eq!(agent.recovered, []);
    agent.reregister();
    let mut updates = agent.take_updates();
    updates.sort_unstable_by_key(|update| update.task_id.value.clone());
    let states: Vec<_> = updates.iter().map(|update| (update.task_id.value.as_str(), update.state())).collect();
    assert_eq!(states, [("launched", TaskState::TaskDropped), ("ran", TaskState::TaskFailed)]);
    let text = "Abnormal executor termination: unknown container";
    assert_eq!(updates[1].message.as_deref(), Some(text));
}

#[test]
fn a_snapshot_is_the_whole_state() {
    let mut agent = Agent::registered();
    let done = agent.run_command(&command_task("done", "x"), &modern());
    agent.exited(&done, 0);
    agent.take_states();
    let ended = agent.run_command(&command_task("ended", "x"), &modern());
    agent.run_command(&command_task("runs", "x"), &modern());
    agent.run_command(&command_task("killed", "x"), &modern());
    agent.exited(&ended, 0);
    agent.say(kill("killed", None));
    agent.say(run_task(&modern(), &executor_task("t", "e"), true));
    agent.say(run_task(&modern(), &executor_task("u", "e"), false));
    let describe = |agent: &Agent| {
        let view = agent.core.view();
        let task = |task: &std::sync::Arc<v1::Task>| (task.task_id.value.clone(), task.state(), task.statuses.clone());
        let executor = |executor: &mezzo_agent_core::view::ExecutorView| {
            let tasks: Vec<_> = executor.tasks.iter().chain(&executor.terminated).map(task).collect();
            (executor.info.clone(), executor.container_id.clone(), executor.state, executor.pid, tasks)
        };
        let of = |framework: &mezzo_agent_core::view::FrameworkView| {
            let executors: Vec<_> = framework.executors.iter().map(executor).collect();
            let history: Vec<_> = framework.completed_executors.iter().map(|view| executor(view).1).collect();
            (framework.info.clone(), executors, history)
        };
        (view.frameworks.iter().map(of).collect::<Vec<_>>(), view.completed_frameworks.len())
    };
    let same = |one: &Agent, other: &Agent| assert!(describe(one) == describe(other));
    let by_log = Agent::recover(agent.records.clone(), 2);
    let by_snapshot = Agent::recover(agent.core.snapshot(), 2);
    same(&by_log, &by_snapshot);
    let twice = Agent::recover(by_snapshot.core.snapshot(), 3);
    same(&by_snapshot, &twice);
    for mut agent in [by_log, by_snapshot] {
        agent.pass(Duration::from_secs(2));
        agent.reregister();
        let mut updates: Vec<_> =
            agent.take_updates().iter().map(|update| (update.task_id.value.clone(), update.state())).collect();
        updates.sort();
        assert_eq!(
            updates,
            [("ended".to_string(), TaskState::TaskFinished), ("killed".to_string(), TaskState::TaskKilling)]
        );
    }
}
