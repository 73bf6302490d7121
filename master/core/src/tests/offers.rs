//! Offers: their form, to whom they go and when, filters, and the ways in which they end.

use std::time::Duration;

use mezzo_api::v1::{
    self, TaskState,
    scheduler::{OfferConstraints, attribute_constraint as constraint, call, event, offer_constraints},
};

use super::*;

#[test]
fn an_offer_says_everything_about_its_agent() {
    let domain = |region: &str| v1::DomainInfo {
        fault_domain: Some(v1::domain_info::FaultDomain {
            region: v1::domain_info::fault_domain::RegionInfo { name: region.into() },
            zone: v1::domain_info::fault_domain::ZoneInfo { name: "z".into() },
        }),
    };
    let attribute = v1::Attribute {
        name: "rack".into(),
        r#type: v1::value::Type::Text.into(),
        text: Some(v1::value::Text { value: "r1".into() }),
        ..Default::default()
    };
    let info =
        AgentInfo { attributes: vec![attribute.clone()], domain: Some(domain("here")), ..agent_info(AGENT_RESOURCES) };
    let mut settings = config();
    settings.master_info.domain = Some(domain("here"));
    let mut world = World::with(settings, Recovered::default());
    let agent = world.agent_with(info);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    assert_eq!(offer.id.value, "m-O0");
    assert_eq!((offer.agent_id.value.as_str(), offer.framework_id.value.as_str()), ("m-S0", "m-0000"));
    assert_eq!((offer.hostname.as_str(), offer.attributes.as_slice()), ("host", &[attribute][..]));
    assert_eq!(offer.domain, Some(domain("here")));
    let url = offer.url.clone().unwrap();
    assert_eq!((url.scheme.as_str(), url.path()), ("http", "/slave(1)"));
    assert_eq!((url.address.hostname(), url.address.ip(), url.address.port), ("host", "127.0.0.1", 5051));
    assert_eq!(offer.allocation_info.as_ref().unwrap().role(), "dev");
    assert!(offer.resources.iter().all(|resource| resource.allocation_info.as_ref().unwrap().role() == "dev"));
    assert_eq!(
        text(&offer.resources),
        "ports(allocated: dev):[31000-32000]; cpus(allocated: dev):4; mem(allocated: dev):4096; disk(allocated: dev):10000"
    );
    assert_eq!(agent.id, "m-S0");
}

#[test]
#[allow(deprecated)]
fn frameworks_without_capabilities_see_the_old_form() {
    let mut world = World::new();
    world.agent("cpus:4;mem:4096;cpus(dev):2");
    let scheduler = world.subscribe(plain("dev"));
    let offer = world.offer(&scheduler);
    assert_eq!(offer.allocation_info, None);
    assert!(
        offer.resources.iter().all(|resource| resource.allocation_info.is_none() && resource.reservations.is_empty())
    );
    let roles: Vec<_> = offer.resources.iter().map(|resource| (resource.name.as_str(), resource.role())).collect();
    assert_eq!(roles, [("cpus", "*"), ("mem", "*"), ("cpus", "dev")]);
}

#[test]
fn reservations_go_to_their_role_and_those_below() {
    let mut world = World::new();
    world.agent("cpus(dev):2;cpus(ops):1;mem(dev):64;mem(ops):32");
    let web = world.subscribe(modern("dev/web"));
    let ops = world.subscribe(modern("ops"));
    let other = world.subscribe(modern("other"));
    world.settle();
    let summed = |world: &mut World, scheduler: &Scheduler| {
        let offers = world.events(scheduler.stream).remove(0).offers.unwrap().offers;
        text(&offers[0].resources)
    };
    let web = summed(&mut world, &web);
    assert_eq!(
        web,
        "cpus(allocated: dev/web)(reservations: [(STATIC,dev)]):2; mem(allocated: dev/web)(reservations: [(STATIC,dev)]):64"
    );
    let ops = summed(&mut world, &ops);
    assert_eq!(
        ops,
        "mem(allocated: ops)(reservations: [(STATIC,ops)]):32; cpus(allocated: ops)(reservations: [(STATIC,ops)]):1"
    );
    assert!(world.events(other.stream).is_empty());
}

#[test]
fn one_event_holds_all_offers_of_a_run() {
    let mut world = World::new();
    for _ in 0..3 {
        world.agent(AGENT_RESOURCES);
    }
    let scheduler = world.subscribe(modern("dev"));
    assert_eq!(world.offers(&scheduler).len(), 3);
}

#[test]
fn the_poorer_comes_first() {
    let mut world = World::new();
    world.agent(AGENT_RESOURCES);
    world.agent(AGENT_RESOURCES);
    let rich = world.subscribe(modern("dev"));
    let offers = world.offers(&rich);
    let poor = world.subscribe(modern("ops"));
    for offer in &offers {
        let tasks = vec![TaskInfo { resources: resources("cpus:1;mem:1024"), ..task(&offer.id.value, offer) }];
        world.launch(&rich, offer, tasks, 0.0);
    }
    assert_eq!(world.offers(&poor).len(), 1, "who has nothing comes first, and has more then");
    assert_eq!(world.offers(&rich).len(), 1);
}

#[test]
fn a_refusal_holds_for_its_time_unless_there_is_more() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    world.launch(&scheduler, &offer, vec![task("t", &offer)], 10.0);
    world.messages(agent.link);
    world.pass(Duration::from_secs(9));
    assert!(world.events(scheduler.stream).is_empty(), "the rest is refused for 10 s");
    world.pass(Duration::from_secs(1) + Duration::from_millis(60));
    let offer = world.offer(&scheduler);
    assert!(text(&offer.resources).contains("; cpus(allocated: dev):3.9;"));
    world.accepted(&scheduler, decline(&[&offer], Some(3600.0)));
    world.pass(Duration::from_secs(5));
    assert!(world.events(scheduler.stream).is_empty());
    // When the task ends there is more than what was refused.
    world.update(&agent, &scheduler, "t", TaskState::TaskFinished);
    world.settle();
    let events = world.events(scheduler.stream);
    assert_eq!(events[0].r#type(), event::Type::Update);
    assert!(text(&events[1].offers.clone().unwrap().offers[0].resources).contains("; cpus(allocated: dev):4;"));
}

#[test]
fn declining_without_a_filter_does_not_spin() {
    let mut world = World::new();
    world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let mut offer = world.offer(&scheduler);
    let start = world.mono;
    for _ in 0..3 {
        world.accepted(&scheduler, decline(&[&offer], Some(0.0)));
        world.pass(Duration::from_millis(900));
        assert!(world.events(scheduler.stream).is_empty());
        world.pass(Duration::from_millis(160));
        offer = world.offer(&scheduler);
    }
    assert!(world.mono - start < Duration::from_secs(4));
    // Who gets something done is offered the rest at once.
    world.launch(&scheduler, &offer, vec![task("t", &offer)], 0.0);
    world.settle();
    assert_eq!(world.events(scheduler.stream).len(), 1);
}

#[test]
fn revive_drops_filters_and_suppress_stops_offers() {
    let mut world = World::new();
    world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(framework(&["dev", "ops"], &[]));
    let offer = world.offer(&scheduler);
    world.accepted(&scheduler, suppress(&[]));
    world.accepted(&scheduler, decline(&[&offer], None));
    world.pass(Duration::from_secs(10));
    assert!(world.events(scheduler.stream).is_empty());
    for wrong in ["nope", "a b"] {
        world.accepted(&scheduler, revive(&[wrong]));
        world.accepted(&scheduler, revive(&["ops", wrong]));
    }
    world.settle();
    assert!(world.events(scheduler.stream).is_empty(), "a call with a wrong role is dropped");
    world.accepted(&scheduler, revive(&["ops"]));
    let offer = world.offer(&scheduler);
    assert_eq!(offer.allocation_info.as_ref().unwrap().role(), "ops");
    let seen = &world.view.frameworks[scheduler.id.as_str()];
    assert_eq!(seen.suppressed_roles, ["dev"]);
    world.accepted(&scheduler, decline(&[&offer], Some(1000.0)));
    world.accepted(&scheduler, bare(call::Type::Revive));
    assert_eq!(world.offers(&scheduler).len(), 1);
}

#[test]
fn suppressed_roles_of_a_subscription_get_nothing() {
    let mut world = World::new();
    world.agent(AGENT_RESOURCES);
    let subscribe = call::Subscribe {
        framework_info: framework(&["dev", "ops"], &[]),
        suppressed_roles: vec!["dev".into()],
        ..Default::default()
    };
    let stream = world.try_subscribe(subscribe);
    let scheduler = world.greeted(stream);
    assert_eq!(world.offer(&scheduler).allocation_info.unwrap().role(), "ops");
}

#[test]
fn slivers_below_the_minimum_are_not_offered() {
    let mut world = World::new();
    world.agent("disk:100");
    let scheduler = world.subscribe(modern("dev"));
    world.settle();
    assert!(world.events(scheduler.stream).is_empty());
    let minimum = v1::offer_filters::ResourceQuantities {
        quantities: [("disk".to_owned(), v1::value::Scalar { value: 50.0 })].into(),
    };
    let filters = v1::OfferFilters {
        min_allocatable_resources: Some(v1::offer_filters::MinAllocatableResources { quantities: vec![minimum] }),
    };
    let own = FrameworkInfo { offer_filters: [("ops".to_owned(), filters)].into(), ..modern("ops") };
    let modest = world.subscribe(own);
    assert_eq!(text(&world.offer(&modest).resources), "disk(allocated: ops):100");
}

#[test]
fn gpus_and_far_regions_want_their_capability() {
    let fault_domain = |region: &str| v1::DomainInfo {
        fault_domain: Some(v1::domain_info::FaultDomain {
            region: v1::domain_info::fault_domain::RegionInfo { name: region.into() },
            zone: v1::domain_info::fault_domain::ZoneInfo { name: "z".into() },
        }),
    };
    let mut config = config();
    config.master_info.domain = Some(fault_domain("here"));
    let mut world = World::with(config, Recovered::default());
    world.agent("cpus:1;mem:64;gpus:1");
    let far = AgentInfo { domain: Some(fault_domain("there")), port: Some(1), ..agent_info("cpus:1;mem:64") };
    let far = world.agent_with(far);
    let none = world.subscribe(modern("dev"));
    world.settle();
    assert!(world.events(none.stream).is_empty());
    let aware = world.subscribe(framework(&["dev"], &[Capability::RegionAware]));
    assert_eq!(world.offer(&aware).agent_id.value, far.id);
    let gpus = world.subscribe(framework(&["dev"], &[Capability::GpuResources]));
    assert!(text(&world.offer(&gpus).resources).contains("gpus(allocated: dev):1"));
}

#[test]
fn constraints_choose_agents() {
    let mut world = World::new();
    world.agent_with(AgentInfo { hostname: "one".into(), port: Some(1), ..agent_info(AGENT_RESOURCES) });
    world.agent_with(AgentInfo { hostname: "two".into(), port: Some(2), ..agent_info(AGENT_RESOURCES) });
    let wanted = v1::scheduler::AttributeConstraint {
        selector: constraint::Selector {
            selector: Some(constraint::selector::Selector::PseudoattributeType(
                constraint::selector::PseudoattributeType::Hostname.into(),
            )),
        },
        predicate: constraint::Predicate {
            predicate: Some(constraint::predicate::Predicate::TextMatches(constraint::predicate::TextMatches {
                regex: "t.*".into(),
            })),
        },
    };
    let group = offer_constraints::role_constraints::Group { attribute_constraints: vec![wanted] };
    let role = offer_constraints::RoleConstraints { groups: vec![group] };
    let constraints = OfferConstraints { role_constraints: [("dev".to_owned(), role)].into() };
    let subscribe = call::Subscribe {
        framework_info: modern("dev"),
        offer_constraints: Some(constraints.clone()),
        ..Default::default()
    };
    let stream = world.try_subscribe(subscribe);
    let scheduler = world.greeted(stream);
    assert_eq!(world.offer(&scheduler).hostname, "two");
    let seen = &world.view.frameworks[scheduler.id.as_str()];
    assert_eq!(seen.offer_constraints.as_deref(), Some(&constraints));
}

#[test]
fn an_unanswered_offer_is_rescinded() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    for _ in 0..12 {
        world.pass(Duration::from_secs(10));
        world.say(agent.link, from_agent::Message::Pong(link::Pong { sequence: 0 }));
    }
    world.settle();
    let events = world.events(scheduler.stream);
    assert_eq!(events[0].rescind.clone().unwrap().offer_id, offer.id);
    assert_eq!(events[1].offers.clone().unwrap().offers.len(), 1, "and made again");
}

#[test]
fn offers_of_a_lost_link_are_rescinded_and_those_of_a_lost_framework_are_not() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    world.link_down(agent.link);
    let events = world.events(scheduler.stream);
    assert_eq!(events[0].rescind.clone().unwrap().offer_id, offer.id);
    world.settle();
    assert_eq!((events.len(), world.events(scheduler.stream).len()), (1, 0));
    world.agent(AGENT_RESOURCES);
    world.offer(&scheduler);
    world.close(scheduler.stream);
    assert!(world.view.offers.is_empty());
    world.quiet();
}

#[test]
fn foreign_and_unknown_offers_are_not_declined() {
    let mut world = World::new();
    world.agent(AGENT_RESOURCES);
    let owner = world.subscribe(modern("dev"));
    let offer = world.offer(&owner);
    let other = world.subscribe(modern("ops"));
    world.accepted(&other, decline(&[&offer], None));
    let mut unknown = offer.clone();
    for id in ["m-O1", "m-O00", "x-O0", "m-O", ""] {
        unknown.id.value = id.into();
        world.accepted(&owner, decline(&[&unknown], None));
    }
    assert_eq!(world.view.offers.len(), 1);
    world.quiet();
}
