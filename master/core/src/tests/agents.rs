//! Registration, pings, and the ends of agents.

use std::time::Duration;

use mezzo_api::{
    link::to_agent,
    v1::{self, TaskState, task_status::Reason},
};

use super::{calls::running, *};
use crate::{
    counters::Counter,
    model::{AgentGone, TaskList},
};

#[test]
fn a_registration_is_durable_before_it_is_answered() {
    let mut world = World::new();
    let link = world.link_up();
    world.say(link, from_agent::Message::Register(register(&agent_info(AGENT_RESOURCES))));
    world.say(link, from_agent::Message::Register(register(&agent_info(AGENT_RESOURCES))));
    assert_eq!((world.messages(link).len(), world.writes.len()), (0, 1));
    world.write_failed(RegistryError::Unknown);
    world.pass(Duration::from_secs(1));
    let ops = world.write_done();
    let [RegistryOp::PutAgent(info)] = &ops[..] else { panic!("{ops:?}") };
    assert_eq!(info.id.as_ref().unwrap().value, "m-S0");
    let messages = world.messages(link);
    let [to_agent::Message::Registered(registered)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((registered.agent_id.value.as_str(), registered.total_ping_timeout_ms), ("m-S0", 75_000));
    let seen = &world.view.agents["m-S0"];
    assert_eq!((seen.version.as_str(), seen.advertised.1, seen.connected, seen.active), ("1.11.0", 5051, true, true));
    // Asked again, it says the same.
    world.say(link, from_agent::Message::Register(register(&agent_info(AGENT_RESOURCES))));
    assert_eq!(world.messages(link), messages);
    assert_eq!(world.view.agents.len(), 1);
    world.quiet();
}

#[test]
fn a_registration_whose_link_is_gone_is_taken_back() {
    let mut world = World::new();
    let link = world.link_up();
    world.say(link, from_agent::Message::Register(register(&agent_info(AGENT_RESOURCES))));
    world.link_down(link);
    world.write_done();
    assert!(matches!(&world.write_done()[..], [RegistryOp::RemoveAgent(id)] if id.as_str() == "m-S0"));
    assert!(world.view.agents.is_empty());
    world.quiet();
}

#[test]
fn an_agent_that_forgot_its_id_replaces_the_one_at_its_address() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    world.link_down(agent.link);
    let link = world.link_up();
    let info = AgentInfo { id: None, ..agent.info.clone() };
    world.say(link, from_agent::Message::Register(register(&info)));
    let ops = world.write_done();
    assert!(matches!(&ops[..], [RegistryOp::RemoveAgent(_), RegistryOp::PutAgent(_)]));
    world.settle();
    let events = world.events(scheduler.stream);
    let status = events[0].update.clone().unwrap().status;
    assert_eq!((status.state(), status.reason()), (TaskState::TaskLost, Reason::AgentRemoved));
    assert_eq!(status.message(), "Agent host removed: a new agent registered at the same address");
    assert_eq!(events[1].failure.clone().unwrap().agent_id.unwrap().value, agent.id);
    assert_eq!(world.view.removed, [(agent.id.as_str().into(), AgentGone::Removed)]);
    assert_eq!(world.messages(link).len(), 1);
    // While it is connected, one that says the same address is another agent.
    let other = world.link_up();
    world.say(other, from_agent::Message::Register(register(&info)));
    assert!(matches!(&world.write_done()[..], [RegistryOp::PutAgent(_)]));
    assert_eq!(world.view.agents.len(), 2);
}

#[test]
fn an_agent_that_speaks_is_alive() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    for _ in 0..20 {
        world.pass(Duration::from_secs(30));
        assert_eq!(world.pings(agent.link), 2);
        world.say(agent.link, from_agent::Message::Pong(link::Pong { sequence: 1 }));
    }
    world.quiet();
    world.pass(Duration::from_secs(60));
    // Any word counts.
    world.update(&agent, &scheduler, "t", TaskState::TaskRunning);
    world.updates(&scheduler);
    world.pass(Duration::from_secs(70));
    world.pings(agent.link);
    world.quiet();
}

fn make_unreachable(world: &mut World, agent: &Slave) {
    world.pass(Duration::from_secs(91));
    world.messages(agent.link);
    assert!(matches!(&world.write_done()[..], [RegistryOp::MarkUnreachable(id, _)] if id.as_str() == agent.id));
    world.closed_links.clear();
}

#[test]
fn a_silent_agent_is_unreachable_in_the_registry_first_then_to_frameworks() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let bystander = world.subscribe(plain("ops"));
    world.offer(&bystander);
    world.pass(Duration::from_secs(91));
    assert_eq!(world.pings(agent.link), 5);
    let rescinded = world.events(bystander.stream);
    assert!(rescinded.len() == 1 && rescinded[0].rescind.is_some(), "nothing of it is offered any more");
    assert!(world.updates(&scheduler).is_empty(), "not before it is written down");
    let ops = world.write_done();
    let [RegistryOp::MarkUnreachable(id, since)] = &ops[..] else { panic!("{ops:?}") };
    assert_eq!(id.as_str(), agent.id);
    assert_eq!(world.closed_links, [(agent.link, CloseReason::PingTimeout)]);
    world.closed_links.clear();
    let events = world.events(scheduler.stream);
    let status = events[0].update.clone().unwrap().status;
    assert_eq!((status.state(), status.reason()), (TaskState::TaskUnreachable, Reason::AgentRemoved));
    assert_eq!(status.message(), "health check timed out");
    assert_eq!(status.unreachable_time.unwrap().nanoseconds, *since);
    let failure = events[1].failure.clone().unwrap();
    assert_eq!((failure.agent_id.unwrap().value, failure.executor_id, failure.status), (agent.id.clone(), None, None));
    assert_eq!(world.events(bystander.stream).len(), 1, "every framework hears of it");
    let seen = &world.view.tasks[&(scheduler.id.as_str().into(), "t".into())];
    assert_eq!((seen.list, seen.state), (TaskList::Unreachable, TaskState::TaskUnreachable));
    assert_eq!(world.view.removed, [(agent.id.as_str().into(), AgentGone::Unreachable)]);
    assert_eq!(world.core.counters().get(Counter::TasksUnreachable), 1);
    // What it still says on the old link means nothing.
    world.update(&agent, &scheduler, "t", TaskState::TaskFinished);
    world.link_down(agent.link);
    world.quiet();
}

#[test]
fn plain_frameworks_are_told_that_their_tasks_are_lost() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, plain("dev"));
    make_unreachable(&mut world, &agent);
    let status = world.events(scheduler.stream)[0].update.clone().unwrap().status;
    assert_eq!((status.state(), status.reason()), (TaskState::TaskLost, Reason::AgentRemoved));
    assert!(status.unreachable_time.is_some());
}

#[test]
fn an_end_that_was_told_is_not_taken_back() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    world.update(&agent, &scheduler, "t", TaskState::TaskFinished);
    world.settle();
    world.events(scheduler.stream);
    make_unreachable(&mut world, &agent);
    let events = world.events(scheduler.stream);
    assert!(events.iter().all(|event| event.update.is_none()), "it has finished: {events:?}");
}

#[test]
fn a_lost_link_counts_as_silence() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, plain("dev"));
    world.link_down(agent.link);
    world.pass(Duration::from_secs(74));
    assert!(world.updates(&scheduler).is_empty(), "no framework hears of a lost link, checkpointing or not");
    assert!(!world.view.agents[agent.id.as_str()].active);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.writes.len(), 1);
    world.write_done();
    assert_eq!(world.events(scheduler.stream).len(), 2);
}

#[test]
fn an_agent_may_say_goodbye() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let agent_id = v1::AgentId { value: agent.id.clone() };
    world.say(agent.link, from_agent::Message::Unregister(link::Unregister { agent_id }));
    assert!(matches!(&world.write_done()[..], [RegistryOp::RemoveAgent(_)]));
    let status = world.events(scheduler.stream)[0].update.clone().unwrap().status;
    assert_eq!((status.state(), status.message()), (TaskState::TaskLost, "Agent host removed: the agent unregistered"));
    assert_eq!(world.closed_links, [(agent.link, CloseReason::Shutdown)]);
    assert_eq!(world.view.removed[0].1, AgentGone::Removed);
}

#[test]
fn agents_that_make_no_sense_are_refused() {
    let mut world = World::new();
    let mut wrong = agent_info(AGENT_RESOURCES);
    wrong.resources[0].scalar = Some(v1::value::Scalar { value: -1.0 });
    for message in [
        from_agent::Message::Register(register(&wrong)),
        from_agent::Message::Reregister(link::Reregister {
            register: register(&agent_info(AGENT_RESOURCES)), // without an id
            report: 1,
            last: true,
            ..Default::default()
        }),
    ] {
        let link = world.link_up();
        world.say(link, message);
        let told = !world.messages(link).is_empty();
        let reason = if told { CloseReason::Refused } else { CloseReason::Protocol };
        assert_eq!(world.closed_links.pop(), Some((link, reason)));
        world.link_down(link);
    }
    // What comes before registration is nothing to us.
    let link = world.link_up();
    world.say(link, from_agent::Message::Pong(link::Pong { sequence: 1 }));
    world.say(LinkId(999), from_agent::Message::Pong(link::Pong { sequence: 1 }));
    world.quiet();
}

#[test]
fn a_link_is_one_agents_and_breaking_that_disconnects_it() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let mut info = agent.info.clone();
    info.id = Some(v1::AgentId { value: "another".into() });
    let report = link::Reregister { register: register(&info), report: 1, last: true, ..Default::default() };
    world.say(agent.link, from_agent::Message::Reregister(report));
    assert_eq!(world.closed_links, [(agent.link, CloseReason::Protocol)]);
    assert!(!world.view.agents[agent.id.as_str()].connected);
    world.link_down(agent.link);
    assert!(world.updates(&scheduler).is_empty());
}
