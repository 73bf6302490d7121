//! Clients written for Mesos, unchanged, and a raw one in protobuf that does the same.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use mezzo_api::codec::Encoding;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::{environment, tasks, wait};
use serde_json::{Value, json};

/// How long one scenario of a Python client may take.
const SCENARIO: Duration = Duration::from_secs(150);

/// Runs a scenario of `tests/python/pymesos_scheduler.py`.
fn pymesos(scenario: &str) {
    let Some(python) = environment::python() else {
        return environment::skip("there is no Python with pymesos: run `cargo xtask setup`");
    };
    let cluster = Cluster::builder().agents(2).start();
    let output = cluster.dir().join("client.log");
    run(&python, scenario, &cluster, &output);
    wait::until_true("no task or executor stays after the framework has gone", || {
        cluster
            .children()
            .iter()
            .all(|process| !process.command.contains("sleep 1000") && !process.command.contains("pymesos_executor"))
    });
}

fn run(python: &PathBuf, scenario: &str, cluster: &Cluster, output: &PathBuf) {
    let script = environment::data("python").join("pymesos_scheduler.py");
    let log = std::fs::File::create(output).unwrap();
    let mut client = Command::new(python)
        .arg(script)
        .arg(cluster.master_address.to_string())
        .arg(scenario)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env(mezzo_tests::part::MARK, cluster.dir())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let status = wait::until_within(SCENARIO, &format!("pymesos: {scenario}"), || client.try_wait().unwrap());
    let said = std::fs::read_to_string(output).unwrap();
    assert!(status.success(), "pymesos: {scenario}: {status}\n{said}");
    assert!(said.contains(&format!("{scenario}: as it must be")), "{said}");
}

#[test]
fn pymesos_runs_200_tasks_on_two_agents() {
    pymesos("tasks");
}

#[test]
fn pymesos_as_executor_runs_200_tasks_and_talks() {
    pymesos("executor");
}

#[test]
fn pymesos_kills() {
    pymesos("kill");
}

#[test]
fn pymesos_reconciles() {
    pymesos("reconcile");
}

#[test]
fn pymesos_fails_over() {
    pymesos("failover");
}

#[test]
fn pymesos_finds_its_volume_again() {
    pymesos("volume");
}

#[test]
fn pymesos_declines_for_long() {
    pymesos("decline");
}

#[test]
fn pymesos_suppresses_and_revives() {
    pymesos("suppress");
}

#[test]
fn pymesos_as_operator_makes_every_call() {
    let Some(python) = environment::python() else {
        return environment::skip("there is no Python with pymesos: run `cargo xtask setup`");
    };
    let cluster = Cluster::builder().start();
    let script = environment::data("python").join("pymesos_operator.py");
    let output = Command::new(python)
        .arg(script)
        .args([cluster.master_address, cluster.agents[0].address].map(|address| address.to_string()))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env(mezzo_tests::part::MARK, cluster.dir())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("as it must be"), "{said}");
}

/// A framework in protobuf on a cluster of two agents.
fn raw(name: &str) -> (Cluster, Framework) {
    let cluster = Cluster::builder().agents(2).start();
    let framework =
        Framework::subscribe_in(Encoding::Protobuf, cluster.master_address, tasks::framework_info(name, "dev"));
    (cluster, framework)
}

#[test]
fn protobuf_runs_200_tasks_on_two_agents() {
    let (_cluster, mut framework) = raw("raw-tasks");
    let mut left: Vec<String> = (0..200).map(|n| format!("task-{n}")).collect();
    let all = left.clone();
    while !left.is_empty() {
        let offer = framework.wait_any_offer();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an agent has a handful of cpus")]
        let fit = (tasks::amount(&offer, "cpus") / 0.1 + 1e-6).min(tasks::amount(&offer, "mem") / 32.0) as usize;
        let chosen: Vec<Value> = left
            .drain(..fit.min(left.len()))
            .map(|task| tasks::command(&task, tasks::agent_of(&offer), "true"))
            .collect();
        framework.launch(&offer, &chosen);
    }
    let mut agents = std::collections::BTreeSet::new();
    for task in &all {
        let status = framework.wait_status(task, "TASK_FINISHED");
        agents.insert(status["agent_id"]["value"].as_str().unwrap().to_owned());
        let states: Vec<Value> = framework.statuses(task).iter().map(|status| status["state"].clone()).collect();
        assert_eq!(states, ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"], "{task}");
    }
    assert_eq!(agents.len(), 2);
    assert_eq!(framework.stream().odd_chunks(), 0);
}

#[test]
fn protobuf_kills_and_reconciles() {
    let (cluster, mut framework) = raw("raw-kill");
    framework.run("long", "sleep 1000");
    let running = framework.wait_status("long", "TASK_RUNNING");
    let mark = framework.mark();
    framework.call("RECONCILE", json!({"tasks": [{"task_id": {"value": "long"}}, {"task_id": {"value": "nobody"}}, {"task_id": {"value": "nobody2"}, "agent_id": running["agent_id"]}]}));
    assert_eq!(framework.wait_status_since(mark, "long", "TASK_RUNNING")["reason"], "REASON_RECONCILIATION");
    assert_eq!(
        framework.wait_status_since(mark, "nobody", "TASK_UNKNOWN")["message"],
        "Reconciliation: Task is unknown"
    );
    assert_eq!(
        framework.wait_status_since(mark, "nobody2", "TASK_GONE")["message"],
        "Reconciliation: Task is unknown to the agent"
    );
    let mark = framework.mark();
    framework.call("RECONCILE", json!({"tasks": []}));
    framework.wait_status_since(mark, "long", "TASK_RUNNING");
    framework.call("KILL", json!({"task_id": {"value": "long"}}));
    framework.wait_status("long", "TASK_KILLING");
    framework.wait_status("long", "TASK_KILLED");
    framework.teardown();
    wait::until_true("no task stays", || {
        cluster.children().iter().all(|process| !process.command.contains("sleep 1000"))
    });
}

#[test]
fn protobuf_fails_over() {
    let (cluster, mut framework) = raw("raw-failover");
    framework.run("lives", "sleep 1000");
    framework.wait_status("lives", "TASK_RUNNING");
    let mut second = Framework::subscribe_in(Encoding::Protobuf, cluster.master_address, framework.info().clone());
    assert_eq!(second.id, framework.id);
    assert_ne!(second.stream_id, framework.stream_id);
    framework.wait_since(0, "ERROR", |event| {
        event["type"] == "ERROR" && event["error"]["message"] == "Framework failed over"
    });
    wait::until_true("the old stream ends", || {
        framework.next(Duration::from_millis(10));
        framework.closed.is_some()
    });
    let refused = framework.try_call("REVIVE", Value::Null).unwrap();
    assert_eq!(refused.status(), 400, "{}", refused.text());
    second.call("KILL", json!({"task_id": {"value": "lives"}}));
    second.wait_status("lives", "TASK_KILLED");
    // A scheduler that dies and comes back within its time finds its task again.
    second.run("lives-on", "sleep 1000");
    second.wait_status("lives-on", "TASK_RUNNING");
    second.hang_up();
    wait::until_true("the master sees that the framework is away", || second.shown()["connected"] == false);
    second.resubscribe().unwrap();
    let mark = second.mark();
    second.call("RECONCILE", json!({"tasks": []}));
    second.wait_status_since(mark, "lives-on", "TASK_RUNNING");
    second.teardown();
}

#[test]
fn protobuf_declines_suppresses_and_revives() {
    let (_cluster, mut framework) = raw("raw-offers");
    let both = |framework: &mut Framework| {
        let first = framework.wait_any_offer();
        let agent = tasks::agent_of(&first).to_owned();
        let second = framework.wait_offer("of the other agent", |offer| tasks::agent_of(offer) != agent);
        [first, second]
    };
    for offer in both(&mut framework) {
        framework.decline(&offer, 3600.0);
    }
    framework.listen(Duration::from_millis(1500));
    assert!(framework.offers.is_empty(), "offers came within their filter: {:?}", framework.offers);
    framework.call("REVIVE", Value::Null);
    let offers = both(&mut framework);
    framework.call("SUPPRESS", Value::Null);
    for offer in &offers {
        framework.decline(offer, 0.0);
    }
    framework.listen(Duration::from_millis(1500));
    assert!(framework.offers.is_empty(), "offers came while suppressed: {:?}", framework.offers);
    framework.call("REVIVE", Value::Null);
    for offer in both(&mut framework) {
        framework.decline(&offer, 1.0);
    }
    // A filter ends.
    both(&mut framework);
}

/// Records heartbeats: one directly after SUBSCRIBED, then one every fifteen seconds.
#[test]
fn heartbeats_come() {
    let cluster = Cluster::builder().agents(0).start();
    let framework =
        Framework::subscribe_in(Encoding::Protobuf, cluster.master_address, tasks::framework_info("heartbeats", "dev"));
    assert_eq!(framework.events[0]["subscribed"]["heartbeat_interval_seconds"], 15.0);
    let stream = framework.stream();
    let heartbeat = |patience| stream.next(Duration::from_secs(patience)).expect("a heartbeat must come");
    let (first, event) = heartbeat(1);
    assert_eq!(event, mezzo_tests::stream::Arrival::Event(json!({"type": "HEARTBEAT"})));
    let (second, event) = heartbeat(20);
    assert_eq!(event, mezzo_tests::stream::Arrival::Event(json!({"type": "HEARTBEAT"})));
    let apart = (second - first).as_secs_f64();
    assert!((14.0..16.5).contains(&apart), "heartbeats were {apart:.1} s apart");
}
