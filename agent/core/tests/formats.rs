//! Checkpoints that earlier versions wrote are recovered: `tests/data/checkpoint-*.records`, each record with its length
//! (four bytes, big-endian) before it.
//!
//! `checkpoint-1`: version 1 as it was before pods, checks and drains: a command task that runs, one that is being killed,
//! one whose end is not acknowledged, one that is history, and a custom executor with a task.

mod support;

use std::time::Duration;

use bytes::Bytes;
use mezzo_agent_core::container::{ContainerEvent, Stop};
use mezzo_api::{ids::ContainerId, v1::TaskState};
use support::*;

fn records(name: &str) -> Vec<Bytes> {
    let path = format!("{}/tests/data/{name}.records", env!("CARGO_MANIFEST_DIR"));
    let mut rest = &std::fs::read(path).unwrap()[..];
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
