//! The operator's event stream beside the recorded one: the same events, fields and order for the same happenings.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mezzo_api::codec::Encoding;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::golden::deviations::Findings;
use mezzo_tests::golden::{diff, load, normalise::Normaliser};
use mezzo_tests::operator;
use mezzo_tests::stream::{Arrival, EventStream};
use mezzo_tests::tasks;
use serde_json::{Value, json};

use super::subscription;

/// How long the events of one happening may take.
const CASE: Duration = Duration::from_secs(30);

#[test]
fn a_recorded_operator_stream_in_json() {
    replay(Encoding::Json);
}

#[test]
fn a_recorded_operator_stream_in_protobuf() {
    replay(Encoding::Protobuf);
}

/// A happening of the recording, and what came after it.
struct Part {
    note: String,
    events: Vec<Value>,
}

fn parts() -> Vec<Part> {
    let golden = load("operator_stream");
    let mut parts: Vec<Part> = Vec::new();
    for record in golden["records"].as_array().unwrap() {
        if let Some(note) = record["note"].as_str() {
            parts.push(Part { note: note.to_owned(), events: Vec::new() });
        } else if let Some(event) = record.get("event") {
            let mut event = event.clone();
            subscription::as_of_version(&mut event);
            // When the others come is a matter of time.
            if event["type"] != "HEARTBEAT" || parts.len() == 1 {
                parts.last_mut().unwrap().events.push(event);
            }
        }
    }
    parts
}

fn replay(encoding: Encoding) {
    let cluster = Cluster::builder().agents(0).lost_after(3, "1secs").start();
    let stream = operator::subscribe(cluster.master_address, encoding).expect("the master must take a subscriber");
    assert_eq!(stream.head.header("Content-Type"), Some(encoding.media_type()));
    assert_eq!(stream.head.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(stream.head.header("Mesos-Stream-Id"), None);
    let mut replay = Replay { cluster, stream, frameworks: Vec::new(), updates: BTreeSet::new() };
    let mut findings = Findings::of("operator_stream");
    for part in parts() {
        if part.note.starts_with("next heartbeat") || part.note.starts_with("TEARDOWN of the framework") {
            continue;
        }
        if findings.skips(&part.note) {
            continue;
        }
        replay.happen(&part.note);
        let events = replay.events(part.events.len(), part.note == "empty cluster");
        let mut differences = diff::differences(&normalised(&part.events), &normalised(&events));
        if encoding == Encoding::Protobuf {
            // Empty lists are not written in protobuf, nor is a default.
            differences.retain(|difference| !difference.ends_with("missing, expected []"));
        }
        findings.add(&part.note, differences);
    }
    assert_eq!(replay.stream.odd_chunks(), 0, "each event is one chunk");
    findings.check();
}

fn normalised(events: &[Value]) -> Value {
    let mut events = json!(events);
    for event in events.as_array_mut().into_iter().flatten() {
        if let Some(update) = event.get_mut("task_updated") {
            // How far the task had come when its status was told is a matter of time.
            update["state"] = update["status"]["state"].clone();
        }
    }
    Normaliser::default().value(&events)
}

struct Replay {
    cluster: Cluster,
    stream: EventStream,
    frameworks: Vec<Framework>,
    /// Updates that were told.
    updates: BTreeSet<String>,
}

impl Replay {
    fn happen(&mut self, note: &str) {
        match note {
            "empty cluster" => {}
            "agent registers" => self.add_agent(&["--attributes=rack:r1;size:4;ports:[1-2]"]),
            "framework subscribes" => self.subscribe("op-test", 60.0, true),
            "command task" => {
                let mut task = self.task("o-1", "true");
                task["labels"] = json!({"labels": [{"key": "x", "value": "y"}]});
                self.launch(&task);
                self.main().wait_status("o-1", "TASK_FINISHED");
            }
            "task with a health check and data, killed" => {
                let mut task = self.task("o-2", "sleep 1000");
                task["data"] = json!("AAE=");
                task["health_check"] = json!({
                    "type": "COMMAND", "delay_seconds": 0.0, "interval_seconds": 10.0, "timeout_seconds": 20.0,
                    "consecutive_failures": 3, "grace_period_seconds": 0.0, "command": {"value": "true"},
                });
                self.launch(&task);
                let framework = self.main();
                framework.wait_since(0, "a healthy task", |event| event["update"]["status"]["healthy"] == true);
                framework.call("KILL", json!({"task_id": {"value": "o-2"}}));
                framework.wait_status("o-2", "TASK_KILLED");
            }
            "UPDATE_FRAMEWORK" => {
                let info = self.named("op-test-2");
                self.main().call("UPDATE_FRAMEWORK", json!({"framework_info": info}));
            }
            "invalid task" => {
                let mut task = self.task("o-3", "true");
                task["resources"] = json!([tasks::scalar("cpus", 1000.0), tasks::scalar("mem", 32.0)]);
                self.launch(&task);
                self.main().wait_status("o-3", "TASK_ERROR");
            }
            "second agent joins, unregisters (SIGUSR1)" => {
                self.add_agent(&[]);
                self.cluster.agents[1].part.signal(nix::sys::signal::Signal::SIGUSR1);
            }
            "framework disconnects and resubscribes" => {
                let info = self.named("op-test-3");
                self.main().hang_up();
                self.main().resubscribe_as(info).expect("the framework must come back");
            }
            "task running while the agent is killed (-9) => unreachable; then it comes back" => {
                let task = self.task("o-4", "sleep 1000");
                self.launch(&task);
                self.main().wait_status("o-4", "TASK_RUNNING");
                self.cluster.agents[0].part.kill();
                self.main().wait_status("o-4", "TASK_UNREACHABLE");
                self.cluster.agents[0].part.start();
            }
            "framework teardown" => {
                self.subscribe("short", 0.0, false);
                self.frameworks.pop().unwrap().teardown();
            }
            "plain framework (not PARTITION_AWARE, not checkpointing) with a task, then its teardown" => {
                // Else the resources are offered to the other one.
                let main = self.main();
                main.call("SUPPRESS", Value::Null);
                main.listen(Duration::from_millis(200));
                while let Some(offer) = main.offers.values().next().cloned() {
                    main.decline(&offer, 0.0);
                }
                let info = json!({"user": "root", "name": "plain", "failover_timeout": 60.0, "checkpoint": false, "role": "dev"});
                let mut framework = Framework::subscribe(self.cluster.master_address, info);
                let offer = framework.wait_any_offer();
                framework.launch(&offer, &[tasks::command("o-6", tasks::agent_of(&offer), "sleep 1000")]);
                framework.wait_status("o-6", "TASK_RUNNING");
                framework.teardown();
            }
            other => panic!("{other}: nobody knows how to make this happen"),
        }
    }

    fn main(&mut self) -> &mut Framework {
        &mut self.frameworks[0]
    }

    fn add_agent(&mut self, flags: &[&str]) {
        self.cluster.add_agent_with(flags);
        let count = self.cluster.agents.len();
        self.cluster.wait_until_registered(count);
    }

    fn subscribe(&mut self, name: &str, failover_timeout: f64, checkpoint: bool) {
        let capabilities = [
            "MULTI_ROLE",
            "PARTITION_AWARE",
            "TASK_KILLING_STATE",
            "RESERVATION_REFINEMENT",
            "SHARED_RESOURCES",
            "REGION_AWARE",
        ]
        .map(|name| json!({"type": name}));
        let info = json!({
            "user": "root", "name": name, "failover_timeout": failover_timeout, "checkpoint": checkpoint,
            "roles": ["dev"], "capabilities": capabilities,
        });
        self.frameworks.push(Framework::subscribe(self.cluster.master_address, info));
    }

    fn named(&mut self, name: &str) -> Value {
        let framework = self.main();
        let mut info = framework.info().clone();
        info["name"] = json!(name);
        info["id"] = json!({"value": framework.id});
        info
    }

    fn task(&mut self, id: &str, command: &str) -> Value {
        tasks::command(id, &self.cluster.agent_ids()[0], command)
    }

    fn launch(&mut self, task: &Value) {
        let agent = task["agent_id"]["value"].clone();
        let framework = self.main();
        let offer = framework.wait_offer("of the task's agent", |offer| offer["agent_id"]["value"] == agent);
        framework.launch(&offer, std::slice::from_ref(task));
    }

    /// Whether it tells of an update that an earlier event told of.
    fn is_repeated(&mut self, event: &Value) -> bool {
        let status = &event["task_updated"]["status"];
        status["uuid"].as_str().is_some_and(|uuid| !self.updates.insert(format!("{uuid} {}", status["state"])))
    }

    /// As many events as are expected, and any more that come at once.
    fn events(&mut self, count: usize, with_heartbeat: bool) -> Vec<Value> {
        let (mut events, start) = (Vec::new(), Instant::now());
        loop {
            let patience = Duration::from_millis(if events.len() < count { 200 } else { 300 });
            match self.stream.next(patience).map(|(_, arrival)| arrival) {
                Some(Arrival::Event(event)) if event["type"] == "HEARTBEAT" && !with_heartbeat => {}
                // An agent that was killed before it heard that an update is acknowledged sends it once more.
                Some(Arrival::Event(event)) if self.is_repeated(&event) => {}
                Some(Arrival::Event(event)) => events.push(event),
                Some(Arrival::Closed(closing)) => panic!("{}", closing.describe()),
                None if events.len() >= count || start.elapsed() > CASE => return events,
                None => {}
            }
        }
    }
}
