//! DRAIN_AGENT, DEACTIVATE_AGENT, REACTIVATE_AGENT over restarts of master and agent.

use mezzo_tests::{cluster::Cluster, http, tasks, wait};
use serde_json::{Value, json};

use super::framework;

fn operator(cluster: &Cluster, call: &Value) -> (u16, String) {
    let request = http::Request::post("/api/v1", "application/json", call.to_string());
    let answer = http::send(cluster.master_address, &request).unwrap();
    (answer.status(), answer.text())
}

fn slave(cluster: &Cluster) -> Value {
    cluster.get("/slaves").map(|answer| answer.json()["slaves"][0].clone()).unwrap_or_default()
}

#[test]
fn an_agent_is_drained_over_restarts_and_taken_back() {
    let mut cluster = Cluster::builder().start();
    let mut framework = framework(&cluster, "drained");
    framework.run("stubborn", "trap '' TERM; sleep 1350 & while true; do sleep 0.1; done");
    framework.wait_status("stubborn", "TASK_RUNNING");
    let id = cluster.agent_ids().remove(0);
    let agent_id = json!({"value": id});
    let drain = json!({"type": "DRAIN_AGENT",
                       "drain_agent": {"agent_id": agent_id, "max_grace_period": {"seconds": 4}, "mark_gone": false}});
    assert_eq!(operator(&cluster, &drain).0, 200);
    let killing = framework.wait_status("stubborn", "TASK_KILLING");
    assert_eq!(killing["reason"], "REASON_AGENT_DRAINING");
    let shown = slave(&cluster);
    assert_eq!((&shown["deactivated"], &shown["active"]), (&json!(true), &json!(false)));
    assert_eq!(shown["drain_info"]["state"], "DRAINING");
    let back = json!({"type": "REACTIVATE_AGENT", "reactivate_agent": {"agent_id": agent_id}});
    assert_eq!(operator(&cluster, &back), (400, "Agent is still in the DRAINING state".to_owned()));
    cluster.restart_agent(0);
    cluster.restart_master();
    wait::until("the framework is back", || framework.resubscribe().ok());
    let killed = framework.wait_status("stubborn", "TASK_KILLED");
    assert_eq!(killed["reason"], "REASON_AGENT_DRAINING");
    wait::until_true("the agent is drained", || slave(&cluster)["drain_info"]["state"] == "DRAINED");
    assert_eq!(operator(&cluster, &back).0, 200);
    framework.run("next", "true");
    framework.wait_status("next", "TASK_FINISHED");

    let off = json!({"type": "DEACTIVATE_AGENT", "deactivate_agent": {"agent_id": agent_id}});
    assert_eq!(operator(&cluster, &off).0, 200);
    cluster.restart_master();
    wait::until_true("it is known to be deactivated", || slave(&cluster)["deactivated"] == true);
    assert_eq!(operator(&cluster, &back).0, 200);
    wait::until_true("it is active", || slave(&cluster)["active"] == true);
}

#[test]
fn an_agent_that_is_to_be_gone_ends() {
    let mut cluster = Cluster::builder().start();
    let mut framework = framework(&cluster, "gone");
    framework.run("task", "sleep 1351");
    framework.wait_status("task", "TASK_RUNNING");
    let agent_id = json!({"value": cluster.agent_ids().remove(0)});
    let drain = json!({"type": "DRAIN_AGENT", "drain_agent": {"agent_id": agent_id, "mark_gone": true}});
    assert_eq!(operator(&cluster, &drain).0, 200);
    let killing = framework.wait_status("task", "TASK_KILLING");
    assert_eq!(killing["reason"], "REASON_AGENT_DRAINING");
    let gone = framework.wait_status("task", "TASK_GONE_BY_OPERATOR");
    assert_eq!(gone["reason"], "REASON_AGENT_DRAINING");
    assert!(cluster.agents[0].part.wait(wait::PATIENCE).is_some(), "the agent ends");
    assert!(tasks::is_terminal("TASK_GONE_BY_OPERATOR"));
}
