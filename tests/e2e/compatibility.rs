//! The tables of `docs/` say what is as in Mesos: real servers are asked whether that is true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use mezzo_api::codec::Encoding;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::http::{self, Request};
use mezzo_tests::{operator, tasks, wait};
use regex::Regex;
use serde_json::json;

/// A page of `docs/`.
fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs").join(name)).unwrap()
}

/// `a{b,c}` as `ab` and `ac`.
fn expanded(text: &str) -> Vec<String> {
    let Some((before, rest)) = text.split_once('{') else { return vec![text.to_owned()] };
    let (choices, after) = rest.split_once('}').unwrap();
    let tails = expanded(after);
    choices.split(',').flat_map(|choice| tails.iter().map(move |tail| format!("{before}{choice}{tail}"))).collect()
}

struct Row {
    name: String,
    pattern: Regex,
    state: String,
}

/// Rows of the sections with these headings.
fn rows(sections: &[&str]) -> Vec<Row> {
    let page = page("metrics.md");
    let row = Regex::new(r"(?m)^\| `([^`]+)` \| ([^|]+) \|$").unwrap();
    let placeholder = Regex::new(r"<[a-z]+>").unwrap();
    let mut rows = Vec::new();
    for section in page.split("\n## ").filter(|section| sections.contains(&section.lines().next().unwrap())) {
        for found in row.captures_iter(section) {
            for name in expanded(&found[1]) {
                let pattern = placeholder.replace_all(&regex::escape(&name), ".*").into_owned();
                let pattern = Regex::new(&format!("^{pattern}$")).unwrap();
                rows.push(Row { name, pattern, state: found[2].to_owned() });
            }
        }
    }
    rows
}

fn holds(server: &str, address: SocketAddr) {
    let told: BTreeMap<String, f64> =
        serde_json::from_value(http::get_json(address, "/metrics/snapshot")).expect("names and numbers");
    let rows = rows(&["Both", server]);
    let mut wrong = Vec::new();
    for name in told.keys() {
        if !rows.iter().any(|row| row.pattern.is_match(name)) {
            wrong.push(format!("{name}: told, and not in the table"));
        }
    }
    let mut found_on_demand = 0;
    for row in &rows {
        let values: Vec<f64> =
            told.iter().filter(|(name, _)| row.pattern.is_match(name)).map(|(_, value)| *value).collect();
        let kind = row.state.split(':').next().unwrap().trim();
        let is_true = match kind {
            "same" | "Mezzo's own" => values.len() == 1,
            "on demand" | "Mezzo's own, on demand" => {
                found_on_demand += usize::from(!values.is_empty());
                true
            }
            "always 0" => values == [0.0] && row.state.contains(": "),
            "not there" => values.is_empty(),
            other => panic!("{}: no state of the table: {other}", row.name),
        };
        if !is_true {
            wrong.push(format!("{}: '{}', but told is {values:?}", row.name, row.state));
        }
    }
    assert!(wrong.is_empty(), "{server}:\n{}", wrong.join("\n"));
    assert!(server == "mezzo-agent" || found_on_demand > 60, "only {found_on_demand} of those on demand were seen");
}

#[test]
fn the_table_of_metrics_is_true() {
    let cluster = Cluster::builder().start();
    let mut info = tasks::framework_info("counted", "dev");
    info["principal"] = json!("someone");
    let mut framework = Framework::subscribe(cluster.master_address, info);
    framework.run("ends", "true");
    framework.wait_status("ends", "TASK_FINISHED");
    let offer = framework.wait_any_offer();
    let mut task = tasks::command("too-large", tasks::agent_of(&offer), "true");
    task["resources"] = json!([tasks::scalar("cpus", 1000.0), tasks::scalar("mem", 32.0)]);
    framework.launch(&offer, &[task]);
    framework.wait_status("too-large", "TASK_ERROR");
    let quota = json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": [{"role": "dev", "limits": {"cpus": {"value": 100}}}]}});
    assert_eq!(operator::call(cluster.master_address, &quota).status(), 200);
    let offer = framework.wait_any_offer();
    framework.decline(&offer, 1000.0);
    wait::until_true("the filter is told", || {
        let metrics = http::get_json(cluster.master_address, "/metrics/snapshot");
        metrics["allocator/mesos/offer_filters/roles/dev/active"] == 1.0
    });
    let metrics = http::get_json(cluster.master_address, "/metrics/snapshot");
    for name in [
        "master/task_error/source_master/reason_task_invalid",
        "frameworks/someone/messages_received",
        "allocator/mesos/quota/roles/dev/resources/cpus/limit",
        "allocator/mesos/roles/dev/shares/dominant",
    ] {
        assert!(metrics[name].is_number(), "{name}");
    }
    holds("mezzo-master", cluster.master_address);
    holds("mezzo-agent", cluster.agents[0].address);
}

/// Names in backticks of a table's first column.
fn named(text: &str) -> impl Iterator<Item = String> {
    let name = Regex::new("`([^`]+)`").unwrap();
    name.captures_iter(text).map(|found| found[1].to_owned()).collect::<Vec<_>>().into_iter()
}

/// Rows of a table of `compatibility.md`: name and state.
fn table(heading: &str) -> Vec<(String, String)> {
    let page = page("compatibility.md");
    let section = page.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let row = Regex::new(r"(?m)^\| ([^|]+) \| (.+) \|$").unwrap();
    row.captures_iter(section).map(|found| (found[1].to_owned(), found[2].to_owned())).skip(1).collect()
}

/// What an answer must be for an endpoint that is there: anything but "no such endpoint" and "not known here".
fn is_there(status: u16) -> bool {
    !matches!(status, 404 | 500..=599)
}

#[test]
fn the_table_of_endpoints_is_true() {
    let cluster = Cluster::builder().start();
    let (master, agent) = (cluster.master_address, cluster.agents[0].address);
    let ask = |address, path: &str| http::send(address, &Request::get(path)).unwrap().status();
    let mut asked = BTreeSet::new();
    for (name, state) in table("Endpoints") {
        if name.contains("POST") || !name.contains("`/") {
            continue;
        }
        let servers: &[SocketAddr] = match name.split('`').next().unwrap().trim() {
            "master" => &[master],
            "agent" => &[agent],
            _ => &[master, agent],
        };
        for path in named(&name).flat_map(|path| expanded(&path)).filter(|path| path.starts_with('/')) {
            let path = path.replace("<id>/…", &format!("{}/version", cluster.agent_ids()[0])).replace('…', "nothing");
            let answers: Vec<u16> = servers.iter().map(|server| ask(*server, &path)).collect();
            let is_true = match state.as_str() {
                state if state.contains("(404)") => answers.iter().all(|status| *status == 404),
                // What is read of nothing is 404 of the endpoint's own.
                _ if path.starts_with("/files/") || path.contains("nothing") => true,
                _ => answers.iter().any(|status| is_there(*status)),
            };
            assert!(is_true, "{path}: {answers:?}, but the table says '{state}'");
            asked.insert(path);
        }
    }
    assert!(asked.len() > 40, "{asked:?}");
}

#[test]
fn the_tables_of_calls_are_true() {
    let cluster = Cluster::builder().start();
    let mut checked = 0;
    for (name, state) in table("Endpoints") {
        let Some((server, calls)) = name.split_once(" `POST /api/v1`: ") else { continue };
        let address = if server == "master" { cluster.master_address } else { cluster.agents[0].address };
        for call in calls_of(calls) {
            if call == "SUBSCRIBE" {
                let stream = operator::subscribe(address, Encoding::Json).expect("it must take a subscriber");
                assert_eq!(stream.head.status, 200);
                continue;
            }
            let answer = operator::call(address, &json!({ "type": call }));
            let text = answer.text();
            match answer.status() {
                200 | 202 => assert!(state.starts_with("same"), "{server} {call}: answers, but '{state}'"),
                400 => assert!(text.contains("Expecting '"), "{server} {call}: {text}"),
                501 => {
                    assert!(state.contains("not yet") && text.contains(&call), "{server} {call}: {text}, but '{state}'")
                }
                status => panic!("{server} {call}: {status} {text}"),
            }
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
    assert_eq!(without_a_row(), Vec::<String>::new(), "calls without a row");
}

/// The words of a row in capitals; `GET_, SET_QUOTA` are two.
fn calls_of(text: &str) -> Vec<String> {
    let word = Regex::new("[A-Z][A-Z_]+").unwrap();
    let words: Vec<String> = word.find_iter(text).map(|found| found.as_str().to_owned()).collect();
    let mut calls = Vec::new();
    let mut waiting: Vec<String> = Vec::new();
    for word in words {
        if word.ends_with('_') {
            waiting.push(word);
            continue;
        }
        let noun = word.split_once('_').map(|(_, noun)| noun.to_owned()).unwrap_or_default();
        calls.extend(waiting.drain(..).map(|verb| format!("{verb}{noun}")));
        calls.push(word);
    }
    calls
}

/// Calls of the protocol that no row of the table names.
fn without_a_row() -> Vec<String> {
    let rows: Vec<String> = table("Endpoints").into_iter().map(|(name, _)| name).collect();
    let mut missing = Vec::new();
    let value = Regex::new(r"(?m)^\s+([A-Z_]+) = \d+").unwrap();
    for server in ["master", "agent"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let file = root.join(format!("api/types/proto/mesos/v1/{server}/{server}.proto"));
        let text = std::fs::read_to_string(file).unwrap();
        let call = text.split("message Call {").nth(1).unwrap();
        // There are other enums of this name within.
        let types = call.split("enum Type {").find(|body| body.contains("GET_HEALTH")).unwrap();
        let body = types.split('}').next().unwrap();
        let told: BTreeSet<String> =
            rows.iter().filter(|row| row.starts_with(server)).flat_map(|row| calls_of(row)).collect();
        let all = value.captures_iter(body).map(|found| found[1].to_owned()).filter(|name| name != "UNKNOWN");
        missing.extend(all.filter(|name| !told.contains(name)).map(|name| format!("{server} {name}")));
    }
    missing
}

#[test]
fn names_and_rows_are_read_as_they_are_meant() {
    assert_eq!(expanded("a/{b,c}_{d,e}"), ["a/b_d", "a/b_e", "a/c_d", "a/c_e"]);
    assert_eq!(calls_of("GET_, UPDATE_WEIGHTS, TEARDOWN"), ["GET_WEIGHTS", "UPDATE_WEIGHTS", "TEARDOWN"]);
}
