//! Requests made by chance from `docs/openapi.yaml`, to a real master and a real agent: every answer is one that is
//! documented, nothing breaks, and both serve as before. `MEZZO_FUZZ_SECONDS` makes it longer, `MEZZO_FUZZ_SEED` repeats it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::http::{Connection, Request};
use mezzo_tests::tasks;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use regex::Regex;

/// For each server.
const USUAL_SECONDS: u64 = 8;

/// An operation of the description.
struct Operation {
    path: String,
    method: String,
    servers: String,
    parameters: Vec<String>,
    form: Vec<String>,
    calls: bool,
    statuses: Vec<u16>,
}

/// Reads the description, which has one operation on each line.
fn operations() -> Vec<Operation> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/openapi.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let line = Regex::new(r"(?m)^  (/\S*): \{(get|post): \{tags: \[([^\]]*)\](.*)$").unwrap();
    let parameter = Regex::new(r"\{name: (\w+), in: query").unwrap();
    let status = Regex::new("\"(\\d{3})\":").unwrap();
    let form = Regex::new(r"x-form: \[([^\]]*)\]").unwrap();
    let operation = |found: regex::Captures<'_>| {
        let rest = &found[4];
        let mut parameters: Vec<String> = parameter.captures_iter(rest).map(|name| name[1].to_owned()).collect();
        if rest.contains("parameters/jsonp") {
            parameters.push("jsonp".to_owned());
        }
        Operation {
            path: found[1].to_owned(),
            method: found[2].to_uppercase(),
            servers: found[3].to_owned(),
            parameters,
            form: form.captures(rest).map_or(Vec::new(), |list| list[1].split(", ").map(str::to_owned).collect()),
            calls: rest.contains("x-calls"),
            statuses: status.captures_iter(rest).map(|code| code[1].parse().unwrap()).collect(),
        }
    };
    line.captures_iter(&text).map(operation).collect()
}

const TEXTS: [&str; 22] = [
    "",
    "0",
    "-1",
    "1",
    "18446744073709551615",
    "-9223372036854775809",
    "1e308",
    "NaN",
    "asc",
    "abc",
    "1secs",
    "99weeks",
    "%00",
    "%ff%fe",
    "%ZZ",
    "..%2F..%2Fetc%2Fpasswd",
    "/slave/log",
    "%2F",
    "a.b%5B0%5D",
    "alert(1)",
    "%C3%A9%F0%9F%98%80",
    "&&;;==",
];

const CALLS: [&str; 14] = [
    "GET_STATE",
    "GET_METRICS",
    "READ_FILE",
    "LIST_FILES",
    "SET_LOGGING_LEVEL",
    "TEARDOWN",
    "MARK_AGENT_GONE",
    "GET_CONTAINERS",
    "UPDATE_QUOTA",
    "RESERVE_RESOURCES",
    "DRAIN_AGENT",
    "WAIT_CONTAINER",
    "UNKNOWN",
    "NOPE",
];

struct Fuzzer {
    random: StdRng,
    ids: Vec<String>,
}

impl Fuzzer {
    fn text(&mut self) -> String {
        match self.random.random_range(0..10) {
            0..6 => (*TEXTS.choose(&mut self.random).unwrap()).to_owned(),
            6..8 => self.ids.choose(&mut self.random).unwrap().clone(),
            _ => {
                let length = self.random.random_range(0..60);
                (0..length).map(|_| char::from(self.random.random_range(b'!'..=b'~'))).filter(|c| *c != '#').collect()
            }
        }
    }

    fn json(&mut self, depth: u32) -> String {
        match self.random.random_range(0..if depth == 0 { 6 } else { 9 }) {
            0 => "null".to_owned(),
            1 => "true".to_owned(),
            2 => self.random.random::<i64>().to_string(),
            3 => "1e400".to_owned(),
            4 | 5 => serde_json::json!(self.text()).to_string(),
            6 => format!("[{}]", self.json(depth - 1)),
            _ => {
                let names = [
                    "value",
                    "agent_id",
                    "framework_id",
                    "path",
                    "offset",
                    "level",
                    "duration",
                    "nanoseconds",
                    "resources",
                ];
                let count = self.random.random_range(0..4);
                let members: Vec<_> = (0..count)
                    .map(|_| format!("\"{}\":{}", names.choose(&mut self.random).unwrap(), self.json(depth - 1)))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }

    fn call(&mut self) -> String {
        let kind = CALLS.choose(&mut self.random).unwrap();
        let part = self.json(3);
        let mut body = format!("{{\"type\":\"{kind}\",\"{}\":{part}}}", kind.to_lowercase());
        if self.random.random_bool(0.1) {
            let cut = self.random.random_range(0..body.len());
            body.truncate((0..=cut).rev().find(|at| body.is_char_boundary(*at)).unwrap_or(0));
        }
        body
    }

    fn request(&mut self, operation: &Operation) -> Request {
        let mut path = operation.path.clone();
        let mut pairs = Vec::new();
        for name in &operation.parameters {
            if self.random.random_bool(0.6) {
                pairs.push(format!("{name}={}", self.text()));
            }
        }
        if !pairs.is_empty() {
            path = format!("{path}?{}", pairs.join("&"));
        }
        let mut request = Request::new(&operation.method, &path.replace(' ', "%20"));
        if operation.calls {
            request.body = self.call().into_bytes();
            let types = ["application/json", "application/x-protobuf", "application/recordio", "text/plain"];
            request = request.header(
                "Content-Type",
                types[if self.random.random_bool(0.8) { 0 } else { self.random.random_range(0..4) }],
            );
        } else if !operation.form.is_empty() {
            let pairs: Vec<_> = operation.form.iter().map(|name| format!("{name}={}", self.text())).collect();
            request.body = pairs.join("&").into_bytes();
        }
        if self.random.random_bool(0.3) {
            let headers = [
                ("Accept-Encoding", "gzip"),
                ("If-None-Match", "W/\"x\""),
                ("Accept", "text/html"),
                ("Range", "bytes=-5"),
            ];
            let (name, value) = headers.choose(&mut self.random).unwrap();
            request = request.header(name, value);
        }
        request
    }
}

#[test]
fn every_answer_is_one_that_is_documented() {
    let cluster = Cluster::builder().start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("fuzzed", "dev"));
    framework.run("runs", "sleep 1000");
    framework.wait_status("runs", "TASK_RUNNING");
    let variable = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seed = variable("MEZZO_FUZZ_SEED").unwrap_or_else(by_chance);
    let patience = Duration::from_secs(variable("MEZZO_FUZZ_SECONDS").unwrap_or(USUAL_SECONDS));
    // Not the framework's and the agent's own ids with what ends them: what is looked at must stay.
    let ids = vec!["runs".to_owned(), "fuzzed".to_owned(), format!("{}-S99", &cluster.agent_ids()[0][..36])];
    let mut fuzzer = Fuzzer { random: StdRng::seed_from_u64(seed), ids };
    for (server, address) in [("master", cluster.master_address), ("agent", cluster.agents[0].address)] {
        let count = one_server(server, address, &mut fuzzer, patience, seed);
        eprintln!("{server}: {count} requests");
        assert!(count > 200, "{server}: only {count} requests");
    }
    assert_eq!(cluster.agent_ids().len(), 1, "the agent is still there");
    assert_eq!(framework.shown()["tasks"][0]["state"], "TASK_RUNNING");
    assert!(!cluster.logs().contains("panicked"), "{}", cluster.logs());
}

fn by_chance() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or_default()
}

fn one_server(server: &str, address: SocketAddr, fuzzer: &mut Fuzzer, patience: Duration, seed: u64) -> usize {
    let operations: Vec<_> = operations().into_iter().filter(|operation| operation.servers.contains(server)).collect();
    assert!(operations.len() > 12, "{server}: {} operations", operations.len());
    let (start, mut count) = (Instant::now(), 0);
    let mut connection = Connection::open(address).unwrap();
    while start.elapsed() < patience {
        let operation = &operations[count % operations.len()];
        let request = fuzzer.request(operation);
        let what = || {
            format!(
                "{server} {} {} {:?} (MEZZO_FUZZ_SEED={seed})",
                request.method,
                request.path,
                String::from_utf8_lossy(&request.body)
            )
        };
        let response = connection.send(&request).unwrap_or_else(|error| panic!("{}: {error}", what()));
        let status = response.status();
        assert!(operation.statuses.contains(&status), "{}: {status} {}", what(), response.text());
        if response.head.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            connection = Connection::open(address).unwrap();
        }
        count += 1;
    }
    count
}
