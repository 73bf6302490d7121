//! Checks, health checks and drains under virtual time.

mod support;

use std::time::Duration;

use mezzo_agent_core::{
    container::{Command, ContainerEvent, Outcome, Probe, Stop},
    effect::Effect,
};
use mezzo_api::{
    ids::ContainerId,
    v1::{self, TaskState, check_info, task_status::Reason},
};
use support::*;

const SECOND: Duration = Duration::from_secs(1);

fn take_probe(agent: &mut Agent) -> (ContainerId, Probe) {
    let probes = agent.take(|effect| match effect {
        Effect::Probe { id, probe, .. } => Some((id.clone(), probe.clone())),
        _ => None,
    });
    assert_eq!(probes.len(), 1, "{probes:?}");
    probes[0].clone()
}

fn answer(agent: &mut Agent, probe: &ContainerId, outcome: Outcome) {
    agent.step(|core, now, out| core.probed(now, probe, &outcome, out));
}

fn by_command(kind: &str) -> v1::TaskInfo {
    let task = checked(command_task("t", "x"));
    match kind {
        "health" => v1::TaskInfo { check: None, ..task },
        _ => v1::TaskInfo { health_check: None, ..task },
    }
}

/// Lets the command of the next health check end with `status`.
fn look(agent: &mut Agent, status: i32) {
    agent.pass(SECOND);
    let launch = agent.take_launch();
    assert_eq!(launch.command, Command::Shell("true".into()));
    agent.running(&launch.container_id);
    agent.exited(&launch.container_id, status);
}

#[test]
fn a_task_is_killed_for_its_health() {
    let mut agent = Agent::registered();
    let container = agent.run_command(&by_command("health"), &modern());
    look(&mut agent, 0);
    let healthy = agent.take_update();
    assert_eq!((healthy.state(), healthy.healthy), (TaskState::TaskRunning, Some(true)));
    assert_eq!(healthy.reason(), Reason::TaskHealthCheckStatusUpdated);
    look(&mut agent, 0);
    assert!(agent.take_updates().is_empty(), "nothing new");
    look(&mut agent, 256);
    assert_eq!(agent.take_update().healthy, Some(false));
    look(&mut agent, 256);
    let unhealthy = agent.take_update();
    assert_eq!(unhealthy.healthy, Some(false));
    let killing = agent.take_update();
    assert_eq!((killing.state(), killing.healthy), (TaskState::TaskKilling, None));
    assert_eq!(agent.take_stops(), [Stop::Graceful(3 * SECOND)]);
    agent.pass(60 * SECOND);
    assert!(agent.take_launches().is_empty(), "it is looked at no more");
    agent.exited(&container, 15);
    let killed = agent.take_update();
    assert_eq!((killed.state(), killed.healthy), (TaskState::TaskKilled, Some(false)));
}

#[test]
fn a_look_that_takes_too_long_is_a_failure_and_is_ended() {
    let mut agent = Agent::registered();
    agent.run_command(&by_command("health"), &modern());
    agent.pass(SECOND);
    let launch = agent.take_launch();
    agent.running(&launch.container_id);
    agent.pass(5 * SECOND);
    assert_eq!(agent.take_ends(), [(launch.container_id.clone(), Stop::Kill)]);
    assert_eq!(agent.take_update().healthy, Some(false));
    agent.exited(&launch.container_id, 9);
    assert!(agent.take_updates().is_empty(), "it counted already");
    agent.pass(SECOND);
    assert_ne!(agent.take_launch().container_id, launch.container_id);
}

#[test]
fn a_check_tells_what_it_finds_and_every_status_has_it() {
    let mut agent = Agent::registered();
    agent.never_mind_pings();
    agent.say(run_task(&modern(), &by_command("check"), true));
    let container = agent.take_launch().container_id;
    agent.running(&container);
    let empty = agent.take_update().check_status.unwrap();
    assert_eq!((empty.r#type(), empty.tcp.unwrap().succeeded), (check_info::Type::Tcp, None));
    assert!(agent.take_update().check_status.is_some());
    agent.pass(SECOND);
    let (probe, how) = take_probe(&mut agent);
    assert_eq!(how, Probe::Tcp { address: "127.0.0.1:80".parse().unwrap() });
    answer(&mut agent, &probe, Outcome::Tcp(true));
    let told = agent.take_update();
    assert_eq!(told.reason(), Reason::TaskCheckStatusUpdated);
    assert_eq!(told.check_status.unwrap().tcp.unwrap().succeeded, Some(true));
    agent.pass(SECOND);
    let (probe, _) = take_probe(&mut agent);
    answer(&mut agent, &probe, Outcome::Tcp(true));
    answer(&mut agent, &probe, Outcome::Tcp(false));
    assert!(agent.take_updates().is_empty(), "the same again, and an answer that nobody waits for");
    agent.exited(&container, 0);
    assert_eq!(agent.take_update().check_status.unwrap().tcp.unwrap().succeeded, None);
}

#[test]
fn failures_are_counted_on_after_a_restart() {
    let mut agent = Agent::registered();
    let container = agent.run_command(&by_command("health"), &modern());
    look(&mut agent, 256);
    assert_eq!(agent.take_update().healthy, Some(false));
    let mut agent = agent.restarted(2);
    agent.running(&container);
    agent.reregister();
    agent.pass(Duration::ZERO);
    let launch = agent.take_launch();
    agent.running(&launch.container_id);
    agent.container(&launch.container_id, ContainerEvent::Exited { status: Some(256) });
    assert_eq!(agent.take_update().healthy, Some(false));
    assert_eq!(agent.take_update().state(), TaskState::TaskKilling);
    let mut agent = agent.restarted(3);
    agent.running(&container);
    agent.reregister();
    agent.exited(&container, 15);
    assert_eq!(agent.take_update().healthy, Some(false), "why it was killed is not forgotten");
}

#[test]
fn a_drain_kills_within_its_grace_and_takes_nothing_new() {
    let mut agent = Agent::registered();
    let mut slow = command_task("slow", "x");
    slow.kill_policy = Some(v1::KillPolicy { grace_period: Some(duration(60 * SECOND)) });
    let mut quick = command_task("quick", "x");
    quick.kill_policy = Some(v1::KillPolicy { grace_period: Some(duration(SECOND)) });
    let slow = agent.run_command(&slow, &modern());
    let quick = agent.run_command(&quick, &modern());
    agent.say(drain(Some(10 * SECOND), true));
    let mut ends = agent.take_ends();
    ends.sort_by_key(|(_, how)| format!("{how:?}"));
    assert_eq!(ends, [(slow.clone(), Stop::Graceful(10 * SECOND)), (quick.clone(), Stop::Graceful(SECOND))]);
    for update in agent.take_updates() {
        assert_eq!((update.state(), update.reason()), (TaskState::TaskKilling, Reason::AgentDraining));
        agent.acknowledge(&update);
    }
    agent.say(run_task(&modern(), &command_task("late", "x"), true));
    let dropped = agent.take_update();
    assert_eq!((dropped.state(), dropped.reason()), (TaskState::TaskDropped, Reason::AgentDraining));
    assert_eq!(dropped.message(), "Task was received while agent was already draining");

    let mut agent = agent.restarted(2);
    agent.running(&slow);
    agent.running(&quick);
    agent.reregister();
    agent.effects.clear();
    agent.exited(&slow, 15);
    let gone = agent.take_update();
    assert_eq!((gone.state(), gone.reason()), (TaskState::TaskGoneByOperator, Reason::AgentDraining));
    agent.exited(&quick, 15);
    agent.take_update();
    agent.effects.clear();
    agent.run_command(&command_task("next", "x"), &modern());
}
