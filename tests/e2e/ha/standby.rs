//! What a master says that does not lead: what a real Mesos says (`tests/golden/zookeeper.json`).

use std::net::SocketAddr;

use mezzo_tests::golden::load;
use mezzo_tests::http::{self, Request};
use mezzo_tests::masters::Masters;
use mezzo_tests::wait;
use serde_json::Value;

/// Each recorded answer, of a leader on port 15141 and a standby on port 15142.
fn answers_as(recorded: &str, master: SocketAddr, leader: Option<SocketAddr>) {
    let golden = load("zookeeper");
    for record in golden[recorded].as_array().unwrap() {
        let (asked, expected) = (&record["request"], &record["response"]);
        let (method, path) = (asked["method"].as_str().unwrap(), asked["path"].as_str().unwrap());
        let mut request = Request::new(method, path);
        for (name, value) in asked["headers"].as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        let answer = http::send(master, &request).unwrap();
        assert_eq!(u64::from(answer.status()), expected["status"], "{recorded}: {method} {path}: {}", answer.text());
        let location = expected["headers"]["Location"].as_str().map(|location| {
            let leader = leader.expect("a redirect leads to a leader");
            // The order of a query's keys is that of a hash map there.
            location.replace("127.0.0.1:15141", &leader.to_string()).replace("?y=%2F&x=1", "?x=1&y=%2F")
        });
        assert_eq!(answer.head.header("Location"), location.as_deref(), "{recorded}: {method} {path}");
        if expected["status"].as_u64() >= Some(400) {
            assert_eq!(Some(answer.text().as_str()), expected["text"].as_str(), "{recorded}: {method} {path}");
        }
        for metric in ["master/elected", "master/slaves_active"] {
            if let Some(value) = expected["body"].get(metric) {
                assert_eq!(answer.json().get(metric), Some(value), "{recorded}: {metric}");
            }
        }
    }
}

#[test]
fn a_leader_and_a_standby_answer_as_mesos_does() {
    let group = Masters::builder().agents(0).start();
    let (leader, standby) = (group.masters[0].address, group.masters[1].address);
    answers_as("leader_answers", leader, Some(leader));
    answers_as("standby_answers", standby, Some(leader));
    let location = http::send(standby, &Request::get("/link")).unwrap().head.header("Location").map(str::to_owned);
    assert_eq!(location, Some(format!("//{leader}/link")));
}

#[test]
fn without_a_leader_masters_answer_as_mesos_does() {
    // No server listens where this master looks.
    let mut group = Masters::builder().masters(0).agents(0).start();
    for server in &mut group.ensemble.servers {
        server.part.kill();
    }
    group.add_master(&[]);
    let address = group.masters[0].address;
    wait::until("the master answers", || http::send(address, &Request::get("/health")).ok());
    answers_as("no_leader_elected_answers", address, None);
}

#[test]
fn znodes_are_those_of_mesos() {
    let golden = load("zookeeper");
    for (credentials, recorded) in
        [(None, "znodes_two_masters"), (Some("user:secret"), "znodes_digest_replicated_log_nested_path")]
    {
        let builder = Masters::builder().agents(0);
        let group = match credentials {
            Some(credentials) => builder.credentials(credentials).start(),
            None => builder.start(),
        };
        let theirs = golden[recorded].as_array().unwrap();
        let theirs = theirs.iter().find(|znode| znode["path"].as_str().unwrap().contains("json.info_")).unwrap();
        let (children, data, acl) = super::events::znodes(&group);
        assert!(children.iter().all(|child| child.starts_with("json.info_") && child.len() == 20), "{children:?}");
        assert_eq!(children.len(), 2);
        let ours: Value = serde_json::from_slice(&data).unwrap();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&ours), keys(&theirs["data"]));
        assert_eq!(keys(&ours["address"]), keys(&theirs["data"]["address"]));
        assert_eq!(ours["capabilities"], theirs["data"]["capabilities"]);
        assert_eq!(ours["ip"], theirs["data"]["ip"]);
        let expected: Vec<_> = theirs["acl"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| (entry["perms"].as_u64().unwrap(), entry["scheme"].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(acl, expected);
    }
}
