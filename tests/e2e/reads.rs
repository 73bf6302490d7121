//! How endpoints that only tell are read: packed, only when something has changed, from pages of other sites.

use std::net::SocketAddr;
use std::process::Command;

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::http::{self, Request, Response};
use mezzo_tests::{environment, tasks, wait};

use crate::gzip::unpack;

const SITE: &str = "https://ui.example";

fn send(address: SocketAddr, request: &Request) -> Response {
    http::send(address, request).unwrap()
}

fn servers(cluster: &Cluster) -> [SocketAddr; 2] {
    [cluster.master_address, cluster.agents[0].address]
}

#[test]
fn pages_of_listed_sites_may_read_and_change_and_others_may_not() {
    let flag = format!("--cors_allowed_origins={SITE}");
    let cluster = Cluster::builder().master_flag(&flag).agent_flag(&flag).start();
    let ask = |address, method: &str, origin: &str, more: &[(&str, &str)]| {
        let mut request = Request::new(method, "/state").header("Origin", origin);
        for (name, value) in more {
            request = request.header(name, value);
        }
        send(address, &request)
    };
    let allowed = |response: &Response| response.head.header("Access-Control-Allow-Origin").map(str::to_owned);
    for address in servers(&cluster) {
        let listed = ask(address, "GET", SITE, &[]);
        assert_eq!((listed.status(), allowed(&listed).as_deref()), (200, Some(SITE)));
        assert_eq!(listed.head.header("Vary"), Some("Origin"));
        let other = ask(address, "GET", "https://evil.example", &[]);
        assert_eq!((other.status(), allowed(&other)), (200, None));

        let question = [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type")];
        let preflight = ask(address, "OPTIONS", SITE, &question);
        assert_eq!((preflight.status(), allowed(&preflight).as_deref()), (204, Some(SITE)));
        assert!(preflight.head.header("Access-Control-Allow-Methods").unwrap().contains("POST"));
        assert!(preflight.head.header("Access-Control-Allow-Headers").unwrap().contains("Content-Type"));
        assert!(preflight.body.is_empty());
        assert_eq!(allowed(&ask(address, "OPTIONS", "https://evil.example", &question)), None);
    }
    let change = |origin: &str| {
        let request = Request::post("/api/v1", "application/json", r#"{"type":"GET_HEALTH"}"#);
        send(cluster.master_address, &request.header("Origin", origin).header("Sec-Fetch-Site", "cross-site")).status()
    };
    assert_eq!((change(SITE), change("https://evil.example")), (200, 403));
}

#[test]
fn without_the_flag_no_other_site_is_told_anything() {
    let cluster = Cluster::builder().start();
    for address in servers(&cluster) {
        for method in ["GET", "OPTIONS"] {
            let request = Request::new(method, "/state").header("Origin", SITE);
            let response = send(address, &request.header("Access-Control-Request-Method", "GET"));
            let told: Vec<_> = response
                .head
                .headers
                .iter()
                .filter(|(name, _)| name.to_lowercase().contains("control-allow"))
                .collect();
            assert!(told.is_empty(), "{method}: {told:?}");
        }
    }
    for (program, more) in [("mezzo-master", "--port=0"), ("mezzo-agent", "--master=127.0.0.1:1")] {
        let mut command = Command::new(environment::binary(program));
        let output = command.args([more, "--work_dir=/nonexistent/x", "--cors_allowed_origins=ui.example"]).output();
        let error = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
        assert!(error.contains("'ui.example' is no origin"), "{program}: {error}");
    }
}

#[test]
fn who_has_an_answer_is_not_sent_it_again() {
    let cluster = Cluster::builder().start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("tagged", "dev"));
    framework.run("runs", "sleep 1000");
    framework.wait_status("runs", "TASK_RUNNING");
    for address in servers(&cluster) {
        for path in ["/state", if address == cluster.master_address { "/slaves" } else { "/flags" }] {
            let known = |tag: &str| send(address, &Request::get(path).header("If-None-Match", tag));
            wait::until(&format!("{path} does not change any more"), || {
                let first = send(address, &Request::get(path));
                let tag = first.head.header("ETag").expect("there is a tag").to_owned();
                let again = known(&tag);
                assert_eq!(again.head.header("ETag").is_some(), again.status() == 304 || again.status() == 200);
                (again.status() == 304 && again.body.is_empty()).then_some(())
            });
            assert_eq!(known("W/\"nonsense\"").status(), 200);
        }
    }
    let tags =
        servers(&cluster).map(|address| send(address, &Request::get("/state")).head.header("ETag").unwrap().to_owned());
    framework.call("KILL", serde_json::json!({"task_id": {"value": "runs"}}));
    framework.wait_status("runs", "TASK_KILLED");
    for (address, tag) in servers(&cluster).into_iter().zip(tags) {
        assert_eq!(send(address, &Request::get("/state").header("If-None-Match", &tag)).status(), 200);
    }
}

#[test]
fn long_answers_are_packed_for_those_who_take_it() {
    let cluster = Cluster::builder().start();
    let calls = [
        r#"{"type":"GET_FLAGS"}"#,
        r#"{"type":"GET_STATE"}"#,
        r#"{"type":"GET_METRICS","get_metrics":{"timeout":{"nanoseconds":5000000000}}}"#,
    ];
    let mut packed = 0;
    for address in servers(&cluster) {
        let reads = ["/state", "/flags", "/metrics", "/metrics/snapshot", "/help"].map(Request::get);
        let calls = calls.map(|call| Request::post("/api/v1", "application/json", call));
        for request in reads.into_iter().chain(calls) {
            let what = format!("{} {}", request.path, String::from_utf8_lossy(&request.body));
            let plain = send(address, &request);
            let response = send(address, &request.header("Accept-Encoding", "gzip"));
            assert_eq!(response.status(), 200, "{what}");
            let is_packed = response.head.header("Content-Encoding") == Some("gzip");
            assert_eq!(is_packed, plain.body.len() >= 1024, "{what}: {} bytes", plain.body.len());
            assert_eq!(plain.head.header("Content-Encoding"), None);
            if is_packed {
                packed += 1;
                let unpacked = unpack(&response.body);
                assert_eq!(unpacked.first(), plain.body.first(), "{what}");
                assert!(unpacked.len() >= 1024 && response.body.len() < unpacked.len(), "{what}");
            }
        }
    }
    assert!(packed > 8, "{packed}");
}
