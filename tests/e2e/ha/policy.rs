//! What operators have set outlives the leader: quota, weights, the maintenance schedule with machines that are down, agents
//! that are deactivated or gone, frameworks that were torn down.

use std::net::SocketAddr;
use std::time::Instant;

use mezzo_api::codec::Encoding;
use mezzo_tests::framework::Framework;
use mezzo_tests::http::{self, Request};
use mezzo_tests::masters::Masters;
use mezzo_tests::{operator, tasks, wait};
use serde_json::{Value, json};

fn done(master: SocketAddr, call: &Value) {
    let answer = operator::call(master, call);
    assert_eq!(answer.status(), 200, "{call}: {}", answer.text());
}

fn post(master: SocketAddr, path: &str, body: &Value) {
    let request = Request::post(path, "application/json", body.to_string());
    let answer = http::send(master, &request).unwrap();
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
}

/// Sets the weight of one role.
pub(crate) fn set_weight(master: SocketAddr, role: &str, weight: f64) {
    let weights = json!([{"role": role, "weight": weight}]);
    done(master, &json!({"type": "UPDATE_WEIGHTS", "update_weights": {"weight_infos": weights}}));
}

/// What the operator API tells of all that was set.
pub(crate) fn told(master: SocketAddr) -> Value {
    let kinds = ["GET_QUOTA", "GET_WEIGHTS", "GET_MAINTENANCE_SCHEDULE"];
    let told = kinds.map(|kind| operator::ask(master, kind));
    json!([told, http::get_json(master, "/maintenance/status")["down_machines"]])
}

/// Sets quota, weights and a maintenance schedule with a machine that is down.
pub(crate) fn set(master: SocketAddr) {
    let machine = |hostname: &str, ip: &str| json!({"hostname": hostname, "ip": ip});
    let window = |machines: Value| json!({"machine_ids": machines, "unavailability": {"start": {"nanoseconds": 1}}});
    let (down, elsewhere) = (json!([machine("down.example", "10.9.9.9")]), json!([machine("else.example", "")]));
    let limits = json!({"cpus": {"value": 1.5}, "mem": {"value": 1024.0}});
    let quota = json!([{"role": "limited", "limits": limits}, {"role": "ä%2", "guarantees": {"cpus": {"value": 0.5}}}]);
    done(master, &json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": quota}}));
    set_weight(master, "heavy", 2.5);
    set_weight(master, "limited", 0.5);
    post(master, "/maintenance/schedule", &json!({"windows": [window(down.clone()), window(elsewhere)]}));
    post(master, "/machine/down", &down);
}

#[test]
fn what_operators_have_set_outlives_the_leader() {
    let mut group = Masters::builder().agents(2).start();
    let master = group.masters[0].address;
    set(master);
    let ids: Vec<Value> =
        group.state(0).unwrap()["slaves"].as_array().unwrap().iter().map(|a| a["id"].clone()).collect();
    done(master, &json!({"type": "DEACTIVATE_AGENT", "deactivate_agent": {"agent_id": {"value": ids[0]}}}));
    let mut torn_down = Framework::subscribe(master, tasks::framework_info("torn down", "*"));
    torn_down.wait_any_offer();
    let gone = torn_down.info().clone();
    torn_down.teardown();
    let before = told(master);
    assert!(
        before.to_string().contains("ä%2") && before[1] == json!([{"hostname": "down.example", "ip": "10.9.9.9"}]),
        "{before}"
    );

    group.masters[0].part.kill();
    assert_eq!(group.wait_for_leader(&[1]), 1);
    let master = group.masters[1].address;
    assert_eq!(told(master), before);
    let said = Framework::try_subscribe(Encoding::Json, master, gone).unwrap_err();
    assert!(said.contains("Framework has been removed"), "{said}");
    group.wait_for_agents(1, 1); // the other one is deactivated still
    let agents = wait::until("both agents are back", || {
        let agents = operator::ask(master, "GET_AGENTS")["get_agents"]["agents"].as_array().unwrap().clone();
        (agents.len() == 2).then_some(agents)
    });
    let deactivated = agents.iter().find(|agent| agent["agent_info"]["id"]["value"] == ids[0]).unwrap();
    assert_eq!(deactivated["deactivated"], true, "{deactivated}");
    // The quota is not only told: no more than its limit is offered.
    let mut limited = Framework::subscribe(master, tasks::framework_info("limited", "limited"));
    let offer = limited.wait_any_offer();
    assert_eq!((tasks::agent_of(&offer), tasks::amount(&offer, "cpus")), (ids[1].as_str().unwrap(), 1.5));
    limited.teardown();

    // All of it can be taken back, which the leader after this one knows too.
    done(master, &json!({"type": "REACTIVATE_AGENT", "reactivate_agent": {"agent_id": {"value": ids[0]}}}));
    for role in ["limited", "ä%2"] {
        done(master, &json!({"type": "REMOVE_QUOTA", "remove_quota": {"role": role}}));
    }
    post(master, "/machine/up", &json!([{"hostname": "down.example", "ip": "10.9.9.9"}]));
    post(master, "/maintenance/schedule", &json!({"windows": []}));
    let before = told(master);
    group.masters[0].part.start();
    group.wait_for_standby(0, 1);
    group.masters[1].part.kill();
    group.takeover(Instant::now(), &[0], 2);
    let after = told(group.masters[0].address);
    assert_eq!(after, before);
    assert!(!after.to_string().contains("ä%2") && !after.to_string().contains("down.example"), "{after}");
}

/// Answers to inverse offers are a leader's own, as in Mesos: the next one asks again, and takes no answer to what it has
/// not asked.
#[test]
fn the_next_leader_asks_again_whether_an_agent_can_be_done_without() {
    let mut group = Masters::builder().agents(1).start();
    let mut framework = Framework::subscribe(group.masters[0].address, tasks::framework_info("maintained", "dev"));
    framework.run("t", "sleep 1000");
    framework.wait_status("t", "TASK_RUNNING");
    let machine = json!([{"hostname": "127.0.0.1", "ip": "127.0.0.1"}]);
    let schedule = json!({"windows": [{"machine_ids": machine, "unavailability": {"start": {"nanoseconds": 1}}}]});
    post(group.masters[0].address, "/maintenance/schedule", &schedule);
    let asked = |framework: &mut Framework, mark: usize| {
        let event = framework.wait_since(mark, "INVERSE_OFFERS", |event| event["type"] == "INVERSE_OFFERS");
        event["inverse_offers"]["inverse_offers"][0]["id"].clone()
    };
    let answers = |master: SocketAddr| {
        let status = http::get_json(master, "/maintenance/status");
        status["draining_machines"][0]["statuses"].as_array().cloned().unwrap_or_default()
    };
    let filters = json!({"refuse_seconds": 600.0});
    let first = asked(&mut framework, 0);
    framework.call("ACCEPT_INVERSE_OFFERS", json!({"inverse_offer_ids": [first], "filters": filters}));
    wait::until("the answer is shown", || {
        answers(group.masters[0].address).first().filter(|answer| answer["status"] == "ACCEPT").cloned()
    });

    group.masters[0].part.kill();
    group.takeover(Instant::now(), &[1], 1);
    let (master, mark) = (group.masters[1].address, framework.mark());
    wait::until("the framework is subscribed again", || framework.follow(master).ok());
    let second = asked(&mut framework, mark);
    assert_ne!(second, first);
    framework.call("ACCEPT_INVERSE_OFFERS", json!({"inverse_offer_ids": [first], "filters": filters}));
    framework.call("DECLINE_INVERSE_OFFERS", json!({"inverse_offer_ids": [second], "filters": filters}));
    let answer = wait::until("an answer is shown", || answers(master).first().cloned());
    assert_eq!(answer["status"], "DECLINE", "an answer to the former leader's question was taken: {answer}");
    assert_eq!(framework.statuses("t").last().unwrap()["state"], "TASK_RUNNING");
}
