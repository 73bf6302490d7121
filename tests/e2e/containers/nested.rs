//! Containers that calls on the agent are for: nested ones and such as stand alone.

use std::net::SocketAddr;

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::{http, leftovers, operator, tasks, wait};
use serde_json::{Value, json};

/// A cluster with a running task: the agent, and the task's container.
fn start(name: &str) -> (Cluster, Framework, SocketAddr, String) {
    let cluster = Cluster::builder().start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info(name, "dev"));
    framework.run("task", "sleep 1000");
    let status = framework.wait_status("task", "TASK_RUNNING");
    let container = status["container_status"]["container_id"]["value"].as_str().expect("it has one").to_owned();
    let agent = cluster.agents[0].address;
    (cluster, framework, agent, container)
}

fn call(agent: SocketAddr, kind: &str, part: Value) -> http::Response {
    let name = kind.to_ascii_lowercase();
    operator::call(agent, &json!({"type": kind, name: part}))
}

fn answer(response: &http::Response) -> (u16, String) {
    (response.status(), response.text())
}

fn within(parent: &str, value: &str) -> Value {
    json!({"value": value, "parent": {"value": parent}})
}

fn shown(agent: SocketAddr) -> Vec<Value> {
    let response = call(agent, "GET_CONTAINERS", json!({"show_nested": true, "show_standalone": true}));
    response.json()["get_containers"]["containers"].as_array().cloned().unwrap_or_default()
}

#[test]
fn nested_containers_are_launched_waited_for_killed_and_removed() {
    let (mut cluster, framework, agent, container) = start("nested");
    let id = within(&container, "child");
    let launch = json!({"container_id": id, "command": {"value": "echo $VARIABLE > file; exec sleep 1237",
        "environment": {"variables": [{"name": "VARIABLE", "value": "value"}]}}});
    assert_eq!(answer(&call(agent, "LAUNCH_NESTED_CONTAINER", launch.clone())), (200, String::new()));
    assert_eq!(call(agent, "LAUNCH_NESTED_CONTAINER", launch).status(), 202, "it is there already");
    let agent_id = cluster.agent_ids().remove(0);
    let work_dir = cluster.agents[0].work_dir.clone();
    let sandbox = work_dir.join(format!(
        "slaves/{agent_id}/frameworks/{}/executors/task/runs/{container}/containers/child",
        framework.id
    ));
    wait::until_true("it runs in its sandbox", || {
        std::fs::read_to_string(sandbox.join("file")).is_ok_and(|text| text == "value\n")
    });
    let own = |agent| shown(agent).into_iter().find(|entry| entry["container_id"]["value"] == "child");
    let entry = own(agent).expect("it is shown");
    assert_eq!(entry["container_status"]["container_id"], id);
    assert_eq!(operator::ask(agent, "GET_CONTAINERS")["get_containers"]["containers"].as_array().unwrap().len(), 1);
    let early = answer(&call(agent, "REMOVE_CONTAINER", json!({"container_id": id})));
    assert_eq!(early, (500, "Nested container has not terminated yet".to_owned()));

    // It outlives its agent, and so does who waits for it, once it asks again.
    cluster.restart_agent(0);
    cluster.wait_until_registered(1);
    assert!(own(agent).is_some(), "it was lost with its agent");
    // Through the master as well.
    let path = format!("/agent/{agent_id}/api/v1");
    let master = cluster.master_address;
    let waiting = json!({"type": "WAIT_NESTED_CONTAINER", "wait_nested_container": {"container_id": id}});
    let waiter = std::thread::spawn(move || {
        let request = http::Request::post(&path, "application/json", waiting.to_string());
        http::send(master, &request).unwrap()
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(call(agent, "KILL_NESTED_CONTAINER", json!({"container_id": id, "signal": 15})).status(), 200);
    let ended = waiter.join().unwrap();
    assert_eq!(ended.json(), json!({"type": "WAIT_NESTED_CONTAINER", "wait_nested_container": {"exit_status": 15}}));
    let again = call(agent, "WAIT_CONTAINER", json!({"container_id": id}));
    assert_eq!(again.json()["wait_container"]["exit_status"], 15, "its end is remembered");
    let killed = answer(&call(agent, "KILL_CONTAINER", json!({"container_id": id})));
    let gone = format!("Container '{container}.child' cannot be found (or is already killed)");
    assert_eq!(killed, (404, gone));
    assert!(sandbox.exists());
    assert_eq!(answer(&call(agent, "REMOVE_NESTED_CONTAINER", json!({"container_id": id}))), (200, String::new()));
    assert!(!sandbox.exists());
    let unknown = answer(&call(agent, "WAIT_CONTAINER", json!({"container_id": id})));
    assert_eq!(unknown, (404, format!("Container {container}.child cannot be found")));
    let orphan = within("nobody", "child");
    let refused =
        answer(&call(agent, "LAUNCH_NESTED_CONTAINER", json!({"container_id": orphan, "command": {"value": "true"}})));
    assert_eq!(refused, (400, "Parent container nobody does not exist".to_owned()));
    let refused = answer(&call(agent, "REMOVE_CONTAINER", json!({"container_id": orphan})));
    assert_eq!(refused, (500, "Unknown root container".to_owned()));
    framework.teardown();
}

#[test]
fn what_is_nested_ends_with_what_it_is_in() {
    let (cluster, mut framework, agent, container) = start("ends");
    for (id, command) in [
        (within(&container, "a"), "sleep 1238"),
        (json!({"value": "b", "parent": within(&container, "a")}), "sleep 1239"),
    ] {
        let launched = call(agent, "LAUNCH_CONTAINER", json!({"container_id": id, "command": {"value": command}}));
        assert_eq!(answer(&launched), (200, String::new()));
    }
    let runs = |command: &str| !leftovers::that_run(cluster.dir(), command).is_empty();
    assert!(runs("sleep 1238") && runs("sleep 1239"));
    framework.call("KILL", json!({"task_id": {"value": "task"}}));
    framework.wait_status("task", "TASK_KILLED");
    wait::until_true("all of it is gone", || !runs("sleep 1238") && !runs("sleep 1239"));
    framework.teardown();
}

#[test]
fn a_container_stands_alone() {
    let (mut cluster, framework, agent, container) = start("alone");
    let id = json!({"value": "alone"});
    let launch = json!({"container_id": id, "command": {"value": "echo out; exec sleep 1240"}});
    assert_eq!(answer(&call(agent, "LAUNCH_CONTAINER", launch)), (200, String::new()));
    let stdout = cluster.agents[0].work_dir.join("containers/alone/stdout");
    wait::until_true("it runs", || std::fs::read_to_string(&stdout).is_ok_and(|text| text == "out\n"));
    cluster.restart_agent(0);
    cluster.wait_until_registered(1);
    let values = |entries: Vec<Value>| -> Vec<String> {
        entries.iter().filter_map(|entry| entry["container_id"]["value"].as_str().map(str::to_owned)).collect()
    };
    let mut all = values(shown(agent));
    all.sort();
    let mut expected = vec!["alone".to_owned(), container];
    expected.sort();
    assert_eq!(all, expected);
    let waiter = std::thread::spawn(move || call(agent, "WAIT_CONTAINER", json!({"container_id": {"value": "alone"}})));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(call(agent, "KILL_CONTAINER", json!({"container_id": id})).status(), 200);
    assert_eq!(waiter.join().unwrap().json()["wait_container"]["exit_status"], 9);
    // As in Mesos nothing is known of one that stood alone and has ended.
    assert_eq!(call(agent, "WAIT_CONTAINER", json!({"container_id": id})).status(), 404);
    assert_eq!(call(agent, "REMOVE_CONTAINER", json!({"container_id": id})).status(), 200);
    assert!(!stdout.exists());
    framework.teardown();
}
