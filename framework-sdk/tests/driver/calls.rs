//! Each call as it goes over the wire, held against the API's own description (docs/scheduler-http-api.md and
//! include/mesos/v1/scheduler/scheduler.proto of apache/mesos), in both encodings.

use bytes::Bytes;
use mezzo_api::codec::Encoding;
use mezzo_sdk::{
    scheduler::{Handle, calls},
    v1::{self, scheduler::Call},
};
use serde_json::{Value, json};

use super::{
    scheduler::{builder, master, subscribe},
    server::Received,
};

fn offer(id: &str) -> v1::OfferId {
    v1::OfferId { value: id.into() }
}

fn agent() -> v1::AgentId {
    v1::AgentId { value: "S1".into() }
}

fn task() -> v1::TaskId {
    v1::TaskId { value: "T1".into() }
}

fn executor() -> v1::ExecutorId {
    v1::ExecutorId { value: "E1".into() }
}

fn uuid() -> Bytes {
    Bytes::from_static(&[7; 16])
}

fn filters(seconds: f64) -> Option<v1::Filters> {
    Some(v1::Filters { refuse_seconds: Some(seconds) })
}

/// What is called, and what must then be in the body beside `framework_id`.
type Case = (fn(&Handle), Value);

fn cases() -> Vec<Case> {
    let uuid_text = "BwcHBwcHBwcHBwcHBwcHBw==";
    vec![
        (
            |handle| {
                let info = v1::TaskInfo { name: "n".into(), task_id: task(), agent_id: agent(), ..Default::default() };
                handle.launch([offer("O1"), offer("O2")], vec![info], filters(0.0));
            },
            json!({"type": "ACCEPT", "accept": {
                "offer_ids": [{"value": "O1"}, {"value": "O2"}],
                "operations": [{"type": "LAUNCH", "launch": {"task_infos": [
                    {"name": "n", "task_id": {"value": "T1"}, "agent_id": {"value": "S1"}}]}}],
                "filters": {"refuse_seconds": 0.0}}}),
        ),
        (
            |handle| {
                let operation = calls::with_feedback(calls::create(Vec::new()), "op");
                handle.accept([offer("O1")], vec![operation, calls::reserve(Vec::new())], None);
            },
            json!({"type": "ACCEPT", "accept": {"offer_ids": [{"value": "O1"}], "operations": [
                {"type": "CREATE", "id": {"value": "op"}, "create": {}}, {"type": "RESERVE", "reserve": {}}]}}),
        ),
        (
            |handle| handle.decline([offer("O1")], filters(30.0)),
            json!({"type": "DECLINE", "decline": {"offer_ids": [{"value": "O1"}], "filters": {"refuse_seconds": 30.0}}}),
        ),
        (
            |handle| handle.accept_inverse_offers([offer("I1")], None),
            json!({"type": "ACCEPT_INVERSE_OFFERS", "accept_inverse_offers": {"inverse_offer_ids": [{"value": "I1"}]}}),
        ),
        (
            |handle| handle.decline_inverse_offers([offer("I1")], None),
            json!({"type": "DECLINE_INVERSE_OFFERS", "decline_inverse_offers": {"inverse_offer_ids": [{"value": "I1"}]}}),
        ),
        (|handle| handle.revive(vec!["dev".into()]), json!({"type": "REVIVE", "revive": {"roles": ["dev"]}})),
        (|handle| handle.suppress(Vec::new()), json!({"type": "SUPPRESS", "suppress": {}})),
        (
            |handle| {
                let grace = v1::DurationInfo { nanoseconds: 5_000_000_000 };
                handle.kill(task(), Some(agent()), Some(v1::KillPolicy { grace_period: Some(grace) }));
            },
            json!({"type": "KILL", "kill": {"task_id": {"value": "T1"}, "agent_id": {"value": "S1"},
                "kill_policy": {"grace_period": {"nanoseconds": 5_000_000_000_i64}}}}),
        ),
        (
            |handle| {
                let status = v1::TaskStatus {
                    task_id: task(),
                    agent_id: Some(agent()),
                    uuid: Some(uuid()),
                    ..Default::default()
                };
                handle.acknowledge(&status);
            },
            json!({"type": "ACKNOWLEDGE", "acknowledge": {
                "agent_id": {"value": "S1"}, "task_id": {"value": "T1"}, "uuid": uuid_text}}),
        ),
        (
            |handle| {
                let status = v1::OperationStatus {
                    operation_id: Some(v1::OperationId { value: "op".into() }),
                    agent_id: Some(agent()),
                    uuid: Some(v1::Uuid { value: uuid() }),
                    ..Default::default()
                };
                handle.acknowledge_operation(&status);
            },
            json!({"type": "ACKNOWLEDGE_OPERATION_STATUS", "acknowledge_operation_status": {
                "agent_id": {"value": "S1"}, "uuid": uuid_text, "operation_id": {"value": "op"}}}),
        ),
        (
            |handle| {
                let task = v1::scheduler::call::reconcile::Task { task_id: task(), agent_id: Some(agent()) };
                handle.reconcile(vec![task]);
            },
            json!({"type": "RECONCILE", "reconcile": {"tasks": [
                {"task_id": {"value": "T1"}, "agent_id": {"value": "S1"}}]}}),
        ),
        (
            |handle| {
                let operation = v1::scheduler::call::reconcile_operations::Operation {
                    operation_id: v1::OperationId { value: "op".into() },
                    ..Default::default()
                };
                handle.reconcile_operations(vec![operation]);
            },
            json!({"type": "RECONCILE_OPERATIONS", "reconcile_operations": {"operations": [
                {"operation_id": {"value": "op"}}]}}),
        ),
        (
            |handle| handle.message(agent(), executor(), &b"hi"[..]),
            json!({"type": "MESSAGE", "message": {
                "agent_id": {"value": "S1"}, "executor_id": {"value": "E1"}, "data": "aGk="}}),
        ),
        (
            |handle| handle.shutdown_executor(executor(), agent()),
            json!({"type": "SHUTDOWN", "shutdown": {"executor_id": {"value": "E1"}, "agent_id": {"value": "S1"}}}),
        ),
    ]
}

/// Whether everything that is expected is there, and no list has more in it.
fn contains(has: &Value, expected: &Value) -> bool {
    match (has, expected) {
        (Value::Object(has), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| has.get(key).is_some_and(|has| contains(has, value)))
        }
        (Value::Array(has), Value::Array(expected)) => {
            has.len() == expected.len() && has.iter().zip(expected).all(|(has, expected)| contains(has, expected))
        }
        _ => has == expected,
    }
}

fn body(request: &Received) -> Value {
    mezzo_api::codec::to_json_value(&request.read::<Call>())
}

#[tokio::test]
async fn every_call_is_as_mesos_describes_it() {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let mut master = master().await;
        let (handle, _events, _subscription) = {
            let builder = builder(master.address.to_string()).encoding(encoding);
            subscribe(&mut master, builder).await
        };
        for (make, expected) in cases() {
            make(&handle);
            let request = master.call().await;
            assert_eq!(request.path, "/api/v1/scheduler");
            assert_eq!(request.header("content-type"), Some(encoding.media_type()));
            assert!(request.header("mesos-stream-id").is_some());
            let body = match encoding {
                Encoding::Json => serde_json::from_slice(&request.body).unwrap(), // to the letter
                Encoding::Protobuf => body(&request),
            };
            assert_eq!(body["framework_id"], json!({"value": "F"}), "{body}");
            assert!(contains(&body, &expected), "{encoding:?}\n{body:#}\nis not\n{expected:#}");
        }
    }
}
