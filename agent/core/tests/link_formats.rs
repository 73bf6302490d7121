//! What masters of earlier versions said is understood: `tests/data/to-agent-*.frames`, frames as the link has them. Beside it
//! `from-agent-*.frames`, what this agent's core answered in the same conversation, which masters have to understand
//! (`master/tests/link.rs`). That no kind of message is missing is tested in `src/record.rs`.
//!
//! `…-1`: version 1 of the link with every message that it had when it was first packaged. `MEZZO_WRITE_FORMATS=1` writes both
//! files of the newest version anew, which is right only as long as no release has it.

mod support;

use std::{collections::HashSet, time::Duration};

use bytes::{Bytes, BytesMut};
use mezzo_agent_core::{container::Stop, effect::Effect};
use mezzo_api::{
    frame::{Decoder, encode_frame},
    link::{self, FromAgent, ToAgent, from_agent, to_agent},
    v1::{self, TaskState},
};
use prost::Message;
use support::*;

fn path(name: &str) -> String {
    format!("{}/tests/data/{name}.frames", env!("CARGO_MANIFEST_DIR"))
}

fn frames<M: Message + Default>(name: &str) -> Vec<M> {
    let mut decoder = Decoder::new();
    decoder.feed(&std::fs::read(path(name)).unwrap());
    std::iter::from_fn(|| decoder.next().unwrap()).map(|bytes| M::decode(bytes).unwrap()).collect()
}

fn write(name: &str, messages: &[impl Message]) {
    let mut bytes = BytesMut::new();
    for message in messages {
        encode_frame(&mut bytes, message);
    }
    std::fs::write(path(name), bytes).unwrap();
}

fn ids() -> (v1::FrameworkId, v1::ExecutorId, v1::AgentId) {
    (
        v1::FrameworkId { value: FRAMEWORK.into() },
        v1::ExecutorId { value: "e".into() },
        v1::AgentId { value: AGENT.into() },
    )
}

fn reserve() -> link::ApplyOperation {
    let mut resource = mezzo_api::resources::Resources::parse("cpus:1", "*").unwrap().to_protos().remove(0);
    resource.reservations = vec![v1::resource::ReservationInfo {
        r#type: Some(v1::resource::reservation_info::Type::Dynamic as i32),
        role: Some("dev".into()),
        ..Default::default()
    }];
    let operation = v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::Reserve as i32),
        reserve: Some(v1::offer::operation::Reserve { resources: vec![resource], ..Default::default() }),
        ..Default::default()
    };
    link::ApplyOperation {
        operation_uuid: Bytes::from_static(b"operation-uuid-1"),
        framework_id: None,
        operation,
        resource_version: None,
    }
}

/// Everything that a master says, in an order that makes sense.
fn conversation() -> Vec<to_agent::Message> {
    use to_agent::Message as To;
    let (framework_id, executor_id, agent_id) = ids();
    let framework = modern();
    vec![
        To::Registered(link::Registered { agent_id: agent_id.clone(), total_ping_timeout_ms: 75_000 }),
        To::Ping(link::Ping { sequence: 1 }),
        run_task(&framework, &command_task("runs", "sleep 1000"), true),
        run_task(&framework, &executor_task("custom", "e"), true),
        run_group(&framework, &pod("p"), &[command_task("member", "sleep 1000")], true),
        To::UpdateFramework(link::UpdateFramework { framework: framework.clone() }),
        To::ApplyOperation(Box::new(reserve())),
        To::FrameworkMessage(link::FrameworkMessage {
            framework_id: framework_id.clone(),
            executor_id: executor_id.clone(),
            data: Bytes::from_static(b"to the executor"),
        }),
        To::Notice(link::Notice { text: "something to read".into() }),
        To::OpenBulk(link::OpenBulk { token: "token".into() }),
        To::Acknowledge(link::Acknowledge {
            framework_id: framework_id.clone(),
            task_id: v1::TaskId { value: "unknown".into() },
            uuid: Bytes::from_static(&[1; 16]),
        }),
        To::AcknowledgeOperation(link::AcknowledgeOperation {
            operation_uuid: Bytes::from_static(b"operation-uuid-1"),
            status_uuid: Bytes::from_static(&[2; 16]),
        }),
        kill("runs", Some(Duration::from_secs(60))),
        To::Reregistered(link::Reregistered {
            agent_id,
            total_ping_timeout_ms: 75_000,
            reconcile: vec![link::ReconcileTask {
                framework_id: framework_id.clone(),
                task_id: v1::TaskId { value: "lost".into() },
                partition_aware: true,
            }],
            reconcile_operations: Vec::new(),
        }),
        To::ShutdownExecutor(link::ShutdownExecutor { framework_id: framework_id.clone(), executor_id }),
        drain(Some(Duration::from_secs(30)), false),
        To::ShutdownFramework(link::ShutdownFramework { framework_id }),
        To::Shutdown(link::Shutdown { reason: "the end".into() }),
    ]
}

/// An agent that hears these, and what it said; `heard` looks at it after each.
fn play(messages: &[ToAgent], mut heard: impl FnMut(&mut Agent, &to_agent::Message)) -> Vec<from_agent::Message> {
    let mut agent = Agent::new();
    agent.link_up();
    let mut said = agent.take_messages();
    for ToAgent { term, message } in messages {
        let message = message.clone().expect("no message is unknown");
        if matches!(message, to_agent::Message::Reregistered(_)) {
            agent.link_down();
            agent.link_up();
        }
        agent.say_as(*term, message.clone());
        for effect in &agent.effects {
            if let Effect::ToMaster(message) = effect {
                said.push((**message).clone());
            }
        }
        heard(&mut agent, &message);
        agent.effects.clear();
        // What the machine does meanwhile.
        match &message {
            to_agent::Message::RunTask(run) if run.task.executor.is_some() => {
                assert_eq!(agent.subscribe("e", 7, Default::default()).status, 200);
                let message = v1::executor::call::Message { data: Bytes::from_static(b"from the executor") };
                let kind = v1::executor::call::Type::Message;
                agent.call(v1::executor::Call { message: Some(message), ..call("e", kind) });
                agent.call(update("e", "custom", TaskState::TaskRunning, 9));
            }
            _ => {}
        }
        said.extend(agent.take_messages());
    }
    said
}

fn kinds<T>(messages: impl Iterator<Item = T>) -> HashSet<std::mem::Discriminant<T>> {
    messages.map(|message| std::mem::discriminant(&message)).collect()
}

fn check(agent: &mut Agent, message: &to_agent::Message) {
    use to_agent::Message as To;
    match message {
        To::Ping(ping) => {
            let pongs = agent.take_messages();
            let answered = |message: &from_agent::Message| matches!(message, from_agent::Message::Pong(pong) if pong.sequence == ping.sequence);
            assert!(pongs.iter().any(answered), "{pongs:?}");
        }
        To::RunTask(_) | To::RunTaskGroup(_) => {
            let launches = agent.take_launches();
            assert_eq!(launches.len(), 1, "{message:?}");
            agent.running(&launches[0].container_id);
        }
        To::KillTask(_) => {
            let ends: Vec<Stop> = agent.take_stops();
            assert_eq!(ends, [Stop::Graceful(Duration::from_secs(60))]);
        }
        To::FrameworkMessage(_) => assert_eq!(agent.take_event_names(), ["MESSAGE"]),
        To::OpenBulk(open) => {
            let asked = agent.take(|effect| match effect {
                Effect::OpenBulk(token) => Some(token.clone()),
                _ => None,
            });
            assert_eq!(asked.first(), Some(&open.token));
        }
        To::ApplyOperation(_) => {
            let told = agent.take_messages();
            assert!(told.iter().any(|message| matches!(message, from_agent::Message::OperationStatus(_))), "{told:?}");
        }
        To::Reregistered(_) => {
            let states: Vec<TaskState> = agent.take_updates().iter().map(v1::TaskStatus::state).collect();
            assert!(states.contains(&TaskState::TaskDropped), "what only the master knows: {states:?}");
        }
        To::ShutdownExecutor(_) => assert_eq!(agent.take_event_names(), ["SHUTDOWN"]),
        To::DrainAgent(_) | To::ShutdownFramework(_) | To::Shutdown(_) => {}
        To::Registered(_)
        | To::UpdateFramework(_)
        | To::Notice(_)
        | To::Acknowledge(_)
        | To::AcknowledgeOperation(_) => {}
    }
}

#[test]
fn what_the_first_masters_said_is_understood() {
    let now = conversation();
    if std::env::var_os("MEZZO_WRITE_FORMATS").is_some() {
        let messages: Vec<ToAgent> =
            now.iter().map(|message| ToAgent { term: 7, message: Some(message.clone()) }).collect();
        let mut said = play(&messages, check);
        said.push(from_agent::Message::ResourcesChanged(link::ResourcesChanged {
            resource_version: Bytes::from_static(b"version-2"),
            checkpointed_resources: Vec::new(),
        }));
        let (framework_id, executor_id, agent_id) = ids();
        said.push(from_agent::Message::ExitedExecutor(link::ExitedExecutor { framework_id, executor_id, status: 0 }));
        said.push(from_agent::Message::Unregister(link::Unregister { agent_id }));
        let said: Vec<FromAgent> = said.into_iter().map(|message| FromAgent { message: Some(message) }).collect();
        write("to-agent-1", &messages);
        write("from-agent-1", &said);
    }
    let messages: Vec<ToAgent> = frames("to-agent-1");
    let heard = kinds(messages.iter().filter_map(|message| message.message.clone()));
    assert_eq!(
        heard,
        kinds(now.into_iter()),
        "the conversation of today has other messages: record it as the next version's"
    );
    // What is said today in the same conversation is of the kinds that were recorded: masters of then understand them.
    let recorded: Vec<FromAgent> = frames("from-agent-1");
    let recorded = kinds(recorded.iter().filter_map(|message| message.message.clone()));
    assert!(kinds(play(&messages, check).into_iter()).is_subset(&recorded));
}

/// What a newer master adds is passed over: messages and fields of numbers that nobody has here.
#[test]
fn what_a_newer_master_adds_is_passed_over() {
    for mut bytes in [Vec::new(), run_task_bytes()] {
        bytes.extend([0xba, 0x3e, 3, 1, 2, 3]); // field 999, three bytes
        let message = ToAgent::decode(&[&[8, 7][..], &bytes].concat()[..]).unwrap();
        let mut agent = Agent::registered();
        let known = message.message.is_some();
        let link = mezzo_agent_core::effect::LinkId(agent.link);
        agent.step(|core, now, out| core.master(now, link, message, out));
        assert_eq!(agent.take_launches().len(), usize::from(known));
    }
}

/// A RunTask that only has what every version has.
fn run_task_bytes() -> Vec<u8> {
    let message = run_task(&plain(), &command_task("t", "true"), true);
    let whole = ToAgent { term: 7, message: Some(message) }.encode_to_vec();
    whole[2..].to_vec() // without the term
}
