//! What a real Mesos wrote, we read and write again: the same fields in the same order with the same values.

use std::{fs, path::PathBuf};

use mezzo_api::{
    codec::{ApiMessage, Encoding, decode, encode},
    resources::Resources,
    v1::{agent, executor, master, scheduler},
};
use serde_json::Value;

fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn golden(name: &str) -> Value {
    let text = fs::read(golden_dir().join(name)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Through our types in JSON, and in protobuf on the way.
fn again<M: ApiMessage + PartialEq>(json: &Value) -> Value {
    let message: M =
        decode(Encoding::Json, json.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}: {json}"));
    let wire = encode(Encoding::Protobuf, &message);
    let same: M = decode(Encoding::Protobuf, &wire).unwrap();
    assert!(same == message, "{json}");
    serde_json::from_slice(&encode(Encoding::Json, &same)).unwrap()
}

/// Values and the order of keys.
fn assert_same<M: ApiMessage + PartialEq>(json: &Value) {
    let (ours, theirs) = (again::<M>(json).to_string(), json.to_string());
    let same = ours.bytes().zip(theirs.bytes()).take_while(|(ours, theirs)| ours == theirs).count();
    let around = |text: &str| text.chars().skip(same.saturating_sub(80)).take(160).collect::<String>();
    assert!(ours == theirs, "ours …{}…, theirs …{}…", around(&ours), around(&theirs));
}

fn records(value: &Value) -> &[Value] {
    value.as_array().expect("records")
}

#[test]
fn scheduler_stream() {
    let stream = golden("scheduler_stream.json");
    let events = records(&stream["records"]).iter().filter_map(|record| record.get("event"));
    let count = events.inspect(|event| assert_same::<scheduler::Event>(event)).count();
    assert!(count > 100, "{count} events");
}

#[test]
fn scheduler_calls_mean_the_same_in_protobuf() {
    let stream = golden("scheduler_stream.json");
    let calls = records(&stream["records"]).iter().filter_map(|record| record.get("call"));
    let count = calls.inspect(|call| drop(again::<scheduler::Call>(call))).count();
    assert!(count > 50, "{count} calls");
}

#[test]
fn events_after_bad_calls() {
    let errors = golden("scheduler_errors.json");
    let events = records(&errors["cases"])
        .iter()
        .filter_map(|case| case["events"].as_array())
        .flatten()
        .filter(|event| event.get("type").is_some());
    let count = events.inspect(|event| assert_same::<scheduler::Event>(event)).count();
    assert!(count > 100, "{count} events");
}

#[test]
fn executor_stream() {
    let stream = golden("executor_stream.json");
    let agent_side = ["pyexec", "pyexec2"].iter().flat_map(|run| records(&stream[*run]["records"]));
    let mut events = 0;
    for record in agent_side {
        if let Some(event) = record.get("event") {
            assert_same::<executor::Event>(event);
            events += 1;
        }
    }
    assert!(events > 10, "{events} events");
    for event in records(&stream["scheduler"]).iter().filter_map(|record| record.get("event")) {
        assert_same::<scheduler::Event>(event);
    }
}

/// Mesos writes these answers by hand (src/master/readonly_handler.cpp), with lists even when they are empty, and
/// with its internal SlaveInfo, whose `checkpoint` is no field of mesos.v1.AgentInfo.
fn without_extras(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let is_extra = |name: &str, value: &Value| match value {
                Value::Array(list) => list.is_empty(),
                Value::Bool(_) => name == "checkpoint" && members.contains_key("port"),
                _ => false,
            };
            let kept = members.iter().filter(|(name, value)| !is_extra(name, value));
            kept.map(|(name, value)| (name.clone(), without_extras(value))).collect()
        }
        Value::Array(list) => list.iter().map(without_extras).collect(),
        other => other.clone(),
    }
}

#[test]
fn operator_stream() {
    let stream = golden("operator_stream.json");
    let mut events = 0;
    for event in records(&stream["records"]).iter().filter_map(|record| record.get("event")) {
        let event = without_extras(event);
        assert_same::<master::Event>(&event);
        events += 1;
    }
    assert!(events > 20, "{events} events");
}

#[test]
fn operator_answers() {
    let mut answers = 0;
    for entry in fs::read_dir(golden_dir()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(of) = name.strip_prefix("v1_") else { continue };
        let answer = golden(&name);
        let Some(body) = answer.get("body").filter(|body| body.is_object()) else { continue };
        let body = without_extras(body);
        if of.starts_with("master_") {
            assert_same::<master::Response>(&body);
        } else {
            assert_same::<agent::Response>(&body);
        }
        answers += 1;
    }
    assert!(answers > 15, "{answers} answers");
}

/// Requests whose numbers Mesos lets wrap around; we refuse them.
const WRAPPED_BY_MESOS: &[&str] = &["KILL grace overflow of int64", "negative port"];

#[test]
fn bad_calls_get_the_same_texts() {
    let errors = golden("scheduler_errors.json");
    let (mut refused, mut accepted) = (0, 0);
    for case in records(&errors["cases"]) {
        let (name, request, headers) = (case["name"].as_str().unwrap(), &case["request"], &case["request"]["headers"]);
        let is_plain_json = request["method"] == "POST"
            && headers["Content-Type"] == "application/json"
            && headers.get("Content-Encoding").is_none();
        let cut_or_framed = name.starts_with("body of 2 MB") || name.starts_with("chunked");
        let Some(text) = request["text"].as_str().filter(|_| is_plain_json && !cut_or_framed) else { continue };
        let answer = case["response"]["text"].as_str().unwrap_or_default();
        let of_decoding = answer.starts_with("Failed to parse body") || answer.starts_with("Failed to convert JSON");
        match decode::<scheduler::Call>(Encoding::Json, text.as_bytes()) {
            Err(error) if of_decoding => {
                assert_eq!(error.to_string(), answer, "{name}");
                refused += 1;
            }
            Err(error) if WRAPPED_BY_MESOS.contains(&name) => {
                assert!(error.to_string().contains("Number out of range for field"), "{name}: {error}");
            }
            Ok(_) if !of_decoding => accepted += 1,
            other => panic!("{name}: {other:?} instead of {answer:?}"),
        }
    }
    assert!(refused > 30, "{refused} calls");
    assert!(accepted > 150, "{accepted} calls");
}

/// Amounts that overflow in Mesos; we say so.
const OVERFLOWING_IN_MESOS: &[&str] = &["huge cpus 1e308", "cpus \"Infinity\""];

#[test]
fn bad_resources_get_the_same_texts() {
    let errors = golden("scheduler_errors.json");
    let mut count = 0;
    for case in records(&errors["cases"]) {
        let name = case["name"].as_str().unwrap();
        let message = case.pointer("/events/0/update/status/message").and_then(Value::as_str).unwrap_or_default();
        if !message.starts_with("Resource '") || WRAPPED_BY_MESOS.contains(&name) {
            continue;
        }
        let text = case["request"]["text"].as_str().unwrap();
        let call: scheduler::Call = decode(Encoding::Json, text.as_bytes()).unwrap();
        let launch = call.accept.unwrap().operations[0].launch.clone().unwrap();
        let error = Resources::from_protos(&launch.task_infos[0].resources).unwrap_err().to_string();
        if OVERFLOWING_IN_MESOS.contains(&name) {
            assert!(error.ends_with("is invalid: Invalid scalar resource: value is too large"), "{name}: {error}");
        } else {
            assert_eq!(error, message, "{name}");
        }
        count += 1;
    }
    assert!(count >= 10, "{count} cases");
}
