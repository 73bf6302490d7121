//! Operations on the agent's resources: carried out once, remembered, told until they are acknowledged.

mod support;

use std::time::Duration;

use bytes::Bytes;
use mezzo_agent_core::{
    effect::Effect,
    volumes::{VolumeAction, VolumePlace},
};
use mezzo_api::{
    link::{self, from_agent, to_agent},
    resources::Resources,
    v1::{
        self, OperationState, TaskState,
        offer::{Operation, operation},
        resource::{ReservationInfo, reservation_info},
        task_status::Reason,
    },
};
use support::*;

fn reserved(text: &str) -> Vec<v1::Resource> {
    let reservation = ReservationInfo {
        r#type: Some(reservation_info::Type::Dynamic.into()),
        role: Some("dev".into()),
        ..Default::default()
    };
    let mut resources = Resources::parse(text, "*").unwrap().push_reservation(&reservation);
    resources.allocate("dev");
    resources.to_protos()
}

fn volume(id: &str, size: u32) -> v1::Resource {
    let mut proto = reserved(&format!("disk:{size}")).remove(0);
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

fn reserve(text: &str) -> Operation {
    Operation {
        id: Some(v1::OperationId { value: "op".into() }),
        r#type: Some(operation::Type::Reserve.into()),
        reserve: Some(operation::Reserve { resources: reserved(text), source: Vec::new() }),
        ..Default::default()
    }
}

fn create(id: &str, size: u32) -> Operation {
    Operation {
        r#type: Some(operation::Type::Create.into()),
        create: Some(operation::Create { volumes: vec![volume(id, size)] }),
        ..Default::default()
    }
}

fn destroy(id: &str, size: u32) -> Operation {
    Operation {
        r#type: Some(operation::Type::Destroy.into()),
        destroy: Some(operation::Destroy { volumes: vec![volume(id, size)] }),
        ..Default::default()
    }
}

fn uuid(number: u8) -> Bytes {
    Bytes::from(vec![number; 16])
}

fn message(number: u8, operation: Operation, version: Option<Bytes>) -> link::ApplyOperation {
    link::ApplyOperation {
        operation_uuid: uuid(number),
        framework_id: Some(v1::FrameworkId { value: FRAMEWORK.into() }),
        operation,
        resource_version: version,
    }
}

fn apply(agent: &mut Agent, number: u8, operation: Operation) {
    agent.say(to_agent::Message::ApplyOperation(Box::new(message(number, operation, None))));
}

fn statuses(agent: &mut Agent) -> Vec<link::OperationStatus> {
    agent.take(|effect| match effect {
        Effect::ToMaster(message) => match &**message {
            from_agent::Message::OperationStatus(status) => Some(status.clone()),
            _ => None,
        },
        _ => None,
    })
}

fn states(agent: &mut Agent) -> Vec<OperationState> {
    statuses(agent).iter().map(|status| status.status.state()).collect()
}

fn volumes(agent: &mut Agent) -> Vec<VolumeAction> {
    agent.take(|effect| match effect {
        Effect::Volume { action, .. } => Some(action.clone()),
        _ => None,
    })
}

fn acknowledge(agent: &mut Agent, status: &link::OperationStatus) {
    agent.say(to_agent::Message::AcknowledgeOperation(link::AcknowledgeOperation {
        operation_uuid: status.operation_uuid.clone(),
        status_uuid: status.status.uuid.clone().unwrap().value,
    }));
}

/// What the agent tells at its registration.
fn report(agent: &mut Agent) -> link::Reregister {
    agent.link_up();
    let messages = agent.take_messages();
    let [from_agent::Message::Reregister(report)] = &messages[..] else { panic!("one report: {messages:?}") };
    report.clone()
}

fn text(resources: &[v1::Resource]) -> String {
    Resources::from_protos(resources).unwrap().to_string()
}

fn place() -> VolumePlace {
    VolumePlace::Directory("/w/volumes/roles/dev/v".into())
}

#[test]
fn what_was_carried_out_outlives_a_restart_until_it_is_acknowledged() {
    let mut agent = Agent::registered();
    apply(&mut agent, 1, reserve("cpus:1;disk:64"));
    apply(&mut agent, 2, create("v", 64));
    assert_eq!(volumes(&mut agent), [VolumeAction::Make(place())]);
    let told = statuses(&mut agent);
    assert_eq!(told.iter().map(|told| told.status.state()).collect::<Vec<_>>(), [OperationState::OperationFinished; 2]);
    assert_eq!(told[0].status.operation_id.as_ref().map(|id| id.value.as_str()), Some("op"));
    acknowledge(&mut agent, &told[1]);

    let mut agent = agent.restarted(2);
    assert_eq!(volumes(&mut agent), [], "it is made already");
    let report = report(&mut agent);
    let kept = "disk(reservations: [(DYNAMIC,dev)])[v:data]:64";
    assert!(text(&report.register.checkpointed_resources).contains(kept), "{report:?}");
    assert_eq!(report.operations.iter().map(|operation| operation.uuid.value.clone()).collect::<Vec<_>>(), [uuid(1)]);
    assert_eq!(statuses(&mut agent), [], "not before it is registered");
    agent.say(reregistered());
    let again = statuses(&mut agent);
    assert_eq!(again, [told[0].clone()], "the same status with the same uuid");
    agent.pass(Duration::from_secs(11));
    assert_eq!(statuses(&mut agent).len(), 1, "sent again");
    acknowledge(&mut agent, &told[0]);
    agent.pass(Duration::from_secs(60));
    assert_eq!(statuses(&mut agent), []);
    let mut agent = Agent::recover(agent.core.snapshot(), 3);
    assert_eq!(volumes(&mut agent), []);
    agent.reregister();
    assert_eq!(statuses(&mut agent), []);
}

#[test]
fn a_snapshot_gives_the_same_reservations_and_statuses() {
    let mut agent = Agent::registered();
    apply(&mut agent, 1, reserve("disk:64"));
    apply(&mut agent, 2, create("v", 64));
    let mut copy = Agent::recover(agent.core.snapshot(), 2);
    let (of_log, of_snapshot) = (report(&mut agent.restarted(2)), report(&mut copy));
    assert_eq!(of_log, of_snapshot);
}

#[test]
fn a_directory_that_was_not_made_or_removed_before_a_crash_is_afterwards() {
    let mut agent = Agent::registered();
    apply(&mut agent, 1, reserve("disk:64"));
    apply(&mut agent, 2, create("v", 64));
    let settled = agent.records.pop().unwrap();
    let mut torn = Agent::recover(agent.records.clone(), 2);
    assert_eq!(volumes(&mut torn), [VolumeAction::Make(place())]);
    agent.records.push(settled);
    volumes(&mut agent);
    apply(&mut agent, 3, destroy("v", 64));
    assert_eq!(volumes(&mut agent), [VolumeAction::Remove(place())]);
    agent.records.pop();
    assert_eq!(volumes(&mut agent.restarted(3)), [VolumeAction::Remove(place())]);
}

#[test]
fn an_operation_is_carried_out_once() {
    let mut agent = Agent::registered();
    apply(&mut agent, 1, reserve("cpus:4"));
    apply(&mut agent, 1, reserve("cpus:4"));
    assert_eq!(states(&mut agent), [OperationState::OperationFinished]);
    assert_eq!(text(&report(&mut agent).register.checkpointed_resources), "cpus(reservations: [(DYNAMIC,dev)]):4");
}

#[test]
fn what_cannot_be_done_is_dropped_and_with_it_all_that_counts_on_it() {
    let mut agent = Agent::registered();
    let version = report(&mut agent).register.resource_version;
    agent.say(reregistered());
    let say = |agent: &mut Agent, number, operation| {
        agent.say(to_agent::Message::ApplyOperation(Box::new(message(number, operation, version.clone()))));
    };
    say(&mut agent, 1, reserve("cpus:99"));
    let messages = agent.take_messages();
    let [from_agent::Message::ResourcesChanged(changed), from_agent::Message::OperationStatus(dropped)] = &messages[..]
    else {
        panic!("{messages:?}")
    };
    assert_ne!(Some(&changed.resource_version), version.as_ref());
    assert_eq!(changed.checkpointed_resources, []);
    assert_eq!(dropped.status.state(), OperationState::OperationDropped);
    say(&mut agent, 2, reserve("cpus:1"));
    assert_eq!(states(&mut agent), [OperationState::OperationDropped], "it counted on the one before");
    let task = to_agent::Message::RunTask(Box::new(link::RunTask {
        framework: modern(),
        task: command_task("t", "x"),
        launch_executor: true,
        resource_version: version.clone(),
    }));
    agent.say(task);
    let update = agent.take_update();
    assert_eq!((update.state(), update.reason()), (TaskState::TaskDropped, Reason::InvalidOffers));
}

#[test]
fn an_operation_that_never_came_is_dropped_when_the_master_asks() {
    let mut agent = Agent::registered();
    apply(&mut agent, 1, reserve("cpus:1"));
    agent.link_up();
    agent.effects.clear();
    let mut answer = reregistered();
    if let to_agent::Message::Reregistered(answer) = &mut answer {
        answer.reconcile_operations = vec![message(1, reserve("cpus:1"), None), message(2, reserve("cpus:2"), None)];
    }
    agent.say(answer);
    let states: Vec<_> =
        statuses(&mut agent).iter().map(|told| (told.operation_uuid[0], told.status.state())).collect();
    assert_eq!(states, [(1, OperationState::OperationFinished), (2, OperationState::OperationDropped)]);
    assert_eq!(text(&report(&mut agent).register.checkpointed_resources), "cpus(reservations: [(DYNAMIC,dev)]):1");
}

#[test]
fn a_task_sees_its_volume_and_none_that_is_not_there() {
    let mut agent = Agent::registered();
    apply(&mut agent, 1, reserve("disk:64"));
    apply(&mut agent, 2, create("v", 64));
    let mut task = command_task("t", "x");
    task.resources.push(volume("v", 64));
    agent.say(run_task(&modern(), &task, true));
    let launch = agent.take_launch();
    assert_eq!(launch.volumes.len(), 1);
    assert_eq!(launch.volumes[0].source, place().path());
    assert_eq!(launch.volumes[0].container_path, "data");
    let mut other = command_task("u", "x");
    other.resources.push(volume("w", 64));
    agent.say(run_task(&modern(), &other, true));
    let updates = agent.take_updates();
    let refused = updates.iter().find(|update| update.task_id.value == "u").unwrap();
    assert_eq!((refused.state(), refused.reason()), (TaskState::TaskDropped, Reason::ResourcesUnknown));
}

#[test]
fn a_container_path_that_leads_out_of_the_sandbox_fails_the_task() {
    for path in ["/data", "../data", "a/../../b", ""] {
        let mut agent = Agent::registered();
        apply(&mut agent, 1, reserve("disk:64"));
        apply(&mut agent, 2, create("v", 64));
        let mut task = command_task("t", "x");
        let mut used = volume("v", 64);
        used.disk.as_mut().unwrap().volume.as_mut().unwrap().container_path = path.into();
        task.resources.push(used);
        agent.say(run_task(&modern(), &task, true));
        let update = agent.take_update();
        assert_eq!(update.state(), TaskState::TaskFailed, "{path:?}");
    }
}

#[test]
fn an_agent_that_shuts_down_tells_no_more_of_operations() {
    let mut agent = Agent::registered();
    apply(&mut agent, 1, reserve("cpus:1"));
    agent.effects.clear();
    agent.say(to_agent::Message::Shutdown(link::Shutdown { reason: "bye".into() }));
    agent.pass(Duration::from_secs(3600));
    let told = |effect: &Effect| matches!(effect, Effect::ToMaster(message) if matches!(**message, from_agent::Message::OperationStatus(_)));
    assert!(!agent.effects.iter().any(told), "{:?}", agent.effects);
}
