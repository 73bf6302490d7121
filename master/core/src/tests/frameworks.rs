//! Subscriptions: new ones, failovers, time-outs, removal.

use std::time::Duration;

use mezzo_api::{
    link::to_agent,
    v1::{
        self, TaskState,
        scheduler::{Call, call, event},
    },
};

use super::*;
use crate::{
    input::OperatorCall,
    model::{FrameworkState, TaskList},
};

fn error_of(world: &mut World, stream: StreamId) -> String {
    let events = world.events(stream);
    let [event] = &events[..] else { panic!("one ERROR is expected: {events:?}") };
    assert!(world.closed_streams.contains(&stream), "the stream is closed after it");
    event.error.clone().expect("ERROR").message
}

fn with_id(info: FrameworkInfo, id: &str) -> FrameworkInfo {
    FrameworkInfo { id: Some(v1::FrameworkId { value: id.into() }), ..info }
}

#[test]
fn a_new_framework_gets_an_id_heartbeats_and_the_masters_description() {
    let mut world = World::new();
    let stream = world.try_subscribe(call::Subscribe { framework_info: modern("dev"), ..Default::default() });
    let events = world.events(stream);
    let subscribed = events[0].subscribed.clone().unwrap();
    assert_eq!(subscribed.framework_id.value, "m-0000");
    assert_eq!(subscribed.heartbeat_interval_seconds, Some(15.0));
    assert_eq!(subscribed.master_info, Some(config().master_info));
    world.pass(Duration::from_secs(46));
    assert_eq!(world.all_events(stream), [event::Type::Heartbeat; 3]);
    assert_eq!(world.subscribe(plain("*")).id, "m-0001");
    assert_eq!(world.subscribe(with_id(plain("*"), "")).id, "m-0002");
    assert_eq!(world.subscribe(with_id(plain("*"), "my-own-id")).id, "my-own-id");
    world.subscribe(with_id(plain("*"), "m-0003"));
    assert_eq!(world.subscribe(plain("*")).id, "m-0004", "an id that is taken is not given out");
    world.quiet();
}

#[test]
fn a_second_subscription_replaces_the_first() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let first = world.subscribe(modern("dev"));
    let offer = world.offer(&first);
    world.launch(&first, &offer, vec![task("t", &offer)], 3600.0);
    world.messages(agent.link);
    world.settle();
    let info = FrameworkInfo { name: "renamed".into(), user: "other".into(), ..with_id(modern("dev"), &first.id) };
    let second = world.subscribe(info);
    assert_eq!(second.id, first.id);
    assert_eq!(error_of(&mut world, first.stream), "Framework failed over");
    let messages = world.messages(agent.link);
    let [to_agent::Message::UpdateFramework(update)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((update.framework.name.as_str(), update.framework.user.as_str()), ("renamed", "root"));
    assert_eq!(world.offers(&second).len(), 1, "filters are gone with the old subscription");
    // The old stream's end means nothing any more.
    world.close(first.stream);
    let stale = world.call(&Scheduler { id: first.id.clone(), stream: first.stream }, bare(call::Type::Revive));
    assert_eq!(stale.status, 400);
    assert!(stale.body.starts_with("The stream ID '") && stale.body.ends_with(&format!("framework ID {}", first.id)));
    world.accepted(&second, bare(call::Type::Revive));
    world.quiet();
}

#[test]
fn another_principal_is_refused() {
    let mut world = World::new();
    let info = FrameworkInfo { principal: Some("p1".into()), ..modern("dev") };
    let scheduler = world.subscribe(info);
    let other = FrameworkInfo { principal: Some("p2".into()), ..with_id(modern("dev"), &scheduler.id) };
    let stream = world.try_subscribe(call::Subscribe { framework_info: other, ..Default::default() });
    assert_eq!(error_of(&mut world, stream), "Changing framework's principal is not allowed.");
    world.accepted(&scheduler, bare(call::Type::Revive));
}

#[test]
fn a_framework_that_comes_back_in_time_keeps_its_tasks() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    world.launch(&scheduler, &offer, vec![task("t", &offer)], 0.0);
    world.messages(agent.link);
    world.offer(&scheduler);
    world.close(scheduler.stream);
    assert_eq!(world.call(&scheduler, bare(call::Type::Revive)), Answer::new(403, "Framework is not subscribed"));
    world.pass(Duration::from_secs(59));
    let update = world.update(&agent, &scheduler, "t", TaskState::TaskRunning);
    let back = world.subscribe(with_id(modern("dev"), &scheduler.id));
    assert!(matches!(world.messages(agent.link)[..], [to_agent::Message::UpdateFramework(_)]));
    assert_eq!(world.offers(&back).len(), 1);
    world.accepted(&back, reconcile(&[]));
    let states = world.updates(&back);
    assert_eq!(states[0].state(), TaskState::TaskRunning, "the state is known, though nobody was told: {update:?}");
    world.pass(Duration::from_secs(62));
    assert!(world.writes.is_empty(), "the failover timer is off");
}

#[test]
fn a_framework_that_does_not_come_back_is_removed_durably() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    world.launch(&scheduler, &offer, vec![task("t", &offer)], 0.0);
    world.messages(agent.link);
    world.offer(&scheduler);
    world.close(scheduler.stream);
    world.pass(Duration::from_secs(61));
    assert!(world.messages(agent.link).is_empty(), "nothing happens before it is written down");
    assert!(matches!(&world.write_done()[..], [RegistryOp::CompleteFramework(id)] if id.as_str() == scheduler.id));
    assert!(matches!(world.messages(agent.link)[..], [to_agent::Message::ShutdownFramework(_)]));
    let seen = &world.view.tasks[&(scheduler.id.as_str().into(), "t".into())];
    assert_eq!((seen.state, seen.list), (TaskState::TaskKilled, TaskList::Completed));
    assert_eq!(seen.statuses.last().unwrap().message(), format!("Framework {} removed", scheduler.id));
    assert_eq!(world.call(&scheduler, bare(call::Type::Revive)), Answer::new(400, "Framework cannot be found"));
    let stream = world
        .try_subscribe(call::Subscribe { framework_info: with_id(modern("dev"), &scheduler.id), ..Default::default() });
    assert_eq!(error_of(&mut world, stream), "Framework has been removed");
    world.quiet();
}

#[test]
fn no_failover_timeout_means_at_once_but_never_for_a_slow_reader() {
    let mut world = World::new();
    let impatient = FrameworkInfo { failover_timeout: None, ..modern("dev") };
    let slow = world.subscribe(impatient.clone());
    world.step(|core, now, out| core.stream_closed(now, slow.stream, true, out));
    world.pass(Duration::from_secs(59));
    assert!(world.writes.is_empty());
    world.pass(Duration::from_secs(2));
    world.write_done();
    let gone = world.subscribe(impatient);
    world.close(gone.stream);
    world.write_done();
    assert_eq!(world.view.frameworks[gone.id.as_str()].state, FrameworkState::Completed);
}

#[test]
fn teardown_is_answered_when_it_is_durable() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    let mut with_executor = task("t", &offer);
    with_executor.command = None;
    with_executor.executor = Some(Box::new(custom_executor("e")));
    world.launch(&scheduler, &offer, vec![with_executor], 0.0);
    world.messages(agent.link);
    world.offer(&scheduler);
    let request = world.post(&scheduler, bare(call::Type::Teardown));
    assert!(world.replies.is_empty());
    let again = world.call(&scheduler, bare(call::Type::Teardown));
    assert_eq!(again, Answer::new(400, "Framework cannot be found"));
    world.write_failed(RegistryError::Unknown);
    world.pass(Duration::from_secs(1));
    world.write_done();
    assert_eq!(world.replies.remove(&request), Some(Answer::accepted()));
    assert!(world.closed_streams.contains(&scheduler.stream));
    assert!(matches!(world.messages(agent.link)[..], [to_agent::Message::ShutdownFramework(_)]));
    world.close(scheduler.stream);
    world.quiet();
}

#[test]
fn operators_tear_down_too() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let teardown = |id: &str| OperatorCall::Teardown { framework_id: v1::FrameworkId { value: id.into() } };
    world.step(|core, now, out| core.operator_call(now, RequestId(900), None, teardown("nope"), out));
    let unknown = world.replies.remove(&RequestId(900));
    assert_eq!(unknown, Some(Answer::new(400, "No framework found with specified ID")));
    let call = teardown(&scheduler.id);
    world.step(|core, now, out| core.operator_call(now, RequestId(901), None, call, out));
    world.write_done();
    assert_eq!(world.replies.remove(&RequestId(901)), Some(Answer::new(200, "")));
    world.quiet();
}

#[test]
fn history_is_bounded() {
    let mut world = World::new();
    let ids: Vec<String> = (0..5)
        .map(|_| {
            let scheduler = world.subscribe(modern("dev"));
            world.post(&scheduler, bare(call::Type::Teardown));
            world.write_done();
            scheduler.id
        })
        .collect();
    let kept: Vec<&str> = world.view.frameworks.keys().map(|id| id.as_str()).collect();
    assert_eq!(kept, ids[2..]);
    let stream =
        world.try_subscribe(call::Subscribe { framework_info: with_id(modern("dev"), &ids[0]), ..Default::default() });
    assert_eq!(error_of(&mut world, stream), "Framework has been removed", "though readers see it no more");
}

#[test]
fn a_new_leader_knows_who_was_removed() {
    let recovered = Recovered { completed_frameworks: vec!["old".into()], ..Default::default() };
    let mut world = World::with(config(), recovered);
    let stream =
        world.try_subscribe(call::Subscribe { framework_info: with_id(modern("dev"), "old"), ..Default::default() });
    assert_eq!(error_of(&mut world, stream), "Framework has been removed");
}

#[test]
fn update_framework_applies_or_says_why_not() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let info = FrameworkInfo { checkpoint: Some(true), ..framework(&["dev", "ops"], &[Capability::PartitionAware]) };
    let scheduler = world.subscribe(info.clone());
    let offer = world.offer(&scheduler);
    world.launch(&scheduler, &offer, vec![task("t", &offer)], 0.0);
    world.messages(agent.link);
    let offer = world.offer(&scheduler);
    let update = |framework_info: FrameworkInfo, suppressed: &[&str]| Call {
        update_framework: Some(Box::new(call::UpdateFramework {
            framework_info: with_id(framework_info, &scheduler.id),
            suppressed_roles: suppressed.iter().map(ToString::to_string).collect(),
            offer_constraints: None,
        })),
        ..bare(call::Type::UpdateFramework)
    };
    let refused = [
        (
            FrameworkInfo { user: "nobody".into(), ..info.clone() },
            "FrameworkInfo update is not valid: Updating 'FrameworkInfo.user' is unsupported; attempted to update from 'root' to 'nobody'",
        ),
        (
            FrameworkInfo { checkpoint: Some(false), ..info.clone() },
            "FrameworkInfo update is not valid: Updating 'FrameworkInfo.checkpoint' is unsupported; attempted to update from 'true' to 'false'",
        ),
        (
            FrameworkInfo { principal: Some("p".into()), ..info.clone() },
            "FrameworkInfo update is not valid: Changing framework's principal is not allowed.",
        ),
        (
            FrameworkInfo { roles: vec!["dev".into(), "dev".into()], ..info.clone() },
            "Supplied FrameworkInfo is not valid: 'FrameworkInfo.roles' contains duplicate items: { dev }",
        ),
    ];
    for (wrong, message) in refused {
        assert_eq!(world.call(&scheduler, update(wrong, &[])), Answer::new(400, message));
    }
    let message = "'UpdateFramework' call is not valid: Suppressed roles { x } are not contained in the set of roles";
    assert_eq!(world.call(&scheduler, update(info.clone(), &["x"])), Answer::new(400, message));
    world.quiet();
    // The role of the outstanding offer is dropped: it is rescinded, and made for the other one.
    let role = offer.allocation_info.clone().unwrap().role().to_owned();
    let rest = if role == "dev" { "ops" } else { "dev" };
    let changed = FrameworkInfo { roles: vec![rest.into()], ..info };
    assert_eq!(world.call(&scheduler, update(changed, &[])), Answer::new(200, ""));
    world.settle();
    let events = world.events(scheduler.stream);
    assert_eq!(events[0].rescind.clone().unwrap().offer_id, offer.id);
    assert_eq!(events[1].offers.clone().unwrap().offers[0].allocation_info.clone().unwrap().role(), rest);
    assert!(matches!(world.messages(agent.link)[..], [to_agent::Message::UpdateFramework(_)]));
    world.quiet();
}

#[test]
fn what_was_refused_stays_so_when_a_framework_changes_its_wishes() {
    let mut world = World::new();
    world.agent(AGENT_RESOURCES);
    let info = framework(&["dev"], &[Capability::PartitionAware]);
    let scheduler = world.subscribe(info.clone());
    let offer = world.offer(&scheduler);
    world.accepted(&scheduler, decline(&[&offer], Some(3600.0)));
    let update = |roles: &[&str]| Call {
        update_framework: Some(Box::new(call::UpdateFramework {
            framework_info: with_id(FrameworkInfo { roles: to_strings(roles), ..info.clone() }, &scheduler.id),
            ..Default::default()
        })),
        ..bare(call::Type::UpdateFramework)
    };
    // As one of its roles, and as one that it has no more: what was refused for a role is forgotten with it.
    assert_eq!(world.call(&scheduler, update(&["dev", "ops"])), Answer::new(200, ""));
    let offer = world.offer(&scheduler);
    assert_eq!(offer.allocation_info.clone().unwrap().role(), "ops", "it refused as dev only");
    world.accepted(&scheduler, decline(&[&offer], Some(3600.0)));
    world.pass(std::time::Duration::from_secs(5));
    assert!(world.events(scheduler.stream).is_empty());
    assert_eq!(world.call(&scheduler, update(&["ops"])), Answer::new(200, ""));
    world.pass(std::time::Duration::from_secs(5));
    assert!(world.events(scheduler.stream).is_empty(), "it still refuses as ops");
    assert_eq!(world.call(&scheduler, update(&["dev", "ops"])), Answer::new(200, ""));
    assert_eq!(world.offer(&scheduler).allocation_info.unwrap().role(), "dev");
}

fn to_strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn only_agents_of_the_whitelist_are_offered() {
    let mut world = World::new();
    let listed = |hosts: &[&str]| Some(hosts.iter().map(ToString::to_string).collect());
    world.step(|core, now, _| core.set_whitelist(now, listed(&["other"])));
    world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    world.settle();
    assert!(world.events(scheduler.stream).is_empty(), "'host' is not on it");
    world.step(|core, now, _| core.set_whitelist(now, listed(&["other", "host"])));
    let offer = world.offer(&scheduler);
    world.step(|core, now, _| core.set_whitelist(now, listed(&[])));
    world.settle();
    assert!(world.events(scheduler.stream).is_empty(), "what is offered stays so, as with Mesos");
    world.accepted(&scheduler, decline(&[&offer], Some(0.0)));
    world.pass(std::time::Duration::from_secs(5));
    assert!(world.events(scheduler.stream).is_empty(), "nobody is listed");
}

#[test]
fn a_deposed_master_decides_nothing_more() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let request = world.post(&scheduler, bare(call::Type::Teardown));
    world.write_failed(RegistryError::Fenced);
    assert!(world.core.deposed());
    assert_eq!(world.replies.remove(&request).map(|answer| answer.status), Some(503));
    assert_eq!(world.call(&scheduler, bare(call::Type::Revive)).status, 503);
    assert_eq!(world.core.deadline(), None);
}
