//! What becomes of agents that are away: the pace of removals, MARK_AGENT_GONE, forgetting, domains, addresses.

use std::time::Duration;

use mezzo_api::{
    link::to_agent,
    v1::{TaskState, task_status::Reason},
};

use super::{calls::running, *};
use crate::{
    counters::Counter,
    input::{Lifecycle, OperatorCall, RateLimit},
    model::AgentGone,
};

fn with(lifecycle: Lifecycle) -> World {
    World::with(Config { lifecycle, ..config() }, Recovered::default())
}

fn one_each(seconds: u64) -> Lifecycle {
    let limit = RateLimit { permits: 1, duration: Duration::from_secs(seconds) };
    Lifecycle { removal_rate_limit: Some(limit), ..Lifecycle::default() }
}

fn recovered(count: usize) -> Recovered {
    let agents = (0..count).map(|number| AgentInfo {
        id: Some(v1::AgentId { value: format!("old-S{number}") }),
        ..agent_info(AGENT_RESOURCES)
    });
    Recovered { agents: agents.collect(), ..Recovered::default() }
}

fn marked(world: &mut World) -> Vec<String> {
    let mut marked = Vec::new();
    while !world.writes.is_empty() {
        for op in world.write_done() {
            let RegistryOp::MarkUnreachable(id, _) = op else { panic!("{op:?}") };
            marked.push(id.as_str().to_owned());
        }
    }
    world.closed_links.clear();
    marked
}

fn mark_gone(world: &mut World, id: &str) -> RequestId {
    let request = RequestId(world.number());
    let call = OperatorCall::MarkAgentGone { agent_id: v1::AgentId { value: id.into() } };
    world.step(|core, now, out| core.operator_call(now, request, None, call, out));
    request
}

fn pong() -> from_agent::Message {
    from_agent::Message::Pong(link::Pong { sequence: 1 })
}

fn report(info: &AgentInfo) -> from_agent::Message {
    let register = register(info);
    from_agent::Message::Reregister(link::Reregister { register, report: 1, last: true, ..Default::default() })
}

#[test]
fn silent_agents_are_given_up_one_in_each_interval() {
    let mut world = with(one_each(600));
    let agents: Vec<Slave> = (0..3).map(|_| world.agent(AGENT_RESOURCES)).collect();
    world.pass(Duration::from_secs(91));
    assert_eq!(marked(&mut world).len(), 1, "the first at once");
    assert_eq!(world.core.counters().get(Counter::SlaveUnreachableScheduled), 3);
    world.pass(Duration::from_secs(500));
    assert!(marked(&mut world).is_empty());
    // Pings go on, and a word keeps its sender.
    let left: Vec<&Slave> = agents.iter().filter(|agent| world.view.agents.contains_key(agent.id.as_str())).collect();
    assert_eq!(left.len(), 2);
    assert!(world.pings(left[0].link) > 30);
    world.say(left[0].link, pong());
    world.pass(Duration::from_secs(200));
    assert_eq!(marked(&mut world), [left[1].id.clone()], "who spoke takes nobody's turn");
    assert_eq!(world.core.counters().get(Counter::SlaveUnreachableCanceled), 1);
    world.say(left[0].link, pong());
    world.pass(Duration::from_secs(30));
    assert!(world.view.agents[left[0].id.as_str()].active);
}

#[test]
fn a_word_before_ones_turn_cancels_the_removal() {
    let mut world = with(one_each(600));
    let (first, second) = (world.agent(AGENT_RESOURCES), world.agent(AGENT_RESOURCES));
    world.pass(Duration::from_secs(91));
    let gone = marked(&mut world);
    let left = if gone[0] == first.id { second } else { first };
    // Between its last ping and its turn.
    world.pass(Duration::from_secs(598 - 1));
    world.say(left.link, pong());
    world.pass(Duration::from_secs(20));
    assert!(marked(&mut world).is_empty());
    assert!(world.view.agents.contains_key(left.id.as_str()));
}

#[test]
fn agents_that_do_not_come_back_after_a_failover_are_given_up_at_the_same_pace() {
    let mut world = World::with(Config { lifecycle: one_each(60), ..config() }, recovered(3));
    world.pass(Duration::from_secs(601));
    assert_eq!(marked(&mut world).len(), 1);
    let id = world.core.agents.recovered.keys().next().unwrap().clone();
    let info = world.core.agents.recovered[&id].message();
    let link = world.link_up();
    world.say(link, report(&info));
    world.messages(link);
    world.pass(Duration::from_secs(61));
    let later = marked(&mut world);
    assert!(later.len() == 1 && later[0] != id.as_str(), "{later:?}");
    assert!(world.core.agents.recovered.is_empty() && world.view.agents.contains_key(&id));
}

#[test]
fn many_missing_agents_are_written_down_in_parts() {
    let mut world = World::with(config(), recovered(1200));
    world.pass(Duration::from_secs(601));
    assert_eq!(world.writes.iter().map(|(_, ops)| ops.len()).collect::<Vec<_>>(), [500, 500, 200]);
    assert_eq!(marked(&mut world).len(), 1200);
}

#[test]
fn nobody_is_given_up_when_too_many_are_missing() {
    let lifecycle = Lifecycle { recovery_removal_limit: 0.5, ..Lifecycle::default() };
    let mut world = World::with(Config { lifecycle, ..config() }, recovered(3));
    let back = |world: &mut World, number: usize| {
        let info =
            AgentInfo { id: Some(v1::AgentId { value: format!("old-S{number}") }), ..agent_info(AGENT_RESOURCES) };
        let link = world.link_up();
        world.say(link, report(&info));
        world.messages(link);
        link
    };
    world.pass(Duration::from_secs(601));
    assert!(world.writes.is_empty(), "all are missing");
    let links = [back(&mut world, 0), back(&mut world, 1)];
    for _ in 0..60 {
        links.iter().for_each(|link| world.say(*link, pong()));
        world.pass(Duration::from_secs(10));
    }
    assert_eq!(marked(&mut world), ["old-S2"], "one of three is not too many");
}

#[test]
fn an_agent_is_marked_gone_in_the_registry_first() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let bystander = world.subscribe(plain("ops"));
    let request = mark_gone(&mut world, &agent.id);
    let busy = mark_gone(&mut world, &agent.id);
    assert_eq!(world.replies.remove(&busy).unwrap().status, 503);
    assert!(world.updates(&scheduler).is_empty() && !world.replies.contains_key(&request));
    world.write_failed(RegistryError::Unknown);
    world.pass(Duration::from_secs(1));
    let ops = world.write_done();
    assert!(matches!(&ops[..], [RegistryOp::MarkGone(id, _)] if id.as_str() == agent.id));
    assert_eq!(world.replies.remove(&request), Some(Answer::new(200, "")));
    let events = world.events(scheduler.stream);
    let status = events[0].update.clone().unwrap().status;
    assert_eq!((status.state(), status.reason()), (TaskState::TaskGoneByOperator, Reason::AgentRemovedByOperator));
    assert_eq!(events[1].failure.clone().unwrap().agent_id.unwrap().value, agent.id);
    assert_eq!(world.events(bystander.stream).last().unwrap().r#type(), event::Type::Failure);
    let messages = world.messages(agent.link);
    let Some(to_agent::Message::Shutdown(shutdown)) = messages.last() else { panic!("{messages:?}") };
    assert_eq!(shutdown.reason, "Agent has been marked gone");
    assert_eq!(world.closed_links, [(agent.link, CloseReason::Shutdown)]);
    assert_eq!(world.view.removed, [(agent.id.as_str().into(), AgentGone::Gone)]);
    world.closed_links.clear();
    // It is not taken again, and asking again changes nothing.
    let link = world.link_up();
    world.say(link, report(&agent.info));
    assert!(matches!(&world.messages(link)[..], [to_agent::Message::Shutdown(_)]));
    world.closed_links.clear();
    let again = mark_gone(&mut world, &agent.id);
    assert_eq!(world.replies.remove(&again), Some(Answer::new(200, "")));
    let unknown = mark_gone(&mut world, "nobody");
    assert_eq!(world.replies.remove(&unknown), Some(Answer::new(404, "Agent 'nobody' not found")));
}

#[test]
fn plain_frameworks_hear_that_tasks_of_a_gone_agent_are_lost() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, plain("dev"));
    mark_gone(&mut world, &agent.id);
    world.write_done();
    let status = world.events(scheduler.stream)[0].update.clone().unwrap().status;
    assert_eq!((status.state(), status.reason()), (TaskState::TaskLost, Reason::AgentRemoved));
}

#[test]
fn an_unreachable_agent_that_is_gone_takes_its_tasks_with_it() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    world.pass(Duration::from_secs(91));
    world.write_done();
    world.events(scheduler.stream);
    let request = mark_gone(&mut world, &agent.id);
    world.write_done();
    assert_eq!(world.replies.remove(&request), Some(Answer::new(200, "")));
    let updates = world.updates(&scheduler);
    assert_eq!(updates[0].state(), TaskState::TaskGoneByOperator);
    assert!(world.core.agents.unreachable.is_empty() && world.core.agents.gone.contains_key(agent.id.as_str()));
}

#[test]
fn who_waits_for_an_end_hears_of_the_change_of_masters() {
    let mut world = World::with(config(), recovered(1));
    let agent = world.agent(AGENT_RESOURCES);
    let requests = [mark_gone(&mut world, &agent.id), mark_gone(&mut world, "old-S0")];
    world.write_failed(RegistryError::Fenced);
    for request in requests {
        assert_eq!(world.replies.remove(&request).unwrap().status, 503);
    }
}

#[test]
fn agents_of_long_ago_are_forgotten() {
    let day = 24 * 3600 * 1_000_000_000_i64;
    let now = 1_001_000 * 1_000_000_000_i64;
    let lifecycle = Lifecycle {
        registry_max_agent_count: 3,
        registry_max_agent_age: Duration::from_secs(7 * 24 * 3600),
        ..Lifecycle::default()
    };
    let ago = |days: i64| now - days * day;
    let recovered = Recovered {
        unreachable: vec![("old".into(), ago(8)), ("a".into(), ago(5)), ("b".into(), ago(4))],
        gone: (0..5).map(|n| (format!("g{n}").as_str().into(), ago(5 - n))).collect(),
        ..Recovered::default()
    };
    let mut world = World::with(Config { lifecycle, ..config() }, recovered);
    // One of them comes back at this moment: it is heard when the registry has answered.
    world.pass(Duration::from_secs(15 * 60 + 1));
    let link = world.link_up();
    let info = AgentInfo { id: Some(v1::AgentId { value: "old".into() }), ..agent_info(AGENT_RESOURCES) };
    world.say(link, report(&info));
    let ops = world.write_done();
    let mut pruned: Vec<String> = ops
        .iter()
        .map(|op| {
            let RegistryOp::PruneAgent(id) = op else { panic!("{op:?}") };
            id.as_str().to_owned()
        })
        .collect();
    pruned.sort();
    assert_eq!(pruned, ["g0", "g1", "old"]);
    assert_eq!(world.core.agents.unreachable.keys().map(|id| id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(world.core.agents.gone.len(), 3);
    assert!(matches!(&world.write_done()[..], [RegistryOp::PutAgent(_)]));
    assert!(world.view.agents.contains_key("old"));
}

#[test]
fn domains_must_fit() {
    let domain = |region: &str| {
        let fault_domain = v1::domain_info::FaultDomain {
            region: v1::domain_info::fault_domain::RegionInfo { name: region.into() },
            zone: v1::domain_info::fault_domain::ZoneInfo { name: "z".into() },
        };
        Some(v1::DomainInfo { fault_domain: Some(fault_domain) })
    };
    let refused = |world: &mut World, info: AgentInfo| {
        let link = world.link_up();
        world.say(link, from_agent::Message::Register(register(&info)));
        let messages = world.messages(link);
        let [to_agent::Message::Notice(notice)] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!(world.closed_links.pop(), Some((link, CloseReason::Refused)));
        notice.text.clone()
    };
    let mut world = World::new();
    let text = refused(&mut world, AgentInfo { domain: domain("r"), ..agent_info(AGENT_RESOURCES) });
    assert!(text.contains("this master has none"), "{text}");
    let mut strict = config();
    strict.master_info.domain = domain("r");
    strict.lifecycle.require_agent_domain = true;
    let mut world = World::with(strict, Recovered::default());
    let text = refused(&mut world, agent_info(AGENT_RESOURCES));
    assert!(text.contains("--require_agent_domain"), "{text}");
    world.agent_with(AgentInfo { domain: domain("elsewhere"), ..agent_info(AGENT_RESOURCES) });
    let text =
        refused(&mut world, AgentInfo { hostname: "h".repeat(300_000), domain: domain("r"), ..Default::default() });
    assert!(text.contains("at most 262144"), "{text}");
    world.quiet();
}

#[test]
fn an_address_that_is_not_reachable_is_told_and_costs_nothing() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let (id, address) = world.probes.pop().unwrap();
    assert_eq!((id.as_str(), address.port()), (agent.id.as_str(), world.view.agents[&id].advertised.1));
    world.step(|core, _, out| core.probed(&id, address, Some("connection refused"), out));
    let messages = world.messages(agent.link);
    let [to_agent::Message::Notice(notice)] = &messages[..] else { panic!("{messages:?}") };
    let expected = format!("advertised {address} is not reachable from this master (connection refused)");
    assert!(notice.text.starts_with(&expected), "{}", notice.text);
    assert!(world.view.agents[&id].warning.is_some() && world.view.agents[&id].active);
    assert_eq!(world.core.counters().get(Counter::SlavesAddressUnreachable), 1);
    // Another address than the present one means nothing; the same news is told once.
    let other = "10.0.0.1:1".parse().unwrap();
    world.step(|core, _, out| core.probed(&id, other, None, out));
    world.step(|core, _, out| core.probed(&id, address, Some("connection refused"), out));
    assert!(world.view.agents[&id].warning.is_some());
    world.quiet();
    world.step(|core, _, out| core.probed(&id, address, None, out));
    assert!(world.view.agents[&id].warning.is_none());
    assert_eq!(world.core.counters().get(Counter::SlavesAddressUnreachable), 0);
    world.step(|core, _, out| core.probed(&"nobody".into(), address, Some("x"), out));
    world.quiet();
}
