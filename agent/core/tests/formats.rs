//! Checkpoints that earlier versions wrote are recovered: `tests/data/checkpoint-*.records`, each record with its length
//! (four bytes, big-endian) before it.
//!
//! `checkpoint-1`: version 1 as it was before pods, checks and drains: a command task that runs, one that is being killed,
//! one whose end is not acknowledged, one that is history, and a custom executor with a task.
//!
//! `checkpoint-2` and `snapshot-2`: version 1 with every kind of record (`src/record.rs` has the test that none is missing), as a
//! log and as the snapshot of the same agent. `MEZZO_WRITE_FORMATS=1` writes both anew, which is right only as long as no
//! release has them.

mod support;

use std::time::Duration;

use bytes::Bytes;
use mezzo_agent_core::container::{ContainerEvent, Stop};
use mezzo_api::{
    ids::ContainerId,
    link::{self, from_agent, to_agent},
    v1::{self, TaskState},
};
use support::*;

const SECOND: Duration = Duration::from_secs(1);

fn path(name: &str) -> String {
    format!("{}/tests/data/{name}.records", env!("CARGO_MANIFEST_DIR"))
}

fn write(name: &str, records: &[Bytes]) {
    let mut bytes = Vec::new();
    for record in records {
        bytes.extend(u32::try_from(record.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(record);
    }
    std::fs::write(path(name), bytes).unwrap();
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

fn operation(agent: &mut Agent, number: u8, operation: v1::offer::Operation) {
    agent.say(to_agent::Message::ApplyOperation(Box::new(link::ApplyOperation {
        operation_uuid: vec![number; 16].into(),
        framework_id: Some(v1::FrameworkId { value: FRAMEWORK.into() }),
        operation,
        resource_version: None,
    })));
}

/// 64 MB of disk, reserved; with a volume on it.
fn disk(with_volume: bool) -> v1::Resource {
    let mut disk = resources("disk:64").remove(0);
    disk.reservations = vec![v1::resource::ReservationInfo {
        r#type: Some(v1::resource::reservation_info::Type::Dynamic as i32),
        role: Some("dev".into()),
        ..Default::default()
    }];
    let volume = || v1::resource::DiskInfo {
        persistence: Some(v1::resource::disk_info::Persistence { id: "v".into(), principal: None }),
        volume: Some(v1::Volume {
            container_path: "data".into(),
            mode: v1::volume::Mode::Rw as i32,
            ..Default::default()
        }),
        ..Default::default()
    };
    disk.disk = with_volume.then(volume).map(Box::new);
    disk
}

/// A drain that ended, and a framework that is gone.
fn past(agent: &mut Agent) {
    let quick = agent.run_command(&command_task("drained", "x"), &modern());
    agent.say(drain(Some(10 * SECOND), false));
    agent.take_states();
    agent.exited(&quick, 15);
    agent.take_states();
    let gone = v1::FrameworkId { value: "m-0001".into() };
    let framework = v1::FrameworkInfo { id: Some(gone.clone()), ..modern() };
    agent.say(run_task(&framework, &command_task("orphan", "x"), true));
    let orphan = agent.take_launch().container_id;
    agent.running(&orphan);
    agent.say(to_agent::Message::ShutdownFramework(link::ShutdownFramework { framework_id: gone }));
    agent.exited(&orphan, 15);
    agent.take_updates();
}

/// A volume, on a reservation whose status is not acknowledged.
fn storage(agent: &mut Agent) {
    use v1::offer::{Operation, operation};
    let reserve = operation::Reserve { resources: vec![disk(false)], ..Default::default() };
    let create = operation::Create { volumes: vec![disk(true)] };
    let kind = |kind: operation::Type| Operation { r#type: Some(kind as i32), ..Default::default() };
    operation(agent, 1, Operation { reserve: Some(reserve), ..kind(operation::Type::Reserve) });
    operation(agent, 2, Operation { create: Some(create), ..kind(operation::Type::Create) });
    let told = agent.take_messages().into_iter().filter_map(|message| match message {
        from_agent::Message::OperationStatus(status) if status.operation_uuid[0] == 2 => Some(status),
        _ => None,
    });
    let told: Vec<link::OperationStatus> = told.collect();
    agent.say(to_agent::Message::AcknowledgeOperation(link::AcknowledgeOperation {
        operation_uuid: told[0].operation_uuid.clone(),
        status_uuid: told[0].status.uuid.clone().unwrap().value,
    }));
}

/// An agent with a past and everything that it can have.
fn everything() -> Agent {
    let mut agent = Agent::registered();
    agent.never_mind_pings();
    past(&mut agent);
    storage(&mut agent);
    let done = agent.run_command(&command_task("done", "x"), &modern());
    agent.exited(&done, 0);
    agent.take_states();
    let ended = agent.run_command(&command_task("ended", "x"), &modern());
    agent.exited(&ended, 3 << 8);
    agent.take_updates();
    agent.run_command(&command_task("killed", "x"), &modern());
    agent.say(kill("killed", Some(60 * SECOND)));
    agent.take_updates();
    for (task, executor, stream) in [("custom", "e", 7), ("leaving", "f", 8)] {
        agent.say(run_task(&modern(), &executor_task(task, executor), true));
        let id = agent.take_launch().container_id;
        agent.running(&id);
        assert_eq!(agent.subscribe(executor, stream, Default::default()).status, 200);
        agent.call(update(executor, task, TaskState::TaskRunning, u8::try_from(stream).unwrap()));
        agent.take_states();
    }
    let (framework_id, executor_id) =
        (v1::FrameworkId { value: FRAMEWORK.into() }, v1::ExecutorId { value: "f".into() });
    agent.say(to_agent::Message::ShutdownExecutor(link::ShutdownExecutor { framework_id, executor_id }));
    let members = ["member", "finished"].map(|name| command_task(name, "x"));
    agent.say(run_group(&modern(), &pod("p"), &members, true));
    let launches = agent.take_launches();
    launches.iter().for_each(|launch| agent.running(&launch.container_id));
    agent.take_states();
    agent.exited(&launches[1].container_id, 0);
    agent.take_states();
    agent.run_command(&v1::TaskInfo { check: None, ..checked(command_task("checked", "x")) }, &modern());
    agent.pass(SECOND);
    let look = agent.take_launch().container_id;
    agent.running(&look);
    agent.exited(&look, 1 << 8);
    agent.take_states();
    agent
}

/// What came of it, whatever it was read from.
fn lives_on(records: Vec<Bytes>) {
    let mut agent = Agent::recover(records, 2);
    let view = agent.core.view();
    let executors = view.frameworks.iter().flat_map(|framework| &framework.executors);
    let mut known: Vec<&str> = executors.map(|executor| executor.info.executor_id.value.as_str()).collect();
    known.sort_unstable();
    assert_eq!(known, ["checked", "e", "ended", "f", "killed", "p"]);
    let checked = container_of(&agent, "checked");
    for container in agent.recovered.clone() {
        agent.running(&container);
    }
    let ends = agent.take_ends();
    assert!(ends.contains(&(container_of(&agent, "killed"), Stop::Graceful(60 * SECOND))), "{ends:?}");
    assert_eq!(agent.subscribe("e", 7, Default::default()).status, 200);
    agent.link_up();
    let said = agent.take_messages();
    let [from_agent::Message::Reregister(report)] = &said[..] else { panic!("one report: {said:?}") };
    let kept = mezzo_api::resources::Resources::from_protos(&report.register.checkpointed_resources).unwrap();
    assert!(kept.to_string().contains("[v:data]:64"), "{kept}");
    assert_eq!(report.operations.len(), 1, "the one that was not acknowledged");
    let mut reported: Vec<&str> = report.tasks.iter().map(|task| task.task_id.value.as_str()).collect();
    reported.sort_unstable();
    assert_eq!(reported, ["checked", "custom", "ended", "killed", "leaving", "member"]);
    agent.say(reregistered());
    let states = agent.take_updates();
    let of = |task: &str| states.iter().find(|status| status.task_id.value == task).map(|status| status.state());
    assert_eq!((of("ended"), of("killed")), (Some(TaskState::TaskFailed), Some(TaskState::TaskKilling)));
    // The failure of a check before is not forgotten: the second is the last.
    agent.never_mind_pings();
    agent.pass(SECOND);
    let look = agent.take_launches().into_iter().find(|launch| launch.container_id != checked);
    let look = look.expect("it is looked at again").container_id;
    agent.running(&look);
    agent.exited(&look, 1 << 8);
    assert!(agent.take_ends().iter().any(|(id, _)| *id == checked), "it is killed for its health");
}

#[test]
fn every_kind_of_record_is_recovered() {
    if std::env::var_os("MEZZO_WRITE_FORMATS").is_some() {
        let agent = everything();
        write("checkpoint-2", &agent.records);
        write("snapshot-2", &agent.core.snapshot());
    }
    lives_on(records("checkpoint-2"));
    lives_on(records("snapshot-2"));
    // And what is written today is read, as what was written then.
    lives_on(everything().records);
}
