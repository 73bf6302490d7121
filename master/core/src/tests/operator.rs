//! Reservations and volumes by operators.

use mezzo_api::{
    resources::Resources,
    v1::{OperationState, offer::Operation},
};

use super::{
    operations::{create, destroy, reserve, reserved, unreserve, volume},
    *,
};

fn on(agent: &Slave, operation: Operation) -> OperatorCall {
    OperatorCall::Operation { agent_id: agent.id.clone(), operation: Box::new(operation) }
}

#[test]
fn offers_in_the_way_are_rescinded() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let agent = world.agent(AGENT_RESOURCES);
    world.offer(&scheduler);
    let answer = world.answered(on(&agent, reserve("", reserved("cpus:1;disk:50", "ops"))));
    assert_eq!(answer, Answer::accepted());
    let events = world.events(scheduler.stream);
    assert!(matches!(&events[..], [event, ..] if event.rescind.is_some()), "{events:?}");
    let [asked] = &world.applied(&agent)[..] else { panic!("the agent is asked") };
    assert_eq!(asked.framework_id, None);
    world.conclude(&agent, asked, OperationState::OperationFinished);
    assert!(matches!(&world.messages(agent.link)[..], [to_agent::Message::AcknowledgeOperation(_)]));
    world.pass(std::time::Duration::from_secs(6));
    let offer = world.offer(&scheduler);
    assert_eq!(
        text(&offer.resources),
        "ports(allocated: dev):[31000-32000]; cpus(allocated: dev):3; mem(allocated: dev):4096; disk(allocated: dev):9950"
    );
}

#[test]
fn what_operators_may_not_do_is_refused_with_mesos_codes_and_texts() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let place = format!("{} at slave(1)@127.0.0.1:{} (host)", agent.id, agent.info.port());
    let pv1 = || vec![volume("pv1", 50, "ops")];
    let nobody = Slave { id: "nope".into(), ..agent.clone() };
    let good = Answer::accepted;
    for (at, operation, answer) in [
        (&nobody, reserve("", reserved("cpus:1", "ops")), Answer::new(400, "No agent found with specified ID")),
        (
            &agent,
            reserve("", reserved("cpus:99", "ops")),
            Answer::new(409, "cpus:4; mem:4096; disk:10000; ports:[31000-32000] does not contain cpus:99"),
        ),
        (
            &agent,
            reserve("", resources("cpus:1")),
            Answer::new(
                400,
                format!("Invalid RESERVE operation on agent {place}: Resource cpus:1 is not dynamically reserved"),
            ),
        ),
        (&agent, reserve("", reserved("cpus:1;disk:50", "ops")), good()),
        (&agent, create("", pv1()), good()),
        (
            &agent,
            create("", pv1()),
            Answer::new(400, format!("Invalid CREATE operation on agent {place}: Persistence ID 'pv1' is not unique")),
        ),
        (
            &agent,
            unreserve("", reserved("disk:50", "ops")),
            Answer::new(
                409,
                "cpus:3; mem:4096; disk:9950; ports:[31000-32000]; cpus(reservations: [(DYNAMIC,ops)]):1; disk(reservations: [(DYNAMIC,ops)])[pv1:data]:50 does not contain disk(reservations: [(DYNAMIC,ops)]):50",
            ),
        ),
        (&agent, destroy("", pv1()), good()),
        (&agent, destroy("", pv1()), Answer::new(400, "Invalid DESTROY operation: Persistent volumes not found")),
        (&agent, unreserve("", reserved("cpus:1;disk:50", "ops")), good()),
        (
            &agent,
            unreserve("", Vec::new()),
            Answer::new(
                400,
                "Invalid UNRESERVE operation: Invalid resources: The resources have multiple resource providers: ",
            ),
        ),
    ] {
        assert_eq!(world.answered(on(at, operation)), answer);
    }
    let total = &world.view.agents.values().next().unwrap().total;
    assert_eq!(**total, Resources::parse(AGENT_RESOURCES, "*").unwrap());
    assert_eq!(world.applied(&agent).len(), 4);
    world.quiet();
}

#[test]
fn a_reservation_takes_the_place_of_another() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    assert_eq!(world.answered(on(&agent, reserve("", reserved("cpus:1", "ops")))), Answer::accepted());
    let mut exchange = reserve("", reserved("cpus:1", "dev"));
    exchange.reserve.as_mut().unwrap().source = reserved("cpus:1", "ops");
    assert_eq!(world.answered(on(&agent, exchange)), Answer::accepted());
    let total = &world.view.agents.values().next().unwrap().total;
    assert_eq!(total.reserved().keys().collect::<Vec<_>>(), ["dev"]);
    world.applied(&agent);
}

#[test]
fn an_agent_that_is_away_is_not_asked() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    world.link_down(agent.link);
    assert_eq!(world.answered(on(&agent, reserve("", reserved("cpus:1", "ops")))).status, 409);
    assert!(world.view.operations.is_empty());
}
