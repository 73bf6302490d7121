//! Resources that cannot be, in whatever names them: refused with Mesos' own words, and nothing is changed by them.

use mezzo_api::v1::{
    Resource, WeightInfo,
    offer::Operation,
    resource::{ReservationInfo, SharedInfo, reservation_info},
    value,
};

use super::{
    operations::{create, destroy, reserve, reserved, unreserve, volume},
    *,
};

fn scalar(name: &str, value: f64) -> Resource {
    Resource {
        name: name.into(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value }),
        ..Default::default()
    }
}

fn ranges(pairs: &[(u64, u64)]) -> Resource {
    let range = pairs.iter().map(|(begin, end)| value::Range { begin: *begin, end: *end }).collect();
    Resource {
        name: "ports".into(),
        r#type: value::Type::Ranges.into(),
        ranges: Some(value::Ranges { range }),
        ..Default::default()
    }
}

fn set(items: &[&str]) -> Resource {
    let item = items.iter().map(ToString::to_string).collect();
    Resource {
        name: "names".into(),
        r#type: value::Type::Set.into(),
        set: Some(value::Set { item }),
        ..Default::default()
    }
}

fn reserved_to(mut resource: Resource, roles: &[(&str, reservation_info::Type)]) -> Resource {
    let reservation = |(role, kind): &(&str, reservation_info::Type)| ReservationInfo {
        r#type: Some((*kind).into()),
        role: Some((*role).into()),
        ..Default::default()
    };
    resource.reservations = roles.iter().map(reservation).collect();
    resource
}

/// What is wrong with a resource, and in whose words (src/common/resources.cpp, validate).
fn malformed() -> Vec<(Resource, &'static str)> {
    use reservation_info::Type::{Dynamic, Static};
    let mut typeless = scalar("cpus", 1.0);
    typeless.scalar = None;
    let mut shared = scalar("cpus", 1.0);
    shared.shared = Some(SharedInfo::default());
    vec![
        (scalar("", 1.0), "Empty resource name"),
        (scalar("cpus", -1.0), "Invalid scalar resource: value <= 0"),
        (scalar("cpus", 0.0001), "Invalid scalar resource: value <= 0"),
        (scalar("cpus", f64::NAN), "Invalid scalar resource: value is not a number"),
        (scalar("cpus", 1e30), "Invalid scalar resource: value is too large"),
        (scalar("cpus", f64::INFINITY), "Invalid scalar resource: value is too large"),
        (scalar("cpus", f64::NEG_INFINITY), "Invalid scalar resource: value <= 0"),
        (typeless, "Invalid scalar resource"),
        (ranges(&[(31_005, 31_000)]), "Invalid ranges resource: begin > end"),
        (ranges(&[(31_000, 31_005), (31_005, 31_009)]), "Invalid ranges resource: overlapping ranges"),
        (ranges(&[(31_000, 31_009), (31_002, 31_003)]), "Invalid ranges resource: overlapping ranges"),
        (set(&["a", "a"]), "Invalid set resource: duplicated elements"),
        (reserved_to(scalar("cpus", 1.0), &[("*", Dynamic)]), "Invalid reservation: role \"*\" cannot be reserved"),
        (
            reserved_to(scalar("cpus", 1.0), &[("dev", Dynamic), ("ops", Dynamic)]),
            "Invalid refined reservation: role 'ops' is not a refinement of 'dev'",
        ),
        (
            reserved_to(scalar("cpus", 1.0), &[("dev", Dynamic), ("dev/a", Static)]),
            "Invalid refined reservation: A refined reservation cannot be STATIC",
        ),
        (shared, "Resource cpus cannot be shared"),
    ]
}

/// A framework with a task; what is tried must leave everything as it was.
fn stage() -> (World, Slave, Scheduler) {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let agent = world.agent(AGENT_RESOURCES);
    (world, agent, scheduler)
}

#[test]
fn a_task_with_them_is_an_error_and_takes_nothing() {
    let (mut world, agent, scheduler) = stage();
    for (resource, text) in malformed() {
        let offer = world.offer(&scheduler);
        let mut bad = task("bad", &offer);
        bad.resources.push(resource);
        world.launch(&scheduler, &offer, vec![bad], 0.0);
        let [status] = &world.updates(&scheduler)[..] else { panic!("{text}: one status") };
        assert_eq!(status.state(), TaskState::TaskError, "{text}");
        assert!(status.message().ends_with(text), "{text}: {}", status.message());
        assert!(world.messages(agent.link).is_empty(), "{text}");
        assert!(world.view.agents[agent.id.as_str()].used.is_empty(), "{text}");
        world.pass(std::time::Duration::from_secs(2));
    }
}

#[test]
fn operations_with_them_change_nothing() {
    let (mut world, agent, _) = stage();
    world.settle();
    let total = world.view.agents[agent.id.as_str()].total.clone();
    let kinds: [fn(&str, Vec<Resource>) -> Operation; 4] = [reserve, unreserve, create, destroy];
    for (resource, text) in malformed() {
        for kind in kinds {
            let operation = Box::new(kind("", vec![resource.clone()]));
            let answer = world.answered(OperatorCall::Operation { agent_id: agent.id.clone(), operation });
            assert_eq!(answer.status, 400, "{text}: {answer:?}");
            assert!(answer.body.contains(text), "{text}: {}", answer.body);
            assert!(world.messages(agent.link).is_empty(), "{text}");
        }
    }
    assert_eq!(world.view.agents[agent.id.as_str()].total, total);
    assert!(world.view.operations.is_empty() && world.writes.is_empty());
}

#[test]
fn a_volume_has_an_id_of_its_own() {
    let (mut world, agent, scheduler) = stage();
    let mut nameless = volume("", 32, "dev");
    let mut slashed = volume("a/b", 32, "dev");
    let mut dotted = volume("..", 32, "dev");
    for each in [&mut nameless, &mut slashed, &mut dotted] {
        each.allocation_info = Some(v1::resource::AllocationInfo { role: Some("dev".into()) });
    }
    let twice = vec![volume("v", 32, "dev"), volume("v", 16, "dev")];
    for (volumes, text) in [
        (twice, "Persistence ID 'v' is not unique"),
        (vec![nameless], "Invalid persistence ID for persistent volume: ID must not be empty"),
        (vec![slashed], "Invalid persistence ID for persistent volume: 'a/b' contains invalid characters"),
        (vec![dotted], "Invalid persistence ID for persistent volume: '..' is disallowed"),
    ] {
        let offer = world.offer(&scheduler);
        let operations = vec![reserve("", reserved("disk:64", "dev")), create("c", volumes)];
        world.accepted(&scheduler, accept(&[&offer], operations, 0.0));
        let [status] = &world.operation_statuses(&scheduler)[..] else { panic!("{text}: one status") };
        assert_eq!(status.state(), v1::OperationState::OperationError, "{text}");
        assert!(status.message().contains(text), "{text}: {}", status.message());
        let applied = world.applied(&agent);
        let [asked] = &applied[..] else { panic!("{text}: the reservation alone") };
        // Back to where it was.
        world.conclude(&agent, asked, v1::OperationState::OperationFinished);
        world.messages(agent.link);
        let offer = world.offer(&scheduler);
        world.accepted(&scheduler, accept(&[&offer], vec![unreserve("", reserved("disk:64", "dev"))], 0.0));
        let applied = world.applied(&agent);
        world.conclude(&agent, &applied[0], v1::OperationState::OperationFinished);
        world.messages(agent.link);
    }
}

#[test]
fn weights_that_cannot_be() {
    let (mut world, ..) = stage();
    let weight = |role: &str, weight: f64| {
        OperatorCall::UpdateWeights(vec![
            WeightInfo { role: Some("fine".into()), weight: 2.0 },
            WeightInfo { role: Some(role.into()), weight },
        ])
    };
    for (role, value) in
        [("dev", 0.0), ("dev", -1.0), ("dev", f64::NAN), ("dev", f64::INFINITY), ("a b", 1.0), ("/x", 1.0)]
    {
        let answer = world.answered(weight(role, value));
        assert_eq!(answer.status, 400, "{role} {value}: {answer:?}");
        assert!(world.view.weights.is_empty() && world.writes.is_empty(), "{role} {value}");
    }
}
