//! What a real master answered to operators who set quota, weights, reservations, volumes and maintenance, well and badly.

use std::sync::LazyLock;

use mezzo_tests::cluster::{Cluster, RESOURCES};
use mezzo_tests::framework::Framework;
use mezzo_tests::golden::deviations::Findings;
use mezzo_tests::golden::{diff, load, normalise::Normaliser};
use mezzo_tests::http::{self, Request, Response};
use mezzo_tests::tasks;
use regex::Regex;
use serde_json::{Value, json};

static AGENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[0-9a-f-]{36}-S\d+").unwrap());

/// Paths and calls that are replayed.
const PATHS: [&str; 8] = [
    "/reserve",
    "/unreserve",
    "/create-volumes",
    "/destroy-volumes",
    "/quota",
    "/weights",
    "/maintenance/",
    "/machine/",
];
const CALLS: [&str; 16] = [
    "RESERVE_RESOURCES",
    "UNRESERVE_RESOURCES",
    "CREATE_VOLUMES",
    "DESTROY_VOLUMES",
    "GROW_VOLUME",
    "SHRINK_VOLUME",
    "GET_QUOTA",
    "UPDATE_QUOTA",
    "SET_QUOTA",
    "REMOVE_QUOTA",
    "GET_WEIGHTS",
    "UPDATE_WEIGHTS",
    "MAINTENANCE_SCHEDULE",
    "MAINTENANCE_STATUS",
    "START_MAINTENANCE",
    "STOP_MAINTENANCE",
];

#[test]
fn operators_are_answered_as_by_a_real_master() {
    let cluster = Cluster::builder().agents(1).resources(RESOURCES).start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("ops", "dev"));
    // The recorded agent ran one small task, and nobody was offered the rest.
    framework.run("t", "sleep 1000");
    framework.wait_status("t", "TASK_RUNNING");
    framework.call("SUPPRESS", Value::Null);
    framework.listen(std::time::Duration::from_millis(200));
    let offers: Vec<Value> = framework.offers.values().cloned().collect();
    offers.iter().for_each(|offer| framework.decline(offer, 3600.0));
    let agent = cluster.agent_ids().remove(0);
    let golden = load("operator_errors");
    let mut findings = Findings::of("operator_errors");
    for case in golden["cases"].as_array().unwrap().iter().filter(|case| is_ours(case)) {
        let request = request(case, &agent);
        let response =
            http::send(cluster.master_address, &request).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
        let (expected, actual) = (expected(case), actual(&response));
        findings.add(case["name"].as_str().unwrap(), diff::differences(&expected, &actual));
    }
    assert!(findings.cases() > 90, "too few cases: {}", findings.cases());
    findings.check();
    framework.teardown();
}

fn is_ours(case: &Value) -> bool {
    let path = case["request"]["path"].as_str().unwrap_or_default();
    let text = case["request"]["text"].as_str().unwrap_or_default();
    let long = case["request"]["truncated"].is_string() || case["request"]["truncated"] == true;
    !long
        && (PATHS.iter().any(|prefix| path.starts_with(prefix))
            || path == "/api/v1" && CALLS.iter().any(|call| text.contains(call)))
}

fn request(case: &Value, agent: &str) -> Request {
    let golden = &case["request"];
    let mut request = Request::new(golden["method"].as_str().unwrap(), golden["path"].as_str().unwrap());
    for (name, value) in golden["headers"].as_object().into_iter().flatten() {
        request.headers.push((name.clone(), value.as_str().unwrap().to_owned()));
    }
    let text = golden["text"].as_str().unwrap_or_default();
    request.body = AGENT.replace_all(text, agent).into_owned().into_bytes();
    request
}

fn expected(case: &Value) -> Value {
    let response = &case["response"];
    document(&response["status"], response["text"].as_str().unwrap_or_default(), response["body"].clone())
}

fn actual(response: &Response) -> Value {
    let text = response.text();
    let body = if response.status() == 200 { serde_json::from_str(&text).unwrap_or(Value::Null) } else { Value::Null };
    let text = if body.is_null() { text } else { String::new() };
    document(&json!(response.status()), &text, body)
}

fn document(status: &Value, text: &str, mut body: Value) -> Value {
    sort(&mut body);
    Normaliser::default().value(&json!({"status": status, "text": text, "body": body}))
}

/// Roles come in the order of a hash map.
fn sort(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(sort);
            items.sort_by_key(|item| (item["role"].to_string(), item.to_string()));
        }
        Value::Object(members) => members.values_mut().for_each(sort),
        _ => {}
    }
}
