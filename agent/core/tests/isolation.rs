//! What containers may use, and what is told of those that took more.

mod support;

use mezzo_agent_core::{
    container::ContainerEvent,
    effect::{Answer, Effect},
    isolation::{Abilities, Allotment, Limitation},
};
use mezzo_api::{
    ids::ContainerId,
    v1::{
        self, TaskState,
        executor::call,
        task_status::{Reason, Source},
    },
};
use support::*;

/// Registered, with these abilities.
fn able(abilities: Abilities) -> Agent {
    let records = Agent::registered().records;
    let mut agent = Agent::recover_with(mezzo_agent_core::config::Config { abilities, ..config() }, records, 2);
    agent.reregister();
    agent.effects.clear();
    agent
}

const ALL: Abilities = Abilities { cpu_limits: true, memory_limits: true, mounts: true, allots: true };

fn limitation() -> Limitation {
    Limitation {
        reason: Reason::ContainerLimitationMemory,
        message: "Memory limit exceeded".into(),
        resources: resources("mem:32"),
    }
}

fn limited(agent: &mut Agent, id: &ContainerId) {
    agent.container(id, ContainerEvent::Limited { status: Some(9), limitation: limitation() });
}

fn allotments(agent: &mut Agent) -> Vec<(ContainerId, Allotment)> {
    agent.take(|effect| match effect {
        Effect::Allot(id, allotment) => Some((id.clone(), (**allotment).clone())),
        _ => None,
    })
}

fn check(status: &v1::TaskStatus) {
    assert_eq!(status.state(), TaskState::TaskFailed);
    assert_eq!(status.reason(), Reason::ContainerLimitationMemory);
    assert_eq!(status.limitation.as_ref().unwrap().resources, resources("mem:32"));
}

#[test]
fn a_command_task_that_took_too_much_fails_for_that() {
    let mut agent = Agent::registered();
    let id = agent.run_command(&command_task("t", "sleep 1"), &modern());
    limited(&mut agent, &id);
    let updates = agent.take_updates();
    check(&updates[0]);
    assert_eq!((updates[0].message(), updates[0].source()), ("Memory limit exceeded", Source::Agent));
    // Its start was not heard of: it ran all the same.
    agent.say(run_task(&modern(), &command_task("u", "sleep 1"), true));
    let id = agent.take_launch().container_id;
    limited(&mut agent, &id);
    assert_eq!(agent.take_states(), [TaskState::TaskStarting, TaskState::TaskRunning, TaskState::TaskFailed]);
}

#[test]
fn what_it_took_too_much_of_is_told_after_a_crash_too() {
    let mut agent = Agent::registered();
    let id = agent.run_command(&command_task("t", "sleep 1"), &modern());
    let mut agent = agent.restarted(2);
    assert_eq!(agent.recovered, std::slice::from_ref(&id));
    limited(&mut agent, &id);
    agent.reregister();
    check(&agent.take_updates()[0]);
}

#[test]
fn a_task_of_a_pod_fails_for_that_with_its_group() {
    let mut agent = Agent::registered();
    let tasks = [command_task("a", "sleep 1"), command_task("b", "sleep 1")];
    agent.say(run_group(&modern(), &pod("p"), &tasks, true));
    let launches = agent.take_launches();
    let pod = launches[0].isolation.as_ref().unwrap().pod.as_ref().unwrap();
    assert!((pod.allotment.mem_mb - 96.0).abs() < 1e-6, "the pod has what all of it has: {pod:?}");
    for launch in &launches {
        agent.running(&launch.container_id);
    }
    agent.take_states();
    limited(&mut agent, &launches[0].container_id);
    let updates = agent.take_updates();
    check(&updates[0]);
    assert_eq!(updates[0].message(), "Command terminated with signal Killed: Memory limit exceeded");
    assert_eq!(agent.take_ends().len(), 1, "the other one of the group ends");
}

#[test]
fn limits_need_the_isolators_that_hold_them() {
    let scalar = |value| v1::value::Scalar { value };
    let mut task = command_task("t", "sleep 1");
    task.limits.insert("mem".into(), scalar(64.0));
    task.limits.insert("cpus".into(), scalar(f64::INFINITY));
    for (abilities, word) in [
        (Abilities { cpu_limits: false, ..ALL }, "'cgroups/cpu'"),
        (Abilities { memory_limits: false, ..ALL }, "'cgroups/mem'"),
    ] {
        let mut agent = able(abilities);
        agent.say(run_task(&modern(), &task, true));
        let updates = agent.take_updates();
        assert_eq!(updates[0].state(), TaskState::TaskDropped);
        assert!(updates[0].message().contains(word), "{}", updates[0].message());
    }
    let mut agent = able(ALL);
    agent.say(run_task(&modern(), &task, true));
    let allotment = agent.take_launch().isolation.unwrap().allotment;
    assert_eq!((allotment.cpus, allotment.mem_mb), (0.1, 32.0), "there is no executor that needs anything");
    assert_eq!((allotment.cpu_limit, allotment.mem_limit_mb), (Some(f64::INFINITY), Some(64.0)));
}

#[test]
fn an_executor_may_use_more_with_each_task_and_less_after() {
    const NOTHING: call::Subscribe =
        call::Subscribe { unacknowledged_tasks: Vec::new(), unacknowledged_updates: Vec::new() };
    let mut agent = able(ALL);
    agent.say(run_task(&modern(), &executor_task("t", "e"), true));
    let launch = agent.take_launch();
    let first = launch.isolation.unwrap().allotment.mem_mb;
    agent.running(&launch.container_id);
    assert_eq!(agent.subscribe("e", 1, NOTHING), Answer::new(200, ""));
    agent.say(run_task(&modern(), &executor_task("u", "e"), false));
    let more = allotments(&mut agent);
    assert_eq!(more.len(), 1);
    assert!((more[0].1.mem_mb - first - 32.0).abs() < 1e-6, "{first} {more:?}");
    agent.call(update("e", "u", TaskState::TaskFinished, 1));
    let less = allotments(&mut agent);
    assert!(less.last().is_some_and(|(id, less)| *id == launch.container_id && (less.mem_mb - first).abs() < 1e-6));
    // An agent that comes back learns it anew.
    let mut agent =
        Agent::recover_with(mezzo_agent_core::config::Config { abilities: ALL, ..config() }, agent.records, 3);
    agent.running(&launch.container_id);
    assert_eq!(allotments(&mut agent).len(), 1);
}
