//! The default executor: the agent's core in its part.

mod support;

use std::time::Duration;

use mezzo_agent_core::{
    container::{Command, ContainerEvent, SandboxVolume, Stop},
    effect::Effect,
};
use mezzo_api::{
    ids::ContainerId,
    link::{self, from_agent, to_agent},
    v1::{self, TaskState, task_status::Reason, volume::source::sandbox_path},
};
use support::*;

/// A pod with these tasks, all running, everything acknowledged; their containers.
fn running(agent: &mut Agent, name: &str, tasks: &[v1::TaskInfo], new: bool) -> Vec<ContainerId> {
    agent.say(run_group(&modern(), &pod(name), tasks, new));
    let containers: Vec<ContainerId> = agent.take_launches().into_iter().map(|launch| launch.container_id).collect();
    for container in &containers {
        agent.running(container);
    }
    let states = agent.take_states();
    assert_eq!(states.len(), 2 * tasks.len(), "{states:?}");
    containers
}

fn exited_executors(agent: &mut Agent) -> Vec<i32> {
    let messages = agent.take_messages();
    let status = |message: &from_agent::Message| match message {
        from_agent::Message::ExitedExecutor(exited) => Some(exited.status),
        _ => None,
    };
    messages.iter().filter_map(status).collect()
}

/// The ends of executors that were told, left where they are.
fn exited_statuses(agent: &Agent) -> Vec<i32> {
    let status = |effect: &Effect| match effect {
        Effect::ToMaster(message) => match &**message {
            from_agent::Message::ExitedExecutor(exited) => Some(exited.status),
            _ => None,
        },
        _ => None,
    };
    agent.effects.iter().filter_map(status).collect()
}

#[test]
fn each_task_has_a_sandbox_within_the_executors() {
    let mut agent = Agent::registered();
    let mut sharing = command_task("b", "cat shared/file");
    sharing.container = Some(Box::new(v1::ContainerInfo {
        r#type: v1::container_info::Type::Mesos as i32,
        volumes: vec![v1::Volume {
            mode: v1::volume::Mode::Rw as i32,
            container_path: "shared".into(),
            source: Some(v1::volume::Source {
                r#type: Some(v1::volume::source::Type::SandboxPath as i32),
                sandbox_path: Some(v1::volume::source::SandboxPath {
                    r#type: Some(sandbox_path::Type::Parent as i32),
                    path: "pod".into(),
                }),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    }));
    agent.say(run_group(&modern(), &pod("p"), &[command_task("a", "echo a"), sharing], true));
    let launches = agent.take_launches();
    assert_eq!(launches.len(), 2);
    let nested = launches[0].nested.as_ref().unwrap();
    let parent = nested.parent.to_str().unwrap();
    assert!(parent.starts_with(&format!("/w/slaves/{AGENT}/frameworks/{FRAMEWORK}/executors/p/runs/")), "{parent}");
    assert_eq!(launches[0].sandbox.to_str().unwrap(), format!("{parent}/containers/{}", launches[0].container_id));
    assert_eq!((nested.task.as_str(), nested.parent_user.as_deref()), ("a", Some("nobody")));
    assert_eq!(launches[0].command, Command::Shell("echo a".into()));
    let names: Vec<&str> = launches[0].environment.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["MESOS_ALLOCATION_ROLE", "MESOS_CONTAINER_IP", "MESOS_SANDBOX", "PATH"]);
    let volumes = &launches[1].nested.as_ref().unwrap().volumes;
    assert_eq!(volumes, &[SandboxVolume { source: "pod".into(), target: "shared".into() }]);

    let starting = agent.take_updates();
    assert_eq!(starting.iter().map(v1::TaskStatus::state).collect::<Vec<_>>(), [TaskState::TaskStarting; 2]);
    let container = starting[0].container_status.as_ref().unwrap().container_id.as_ref().unwrap();
    assert_eq!(container.value, launches[0].container_id.as_str());
    assert!(container.parent.as_ref().is_some_and(|parent| nested.parent.ends_with(&parent.value)));
    agent.assert_quiet();
}

#[test]
fn tasks_finish_one_after_the_other_and_the_executor_with_the_last() {
    let mut agent = Agent::registered();
    let containers = running(&mut agent, "p", &[command_task("a", "x"), command_task("b", "x")], true);
    agent.exited(&containers[0], 0);
    let finished = agent.take_update();
    assert_eq!((finished.state(), finished.message()), (TaskState::TaskFinished, "Command exited with status 0"));
    let container = finished.container_status.unwrap();
    assert!(container.executor_pid.is_none() && container.network_infos.is_empty(), "its container is gone");
    agent.exited(&containers[1], 0);
    assert!(exited_statuses(&agent).is_empty(), "it waits for the acknowledgement");
    let updates = agent.take_updates();
    agent.acknowledge(&updates[0]);
    assert_eq!(exited_statuses(&agent), [0]);
    assert!(agent.core.view().frameworks.is_empty());
}

#[test]
fn a_failure_ends_its_group_and_no_other() {
    let mut agent = Agent::registered();
    let first = running(&mut agent, "p", &[command_task("a", "x"), command_task("b", "x")], true);
    let second = running(&mut agent, "p", &[command_task("c", "x")], false);
    agent.exited(&first[0], 4 << 8);
    let states: Vec<TaskState> = agent.take_updates().iter().map(v1::TaskStatus::state).collect();
    assert_eq!(states, [TaskState::TaskFailed, TaskState::TaskKilling]);
    assert_eq!(agent.take_ends(), [(first[1].clone(), Stop::Graceful(Duration::from_secs(3)))]);
    agent.exited(&first[1], 15);
    assert!(agent.take_ends().is_empty(), "the other group goes on");
    agent.exited(&second[0], 0);
    assert!(exited_statuses(&agent).is_empty());
    agent.pass(Duration::from_secs(61));
    assert_eq!(exited_executors(&mut agent), [0], "nobody acknowledges");
}

#[test]
fn a_kill_takes_its_grace_and_then_the_group() {
    let mut agent = Agent::registered();
    let containers = running(&mut agent, "p", &[command_task("a", "x"), command_task("b", "x")], true);
    agent.say(kill("a", Some(Duration::from_secs(9))));
    agent.say(kill("a", Some(Duration::from_secs(1))));
    assert_eq!(agent.take_ends(), [(containers[0].clone(), Stop::Graceful(Duration::from_secs(9)))], "once");
    assert_eq!(agent.take_update().state(), TaskState::TaskKilling);
    agent.exited(&containers[0], 9);
    let updates = agent.take_updates();
    assert_eq!(updates[0].state(), TaskState::TaskKilled);
    assert_eq!(updates[0].message(), "Command terminated with signal Killed");
    assert_eq!(updates[1].state(), TaskState::TaskKilling);
    assert_eq!(agent.take_ends(), [(containers[1].clone(), Stop::Graceful(Duration::from_secs(3)))]);
}

#[test]
fn what_cannot_be_launched_fails_with_its_group() {
    let mut agent = Agent::registered();
    agent.say(run_group(&modern(), &pod("p"), &[command_task("a", "x"), command_task("b", "x")], true));
    let launches = agent.take_launches();
    agent.running(&launches[0].container_id);
    assert_eq!(agent.take_states().len(), 3);
    let message = "Failed to fetch all URIs for container".to_string();
    agent.container(&launches[1].container_id, ContainerEvent::Failed { message });
    let updates = agent.take_updates();
    assert_eq!(updates[0].state(), TaskState::TaskFailed);
    assert_eq!(updates[0].message(), "Failed to fetch all URIs for container");
    assert_eq!(updates[1].state(), TaskState::TaskKilling);
}

#[test]
fn a_shutdown_kills_all_and_is_the_end() {
    let mut agent = Agent::registered();
    let containers = running(&mut agent, "p", &[command_task("a", "x"), command_task("b", "x")], true);
    agent.say(to_agent::Message::ShutdownExecutor(link::ShutdownExecutor {
        framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
        executor_id: v1::ExecutorId { value: "p".into() },
    }));
    assert_eq!(agent.take_ends().len(), 2);
    agent.pass(Duration::from_secs(6));
    let kills: Vec<Stop> = agent.take_ends().into_iter().map(|(_, how)| how).collect();
    assert_eq!(kills, [Stop::Kill, Stop::Kill], "its own grace is over");
    for container in &containers {
        agent.exited(container, 9);
    }
    assert_eq!(exited_executors(&mut agent), [0]);
}

#[test]
fn a_restart_is_not_noticed() {
    let mut agent = Agent::registered();
    let containers = running(&mut agent, "p", &[command_task("a", "x"), command_task("b", "x")], true);
    let mut agent = agent.restarted(2);
    assert_eq!(agent.recovered, containers);
    agent.running(&containers[0]);
    agent.running(&containers[1]);
    agent.reregister();
    assert!(agent.take_updates().is_empty());
    agent.exited(&containers[0], 256);
    let states: Vec<TaskState> = agent.take_updates().iter().map(v1::TaskStatus::state).collect();
    assert_eq!(states, [TaskState::TaskFailed, TaskState::TaskKilling]);
}

#[test]
fn a_reboot_ends_a_pod() {
    let mut agent = Agent::registered();
    running(&mut agent, "p", &[command_task("a", "x")], true);
    let mut config = config();
    config.boot_id = "boot-2".into();
    let mut agent = Agent::recover_with(config, agent.records, 2);
    agent.reregister();
    let update = agent.take_update();
    assert_eq!((update.state(), update.reason()), (TaskState::TaskFailed, Reason::ExecutorTerminated));
    assert!(agent.core.view().frameworks.is_empty());
}

#[test]
fn volumes_that_lead_out_of_the_sandbox_are_refused() {
    for (source, target, word) in
        [("/etc", "x", "absolute"), ("../x", "x", "must lie"), ("x", "/x", "'linux' launcher")]
    {
        let mut agent = Agent::registered();
        let mut task = command_task("a", "x");
        task.container = Some(Box::new(v1::ContainerInfo {
            r#type: v1::container_info::Type::Mesos as i32,
            volumes: vec![v1::Volume {
                mode: v1::volume::Mode::Rw as i32,
                container_path: target.into(),
                source: Some(v1::volume::Source {
                    r#type: Some(v1::volume::source::Type::SandboxPath as i32),
                    sandbox_path: Some(v1::volume::source::SandboxPath {
                        r#type: Some(sandbox_path::Type::Parent as i32),
                        path: source.into(),
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            }],
            ..Default::default()
        }));
        agent.say(run_group(&modern(), &pod("p"), &[task], true));
        assert_eq!(agent.take_update().state(), TaskState::TaskStarting);
        let failed = agent.take_update();
        assert_eq!(failed.state(), TaskState::TaskFailed);
        assert!(failed.message().contains(word), "{}", failed.message());
        assert!(agent.take_launches().is_empty());
    }
}
