//! Command tasks: the agent's core in the part of Mesos' command executor.

mod support;

use std::time::Duration;

use mezzo_agent_core::container::{Command, ContainerEvent, Stop};
use mezzo_api::{
    link::{self, to_agent},
    v1::{
        self, TaskState,
        framework_info::capability,
        task_status::{Reason, Source},
    },
};
use support::*;

#[test]
fn a_task_runs_and_finishes_with_what_the_golden_data_shows() {
    let mut agent = Agent::registered();
    let task = v1::TaskInfo {
        command: Some(v1::CommandInfo {
            value: Some("echo hi".into()),
            user: Some("alice".into()),
            environment: Some(v1::Environment {
                variables: vec![v1::environment::Variable {
                    name: "FOO".into(),
                    value: Some("bar".into()),
                    ..Default::default()
                }],
            }),
            ..Default::default()
        }),
        ..command_task("t", "")
    };
    agent.say(run_task(&modern(), &task, true));
    let launch = agent.take_launch();
    assert_eq!(launch.command, Command::Shell("echo hi".into()));
    assert_eq!(launch.user.as_deref(), Some("alice"));
    let sandbox = format!("/w/slaves/{AGENT}/frameworks/{FRAMEWORK}/executors/t/runs/{}", launch.container_id);
    assert_eq!(launch.sandbox.to_str(), Some(sandbox.as_str()));
    let environment: Vec<(&str, &str)> = launch.environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(
        environment,
        [
            ("FOO", "bar"),
            ("LIBPROCESS_PORT", "0"),
            ("MESOS_AGENT_ENDPOINT", "127.0.0.1:5051"),
            ("MESOS_ALLOCATION_ROLE", "dev"),
            ("MESOS_CHECKPOINT", "1"),
            ("MESOS_DIRECTORY", &sandbox),
            ("MESOS_EXECUTOR_ID", "t"),
            ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "5secs"),
            ("MESOS_FRAMEWORK_ID", FRAMEWORK),
            ("MESOS_HTTP_COMMAND_EXECUTOR", "0"),
            ("MESOS_RECOVERY_TIMEOUT", "15mins"),
            ("MESOS_SANDBOX", &sandbox),
            ("MESOS_SLAVE_ID", AGENT),
            ("MESOS_SLAVE_PID", "slave(1)@127.0.0.1:5051"),
            ("MESOS_SUBSCRIPTION_BACKOFF_MAX", "2secs"),
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ]
    );
    agent.assert_quiet();

    agent.running(&launch.container_id);
    let starting = agent.take_update();
    assert_eq!(starting.state(), TaskState::TaskStarting);
    assert_eq!(starting.source, Some(Source::Executor as i32));
    assert_eq!(starting.executor_id, Some(v1::ExecutorId { value: "t".into() }));
    assert_eq!(starting.agent_id, Some(v1::AgentId { value: AGENT.into() }));
    assert!(starting.timestamp.is_some() && starting.message.is_none() && starting.reason.is_none());
    let container = starting.container_status.unwrap();
    assert_eq!(container.container_id, Some(launch.container_id.proto()));
    assert_eq!(container.executor_pid, Some(4242));
    assert_eq!(container.network_infos[0].ip_addresses[0].ip_address.as_deref(), Some("127.0.0.1"));
    assert_eq!(agent.take_update().state(), TaskState::TaskRunning);

    agent.exited(&launch.container_id, 0);
    let finished = agent.take_update();
    assert_eq!(finished.state(), TaskState::TaskFinished);
    assert_eq!(finished.message.as_deref(), Some("Command exited with status 0"));
    assert!(finished.container_status.is_some());
    assert!(agent.core.view().frameworks.is_empty(), "nothing is left");
    assert_eq!(agent.core.view().completed_frameworks[0].completed_executors.len(), 1);
}

#[test]
fn exits_become_states_and_messages() {
    for (status, state, message) in [
        (0, TaskState::TaskFinished, "Command exited with status 0"),
        (3 << 8, TaskState::TaskFailed, "Command exited with status 3"),
        (9, TaskState::TaskFailed, "Command terminated with signal Killed"),
    ] {
        let mut agent = Agent::registered();
        let id = agent.run_command(&command_task("t", "x"), &plain());
        agent.exited(&id, status);
        let update = agent.take_update();
        assert_eq!((update.state(), update.message.as_deref()), (state, Some(message)));
    }
}

#[test]
fn one_update_is_in_flight_and_is_repeated_until_it_is_acknowledged() {
    let mut agent = Agent::registered();
    agent.say(run_task(&plain(), &command_task("t", "x"), true));
    let id = agent.take_launch().container_id;
    agent.running(&id);
    agent.exited(&id, 0);
    let first = agent.take_updates();
    assert_eq!(first.len(), 1, "the others wait");
    agent.never_mind_pings();
    for seconds in [10, 20, 40, 80, 160, 320, 600, 600] {
        agent.pass(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert_eq!(agent.take_updates(), []);
        agent.pass(Duration::from_millis(1));
        assert_eq!(agent.take_updates(), first);
    }
    agent.acknowledge(&first[0]);
    let second = agent.take_updates();
    assert_eq!(second[0].state(), TaskState::TaskRunning, "the next follows at once");
    agent.acknowledge(&first[0]);
    assert_eq!(agent.take_updates(), [], "an acknowledgement counts once");
    agent.acknowledge(&second[0]);
    assert_eq!(agent.take_update().state(), TaskState::TaskFinished);
    agent.pass(Duration::from_secs(60));
    assert_eq!(agent.take_updates(), []);
}

#[test]
fn the_latest_state_goes_with_an_older_update() {
    let mut agent = Agent::registered();
    agent.say(run_task(&plain(), &command_task("t", "x"), true));
    let id = agent.take_launch().container_id;
    agent.running(&id);
    agent.exited(&id, 0);
    agent.effects.clear();
    agent.pass(Duration::from_secs(10));
    let messages = agent.take_messages();
    let [link::from_agent::Message::StatusUpdate(update)] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(update.status.state(), TaskState::TaskStarting);
    assert_eq!(update.latest_state, Some(TaskState::TaskFinished as i32));
}

#[test]
fn a_container_that_cannot_be_launched_fails_its_task() {
    let mut agent = Agent::registered();
    agent.say(run_task(&plain(), &command_task("t", "x"), true));
    let id = agent.take_launch().container_id;
    agent.container(&id, ContainerEvent::Failed { message: "Failed to fetch all URIs".into() });
    let update = agent.take_update();
    assert_eq!(update.state(), TaskState::TaskFailed);
    assert_eq!(update.source, Some(Source::Agent as i32));
    assert_eq!(update.reason, Some(Reason::ContainerLaunchFailed as i32));
    assert_eq!(update.message.as_deref(), Some("Failed to launch container: Failed to fetch all URIs"));
    assert!(update.container_status.is_none());
}

#[test]
fn what_this_host_has_not_is_refused() {
    let container = |kind: v1::container_info::Type| v1::ContainerInfo { r#type: kind as i32, ..Default::default() };
    let volumes =
        v1::ContainerInfo { volumes: vec![v1::Volume::default()], ..container(v1::container_info::Type::Mesos) };
    for (info, reason, message) in [
        (
            container(v1::container_info::Type::Docker),
            Reason::ExecutorTerminated,
            "Abnormal executor termination: unknown container",
        ),
        (
            volumes,
            Reason::ContainerLaunchFailed,
            "Failed to launch container: Volumes in ContainerInfo is not supported",
        ),
    ] {
        let mut agent = Agent::registered();
        let task = v1::TaskInfo { container: Some(Box::new(info)), ..command_task("t", "x") };
        agent.say(run_task(&plain(), &task, true));
        let update = agent.take_update();
        assert_eq!((update.state(), update.reason), (TaskState::TaskFailed, Some(reason as i32)));
        assert_eq!(update.message.as_deref(), Some(message));
    }
}

#[test]
fn a_command_without_a_value_starts_and_dies() {
    let mut agent = Agent::registered();
    let task = v1::TaskInfo { command: Some(v1::CommandInfo::default()), ..command_task("t", "") };
    agent.say(run_task(&plain(), &task, true));
    assert_eq!(agent.take_update().state(), TaskState::TaskStarting);
    let failed = agent.take_update();
    assert_eq!(failed.state(), TaskState::TaskFailed);
    assert_eq!(failed.reason, Some(Reason::ExecutorTerminated as i32));
    assert_eq!(failed.message.as_deref(), Some("Executor terminated"));
}

#[test]
fn a_kill_takes_its_grace_from_the_call_then_the_task_then_the_default() {
    let policy = Some(v1::KillPolicy { grace_period: Some(duration(Duration::from_secs(7))) });
    for (of_call, of_task, grace) in [(Some(Duration::from_secs(1)), policy, 1), (None, policy, 7), (None, None, 3)] {
        let mut agent = Agent::registered();
        let task = v1::TaskInfo { kill_policy: of_task, ..command_task("t", "x") };
        let id = agent.run_command(&task, &plain());
        agent.say(kill("t", of_call));
        assert_eq!(agent.take_stops(), [Stop::Graceful(Duration::from_secs(grace))]);
        assert_eq!(agent.take_states(), [], "a plain framework is not told TASK_KILLING");
        agent.exited(&id, 0);
        assert_eq!(agent.take_update().state(), TaskState::TaskKilled, "whatever the exit says");
    }
}

#[test]
fn a_repeated_kill_only_shortens_the_grace() {
    let mut agent = Agent::registered();
    let id = agent.run_command(&command_task("t", "x"), &framework(&[capability::Type::TaskKillingState]));
    agent.say(kill("t", Some(Duration::from_secs(20))));
    assert_eq!(agent.take_update().state(), TaskState::TaskKilling);
    agent.take_stops();
    agent.pass(Duration::from_secs(4));
    agent.say(kill("t", Some(Duration::from_secs(30))));
    agent.say(kill("t", Some(Duration::from_secs(20))));
    assert_eq!(agent.take_stops(), []);
    agent.say(kill("t", Some(Duration::from_secs(5))));
    assert_eq!(agent.take_stops(), [Stop::Graceful(Duration::from_secs(1))]);
    agent.say(kill("t", Some(Duration::from_secs(2))));
    assert_eq!(agent.take_stops(), [Stop::Graceful(Duration::ZERO)]);
    agent.exited(&id, 9);
    let killed = agent.take_update();
    assert_eq!(killed.state(), TaskState::TaskKilled);
    assert_eq!(killed.message.as_deref(), Some("Command terminated with signal Killed"));
    assert_eq!(agent.take_updates(), []);
}

#[test]
fn a_task_that_is_killed_before_it_runs_never_runs() {
    let mut agent = Agent::registered();
    agent.say(run_task(&modern(), &command_task("t", "x"), true));
    let id = agent.take_launch().container_id;
    agent.say(kill("t", None));
    let killed = agent.take_update();
    assert_eq!(killed.state(), TaskState::TaskKilled);
    assert_eq!(killed.source, Some(Source::Agent as i32));
    assert_eq!(killed.reason, Some(Reason::TaskKilledDuringLaunch as i32));
    assert_eq!(killed.message.as_deref(), Some("Killed before delivery to the executor"));
    assert_eq!(agent.take_stops(), [Stop::Kill]);
    agent.running(&id);
    assert_eq!(agent.take_stops(), [Stop::Kill], "it had been started meanwhile");
    agent.exited(&id, 9);
    assert_eq!(agent.take_states(), []);
    assert!(agent.core.view().frameworks.is_empty());
}

#[test]
fn a_kill_of_an_unknown_task_is_answered_and_of_an_unknown_framework_not() {
    let mut agent = Agent::registered();
    agent.say(kill("t", None));
    agent.assert_quiet();
    agent.run_command(&command_task("t", "x"), &modern());
    agent.say(kill("other", None));
    let update = agent.take_update();
    assert_eq!(update.state(), TaskState::TaskDropped);
    assert_eq!(update.reason, Some(Reason::ExecutorTerminated as i32));
    assert_eq!(update.message.as_deref(), Some("Cannot find executor"));
}

#[test]
fn a_task_that_runs_too_long_fails() {
    let mut agent = Agent::registered();
    let task = v1::TaskInfo { max_completion_time: Some(duration(Duration::from_secs(2))), ..command_task("t", "x") };
    let id = agent.run_command(&task, &modern());
    agent.pass(Duration::from_secs(2));
    assert_eq!(agent.take_stops(), [Stop::Graceful(Duration::ZERO)]);
    assert_eq!(agent.take_states(), [], "no TASK_KILLING");
    agent.exited(&id, 15);
    let failed = agent.take_update();
    assert_eq!(failed.state(), TaskState::TaskFailed);
    assert_eq!(failed.reason, Some(Reason::MaxCompletionTimeReached as i32));
    assert_eq!(failed.message.as_deref(), Some("Command terminated with signal Terminated"));
}

#[test]
fn a_check_shows_in_every_status() {
    let mut agent = Agent::registered();
    let check = v1::CheckInfo { r#type: Some(v1::check_info::Type::Command as i32), ..Default::default() };
    agent.say(run_task(&plain(), &v1::TaskInfo { check: Some(Box::new(check)), ..command_task("t", "x") }, true));
    let id = agent.take_launch().container_id;
    agent.running(&id);
    let status = agent.take_update().check_status.unwrap();
    assert_eq!(status.r#type, Some(v1::check_info::Type::Command as i32));
    assert!(status.command.is_some_and(|command| command.exit_code.is_none()));
}

#[test]
fn a_shutdown_kills_within_the_executors_grace() {
    let mut agent = Agent::registered();
    let id = agent.run_command(&command_task("t", "x"), &modern());
    agent.say(to_agent::Message::ShutdownExecutor(link::ShutdownExecutor {
        framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
        executor_id: v1::ExecutorId { value: "t".into() },
    }));
    assert_eq!(agent.take_stops(), [Stop::Graceful(Duration::from_secs(3))]);
    assert_eq!(agent.take_update().state(), TaskState::TaskKilling);
    agent.pass(Duration::from_secs(5));
    assert_eq!(agent.take_stops(), [Stop::Kill]);
    agent.exited(&id, 9);
    assert_eq!(agent.take_update().state(), TaskState::TaskKilled);
}

#[test]
fn a_command_task_cannot_reuse_an_executor() {
    let mut agent = Agent::registered();
    let id = agent.run_command(&command_task("t", "x"), &modern());
    agent.say(run_task(&modern(), &command_task("t", "x"), true));
    agent.assert_quiet();
    agent.exited(&id, 0);
    assert_eq!(agent.take_update().state(), TaskState::TaskFinished);
    agent.say(run_task(&modern(), &command_task("t", "x"), true));
    assert_ne!(agent.take_launch().container_id, id, "once it is over and acknowledged the id is free");
}

#[test]
fn ids_that_are_paths_and_other_agents_tasks_are_refused() {
    let mut agent = Agent::registered();
    let task = v1::TaskInfo { agent_id: v1::AgentId { value: "m-S9".into() }, ..command_task("t", "x") };
    agent.say(run_task(&plain(), &task, true));
    agent.assert_quiet();
    for id in ["..", "a/b", "", "a\0b"] {
        let mut agent = Agent::registered();
        agent.say(run_task(&plain(), &command_task(id, "x"), true));
        let update = agent.take_update();
        assert_eq!((update.state(), update.reason), (TaskState::TaskLost, Some(Reason::TaskInvalid as i32)), "{id:?}");
    }
}

#[test]
fn a_teardown_ends_everything_and_says_nothing() {
    let mut agent = Agent::registered();
    let id = agent.run_command(&command_task("t", "x"), &modern());
    agent.say(to_agent::Message::ShutdownFramework(link::ShutdownFramework {
        framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
    }));
    assert_eq!(agent.take_stops(), [Stop::Graceful(Duration::from_secs(3))]);
    agent.say(run_task(&modern(), &command_task("late", "x"), true));
    agent.exited(&id, 9);
    assert_eq!(agent.take_updates(), []);
    assert!(agent.core.view().frameworks.is_empty());
}

#[test]
fn secrets_are_resolved_or_refused() {
    let with = |secret: v1::Secret| v1::TaskInfo {
        command: Some(v1::CommandInfo {
            value: Some("x".into()),
            environment: Some(v1::Environment {
                variables: vec![v1::environment::Variable {
                    name: "S".into(),
                    r#type: Some(v1::environment::variable::Type::Secret as i32),
                    secret: Some(secret),
                    ..Default::default()
                }],
            }),
            ..Default::default()
        }),
        ..command_task("t", "")
    };
    let mut agent = Agent::registered();
    let value = v1::Secret {
        r#type: Some(v1::secret::Type::Value as i32),
        value: Some(v1::secret::Value { data: "hush".into() }),
        ..Default::default()
    };
    agent.say(run_task(&plain(), &with(value), true));
    assert!(agent.take_launch().environment.contains(&("S".into(), "hush".into())));
    let mut agent = Agent::registered();
    agent.say(run_task(&plain(), &with(v1::Secret::default()), true));
    let update = agent.take_update();
    assert_eq!(update.reason, Some(Reason::ContainerLaunchFailed as i32));
    assert!(update.message.unwrap().contains("secret"));
}
