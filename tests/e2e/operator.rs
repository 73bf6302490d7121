//! The operator API beyond its shapes: streams with bounds, files, the level of the log.

use std::io::Read;
use std::time::Duration;

use mezzo_api::codec::Encoding;
use mezzo_tests::cluster::Cluster;
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
