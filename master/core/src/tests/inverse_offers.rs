//! Inverse offers: who uses an agent that will not be there is asked.

use std::time::Duration;

use mezzo_api::v1::allocator::inverse_offer_status::Status;

use crate::registry::Recovered;

use super::{
    maintenance::{machine, planned, schedule},
    *,
};

#[test]
fn frameworks_are_asked_and_their_answers_shown() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let agent = world.agent(AGENT_RESOURCES);
    let offer = world.offer(&scheduler);
    world.launch(&scheduler, &offer, vec![task("t", &offer)], 600.0);
    world.messages(agent.link);
    world.ordered(schedule(vec![machine("host")]));
    let inverse = |world: &mut World| {
        world.pass(Duration::from_secs(2));
        let events = world.events(scheduler.stream);
        events.into_iter().find_map(|event| event.inverse_offers).map(|offers| offers.inverse_offers)
    };
    let offers = inverse(&mut world).expect("INVERSE_OFFERS");
    let [asked] = &offers[..] else { panic!("one agent: {offers:?}") };
    assert_eq!(asked.unavailability, planned());
    assert_eq!(asked.agent_id.as_ref().map(|id| id.value.clone()), Some(agent.id.clone()));
    let said = |world: &World| {
        world.view.maintenance.status.draining_machines[0].statuses.iter().map(|said| said.status()).collect::<Vec<_>>()
    };
    assert_eq!(said(&world), [Status::Unknown]);
    let ids = vec![asked.id.clone()];
    let decline = call::DeclineInverseOffers { inverse_offer_ids: ids, filters: filters(3.0) };
    let call = Call { decline_inverse_offers: Some(decline), ..bare(call::Type::DeclineInverseOffers) };
    world.accepted(&scheduler, call.clone());
    assert_eq!(said(&world), [Status::Decline]);
    world.accepted(&scheduler, call);
    world.pass(Duration::from_secs(2));
    let offers = inverse(&mut world).expect("asked again after the filter");
    let accept = call::AcceptInverseOffers { inverse_offer_ids: vec![offers[0].id.clone()], filters: filters(600.0) };
    world.accepted(&scheduler, Call { accept_inverse_offers: Some(accept), ..bare(call::Type::AcceptInverseOffers) });
    assert_eq!(said(&world), [Status::Accept]);
    world.ordered(schedule(vec![]));
    assert!(world.view.inverse_offers.is_empty());
}

#[test]
fn an_inverse_offer_is_rescinded_when_the_plan_changes_or_time_is_up() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let agent = world.agent(AGENT_RESOURCES);
    let offer = world.offer(&scheduler);
    world.launch(&scheduler, &offer, vec![task("t", &offer)], 6000.0);
    world.update(&agent, &scheduler, "t", TaskState::TaskRunning);
    world.ordered(schedule(vec![machine("host")]));
    world.pass(Duration::from_secs(2));
    world.events(scheduler.stream);
    world.ordered(schedule(vec![]));
    let events = world.events(scheduler.stream);
    assert!(events.iter().any(|event| event.rescind_inverse_offer.is_some()), "{events:?}");
    world.ordered(schedule(vec![machine("host")]));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.view.inverse_offers.len(), 1);
    world.close(scheduler.stream);
    assert!(world.view.inverse_offers.is_empty(), "silently");
    world.messages(agent.link);
}

/// As with Mesos, whose registry has the schedule and no answers: the next leader asks anew, and who answers is heard.
#[test]
fn the_next_leader_asks_again() {
    let mut first = World::new();
    let (agent, scheduler) = super::calls::running(&mut first, modern("dev"));
    let ops = first.ordered(schedule(vec![machine("host")]));
    let machines: Vec<_> = ops
        .into_iter()
        .map(|op| match op {
            RegistryOp::PutMachine(machine) => *machine,
            other => panic!("{other:?}"),
        })
        .collect();
    let inverse = |world: &mut World, stream| {
        world.pass(Duration::from_secs(2));
        world.events(stream).into_iter().find_map(|event| event.inverse_offers).map(|asked| asked.inverse_offers)
    };
    let asked = inverse(&mut first, scheduler.stream).expect("INVERSE_OFFERS");
    let answer = |id: &v1::OfferId| {
        let accept = call::AcceptInverseOffers { inverse_offer_ids: vec![id.clone()], filters: filters(6000.0) };
        Call { accept_inverse_offers: Some(accept), ..bare(call::Type::AcceptInverseOffers) }
    };
    first.accepted(&scheduler, answer(&asked[0].id));
    let said = |world: &World| -> Vec<Status> {
        let machines = &world.view.maintenance.status.draining_machines;
        machines.iter().flat_map(|machine| &machine.statuses).map(|said| said.status()).collect()
    };
    assert_eq!(said(&first), [Status::Accept]);

    let recovered = Recovered { agents: vec![agent.info.clone()].into(), machines, ..Recovered::default() };
    let mut second = World::with(Config { master_id: "n".into(), ..config() }, recovered);
    let back = second.come_back(&agent, &scheduler, &[("t", TaskState::TaskRunning)]);
    second.messages(back.link);
    second.pass(Duration::from_secs(2));
    assert!(second.view.inverse_offers.is_empty(), "nobody is there to be asked");
    let id = Some(v1::FrameworkId { value: scheduler.id.clone() });
    let scheduler = second.subscribe(FrameworkInfo { id, ..modern("dev") });
    let again = inverse(&mut second, scheduler.stream).expect("INVERSE_OFFERS of the new leader");
    assert_eq!(again[0].unavailability, planned());
    assert_eq!(said(&second), [Status::Unknown]);
    // The answer to the old leader's question is of no effect, and does no harm.
    second.accepted(&scheduler, answer(&asked[0].id));
    assert_eq!(said(&second), [Status::Unknown]);
    second.accepted(&scheduler, answer(&again[0].id));
    assert_eq!(said(&second), [Status::Accept]);
    assert!(inverse(&mut second, scheduler.stream).is_none(), "it has answered");
}
