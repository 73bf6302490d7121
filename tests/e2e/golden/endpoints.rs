//! The endpoints that people and tools read: the same fields and types as those of a real master and agent in the same situation.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use mezzo_api::{MESOS_VERSION, MEZZO_VERSION};
use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::golden::deviations::Findings;
use mezzo_tests::golden::{load, shape::Shape};
use mezzo_tests::http::{self, Request, Response};
use mezzo_tests::{tasks, wait};
use serde_json::{Value, json};

/// Flags of these tests' own command lines, and one of the recording's: those are not compared.
const GIVEN: [&str; 5] =
    ["flags.hostname", "flags.ip", "flags.master", "flags.resources", "flags.executor_environment_variables"];

/// Objects whose field names are data.
const DICTIONARIES: [&str; 3] = ["attributes", "reserved_resources", "reserved_resources_full"];

/// `GET` on the master, by name of the golden data.
const MASTER: [(&str, &str); 12] = [
    ("master_version", "/version"),
    ("master_flags", "/flags"),
    ("master_health", "/health"),
    ("master_redirect", "/redirect"),
    ("master_state", "/state"),
    ("master_state_jsonp", "/state?jsonp=cb"),
    ("master_slaves", "/slaves"),
    ("master_frameworks", "/frameworks"),
    ("master_tasks", "/tasks"),
    ("master_state-summary", "/state-summary"),
    ("master_metrics_snapshot", "/metrics/snapshot"),
    ("master_files_debug", "/files/debug"),
];

/// `GET` on the agent; `SANDBOX` stands for that of a running task.
const AGENT: [(&str, &str); 10] = [
    ("agent_version", "/version"),
    ("agent_flags", "/flags"),
    ("agent_health", "/health"),
    ("agent_state", "/state"),
    ("agent_metrics_snapshot", "/metrics/snapshot"),
    ("agent_files_browse", "/files/browse?path=SANDBOX"),
    ("agent_files_browse_path__slave_log", "/files/browse?path=/slave/log"),
    ("agent_files_read", "/files/read?path=SANDBOX/stdout&offset=0"),
    ("agent_files_download", "/files/download?path=SANDBOX/stdout"),
    ("agent_files_debug", "/files/debug"),
];

/// Operator calls of which there is golden data, of master and agent.
const CALLS: [&str; 18] = [
    "GET_AGENTS",
    "GET_CONTAINERS",
    "GET_EXECUTORS",
    "GET_FLAGS",
    "GET_FRAMEWORKS",
    "GET_HEALTH",
    "GET_LOGGING_LEVEL",
    "GET_MAINTENANCE_SCHEDULE",
    "GET_MAINTENANCE_STATUS",
    "GET_MASTER",
    "GET_OPERATIONS",
    "GET_QUOTA",
    "GET_RESOURCE_PROVIDERS",
    "GET_ROLES",
    "GET_STATE",
    "GET_TASKS",
    "GET_VERSION",
    "GET_WEIGHTS",
];

#[test]
fn endpoints_have_the_shape_of_mesos() {
    let cluster = Cluster::builder().start();
    let agent = cluster.agents[0].address;
    let _framework = situation(&cluster);
    let sandbox = sandbox(agent);
    let mut findings = Findings::of("endpoints");
    for (name, path) in MASTER {
        compare(name, cluster.master_address, path, &mut findings);
    }
    for (name, path) in AGENT {
        compare(name, agent, &path.replace("SANDBOX", &sandbox), &mut findings);
    }
    findings.check();
}

/// Operator calls that only read.
#[test]
fn operator_calls_have_the_shape_of_mesos() {
    let cluster = Cluster::builder().start();
    let agent = cluster.agents[0].address;
    let _framework = situation(&cluster);
    let mut findings = Findings::of("operator");
    for (whose, address) in [("master", cluster.master_address), ("agent", agent)] {
        for call in CALLS {
            let name = format!("v1_{whose}_{call}");
            if findings.skips(&name) {
                continue;
            }
            let golden = load(&name);
            let request = Request::post("/api/v1", "application/json", json!({"type": call}).to_string())
                .header("Accept", "application/json");
            let response = http::send(address, &request).unwrap_or_else(|error| panic!("{call}: {error}"));
            let shape = Shape::with_dictionaries(&golden["body"], &DICTIONARIES);
            findings.add(&name, differences(&golden, &shape, &response));
        }
    }
    findings.check();
}

/// The version that is said is that of the protocol; Mezzo's own stands beside it.
#[test]
fn the_version_is_that_of_the_protocol() {
    let cluster = Cluster::builder().start();
    for address in [cluster.master_address, cluster.agents[0].address] {
        let version = http::get_json(address, "/version");
        assert_eq!(version["version"], MESOS_VERSION);
        let own =
            version.as_object().unwrap().iter().find(|(name, value)| name.contains("mezzo") && *value == MEZZO_VERSION);
        assert!(own.is_some(), "Mezzo's own version must have a field of its own: {version}");
    }
    let framework = Framework::subscribe(cluster.master_address, tasks::framework_info("version", "dev"));
    assert_eq!(framework.events[0]["subscribed"]["master_info"]["version"], MESOS_VERSION);
    assert_eq!(cluster.state()["version"], MESOS_VERSION);
}

/// What the recording had: frameworks that have gone, with tasks and executors that ended; one that is there, with a task that runs.
fn situation(cluster: &Cluster) -> Framework {
    for name in ["gone", "toil"] {
        let info = json!({"user": "root", "name": name, "failover_timeout": 100.0, "capabilities": [{"type": "GPU_RESOURCES"}]});
        let mut framework = Framework::subscribe(cluster.master_address, info);
        framework.run("ends", "true");
        framework.wait_status("ends", "TASK_FINISHED");
        framework.teardown();
    }
    let info = json!({"user": "root", "name": "pymesos-test", "failover_timeout": 100.0, "capabilities": [{"type": "GPU_RESOURCES"}]});
    let mut framework = Framework::subscribe(cluster.master_address, info);
    framework.run("runs", "echo hi; sleep 1000");
    framework.wait_status("runs", "TASK_RUNNING");
    // The recording was made when nothing was offered.
    framework.call("SUPPRESS", Value::Null);
    while let Some(offer) = framework.offers.values().next().cloned() {
        framework.decline(&offer, 0.0);
    }
    framework.listen(std::time::Duration::from_millis(200));
    wait::until_true("the task is shown as running", || framework.shown()["tasks"][0]["state"] == "TASK_RUNNING");
    framework
}

/// The sandbox of the running task, as the agent shows it.
fn sandbox(agent: SocketAddr) -> String {
    let state = http::get_json(agent, "/state");
    let directory = state["frameworks"][0]["executors"][0]["directory"].as_str();
    let directory = directory.unwrap_or_else(|| panic!("the agent shows no sandbox: {state}")).to_owned();
    wait::until_true("the task has written", || {
        std::fs::read_to_string(format!("{directory}/stdout")).is_ok_and(|text| text.contains("hi"))
    });
    directory
}

fn compare(name: &str, address: SocketAddr, path: &str, findings: &mut Findings) {
    if findings.skips(name) {
        return;
    }
    let golden = load(name);
    let response = http::send(address, &Request::get(path)).unwrap_or_else(|error| panic!("GET {path}: {error}"));
    // What is attached to `/files` is named by its path.
    let names_are_paths = name == "agent_files_debug";
    let shape = if names_are_paths {
        Shape::Dictionary(Box::new(Shape::Text))
    } else {
        Shape::with_dictionaries(&golden["body"], &DICTIONARIES)
    };
    let mut found = if name.ends_with("metrics_snapshot") {
        missing_metrics(name, &golden, &response)
    } else {
        differences(&golden, &shape, &response)
    };
    found.retain(|difference| !GIVEN.iter().any(|flag| difference.starts_with(&format!("{flag}: "))));
    findings.add(name, found);
}

/// Metrics that a real one has and ours has not: what collects them counts on their names.
fn missing_metrics(name: &str, golden: &Value, response: &Response) -> Vec<String> {
    // The process that was recorded as an agent had been a master, too.
    let own = |metric: &str| {
        name.starts_with("master") || metric.starts_with("slave/") || metric.starts_with("containerizer/")
    };
    let names = |body: &Value| -> BTreeSet<String> {
        body.as_object()
            .unwrap()
            .iter()
            .filter(|(_, value)| value.is_number())
            .map(|(metric, _)| of_any_framework(metric))
            .collect()
    };
    let ours = names(&response.json());
    names(&golden["body"])
        .into_iter()
        .filter(|metric| own(metric) && !ours.contains(metric))
        .map(|metric| format!("{metric}: missing"))
        .collect()
}

/// Names of frameworks and their ids are data: all that is counted of each framework is one metric here.
fn of_any_framework(metric: &str) -> String {
    match metric.split('/').collect::<Vec<&str>>().as_slice() {
        ["master", "frameworks", ..] => "master/frameworks/*".to_owned(),
        ["frameworks", ..] => "frameworks/*".to_owned(),
        _ => metric.to_owned(),
    }
}

fn differences(golden: &Value, shape: &Shape, response: &Response) -> Vec<String> {
    let mut found = Vec::new();
    let status = golden["status"].as_str().and_then(|status| status.split(' ').next()?.parse::<u16>().ok());
    if status != Some(response.status()) {
        found.push(format!("status: expected {}, got {}", golden["status"], response.status()));
    }
    for (header, value) in golden["headers"].as_object().unwrap() {
        let ours = response.head.header(header);
        let fits = match header.as_str() {
            "Content-Length" => true,
            "Location" => ours.is_some_and(|ours| ours.starts_with("//")),
            _ => ours == value.as_str(),
        };
        if !fits {
            found.push(format!("{header}: expected {value}, got {ours:?}"));
        }
    }
    if !found.is_empty() {
        return found;
    }
    if !golden["body"].is_null() {
        found.extend(shape.differences(&response.json()));
    } else if golden["text"].as_str().is_some_and(|text| text.starts_with("cb(")) {
        let text = response.text();
        if !(text.starts_with("cb({") && text.ends_with("})")) {
            found.push(format!("text: no call of cb: {text}"));
        }
    } else if golden["text"].as_str() != Some(&response.text()) {
        found.push(format!("text: expected {}, got {:?}", golden["text"], response.text()));
    }
    found
}
