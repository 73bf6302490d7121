//! Reservations, volumes and other operations on what was offered.

use std::time::Duration;

use bytes::Bytes;
use mezzo_api::{
    link::{from_agent, to_agent},
    resources::Resources,
    v1::{
        self, OperationState, OperationStatus, Resource,
        offer::{Operation, operation},
        resource::{ReservationInfo, reservation_info},
    },
};

use super::*;

pub(crate) fn reserved(text: &str, role: &str) -> Vec<Resource> {
    let reservation = ReservationInfo {
        r#type: Some(reservation_info::Type::Dynamic.into()),
        role: Some(role.into()),
        ..Default::default()
    };
    Resources::parse(text, "*").unwrap().push_reservation(&reservation).to_protos()
}

pub(crate) fn volume(id: &str, size: u32, role: &str) -> Resource {
    let mut proto = reserved(&format!("disk:{size}"), role).remove(0);
    proto.disk = Some(Box::new(v1::resource::DiskInfo {
        persistence: Some(v1::resource::disk_info::Persistence { id: id.into(), principal: None }),
        volume: Some(v1::Volume {
            container_path: "data".into(),
            mode: v1::volume::Mode::Rw.into(),
            ..Default::default()
        }),
        ..Default::default()
    }));
    proto
}

fn with_id(id: &str, kind: operation::Type) -> Operation {
    Operation {
        id: (!id.is_empty()).then(|| v1::OperationId { value: id.into() }),
        r#type: Some(kind.into()),
        ..Default::default()
    }
}

pub(crate) fn reserve(id: &str, resources: Vec<Resource>) -> Operation {
    let reserve = Some(operation::Reserve { resources, source: Vec::new() });
    Operation { reserve, ..with_id(id, operation::Type::Reserve) }
}

pub(crate) fn unreserve(id: &str, resources: Vec<Resource>) -> Operation {
    let unreserve = Some(operation::Unreserve { resources });
    Operation { unreserve, ..with_id(id, operation::Type::Unreserve) }
}

pub(crate) fn create(id: &str, volumes: Vec<Resource>) -> Operation {
    Operation { create: Some(operation::Create { volumes }), ..with_id(id, operation::Type::Create) }
}

pub(crate) fn destroy(id: &str, volumes: Vec<Resource>) -> Operation {
    Operation { destroy: Some(operation::Destroy { volumes }), ..with_id(id, operation::Type::Destroy) }
}

impl World {
    /// What the agent was asked to apply since the last call.
    pub(crate) fn applied(&mut self, agent: &Slave) -> Vec<link::ApplyOperation> {
        let of = |message| match message {
            to_agent::Message::ApplyOperation(message) => *message,
            other => panic!("an operation: {other:?}"),
        };
        self.messages(agent.link).into_iter().map(of).collect()
    }

    /// The agent answers an operation.
    pub(crate) fn conclude(&mut self, agent: &Slave, asked: &link::ApplyOperation, state: OperationState) -> Bytes {
        let uuid = Bytes::from(uuid::Uuid::from_u128(u128::from(self.number()) | 0x4000 << 64).into_bytes().to_vec());
        let status = OperationStatus {
            operation_id: asked.operation.id.clone(),
            state: state.into(),
            uuid: Some(v1::Uuid { value: uuid.clone() }),
            agent_id: Some(v1::AgentId { value: agent.id.clone() }),
            ..Default::default()
        };
        let message = link::OperationStatus {
            operation_uuid: asked.operation_uuid.clone(),
            framework_id: asked.framework_id.clone(),
            status,
        };
        self.say(agent.link, from_agent::Message::OperationStatus(message));
        uuid
    }

    /// Statuses of operations that the framework was sent; offers stay unread.
    pub(crate) fn operation_statuses(&mut self, scheduler: &Scheduler) -> Vec<OperationStatus> {
        let (statuses, rest): (Vec<Event>, Vec<Event>) =
            self.events(scheduler.stream).into_iter().partition(|event| event.update_operation_status.is_some());
        self.events.insert(scheduler.stream, rest.into());
        statuses.into_iter().filter_map(|event| Some(event.update_operation_status?.status)).collect()
    }

    fn acknowledge_operation(&mut self, scheduler: &Scheduler, agent: &Slave, id: &str, uuid: &Bytes) {
        let acknowledge = call::AcknowledgeOperationStatus {
            agent_id: Some(v1::AgentId { value: agent.id.clone() }),
            uuid: uuid.clone(),
            operation_id: v1::OperationId { value: id.into() },
            ..Default::default()
        };
        let call =
            Call { acknowledge_operation_status: Some(acknowledge), ..bare(call::Type::AcknowledgeOperationStatus) };
        self.accepted(scheduler, call);
    }

    fn reconcile_operations(&mut self, scheduler: &Scheduler) -> Vec<OperationStatus> {
        let call = Call {
            reconcile_operations: Some(call::ReconcileOperations::default()),
            ..bare(call::Type::ReconcileOperations)
        };
        self.accepted(scheduler, call);
        self.operation_statuses(scheduler)
    }
}

#[test]
fn one_accept_reserves_creates_and_launches_on_it() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let agent = world.agent(AGENT_RESOURCES);
    let offer = world.offer(&scheduler);
    let mut on_volume = task("t", &offer);
    on_volume.resources.push(volume("v", 64, "dev"));
    let operations = vec![
        reserve("r", reserved("cpus:1;disk:64", "dev")),
        create("c", vec![volume("v", 64, "dev")]),
        launch(vec![on_volume]),
    ];
    world.accepted(&scheduler, accept(&[&offer], operations, 0.0));
    let messages = world.messages(agent.link);
    let [
        to_agent::Message::ApplyOperation(first),
        to_agent::Message::ApplyOperation(second),
        to_agent::Message::RunTask(_),
    ] = &messages[..]
    else {
        panic!("in this order: {messages:?}")
    };
    assert!(world.operation_statuses(&scheduler).is_empty(), "the agent has the word");
    assert_eq!(world.view.operations.len(), 2);
    let rest = world.offer(&scheduler);
    let kept = "cpus(allocated: dev)(reservations: [(DYNAMIC,dev)]):1";
    assert!(text(&rest.resources).contains(kept), "offered again at once: {}", text(&rest.resources));
    for (asked, id) in [(first, "r"), (second, "c")] {
        let uuid = world.conclude(&agent, asked, OperationState::OperationFinished);
        let [status] = &world.operation_statuses(&scheduler)[..] else { panic!("one status") };
        assert_eq!((status.state(), &status.uuid.as_ref().unwrap().value), (OperationState::OperationFinished, &uuid));
        world.acknowledge_operation(&scheduler, &agent, id, &uuid);
        let [to_agent::Message::AcknowledgeOperation(acknowledged)] = &world.messages(agent.link)[..] else {
            panic!("the agent hears of the acknowledgement")
        };
        assert_eq!((&acknowledged.operation_uuid, &acknowledged.status_uuid), (&asked.operation_uuid, &uuid));
        world.acknowledge_operation(&scheduler, &agent, id, &uuid);
        assert!(world.messages(agent.link).is_empty(), "once");
    }
    assert!(world.view.operations.is_empty());
    world.quiet();
}

#[test]
fn what_nobody_acknowledges_is_acknowledged_by_the_master() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let agent = world.agent(AGENT_RESOURCES);
    let offer = world.offer(&scheduler);
    world.accepted(&scheduler, accept(&[&offer], vec![reserve("", reserved("cpus:1", "dev"))], 9.0));
    let [asked] = &world.applied(&agent)[..] else { panic!("one operation") };
    world.conclude(&agent, asked, OperationState::OperationFinished);
    assert!(world.operation_statuses(&scheduler).is_empty(), "it asked for no feedback");
    assert!(matches!(&world.messages(agent.link)[..], [to_agent::Message::AcknowledgeOperation(_)]));
    assert!(world.view.operations.is_empty());
}

#[test]
fn an_operation_of_a_framework_that_is_gone_ends_quietly() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let agent = world.agent(AGENT_RESOURCES);
    let offer = world.offer(&scheduler);
    let operations = vec![reserve("told", reserved("cpus:1", "dev")), reserve("pending", reserved("cpus:1", "dev"))];
    world.accepted(&scheduler, accept(&[&offer], operations, 9.0));
    let asked = world.applied(&agent);
    world.conclude(&agent, &asked[0], OperationState::OperationFinished);
    world.operation_statuses(&scheduler);
    world.post(&scheduler, bare(call::Type::Teardown));
    world.write_done();
    let told = |messages: Vec<to_agent::Message>| {
        messages.iter().filter(|message| matches!(message, to_agent::Message::AcknowledgeOperation(_))).count()
    };
    assert_eq!(told(world.messages(agent.link)), 1);
    world.conclude(&agent, &asked[1], OperationState::OperationFinished);
    assert_eq!(told(world.messages(agent.link)), 1);
    assert!(world.view.operations.is_empty());
}

#[test]
fn a_dropped_operation_is_taken_back_from_the_books() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let agent = world.agent(AGENT_RESOURCES);
    let offer = world.offer(&scheduler);
    world.accepted(&scheduler, accept(&[&offer], vec![reserve("r", reserved("cpus:1", "dev"))], 0.0));
    let [asked] = &world.applied(&agent)[..] else { panic!("one operation") };
    let _believed = world.offer(&scheduler);
    world.say(
        agent.link,
        from_agent::Message::ResourcesChanged(link::ResourcesChanged {
            resource_version: Bytes::from_static(b"another"),
            checkpointed_resources: Vec::new(),
        }),
    );
    let rescinded = world.events(scheduler.stream);
    assert!(matches!(&rescinded[..], [event, ..] if event.rescind.is_some()), "the offer is void: {rescinded:?}");
    world.conclude(&agent, asked, OperationState::OperationDropped);
    let [status] = &world.operation_statuses(&scheduler)[..] else { panic!("one status") };
    assert_eq!(status.state(), OperationState::OperationDropped);
    let offer = world.offer(&scheduler);
    assert_eq!(Resources::from_protos(&offer.resources).unwrap().reserved().len(), 0);
    world.accepted(&scheduler, accept(&[&offer], vec![reserve("s", reserved("cpus:1", "dev"))], 0.0));
    let [asked] = &world.applied(&agent)[..] else { panic!("one operation") };
    assert_eq!(asked.resource_version.as_deref(), Some(&b"another"[..]));
}

#[test]
fn a_returning_agent_is_asked_for_what_it_does_not_report_and_believed_otherwise() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let agent = world.agent(AGENT_RESOURCES);
    let offer = world.offer(&scheduler);
    let operations = vec![reserve("came", reserved("cpus:1", "dev")), reserve("lost", reserved("cpus:2", "dev"))];
    world.accepted(&scheduler, accept(&[&offer], operations, 0.0));
    let asked = world.applied(&agent);
    world.link_down(agent.link);
    let link = world.link_up();
    let mut report = super::returns::report(&agent, &scheduler.id, &[]);
    report.register.checkpointed_resources = reserved("cpus:1", "dev");
    report.operations = vec![v1::Operation {
        framework_id: Some(v1::FrameworkId { value: scheduler.id.clone() }),
        info: asked[0].operation.clone(),
        uuid: v1::Uuid { value: asked[0].operation_uuid.clone() },
        latest_status: OperationStatus { state: OperationState::OperationFinished.into(), ..Default::default() },
        ..Default::default()
    }];
    world.say(link, from_agent::Message::Reregister(report));
    let messages = world.messages(link);
    let Some(to_agent::Message::Reregistered(answer)) = messages.first() else { panic!("{messages:?}") };
    let [missing] = &answer.reconcile_operations[..] else { panic!("one is missing: {answer:?}") };
    assert_eq!(missing.operation_uuid, asked[1].operation_uuid);
    let total = &world.view.agents.values().next().unwrap().total;
    assert_eq!(total.reserved_to("dev").to_string(), "cpus(reservations: [(DYNAMIC,dev)]):1");
    let agent = Slave { link, ..agent };
    world.conclude(&agent, &asked[0], OperationState::OperationFinished);
    world.conclude(&agent, missing, OperationState::OperationDropped);
    let states: Vec<_> = world.operation_statuses(&scheduler).iter().map(OperationStatus::state).collect();
    assert_eq!(states, [OperationState::OperationFinished, OperationState::OperationDropped]);
}

#[test]
fn another_master_learns_of_operations_from_agents() {
    let mut world = World::new();
    let scheduler =
        world.subscribe(FrameworkInfo { id: Some(v1::FrameworkId { value: "other-0000".into() }), ..modern("dev") });
    let agent = Slave {
        id: "other-S0".into(),
        link: LinkId(0),
        info: AgentInfo { id: Some(v1::AgentId { value: "other-S0".into() }), ..agent_info(AGENT_RESOURCES) },
    };
    let link = world.link_up();
    let mut report = super::returns::report(&agent, &scheduler.id, &[]);
    report.register.checkpointed_resources = vec![volume("v", 64, "dev")];
    let mut asked = link::ApplyOperation {
        operation_uuid: Bytes::from(vec![7; 16]),
        framework_id: Some(v1::FrameworkId { value: scheduler.id.clone() }),
        operation: create("c", vec![volume("v", 64, "dev")]),
        resource_version: None,
    };
    report.operations = vec![v1::Operation {
        framework_id: asked.framework_id.clone(),
        info: asked.operation.clone(),
        uuid: v1::Uuid { value: asked.operation_uuid.clone() },
        latest_status: OperationStatus {
            operation_id: asked.operation.id.clone(),
            state: OperationState::OperationFinished.into(),
            ..Default::default()
        },
        ..Default::default()
    }];
    world.say(link, from_agent::Message::Reregister(report));
    world.write_done();
    let agent = Slave { link, ..agent };
    let known = world.reconcile_operations(&scheduler);
    assert_eq!(known.iter().map(OperationStatus::state).collect::<Vec<_>>(), [OperationState::OperationFinished]);
    let uuid = world.conclude(&agent, &asked, OperationState::OperationFinished);
    world.operation_statuses(&scheduler);
    world.messages(link);
    world.acknowledge_operation(&scheduler, &agent, "c", &uuid);
    assert!(matches!(&world.messages(link)[..], [to_agent::Message::AcknowledgeOperation(_)]));
    asked.operation_uuid = Bytes::from(vec![8; 16]);
    world.conclude(&agent, &asked, OperationState::OperationFinished);
    assert!(world.operation_statuses(&scheduler).is_empty(), "nobody knows it");
    let offer = world.offer(&scheduler);
    assert!(text(&offer.resources).contains("[v:data]:64"), "{}", text(&offer.resources));
}

#[test]
fn an_unreachable_agents_operations_are_told() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let agent = world.agent(AGENT_RESOURCES);
    let offer = world.offer(&scheduler);
    world.accepted(&scheduler, accept(&[&offer], vec![reserve("r", reserved("cpus:1", "dev"))], 999.0));
    world.pass(Duration::from_secs(100));
    world.write_done();
    let [status] = &world.operation_statuses(&scheduler)[..] else { panic!("one status") };
    assert_eq!(status.state(), OperationState::OperationUnreachable);
    assert!(world.view.operations.is_empty());
    drop(agent);
}

#[test]
fn a_volume_is_resized_for_the_next_offer() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let agent = world.agent(AGENT_RESOURCES);
    let offer = world.offer(&scheduler);
    let operations = vec![reserve("", reserved("disk:64", "dev")), create("", vec![volume("v", 64, "dev")])];
    world.accepted(&scheduler, accept(&[&offer], operations, 0.0));
    let offer = world.offer(&scheduler);
    let shrink = Operation {
        shrink_volume: Some(Box::new(operation::ShrinkVolume {
            volume: volume("v", 64, "dev"),
            subtract: v1::value::Scalar { value: 16.0 },
        })),
        ..with_id("", operation::Type::ShrinkVolume)
    };
    let too_early = destroy("early", vec![volume("v", 48, "dev")]);
    world.accepted(&scheduler, accept(&[&offer], vec![shrink, too_early], 0.0));
    let [status] = &world.operation_statuses(&scheduler)[..] else { panic!("it may not be used at once") };
    assert_eq!(status.state(), OperationState::OperationError);
    let offer = world.offer(&scheduler);
    assert!(text(&offer.resources).contains("[v:data]:48"), "{}", text(&offer.resources));
    let grow = Operation {
        grow_volume: Some(Box::new(operation::GrowVolume {
            volume: volume("v", 48, "dev"),
            addition: reserved("disk:16", "dev").remove(0),
        })),
        ..with_id("", operation::Type::GrowVolume)
    };
    world.accepted(&scheduler, accept(&[&offer], vec![grow], 0.0));
    let offer = world.offer(&scheduler);
    let operations = vec![destroy("", vec![volume("v", 64, "dev")]), unreserve("", reserved("disk:64", "dev"))];
    world.accepted(&scheduler, accept(&[&offer], operations, 0.0));
    let offer = world.offer(&scheduler);
    assert_eq!(Resources::from_protos(&offer.resources).unwrap().reserved().len(), 0);
    assert_eq!(world.applied(&agent).len(), 6);
}

#[test]
fn bad_operations_are_refused_with_mesos_texts_and_change_nothing() {
    let mut world = World::new();
    let info = FrameworkInfo { principal: Some("p1".into()), ..modern("dev") };
    let scheduler = world.subscribe(info);
    let agent = world.agent(AGENT_RESOURCES);
    let place = format!("; on agent {} at slave(1)@127.0.0.1:{} (host)", agent.id, agent.info.port());
    let named = |mut resources: Vec<Resource>| {
        for resource in &mut resources {
            resource.reservations.last_mut().unwrap().principal = Some("p1".into());
        }
        resources
    };
    let huge = |value: f64| {
        let mut resources = named(reserved("cpus:1", "dev"));
        resources[0].scalar = Some(v1::value::Scalar { value });
        resources
    };
    let cases: Vec<(Operation, String)> = vec![
        (reserve("o", Vec::new()), format!("Invalid resources: The resources have multiple resource providers: {place}")),
        (
            reserve("o", named(reserved("cpus:1000", "dev"))),
            "ports(allocated: dev):[31000-32000]; cpus(allocated: dev):4; mem(allocated: dev):4096; disk(allocated: dev):10000 does not contain cpus(allocated: dev):1000".into(),
        ),
        (
            reserve("o", named(reserved("cpus:1", "other"))),
            format!("A reserve operation was attempted for a resource with role 'other', but the resource was allocated to role 'dev'{place}"),
        ),
        (
            reserve("o", reserved("cpus:1", "dev")),
            format!("A reserve operation was attempted by principal 'p1', but there is a reserved resource in the request with no principal set{place}"),
        ),
        (
            reserve("o", huge(-1.0)),
            "Operation attempted with invalid resources: Resource 'cpus(reservations: [(DYNAMIC,dev,p1)]):-1' is invalid: Invalid scalar resource: value <= 0".into(),
        ),
        (
            reserve("o", huge(1e30)),
            "Operation attempted with invalid resources: Resource 'cpus(reservations: [(DYNAMIC,dev,p1)]):1e+30' is invalid: Invalid scalar resource: value is too large".into(),
        ),
        (
            reserve("o", huge(f64::NAN)),
            "Operation attempted with invalid resources: Resource 'cpus(reservations: [(DYNAMIC,dev,p1)]):nan' is invalid: Invalid scalar resource: value is not a number".into(),
        ),
        (
            create("o", vec![volume("v", 1, "dev")]),
            format!("Create volume operation attempted by principal 'p1', but there is a volume in the operation with no principal set in 'disk.persistence'{place}"),
        ),
        (
            create("o", vec![volume("v", 1, "dev"), volume("v", 2, "dev")]),
            format!("Persistence ID 'v' is not unique{place}"),
        ),
        (destroy("o", vec![volume("v", 1, "dev")]), format!("Persistent volumes not found{place}")),
        (
            unreserve("o", resources("cpus:1")),
            format!("Resource cpus(allocated: dev):1 is not dynamically reserved{place}"),
        ),
        (
            Operation {
                create_disk: Some(Box::new(operation::CreateDisk {
                    source: resources("disk:1").remove(0),
                    target_type: v1::resource::disk_info::source::Type::Mount.into(),
                    target_profile: None,
                })),
                ..with_id("o", operation::Type::CreateDisk)
            },
            format!("'source' is not managed by a resource provider{place}"),
        ),
        (
            with_id("o", operation::Type::Reserve),
            "Operation attempted with invalid resources: A RESERVE offer operation must have the Offer.Operation.reserve field set.".into(),
        ),
    ];
    for (operation, message) in cases {
        let offer = world.offer(&scheduler);
        world.accepted(&scheduler, accept(&[&offer], vec![operation], 0.0));
        let [status] = &world.operation_statuses(&scheduler)[..] else { panic!("one status for {message}") };
        assert_eq!((status.state(), status.message()), (OperationState::OperationError, message.as_str()));
        assert!(status.uuid.is_none() && status.agent_id.is_none());
        assert!(world.messages(agent.link).is_empty());
        assert!(world.view.operations.is_empty());
        world.pass(Duration::from_secs(2));
    }
    assert_eq!(
        world.view.agents.values().next().unwrap().total.to_string(),
        Resources::parse(AGENT_RESOURCES, "*").unwrap().to_string()
    );
}

#[test]
fn a_volume_in_use_is_not_destroyed() {
    let mut world = World::new();
    let shared = framework(
        &["dev"],
        &[Capability::PartitionAware, Capability::ReservationRefinement, Capability::SharedResources],
    );
    let scheduler = world.subscribe(shared);
    let agent = world.agent(AGENT_RESOURCES);
    let offer = world.offer(&scheduler);
    let mut both = volume("v", 64, "dev");
    both.shared = Some(v1::resource::SharedInfo {});
    let mut on_volume = task("t", &offer);
    on_volume.resources.push(both.clone());
    let operations = vec![
        reserve("", reserved("disk:64", "dev")),
        create("", vec![both.clone()]),
        launch(vec![on_volume]),
        destroy("d", vec![both]),
    ];
    world.accepted(&scheduler, accept(&[&offer], operations, 60.0));
    let [status] = &world.operation_statuses(&scheduler)[..] else { panic!("one status") };
    assert!(status.message().starts_with("Persistent volumes in use; on agent "), "{status:?}");
    world.messages(agent.link);
}
