//! The operator API beyond its shapes: streams with bounds, files, the level of the log.

use std::io::Read;
use std::time::Duration;

use mezzo_api::codec::Encoding;
use mezzo_tests::cluster::{Agent, Cluster};
use mezzo_tests::framework::Framework;
use mezzo_tests::http::{self, Connection, Request};
use mezzo_tests::stream::Arrival;
use mezzo_tests::{operator, tasks, wait};
use serde_json::{Value, json};

#[test]
fn both_servers_answer_the_same_in_json_and_protobuf() {
    use mezzo_api::{codec, v1::agent, v1::master};
    let cluster = Cluster::builder().start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("both", "dev"));
    framework.run("runs", "sleep 1000");
    framework.wait_status("runs", "TASK_RUNNING");
    let protobuf = |address, call: Vec<u8>| {
        let request =
            Request::post(operator::PATH, "application/x-protobuf", call).header("Accept", "application/x-protobuf");
        let response = http::send(address, &request).unwrap();
        assert_eq!(response.status(), 200, "{}", response.text());
        assert_eq!(response.head.header("Content-Type"), Some("application/x-protobuf"));
        response.body
    };
    let call = master::Call { r#type: Some(master::call::Type::GetTasks as i32), ..Default::default() };
    let body = protobuf(cluster.master_address, codec::encode(Encoding::Protobuf, &call).to_vec());
    let answer: master::Response = codec::decode(Encoding::Protobuf, &body).unwrap();
    assert_eq!(
        codec::to_json_value(&answer)["get_tasks"]["tasks"],
        operator::ask(cluster.master_address, "GET_TASKS")["get_tasks"]["tasks"]
    );

    let agent_address = cluster.agents[0].address;
    let call = agent::Call { r#type: Some(agent::call::Type::GetState as i32), ..Default::default() };
    let body = protobuf(agent_address, codec::encode(Encoding::Protobuf, &call).to_vec());
    let answer: agent::Response = codec::decode(Encoding::Protobuf, &body).unwrap();
    let json = operator::ask(agent_address, "GET_STATE");
    assert_eq!(
        codec::to_json_value(&answer)["get_state"]["get_tasks"]["launched_tasks"],
        json["get_state"]["get_tasks"]["launched_tasks"]
    );
    assert_eq!(json["get_state"]["get_tasks"]["launched_tasks"][0]["task_id"]["value"], "runs");
    // The same agent through its master, wherever it is.
    let id = &cluster.agent_ids()[0];
    let request = Request::post(&format!("/agent/{id}/api/v1"), "application/json", r#"{"type":"GET_STATE"}"#);
    assert_eq!(http::send(cluster.master_address, &request).unwrap().json(), json);
}

#[test]
fn a_subscriber_that_never_reads_is_cut_off_and_others_are_not() {
    let cluster = Cluster::builder().start();
    let mut silent = Connection::open(cluster.master_address).unwrap();
    silent.write(&operator::subscription(Encoding::Json).to_bytes("master")).unwrap();
    let reader = operator::subscribe(cluster.master_address, Encoding::Protobuf).unwrap();
    let subscribers = || operator_subscribers(&cluster);
    wait::until_true("both subscribe", || subscribers() == 2.0);
    // Each update of this framework is an event of some 400 KB in JSON: sockets' buffers and the bound are soon full.
    let labels: Vec<Value> = (0..4000).map(|n| json!({"key": format!("k{n:04}"), "value": "v".repeat(64)})).collect();
    let mut info = tasks::framework_info("loud", "dev");
    info["labels"] = json!({"labels": labels});
    let mut framework = Framework::subscribe(cluster.master_address, info.clone());
    info["id"] = json!({"value": framework.id});
    let mut round = 0;
    wait::until_within(Duration::from_secs(120), "the silent one is cut off", || {
        round += 1;
        info["name"] = json!(format!("loud-{round}"));
        framework.call("UPDATE_FRAMEWORK", json!({"framework_info": info}));
        while reader.next(Duration::ZERO).is_some() {}
        (subscribers() == 1.0).then_some(())
    });
    framework.teardown();
    let mut rest = Vec::new();
    // In order or by a reset: in both cases what it has been sent ends.
    let _ = silent.socket().try_clone().unwrap().read_to_end(&mut rest);
    assert!(!rest.is_empty(), "it was sent what fits before it was cut off");
    wait::until("the other one still hears", || match reader.next(Duration::from_secs(1)) {
        Some((_, Arrival::Event(event))) if event["type"] == "FRAMEWORK_REMOVED" => Some(()),
        Some((_, Arrival::Closed(closing))) => panic!("{}", closing.describe()),
        _ => None,
    });
}

fn operator_subscribers(cluster: &Cluster) -> f64 {
    let metrics = http::get_json(cluster.master_address, "/metrics/snapshot");
    metrics["master/operator_event_stream_subscribers"].as_f64().unwrap()
}

#[test]
fn one_subscriber_too_many_ends_the_oldest() {
    let cluster = Cluster::builder().agents(0).master_flag("--max_operator_event_stream_subscribers=2").start();
    let open = || operator::subscribe(cluster.master_address, Encoding::Json).unwrap();
    let oldest = open();
    wait::until_true("it subscribes", || operator_subscribers(&cluster) == 1.0);
    let _others = [open(), open()];
    wait::until("the oldest is closed", || {
        matches!(oldest.next(Duration::from_millis(100)), Some((_, Arrival::Closed(_)))).then_some(())
    });
    assert!((operator_subscribers(&cluster) - 2.0).abs() < 0.1);
}

#[test]
fn a_log_that_goes_to_a_file_is_shown_and_its_level_can_be_raised() {
    let directory = tempfile::tempdir().unwrap();
    let flag = format!("--log_dir={}", directory.path().display());
    let cluster = Cluster::builder().master_flag(&flag).agent_flag(&flag).start();
    for (address, path, program) in [
        (cluster.master_address, "/master/log", "mezzo-master"),
        (cluster.agents[0].address, "/slave/log", "mezzo-agent"),
    ] {
        let read = json!({"type": "READ_FILE", "read_file": {"path": path, "offset": 0, "length": 10}});
        let answer = operator::call(address, &read).json();
        let size = std::fs::metadata(directory.path().join(format!("{program}.INFO"))).unwrap().len();
        assert!(answer["read_file"]["size"].as_u64().is_some_and(|told| told > 0 && told <= size), "{answer}");
        let old = http::get_json(address, &format!("/files/read?path={path}&offset=0&length=10"));
        assert_eq!(old["data"].as_str().map(str::len), Some(10));
        let nowhere = json!({"type": "LIST_FILES", "list_files": {"path": "/nope"}});
        assert_eq!(operator::call(address, &nowhere).status(), 404);

        let level = || operator::ask(address, "GET_LOGGING_LEVEL")["get_logging_level"]["level"].clone();
        assert_eq!(level(), 0);
        let set = json!({"type": "SET_LOGGING_LEVEL", "set_logging_level": {"level": 1, "duration": {"nanoseconds": 3_000_000_000_u64}}});
        assert_eq!(operator::call(address, &set).status(), 200);
        assert_eq!(level(), 1);
        wait::until_true("the level is that of the start again", || level() == 0);
        let toggle = |query: &str| {
            let response = http::send(address, &Request::get(&format!("/logging/toggle{query}"))).unwrap();
            (response.status(), response.text())
        };
        assert_eq!(toggle(""), (200, "0\n".to_owned()));
        assert_eq!(toggle("?level=abc&duration=1secs"), (400, "Failed to convert 'abc' to number.\n".to_owned()));
        assert_eq!(toggle("?level=1&duration=1hrs"), (200, String::new()));
        assert_eq!(toggle(""), (200, "1\n".to_owned()));
    }
}

#[test]
fn the_registry_tells_which_agents_are_unreachable_and_gone_and_since_when() {
    let mut cluster = Cluster::builder().agents(2).lost_after(2, "200ms").start();
    let registry = |cluster: &Cluster| http::get_json(cluster.master_address, "/registrar(1)/registry");
    let id_of = |agent: &Agent| http::get_json(agent.address, "/state")["id"].as_str().unwrap().to_owned();
    let ids: Vec<String> = cluster.agents.iter().map(id_of).collect();
    assert_eq!(registry(&cluster)["slaves"]["slaves"].as_array().map(Vec::len), Some(2));
    assert_eq!(registry(&cluster)["unreachable"]["slaves"], json!([]));
    assert_eq!(registry(&cluster)["gone"], Value::Null);
    for agent in &mut cluster.agents {
        agent.part.kill();
    }
    let before = since_epoch();
    let listed = |registry: &Value, kind: &str| -> Vec<String> {
        let agents = registry[kind]["slaves"].as_array().cloned().unwrap_or_default();
        for agent in &agents {
            let since = agent["timestamp"]["nanoseconds"].as_i64().unwrap_or_else(|| panic!("{agent}"));
            assert!((since - before).abs() < 120_000_000_000, "{agent}, but it is {before}");
        }
        agents.iter().map(|agent| agent["id"]["value"].as_str().unwrap().to_owned()).collect()
    };
    wait::until_true("both are unreachable", || listed(&registry(&cluster), "unreachable").len() == 2);
    assert_eq!(registry(&cluster)["slaves"]["slaves"], json!([]));
    let gone = json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": ids[0]}}});
    assert_eq!(operator::call(cluster.master_address, &gone).status(), 200);
    let told = registry(&cluster);
    assert_eq!((listed(&told, "unreachable"), listed(&told, "gone")), (vec![ids[1].clone()], vec![ids[0].clone()]));
    assert_eq!(cluster.state()["unreachable_slaves"], 1.0);
    cluster.restart_master();
    let again = wait::until("the next master leads", || {
        let response = cluster.get("/registrar(1)/registry").ok()?;
        (response.status() == 200).then(|| response.json())
    });
    assert_eq!((&again["unreachable"], &again["gone"]), (&told["unreachable"], &told["gone"]));
    // It comes back: it is admitted again, and not unreachable any more.
    cluster.agents[1].part.start();
    wait::until_true("the other one is back", || cluster.agent_ids() == [ids[1].clone()]);
    let last = registry(&cluster);
    assert_eq!((&last["unreachable"]["slaves"], &last["gone"]), (&json!([]), &told["gone"]));
    assert_eq!(last["slaves"]["slaves"][0]["info"]["id"]["value"], ids[1]);
}

fn since_epoch() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_nanos()).unwrap()
}

#[test]
fn agents_that_offer_constraints_leave_out_are_told() {
    let mut cluster = Cluster::builder().agents(1).start();
    let plain = cluster.agent_ids();
    cluster.add_agent_with(&["--attributes=rack:r1"]);
    cluster.wait_until_registered(2);
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("choosy", "dev"));
    let debug = || http::get_json(cluster.master_address, "/allocator/offer_constraints_debug");
    let without = json!({"suppressed_roles": [], "excluded_by_attribute_constraints": {"dev": []}});
    assert_eq!(debug(), json!({"frameworks": {framework.id.clone(): without}}));
    let mut info = framework.info().clone();
    info["id"] = json!({"value": framework.id});
    let constraint = json!({"selector": {"attribute_name": "rack"}, "predicate": {"exists": {}}});
    let update = json!({
        "framework_info": info,
        "suppressed_roles": ["dev"],
        "offer_constraints": {"role_constraints": {"dev": {"groups": [{"attribute_constraints": [constraint]}]}}},
    });
    framework.call("UPDATE_FRAMEWORK", update);
    let with = json!({"suppressed_roles": ["dev"], "excluded_by_attribute_constraints": {"dev": plain}});
    wait::until_true("the constraints are told", || debug()["frameworks"][&framework.id] == with);
    framework.teardown();
    wait::until_true("an ended one is not told of", || debug() == json!({"frameworks": {}}));
}
