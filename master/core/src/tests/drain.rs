//! Drained, deactivated and reactivated agents.

use mezzo_api::{
    link::to_agent,
    v1::{self, DrainState, TaskState},
};

use super::{calls::running, *};
use crate::{input::OperatorCall, model::AgentGone, registry::Standing};

fn ask(world: &mut World, call: OperatorCall) -> RequestId {
    let request = RequestId(world.number());
    world.step(|core, now, out| core.operator_call(now, request, None, call, out));
    request
}

fn drain(world: &mut World, agent: &Slave, mark_gone: bool) -> RequestId {
    let agent_id = v1::AgentId { value: agent.id.clone() };
    let config = v1::DrainConfig { max_grace_period: None, mark_gone: Some(mark_gone) };
    ask(world, OperatorCall::Drain { agent_id, config })
}

fn status(world: &mut World, request: RequestId) -> (u16, String) {
    let answer = world.replies.remove(&request).expect("an answer");
    (answer.status, answer.body)
}

fn reactivate(world: &mut World, id: &str) -> RequestId {
    ask(world, OperatorCall::Reactivate { agent_id: v1::AgentId { value: id.into() } })
}

/// The framework's task ends, and its end is acknowledged.
fn finish(world: &mut World, agent: &Slave, scheduler: &Scheduler) {
    let finished = world.update(agent, scheduler, "t", TaskState::TaskFinished);
    world.acknowledge(scheduler, &finished);
}

fn drained(world: &World, id: &str) -> Option<DrainState> {
    world.view.agents[id].standing.drain.map(|drain| drain.state())
}

#[test]
fn a_drain_is_durable_tells_the_agent_and_ends_with_its_last_task() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let request = drain(&mut world, &agent, false);
    assert!(world.replies.is_empty() && world.messages(agent.link).is_empty(), "not before it is durable");
    let ops = world.write_done();
    assert!(
        matches!(&ops[..], [RegistryOp::PutStanding(id, standing)] if id.as_str() == agent.id && standing.is_draining())
    );
    assert_eq!(status(&mut world, request), (200, String::new()));
    assert!(world.messages(agent.link).iter().any(|message| matches!(message, to_agent::Message::DrainAgent(_))));
    assert!(!world.view.agents[agent.id.as_str()].active);
    let early = reactivate(&mut world, &agent.id);
    assert_eq!(status(&mut world, early), (400, "Agent is still in the DRAINING state".into()));

    finish(&mut world, &agent, &scheduler);
    world.write_done();
    assert_eq!(drained(&world, &agent.id), Some(DrainState::Drained));
    let request = reactivate(&mut world, &agent.id);
    assert!(
        matches!(&world.write_done()[..], [RegistryOp::PutStanding(_, standing)] if *standing == Standing::default())
    );
    assert_eq!(status(&mut world, request).0, 200);
    assert!(world.view.agents[agent.id.as_str()].active);
    let again = reactivate(&mut world, &agent.id);
    assert_eq!(status(&mut world, again), (400, "Agent is not deactivated".into()));
}

#[test]
fn an_agent_that_is_to_be_gone_goes_when_it_is_empty() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    drain(&mut world, &agent, true);
    world.write_done();
    finish(&mut world, &agent, &scheduler);
    let ops = world.write_done();
    assert!(matches!(&ops[..], [RegistryOp::MarkGone(id, _), RegistryOp::PutStanding(..)] if id.as_str() == agent.id));
    assert!(!world.view.agents.contains_key(agent.id.as_str()));
    assert_eq!(world.view.removed, [(agent.id.as_str().into(), AgentGone::Gone)]);
    let shutdown = |message: &to_agent::Message| matches!(message, to_agent::Message::Shutdown(_));
    assert!(world.messages(agent.link).iter().any(shutdown));
}

#[test]
fn a_new_leader_drains_on() {
    let drain = v1::DrainInfo {
        state: DrainState::Draining as i32,
        config: v1::DrainConfig { max_grace_period: None, mark_gone: Some(false) },
    };
    let info = AgentInfo { id: Some(v1::AgentId { value: "m-S9".into() }), ..agent_info(AGENT_RESOURCES) };
    let recovered = Recovered {
        agents: vec![info.clone()].into(),
        standings: vec![("m-S9".into(), Standing { deactivated: true, drain: Some(drain) })],
        ..Default::default()
    };
    let mut world = World::with(config(), recovered);
    let link = world.link_up();
    let report = link::Reregister { register: register(&info), report: 1, last: true, ..Default::default() };
    world.say(link, from_agent::Message::Reregister(report));
    world.write_done();
    assert!(world.messages(link).iter().any(|message| matches!(message, to_agent::Message::DrainAgent(_))));
    assert_eq!(drained(&world, "m-S9"), Some(DrainState::Drained), "it has nothing");
    assert!(!world.view.agents["m-S9"].active);
}

#[test]
fn unknown_agents_and_those_that_cannot_are_refused() {
    let mut world = World::new();
    let agent_id = v1::AgentId { value: "nope".into() };
    let config = v1::DrainConfig::default();
    for call in [
        OperatorCall::Drain { agent_id: agent_id.clone(), config },
        OperatorCall::Deactivate { agent_id: agent_id.clone() },
    ] {
        let request = ask(&mut world, call);
        assert_eq!(status(&mut world, request), (400, "Unknown agent".into()));
    }
}
