//! What no client should send: it gets a clear answer, and everything else goes on as if nothing had been.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mezzo_api::codec::Encoding;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::{self, Framework};
use mezzo_tests::http::{self, Connection, Request, Response};
use mezzo_tests::tasks;
use serde_json::{Value, json};

const EXECUTOR_PATH: &str = "/slave(1)/api/v1/executor";
/// The default of `--max_body_size`.
const LIMIT: usize = 8 * 1024 * 1024;

/// A cluster with a framework and a running task, and what the master and the agent show of them.
struct Situation {
    cluster: Cluster,
    framework: Framework,
    before: [Value; 2],
}

impl Situation {
    fn new(encoding: Encoding) -> Self {
        let cluster = Cluster::builder().start();
        let mut framework =
            Framework::subscribe_in(encoding, cluster.master_address, tasks::framework_info("victim", "dev"));
        framework.run("runs", "sleep 1000");
        framework.wait_status("runs", "TASK_RUNNING");
        framework.call("SUPPRESS", Value::Null);
        for offer in framework.offers.values().cloned().collect::<Vec<_>>() {
            framework.decline(&offer, 0.0);
        }
        framework.listen(Duration::from_millis(300));
        let mut situation = Self { cluster, framework, before: [Value::Null, Value::Null] };
        situation.before = situation.shown();
        situation
    }

    fn shown(&self) -> [Value; 2] {
        [self.cluster.master_address, self.cluster.agents[0].address].map(|address| http::get_json(address, "/state"))
    }

    /// Everything is as it was, and the framework goes on.
    fn check(mut self) {
        for (before, after) in self.before.iter().zip(self.shown()) {
            assert_eq!(
                mezzo_tests::golden::diff::differences(before, &after),
                Vec::<String>::new(),
                "the state has changed"
            );
        }
        assert!(self.framework.closed.is_none());
        assert!(self.cluster.master.is_running() && self.cluster.agents[0].part.is_running());
        self.framework.call("KILL", json!({"task_id": {"value": "runs"}}));
        self.framework.wait_status("runs", "TASK_KILLED");
    }

    fn master(&self, request: &Request) -> Response {
        http::send(self.cluster.master_address, request)
            .unwrap_or_else(|error| panic!("{} {}: {error}", request.method, request.path))
    }

    fn own(&self, encoding: Encoding, body: Vec<u8>) -> Request {
        Request::post(framework::PATH, encoding.media_type(), body).header("Mesos-Stream-Id", &self.framework.stream_id)
    }
}

/// One good call of each kind.
fn calls(framework: &Framework) -> Vec<Value> {
    let agent = json!({"value": "nobody-S0"});
    let task = json!({"value": "nobody"});
    let uuid = "C54dTHpTT26cGy0+T1prfA==";
    let launch = json!([{"type": "LAUNCH", "launch": {"task_infos": [tasks::command("bad", "nobody-S0", "true")]}}]);
    [
        (
            "ACCEPT",
            json!({"offer_ids": [{"value": "nobody-O1"}], "operations": launch, "filters": {"refuse_seconds": 1.0}}),
        ),
        ("DECLINE", json!({"offer_ids": [{"value": "nobody-O1"}]})),
        ("KILL", json!({"task_id": task, "agent_id": agent})),
        ("SHUTDOWN", json!({"executor_id": {"value": "nobody"}, "agent_id": agent})),
        ("ACKNOWLEDGE", json!({"agent_id": agent, "task_id": task, "uuid": uuid})),
        ("RECONCILE", json!({"tasks": [{"task_id": task, "agent_id": agent}]})),
        ("MESSAGE", json!({"agent_id": agent, "executor_id": {"value": "nobody"}, "data": "aGk="})),
        ("REQUEST", json!({"requests": [{"agent_id": agent, "resources": tasks::small()}]})),
    ]
    .map(|(kind, body)| framework.call_value(kind, body))
    .to_vec()
}

#[test]
fn truncated_bodies() {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let situation = Situation::new(encoding);
        for call in calls(&situation.framework) {
            let whole = framework::body(encoding, &call);
            for end in (0..whole.len()).step_by(whole.len() / 12 + 1) {
                // In protobuf a message may be cut where another, shorter one ends: only what is said to be longer is surely cut.
                let response = situation.master(&situation.own(encoding, whole[..end].to_vec()));
                let whole_field = encoding == Encoding::Protobuf
                    && (response.status() == 202 || response.text().contains("Expecting"));
                assert!(
                    response.status() == 400 || whole_field,
                    "{call} cut at {end}: {} {}",
                    response.status(),
                    response.text()
                );
            }
        }
        situation.check();
    }
}

/// The head says more than comes: the call never counts.
#[test]
fn bodies_that_never_end() {
    let situation = Situation::new(Encoding::Json);
    let kill = situation.framework.call_value("KILL", json!({"task_id": {"value": "runs"}})).to_string();
    for declared in [kill.len() + 1, LIMIT] {
        let mut connection = Connection::open(situation.cluster.master_address).unwrap();
        let request =
            situation.own(Encoding::Json, kill.clone().into_bytes()).header("Content-Length", &declared.to_string());
        connection.write(&request.to_bytes("x")).unwrap();
        drop(connection);
    }
    let mut connection = Connection::open(situation.cluster.master_address).unwrap();
    let chunk = format!("{:x}\r\n{kill}\r\n", kill.len()).into_bytes();
    connection
        .write(&situation.own(Encoding::Json, chunk).header("Transfer-Encoding", "chunked").to_bytes("x"))
        .unwrap();
    drop(connection);
    situation.check();
}

#[test]
fn oversized_bodies() {
    let situation = Situation::new(Encoding::Json);
    let kill = situation.framework.call_value("KILL", json!({"task_id": {"value": "runs"}})).to_string();
    let mut spaces = vec![b' '; LIMIT + 1 - kill.len()];
    spaces.extend_from_slice(kill.as_bytes());
    for (address, path) in
        [(situation.cluster.master_address, framework::PATH), (situation.cluster.agents[0].address, EXECUTOR_PATH)]
    {
        let whole = Request::post(path, "application/json", spaces.clone())
            .header("Mesos-Stream-Id", &situation.framework.stream_id);
        let response = http::send(address, &whole).unwrap();
        assert_eq!(response.status(), 413, "{path}: {}", response.text());
        // Said to be too long: refused before it is sent.
        let mut connection = Connection::open(address).unwrap();
        let head = Request::post(path, "application/json", "").header("Content-Length", &(1_u64 << 40).to_string());
        connection.write(&head.to_bytes("x")).unwrap();
        assert_eq!(connection.response(true).unwrap().status(), 413);
        // In chunks, its length unsaid.
        let mut body = format!("{:x}\r\n", spaces.len()).into_bytes();
        body.extend_from_slice(&spaces);
        body.extend_from_slice(b"\r\n0\r\n\r\n");
        let response =
            http::send(address, &Request::post(path, "application/json", body).header("Transfer-Encoding", "chunked"))
                .unwrap();
        assert_eq!(response.status(), 413, "{path}: {}", response.text());
        // Packed small, large when it is unpacked.
        let packed = Request::post(path, "application/json", crate::gzip::pack(&vec![b' '; 64 * 1024 * 1024]))
            .header("Content-Encoding", "gzip");
        let response = http::send(address, &packed).unwrap();
        assert_eq!(response.status(), 413, "{path}: {}", response.text());
    }
    // A body just below the limit is fine.
    let response = situation.master(
        &situation.own(
            Encoding::Json,
            [
                vec![b' '; LIMIT - 1024],
                situation.framework.call_value("REQUEST", json!({"requests": []})).to_string().into_bytes(),
            ]
            .concat(),
        ),
    );
    assert_eq!(response.status(), 202, "{}", response.text());
    situation.check();
}

#[test]
fn stolen_and_made_up_identities() {
    let situation = Situation::new(Encoding::Json);
    let mut thief = Framework::subscribe(situation.cluster.master_address, tasks::framework_info("thief", "dev"));
    for call in [
        situation.framework.call_value("KILL", json!({"task_id": {"value": "runs"}})),
        situation.framework.call_value("TEARDOWN", Value::Null),
    ] {
        let body = call.to_string();
        let with = |stream: Option<&str>| {
            let request = Request::post(framework::PATH, "application/json", body.clone());
            situation.master(&stream.map_or(request.clone(), |stream| request.header("Mesos-Stream-Id", stream)))
        };
        for stream in
            [None, Some(thief.stream_id.as_str()), Some("6a1f0000-0000-4000-8000-000000000000"), Some(""), Some("x")]
        {
            assert_eq!(with(stream).status(), 400, "{stream:?}");
        }
    }
    let mut unknown = situation.framework.call_value("REVIVE", Value::Null);
    unknown["framework_id"]["value"] = json!("nobody-0000");
    assert_eq!(situation.master(&situation.own(Encoding::Json, unknown.to_string().into_bytes())).status(), 400);
    // The thief's own calls on another's task have no effect.
    thief.call("KILL", json!({"task_id": {"value": "runs"}}));
    thief.wait_status("runs", "TASK_UNKNOWN");
    let thieves = thief.id.clone();
    thief.teardown();
    let [mut before, agent] = situation.before.clone();
    let after = situation.shown();
    assert!(after[0]["completed_frameworks"].as_array().unwrap().iter().any(|gone| gone["id"] == thieves));
    before["completed_frameworks"] = after[0]["completed_frameworks"].clone();
    Situation { before: [before, agent], ..situation }.check();
}

#[test]
fn wrong_methods_and_types() {
    let situation = Situation::new(Encoding::Json);
    let body = situation.framework.call_value("TEARDOWN", Value::Null).to_string();
    for (address, path) in
        [(situation.cluster.master_address, framework::PATH), (situation.cluster.agents[0].address, EXECUTOR_PATH)]
    {
        for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let mut request = Request::post(path, "application/json", body.clone())
                .header("Mesos-Stream-Id", &situation.framework.stream_id);
            method.clone_into(&mut request.method);
            let response = http::send(address, &request).unwrap();
            assert_eq!(response.status(), 405, "{method} {path}");
            assert_eq!(response.head.header("Allow"), Some("POST"), "{method} {path}");
        }
        for kind in
            ["text/plain", "application/json; charset=utf-8", "application/recordio", "application/x-protobuf+v2"]
        {
            let request =
                Request::post(path, kind, body.clone()).header("Mesos-Stream-Id", &situation.framework.stream_id);
            assert_eq!(http::send(address, &request).unwrap().status(), 415, "{kind} {path}");
        }
    }
    situation.check();
}

#[test]
fn slow_and_broken_connections() {
    let situation = Situation::new(Encoding::Json);
    let mut held = Vec::new();
    for address in [situation.cluster.master_address, situation.cluster.agents[0].address] {
        for request in [
            "",
            "G",
            "POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Type: app",
            "POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        ] {
            for _ in 0..50 {
                let mut slow = TcpStream::connect(address).unwrap();
                slow.write_all(request.as_bytes()).unwrap();
                held.push(slow);
            }
        }
        for garbage in [
            &b"\x00\x01\x02\x03\r\n\r\n"[..],
            b"GET / HTTP/9.9\r\n\r\n",
            b"\r\n\r\n\r\n",
            b"POST /link HTTP/1.1\r\nUpgrade: x\r\n\r\n",
        ] {
            let mut broken = TcpStream::connect(address).unwrap();
            let _ = broken.write_all(garbage);
        }
        answers_at_once(address);
    }
    situation.check();
    drop(held);
}

/// Whoever asks properly is answered whatever others do.
fn answers_at_once(address: SocketAddr) {
    let start = Instant::now();
    assert_eq!(http::send(address, &Request::get("/health")).unwrap().status(), 200);
    assert!(start.elapsed() < Duration::from_secs(2), "/health took {:?}", start.elapsed());
}

/// JSON that is no call: each field of each call missing, of another type, or null.
#[test]
fn mistyped_fields() {
    let situation = Situation::new(Encoding::Json);
    for call in calls(&situation.framework) {
        for path in paths(&call, String::new()) {
            for wrong in [json!(null), json!(true), json!(-1), json!("text"), json!([[]]), json!({"a": {}})] {
                let mut changed = call.clone();
                *changed.pointer_mut(&path).unwrap() = wrong.clone();
                let response = situation.master(&situation.own(Encoding::Json, changed.to_string().into_bytes()));
                let status = response.status();
                assert!(matches!(status, 202 | 400 | 501), "{path} = {wrong} in {call}: {status} {}", response.text());
                assert!(
                    status == 202 || !response.body.is_empty(),
                    "{path} = {wrong} in {call}: {status} without a word"
                );
            }
        }
    }
    situation.check();
}

/// Every place in a value, as JSON pointers.
fn paths(value: &Value, at: String) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (format!("{at}/{name}"), value)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, value)| (format!("{at}/{index}"), value)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    children.into_iter().flat_map(|(path, child)| [vec![path.clone()], paths(child, path)].concat()).collect()
}
