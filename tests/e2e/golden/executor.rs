//! The life of a custom executor as it was recorded, seen from its own side and from its framework's.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mezzo_api::codec::Encoding;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::golden::deviations::Findings;
use mezzo_tests::golden::{diff, load, normalise::Normaliser};
use mezzo_tests::wait;
use serde_json::{Value, json};

use super::replay::Replay;
use super::subscription;

#[test]
fn a_recorded_executor_in_json() {
    replay(Encoding::Json);
}

#[test]
fn a_recorded_executor_in_protobuf() {
    replay(Encoding::Protobuf);
}

fn replay(encoding: Encoding) {
    let golden = load("executor_stream");
    let cluster = Cluster::builder().agent_flag("--executor_reregistration_timeout=5secs").start();
    let work_dir = cluster.agents[0].work_dir.clone();
    let mut replay = Replay::new(cluster, encoding, &golden["scheduler"]);
    let word = if encoding == Encoding::Json { "json" } else { "protobuf" };
    let ours = format!("{} {word}", env!("CARGO_BIN_EXE_scripted-executor"));
    replay.texts.push(("python3 /opt/frameworks/executor.py".to_owned(), ours));
    replay.texts.push(("/var/lib/mesos/agent".to_owned(), work_dir.display().to_string()));
    let mut findings = Findings::of("executor_stream");
    replay.all(&golden["scheduler"], &mut findings, before);
    let records = read(&sandbox(&work_dir, "pyexec").join("records.jsonl"));
    let streams = records.iter().filter(|record| record["call"]["type"] == "SUBSCRIBE");
    let types: Vec<&Value> = streams.map(|record| &record["headers"]["content-type"]).collect();
    assert_eq!(types, [encoding.media_type(), encoding.media_type()], "the executor's streams");
    compare_executor(&replay, &golden["pyexec"], &work_dir, "pyexec", &mut findings);
    compare_executor(&replay, &golden["pyexec2"], &work_dir, "pyexec2", &mut findings);
    findings.check();
}

fn before(replay: &mut Replay, note: &str) {
    if note.starts_with("agent killed") {
        let records = sandbox(&replay.cluster.agents[0].work_dir, "pyexec").join("records.jsonl");
        replay.cluster.agents[0].part.kill();
        wait::until_true("the executor has met nobody", || read(&records).iter().any(|record| record["status"] == 0));
        replay.cluster.agents[0].part.start();
    }
}

/// The sandbox of an executor's latest run.
fn sandbox(work_dir: &Path, executor: &str) -> PathBuf {
    let runs = |agent: &Path| -> Option<PathBuf> {
        let framework = std::fs::read_dir(agent.join("frameworks")).ok()?.flatten().next()?.path();
        Some(framework.join("executors").join(executor).join("runs/latest"))
    };
    let agents = std::fs::read_dir(work_dir.join("slaves")).into_iter().flatten().flatten().map(|entry| entry.path());
    let found = agents.filter_map(|agent| runs(&agent)).find(|path| path.is_dir());
    found.unwrap_or_else(|| panic!("executor {executor} has no sandbox under {}", work_dir.display()))
}

fn read(records: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(records).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn compare_executor(replay: &Replay, golden: &Value, work_dir: &Path, executor: &str, findings: &mut Findings) {
    let dir = sandbox(work_dir, executor);
    // What is the same is waited for; what is not shows below.
    let start = Instant::now();
    let both = |records: &[Value]| {
        (calls(records).as_array().map_or(0, Vec::len), events(records).as_array().map_or(0, Vec::len))
    };
    while both(&read(&dir.join("records.jsonl"))) != both(golden["records"].as_array().unwrap())
        && start.elapsed() < Duration::from_secs(10)
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    let ours = replay.as_recorded(&json!(read(&dir.join("records.jsonl"))));
    let (golden_records, ours) = (golden["records"].as_array().unwrap(), ours.as_array().unwrap());
    for case in golden_records.iter().filter(|record| record["case"].is_string()) {
        let name = case["case"].as_str().unwrap();
        let answer = ours.iter().find(|record| record["case"] == name).cloned().unwrap_or_default();
        let text = |record: &Value| {
            Normaliser::default()
                .value(&json!({"status": record["status"], "text": record["text"].as_str().unwrap_or_default()}))
        };
        findings.add(&format!("{executor}: {name}"), diff::differences(&text(case), &text(&answer)));
    }
    for (what, part) in [("calls", calls as fn(&[Value]) -> Value), ("events", events)] {
        let mut expected = part(golden_records);
        subscription::as_of_version(&mut expected);
        findings.add(&format!("{executor}: {what}"), diff::differences(&expected, &part(ours)));
    }
    if golden["environment"].is_object() {
        let environment: Value = serde_json::from_slice(&std::fs::read(dir.join("environment.json")).unwrap()).unwrap();
        let environment = Normaliser::default().value(&replay.as_recorded(&environment));
        findings.add(
            &format!("{executor}: environment"),
            diff::differences(&Normaliser::default().value(&golden["environment"]), &environment),
        );
    }
}

/// What was called and answered, in order; what the calls said is in the comparison of the framework's side.
fn calls(records: &[Value]) -> Value {
    let good = records.iter().filter(|record| record["call"].is_object() && record["case"].is_null());
    good.map(|record| {
        let status = &record["call"]["update"]["status"];
        let name = status["task_id"]["value"].as_str().unwrap_or_default();
        json!(format!(
            "{} {name} {} => {}",
            record["call"]["type"].as_str().unwrap(),
            status["state"].as_str().unwrap_or_default(),
            record["status"]
        ))
    })
    .collect()
}

/// What came, in order.
fn events(records: &[Value]) -> Value {
    let came = records.iter().filter(|record| record.get("event").is_some() || record.get("closed").is_some());
    came.map(|record| Normaliser::default().value(record)).collect()
}
