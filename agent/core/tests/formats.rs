//! Checkpoints that earlier versions wrote are recovered: `tests/data/checkpoint-*.records`, each record with its length
//! (four bytes, big-endian) before it.
//!
//! `checkpoint-1`: version 1 as it was before pods, checks and drains: a command task that runs, one that is being killed,
//! one whose end is not acknowledged, one that is history, and a custom executor with a task.
//!
//! `checkpoint-1-whole`: version 1 with every kind of record, a snapshot and what was appended to it (`src/record.rs` holds
//! that none is missing). `MEZZO_WRITE_FORMATS=1` writes it anew, which is right only as long as no release has it.

mod support;

use std::time::Duration;

use bytes::Bytes;
use mezzo_agent_core::container::{ContainerEvent, Stop};
use mezzo_api::{
    ids::ContainerId,
    link::{self, to_agent},
    v1::{
        self, TaskState,
        offer::{Operation, operation},
        resource::{ReservationInfo, disk_info::Persistence, reservation_info},
    },
};
use support::*;

fn path(name: &str) -> String {
    format!("{}/tests/data/{name}.records", env!("CARGO_MANIFEST_DIR"))
}

fn records(name: &str) -> Vec<Bytes> {
    let mut rest = &std::fs::read(path(name)).unwrap()[..];
    let mut records = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (record, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        records.push(Bytes::copy_from_slice(record));
        rest = after;
    }
    records
}

fn container_of(agent: &Agent, executor: &str) -> ContainerId {
    let view = agent.core.view();
    let mut executors = view.frameworks.iter().flat_map(|framework| &framework.executors);
    executors.find(|entry| entry.info.executor_id.value == executor).unwrap().container_id.clone()
}

#[test]
fn the_first_format_is_recovered() {
    let mut agent = Agent::recover(records("checkpoint-1"), 2);
    let (runs, killed, e) = (container_of(&agent, "runs"), container_of(&agent, "killed"), container_of(&agent, "e"));
    let mut waited = agent.recovered.clone();
    waited.sort();
    let mut expected = vec![runs.clone(), killed.clone(), e.clone()];
    expected.sort();
    assert_eq!(waited, expected);
    for container in [&runs, &killed, &e] {
        agent.running(container);
    }
    assert_eq!(agent.take_ends(), [(killed.clone(), Stop::Graceful(Duration::from_secs(60)))], "killed again");
    assert_eq!(agent.subscribe("e", 7, Default::default()).status, 200);
    agent.reregister();
    let states = agent.take_updates();
    let of = |task: &str| states.iter().find(|status| status.task_id.value == task).map(|status| status.state());
    assert_eq!(of("ended"), Some(TaskState::TaskFailed));
    assert_eq!(of("killed"), Some(TaskState::TaskKilling));
    assert_eq!(of("custom"), Some(TaskState::TaskRunning));
    assert_eq!((of("runs"), of("done")), (None, None));
    agent.container(&runs, ContainerEvent::Exited { status: Some(0) });
    assert_eq!(agent.take_update().state(), TaskState::TaskFinished);
    // What it writes from now on, a snapshot included, is read again.
    let snapshot = agent.core.snapshot();
    let again = Agent::recover(snapshot, 3);
    assert_eq!(container_of(&again, "killed"), killed);
}

fn write(name: &str, records: &[Bytes]) {
    let mut bytes = Vec::new();
    for record in records {
        bytes.extend(u32::try_from(record.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(record);
    }
    std::fs::write(path(name), bytes).unwrap();
}

const OTHER: &str = "m-0001";

fn other_framework() -> v1::FrameworkInfo {
    v1::FrameworkInfo { id: Some(v1::FrameworkId { value: OTHER.into() }), ..modern() }
}

fn apply(agent: &mut Agent, number: u8, operation: Operation) {
    agent.say(to_agent::Message::ApplyOperation(link::ApplyOperation {
        operation_uuid: vec![number; 16].into(),
        framework_id: Some(v1::FrameworkId { value: FRAMEWORK.into() }),
        operation,
        resource_version: None,
    }));
}

fn disk() -> v1::Resource {
    let reservation = ReservationInfo {
        r#type: Some(reservation_info::Type::Dynamic.into()),
        role: Some("dev".into()),
        ..Default::default()
    };
    let mut disk = mezzo_api::resources::Resources::parse("disk:64", "*").unwrap().push_reservation(&reservation);
    disk.allocate("dev");
    disk.to_protos().remove(0)
}

fn reserve() -> Operation {
    Operation {
        id: Some(v1::OperationId { value: "reserve".into() }),
        r#type: Some(operation::Type::Reserve.into()),
        reserve: Some(operation::Reserve { resources: vec![disk()], source: Vec::new() }),
        ..Default::default()
    }
}

fn create() -> Operation {
    let disk_info = v1::resource::DiskInfo {
        persistence: Some(Persistence { id: "kept".into(), principal: None }),
        volume: Some(v1::Volume {
            container_path: "data".into(),
            mode: v1::volume::Mode::Rw.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let volume = v1::Resource { disk: Some(disk_info), ..disk() };
    Operation {
        id: Some(v1::OperationId { value: "create".into() }),
        r#type: Some(operation::Type::Create.into()),
        create: Some(operation::Create { volumes: vec![volume] }),
        ..Default::default()
    }
}

/// What an agent leaves that was restarted once, and does a little of everything.
fn a_life() -> Vec<Bytes> {
    let mut agent = Agent::registered();
    agent.never_mind_pings();
    apply(&mut agent, 1, reserve());
    let reserved = agent.take_messages().into_iter().find_map(|message| match message {
        link::from_agent::Message::OperationStatus(told) => told.status.uuid,
        _ => None,
    });
    agent.say(run_task(&other_framework(), &command_task("done", "x"), true));
    let done = agent.take_launch().container_id;
    agent.running(&done);
    agent.exited(&done, 0);
    // What it says of it goes to the other framework, which acknowledges.
    while let Some(status) = agent.take_updates().pop() {
        agent.say(to_agent::Message::Acknowledge(link::Acknowledge {
            framework_id: v1::FrameworkId { value: OTHER.into() },
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone().unwrap(),
        }));
    }
    agent.say(run_task(&modern(), &command_task("unheard", "x"), true));
    let unheard = agent.take_launch().container_id;
    agent.running(&unheard);
    let mut agent = Agent::recover(agent.core.snapshot(), 2);
    agent.running(&unheard);
    agent.reregister();
    agent.never_mind_pings();
    agent.effects.clear();
    live_on(&mut agent, reserved.unwrap().value);
    agent.records
}

fn live_on(agent: &mut Agent, reserved: Bytes) {
    apply(agent, 2, create());
    agent.say(to_agent::Message::AcknowledgeOperation(link::AcknowledgeOperation {
        operation_uuid: vec![1; 16].into(),
        status_uuid: reserved,
    }));
    let shorts = agent.run_command(&command_task("short", "x"), &modern());
    agent.exited(&shorts, 0);
    agent.take_states();
    let healthy = v1::TaskInfo { check: None, ..checked(command_task("healthy", "x")) };
    agent.run_command(&healthy, &modern());
    agent.pass(Duration::from_secs(1));
    let probe = agent.take_launch().container_id;
    agent.running(&probe);
    agent.exited(&probe, 256);
    agent.take_states();
    let killed = agent.run_command(&command_task("killed", "x"), &modern());
    assert_eq!(agent.take_ends(), []);
    agent.say(kill("killed", Some(Duration::from_secs(60))));
    assert_eq!(agent.take_ends().len(), 1, "{killed}");
    agent.say(run_group(&modern(), &pod("p"), &[command_task("ends", "x"), command_task("stays", "x")], true));
    let members: Vec<ContainerId> = agent.take_launches().into_iter().map(|launch| launch.container_id).collect();
    members.iter().for_each(|member| agent.running(member));
    agent.exited(&members[0], 0);
    agent.say(run_task(&modern(), &executor_task("custom", "e"), true));
    let custom = agent.take_launch().container_id;
    agent.running(&custom);
    assert_eq!(agent.subscribe("e", 7, Default::default()).status, 200);
    agent.call(update("e", "custom", TaskState::TaskRunning, 9));
    agent.say(to_agent::Message::ShutdownExecutor(link::ShutdownExecutor {
        framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
        executor_id: v1::ExecutorId { value: "e".into() },
    }));
    agent.say(run_task(&other_framework(), &command_task("leaves", "x"), true));
    let leaves = agent.take_launch().container_id;
    agent.running(&leaves);
    agent.say(to_agent::Message::ShutdownFramework(link::ShutdownFramework {
        framework_id: v1::FrameworkId { value: OTHER.into() },
    }));
    agent.say(drain(Some(Duration::from_secs(30)), false));
}

#[test]
fn every_kind_of_record_is_recovered() {
    const NAME: &str = "checkpoint-1-whole";
    if std::env::var_os("MEZZO_WRITE_FORMATS").is_some() {
        write(NAME, &a_life());
    }
    let mut agent = Agent::recover(records(NAME), 3);
    let view = agent.core.view();
    let ids: Vec<&str> =
        view.frameworks.iter().map(|framework| framework.info.id.as_ref().unwrap().value.as_str()).collect();
    assert_eq!(ids, [FRAMEWORK, OTHER]);
    let containers = agent.recovered.clone();
    let custom = container_of(&agent, "e");
    assert!(containers.contains(&custom) && containers.contains(&container_of(&agent, "unheard")), "{containers:?}");
    for container in &containers {
        agent.running(container);
    }
    // Everything was to end: the drain, the kill, the two shutdowns.
    let mut stopped: Vec<ContainerId> = agent.take_ends().into_iter().map(|(container, _)| container).collect();
    stopped.sort();
    stopped.dedup();
    let mut expected: Vec<ContainerId> = containers.iter().filter(|container| **container != custom).cloned().collect();
    expected.sort();
    assert_eq!(stopped, expected);
    agent.link_up();
    assert_eq!(agent.subscribe("e", 8, Default::default()).status, 200);
    assert!(agent.take_event_names().contains(&"SHUTDOWN"));
    agent.say(reregistered());
    let updates = agent.take_updates();
    let of = |task: &str| updates.iter().find(|status| status.task_id.value == task).map(v1::TaskStatus::state);
    assert_eq!(of("unheard"), Some(TaskState::TaskStarting));
    assert_eq!(of("killed"), Some(TaskState::TaskKilling));
    assert_eq!(of("short"), None, "it is history");
    // What it writes from now on, a snapshot included, is read again.
    let again = Agent::recover(agent.core.snapshot(), 4);
    assert_eq!(again.recovered.len(), containers.len());
}
