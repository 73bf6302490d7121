//! Reservations and persistent volumes: what is written to a volume outlives tasks, agents' and masters' processes, and
//! ends when the volume is destroyed.

use std::path::PathBuf;
use std::time::Duration;

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::http::{self, Request, Response};
use mezzo_tests::{tasks, wait};
use serde_json::{Value, json};

pub(crate) fn reserved(role: &str, mut resource: Value) -> Value {
    resource["reservations"] = json!([{"type": "DYNAMIC", "role": role}]);
    resource
}

pub(crate) fn volume(role: &str, id: &str, size: f64) -> Value {
    let mut disk = reserved(role, tasks::scalar("disk", size));
    disk["disk"] = json!({"persistence": {"id": id}, "volume": {"container_path": "data", "mode": "RW"}});
    disk
}

pub(crate) fn on_volume(id: &str, offer: &Value, volume: &Value, command: &str) -> Value {
    let mut task = tasks::command(id, tasks::agent_of(offer), command);
    task["resources"].as_array_mut().unwrap().push(volume.clone());
    task
}

pub(crate) fn has_volume(id: &'static str) -> impl Fn(&Value) -> bool {
    move |offer| {
        let resources = offer["resources"].as_array().unwrap();
        resources.iter().any(|resource| resource["disk"]["persistence"]["id"] == id)
    }
}

fn directories(cluster: &Cluster) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let agents = std::fs::read_dir(cluster.dir()).unwrap().flatten().map(|entry| entry.path());
    for roles in agents.map(|agent| agent.join("work/volumes/roles")).filter(|roles| roles.is_dir()) {
        for role in std::fs::read_dir(roles).unwrap().flatten() {
            let volumes = std::fs::read_dir(role.path()).unwrap().flatten().map(|volume| volume.path());
            found.extend(volumes.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.')));
        }
    }
    found
}

/// The status of an operation, acknowledged.
pub(crate) fn finished(framework: &mut Framework, id: &str) {
    let event = framework.wait_since(0, id, |event| {
        let status = &event["update_operation_status"]["status"];
        status["operation_id"]["value"] == id && status["state"] == "OPERATION_FINISHED"
    });
    let status = &event["update_operation_status"]["status"];
    let acknowledge =
        json!({"agent_id": status["agent_id"], "uuid": status["uuid"]["value"], "operation_id": {"value": id}});
    framework.call("ACKNOWLEDGE_OPERATION_STATUS", acknowledge);
}

#[test]
fn data_of_a_volume_outlive_everything_but_destroy() {
    let mut cluster = Cluster::builder().agents(1).start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("storage", "prod/web"));
    let offer = framework.wait_any_offer();
    let v = volume("prod/web", "v1", 64.0);
    framework.accept(
        &offer,
        json!([
            {"type": "RESERVE", "id": {"value": "r"}, "reserve": {"resources": [reserved("prod/web", tasks::scalar("disk", 64.0))]}},
            {"type": "CREATE", "id": {"value": "c"}, "create": {"volumes": [v]}},
            {"type": "LAUNCH", "launch": {"task_infos": [on_volume("write", &offer, &v, "echo kept > data/f")]}},
        ]),
    );
    finished(&mut framework, "r");
    finished(&mut framework, "c");
    framework.wait_status("write", "TASK_FINISHED");
    let found = directories(&cluster);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("volumes/roles/prod web/v1"), "{found:?}");

    cluster.restart_agent(0);
    cluster.restart_master();
    cluster.wait_until_master_is_healthy();
    cluster.wait_until_registered(1);
    wait::until_true("the framework is subscribed again", || framework.resubscribe().is_ok());
    let offer = framework.wait_offer("of the volume", has_volume("v1"));
    framework.launch(&offer, &[on_volume("read", &offer, &v, "test \"$(cat data/f)\" = kept")]);
    framework.wait_status("read", "TASK_FINISHED");

    let offer = framework.wait_offer("of the volume", has_volume("v1"));
    framework.accept(
        &offer,
        json!([
            {"type": "DESTROY", "id": {"value": "d"}, "destroy": {"volumes": [v]}},
            {"type": "UNRESERVE", "id": {"value": "u"}, "unreserve": {"resources": [reserved("prod/web", tasks::scalar("disk", 64.0))]}},
        ]),
    );
    finished(&mut framework, "d");
    finished(&mut framework, "u");
    wait::until_true("the data are gone", || directories(&cluster).is_empty());
    wait::until_true("nothing is reserved", || cluster.state()["slaves"][0]["reserved_resources"] == json!({}));
    framework.teardown();
}

fn operate(cluster: &Cluster, call: &Value) -> Response {
    let request = Request::post("/api/v1", "application/json", call.to_string().into_bytes());
    http::send(cluster.master_address, &request).unwrap()
}

#[test]
fn an_operator_reserves_and_makes_a_volume_for_a_role() {
    let mut cluster = Cluster::builder().agents(1).start();
    let agent = json!({"value": cluster.agent_ids()[0]});
    let disk = reserved("ops", tasks::scalar("disk", 32.0));
    let v = volume("ops", "pv", 32.0);
    let reserve = json!({"type": "RESERVE_RESOURCES", "reserve_resources": {"agent_id": agent, "resources": [disk]}});
    assert_eq!(operate(&cluster, &reserve).status(), 202);
    let create = json!({"type": "CREATE_VOLUMES", "create_volumes": {"agent_id": agent, "volumes": [v]}});
    assert_eq!(operate(&cluster, &create).status(), 202);
    assert_eq!(operate(&cluster, &create).status(), 400, "the same id twice");
    wait::until_true("the agent has made it", || directories(&cluster).len() == 1);
    let operations = json!({"type": "GET_OPERATIONS"});
    wait::until_true("nothing waits for an acknowledgement", || {
        operate(&cluster, &operations).text() == r#"{"type":"GET_OPERATIONS","get_operations":{}}"#
    });
    cluster.restart_master();
    cluster.wait_until_master_is_healthy();
    cluster.wait_until_registered(1);
    let mut other = Framework::subscribe(cluster.master_address, tasks::framework_info("other", "dev"));
    let offer = other.wait_any_offer();
    assert!(!has_volume("pv")(&offer), "it is another role's: {offer}");
    other.teardown();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("ops", "ops"));
    let offer = framework.wait_offer("of the volume", has_volume("pv"));
    framework.launch(&offer, &[on_volume("t", &offer, &v, "touch data/f")]);
    framework.wait_status("t", "TASK_FINISHED");
    framework.teardown();
}

#[test]
fn quota_keeps_a_greedy_framework_out() {
    let cluster = Cluster::builder().agents(1).start();
    let limit = json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": [{"role": "greedy", "limits": {"cpus": {"value": 1.0}, "mem": {"value": 512.0}}}]}});
    let answer = operate(&cluster, &limit);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let mut greedy = Framework::subscribe(cluster.master_address, tasks::framework_info("greedy", "greedy"));
    let mut had = 0.0;
    for round in 0..20 {
        let Some(offer) = next_offer(&mut greedy) else { break };
        let cpus = tasks::amount(&offer, "cpus");
        let mut task = tasks::command(&format!("eat-{round}"), tasks::agent_of(&offer), "sleep 1000");
        task["resources"] = json!([tasks::scalar("cpus", cpus), tasks::scalar("mem", 32.0)]);
        greedy.launch(&offer, &[task]);
        had += cpus;
    }
    assert!((had - 1.0).abs() < 1e-6, "it got {had} cpus");
    let mut modest = Framework::subscribe(cluster.master_address, tasks::framework_info("modest", "modest"));
    let offer = modest.wait_any_offer();
    assert!((tasks::amount(&offer, "cpus") - 3.0).abs() < 1e-6, "the rest is for others: {offer}");
    greedy.teardown();
    modest.teardown();
}

fn next_offer(framework: &mut Framework) -> Option<Value> {
    framework.listen(Duration::from_millis(700));
    let id = framework.offers.keys().next().cloned()?;
    framework.offers.remove(&id)
}

#[test]
fn maintenance_asks_frameworks_and_takes_machines_down() {
    let cluster = Cluster::builder().agents(1).start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("maintained", "dev"));
    framework.run("t", "sleep 1000");
    framework.wait_status("t", "TASK_RUNNING");
    let machine = json!([{"hostname": "127.0.0.1", "ip": "127.0.0.1"}]);
    let schedule = json!({"windows": [{"machine_ids": machine, "unavailability": {"start": {"nanoseconds": 1}}}]});
    let post = |path: &str, body: &Value| {
        let request = Request::post(path, "application/json", body.to_string().into_bytes());
        http::send(cluster.master_address, &request).unwrap()
    };
    assert_eq!(post("/maintenance/schedule", &schedule).status(), 200);
    let asked = framework.wait_since(0, "INVERSE_OFFERS", |event| event["type"] == "INVERSE_OFFERS");
    let id = &asked["inverse_offers"]["inverse_offers"][0]["id"];
    framework.call("ACCEPT_INVERSE_OFFERS", json!({"inverse_offer_ids": [id], "filters": {"refuse_seconds": 600.0}}));
    let status = || -> Value { serde_json::from_str(&cluster.get("/maintenance/status").unwrap().text()).unwrap() };
    wait::until_true("the answer is shown", || status()["draining_machines"][0]["statuses"][0]["status"] == "ACCEPT");
    let offer = framework.wait_offer("that says so", |offer| offer["unavailability"]["start"]["nanoseconds"] == 1);
    drop(offer);
    let answer = post("/machine/down", &machine);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    framework.wait_status("t", "TASK_LOST");
    assert_eq!(status()["down_machines"], machine);
    assert_eq!(post("/machine/up", &machine).status(), 200);
    assert_eq!(status(), json!({}));
    framework.teardown();
}
