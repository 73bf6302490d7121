//! Every bad (and odd) scheduler request that a real master was given, with what it answered and what came on the stream.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use base64::Engine;
use mezzo_api::codec::{self, Encoding};
use mezzo_api::v1::scheduler::Call;
use mezzo_tests::cluster::{Cluster, RESOURCES};
use mezzo_tests::framework::{self, Framework};
use mezzo_tests::golden::deviations::Findings;
use mezzo_tests::golden::{diff, load, normalise::Normaliser};
use mezzo_tests::http::{self, Request, Response};
use mezzo_tests::tasks;
use regex::{Regex, bytes};
use serde_json::{Map, Value, json};

use super::subscription;

/// How long the events of one case may take.
const CASE: Duration = Duration::from_secs(10);

static OFFER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[0-9a-f-]{36}-O\d+").unwrap());
static AGENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[0-9a-f-]{36}-S\d+").unwrap());
static FRAMEWORK: LazyLock<bytes::Regex> = LazyLock::new(|| bytes::Regex::new(r"[0-9a-f-]{36}-0000").unwrap());
static ROLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"allocated: (dev|ops)").unwrap());

#[test]
fn bad_requests_in_json() {
    replay(Findings::of("scheduler_errors"), Encoding::Json);
}

#[test]
fn bad_requests_in_protobuf() {
    replay(Findings::of_some_of("scheduler_errors"), Encoding::Protobuf);
}

fn replay(mut findings: Findings, encoding: Encoding) {
    let golden = load("scheduler_errors");
    let cases: Vec<&Value> = golden["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| encoding == Encoding::Json || as_protobuf(case).is_some())
        .collect();
    let cluster = Cluster::builder().agents(2).resources(RESOURCES).start();
    let framework = main_framework(&cluster, encoding);
    let mut replay = Replay { agents: cluster.agent_ids(), framework, cluster, encoding, barriers: 0 };
    for (number, case) in cases.iter().enumerate() {
        let (expected, actual) = replay.case(case);
        findings.add(case["name"].as_str().unwrap(), diff::differences(&expected, &actual));
        if std::env::var_os("MEZZO_TEST_VERBOSE").is_some() {
            eprintln!("{number} {}: {actual}", case["name"]);
        }
    }
    assert!(
        findings.cases() > if encoding == Encoding::Json { 270 } else { 150 },
        "too few cases: {}",
        findings.cases()
    );
    assert_eq!(replay.cluster.get("/health").unwrap().status(), 200, "the master must survive all this");
    findings.check();
}

fn main_framework(cluster: &Cluster, encoding: Encoding) -> Framework {
    let capabilities = [
        "MULTI_ROLE",
        "PARTITION_AWARE",
        "TASK_KILLING_STATE",
        "RESERVATION_REFINEMENT",
        "SHARED_RESOURCES",
        "REGION_AWARE",
    ];
    let info = json!({"user": "root", "name": "errs", "roles": ["dev", "ops"], "capabilities": capabilities.map(|name| json!({"type": name}))});
    Framework::subscribe_in(encoding, cluster.master_address, info)
}

/// The call of a case in protobuf, where the case is about a call and not about how its JSON is written.
fn as_protobuf(case: &Value) -> Option<Vec<u8>> {
    let request = &case["request"];
    let plain = request["headers"]
        .as_object()?
        .keys()
        .all(|name| matches!(name.as_str(), "Content-Type" | "Accept" | "Mesos-Stream-Id"));
    let own_path = request["path"] == framework::PATH && request["method"] == "POST";
    if !plain || !own_path || request["headers"]["Content-Type"] != "application/json" {
        return None;
    }
    let call: Call = codec::decode(Encoding::Json, request["text"].as_str()?.as_bytes()).ok()?;
    Some(codec::encode(Encoding::Protobuf, &call).to_vec())
}

struct Replay {
    cluster: Cluster,
    framework: Framework,
    encoding: Encoding,
    agents: Vec<String>,
    barriers: u32,
}

impl Replay {
    /// What Mesos did, and what Mezzo does, each without what differs from run to run.
    fn case(&mut self, case: &Value) -> (Value, Value) {
        let name = case["name"].as_str().unwrap();
        let expected = expected(case);
        let actual = match name {
            _ if case["response"]["status"] == 200 => self.subscribe(case),
            "ACCEPT, one role, offers of two agents" => self.offers_of_two_agents(case),
            "ACCEPT, one role, offer of another framework" => self.offer_of_another(case),
            "TEARDOWN" | "call after TEARDOWN" => document(&self.send(&self.request(case, &[])), &[]),
            _ => {
                let offers = self.offers_for(case);
                let request = self.request(case, &offers);
                let count = case["events"].as_array().map_or(0, Vec::len);
                let seen = self.observe(&request, count);
                if seen["status"] != 202 {
                    // A refused call leaves the offers as they were.
                    let back =
                        offers.into_iter().map(|offer| (offer["id"]["value"].as_str().unwrap().to_owned(), offer));
                    self.framework.offers.extend(back);
                }
                seen
            }
        };
        if name == "framework id chosen by the client (unknown to the master)" {
            subscription::wait_until_removed(&self.cluster, "my-own-id");
        }
        (expected, actual)
    }

    fn subscribe(&self, case: &Value) -> Value {
        let mut request = self.request(case, &[]);
        if self.encoding == Encoding::Protobuf {
            request.headers.retain(|(name, _)| name != "Accept");
            request = request.header("Accept", "application/x-protobuf");
        }
        let count = case["events"].as_array().map_or(0, Vec::len);
        let (response, events) = subscription::first_events(self.cluster.master_address, &request, count, CASE);
        let mut document = document(&response, &events);
        if self.encoding == Encoding::Protobuf && document["headers"]["content-type"] == "application/x-protobuf" {
            // The one thing that must differ.
            document["headers"]["content-type"] = json!("application/json");
        }
        document
    }

    /// The request of a case, with our ids in the place of those of the recording.
    fn request(&self, case: &Value, offers: &[Value]) -> Request {
        let golden = &case["request"];
        let mut request = Request::new(golden["method"].as_str().unwrap(), golden["path"].as_str().unwrap());
        for (name, value) in golden["headers"].as_object().unwrap() {
            let value = value.as_str().unwrap();
            // The stream of the recording stands for ours; ids made up for the case stay.
            let own = name.eq_ignore_ascii_case("Mesos-Stream-Id")
                && value.len() == 36
                && !case["name"].as_str().unwrap().starts_with("wrong stream id");
            let long = value.split_once('*').and_then(|(unit, count)| Some(unit.repeat(count.parse().ok()?)));
            let value = if own { self.framework.stream_id.clone() } else { long.unwrap_or_else(|| value.to_owned()) };
            request.headers.push((name.clone(), value));
        }
        request.body = self.with_our_ids(body(golden), offers);
        if golden["headers"]["Content-Encoding"] == "gzip" && golden["body_base64"].is_string() {
            request.body = crate::gzip::pack(&self.with_our_ids(crate::gzip::unpack(&body(golden)), offers));
        }
        if golden["truncated"].is_string() || golden["truncated"] == true {
            let call = self.framework.call_value("REVIVE", Value::Null).to_string();
            request.body = [" ".repeat(2 * 1024 * 1024).into_bytes(), call.into_bytes()].concat();
        }
        if self.encoding == Encoding::Protobuf {
            let call: Call = codec::decode(Encoding::Json, &request.body).unwrap();
            request.body = codec::encode(Encoding::Protobuf, &call).to_vec();
            request
                .headers
                .iter_mut()
                .filter(|(name, _)| name == "Content-Type")
                .for_each(|(_, value)| "application/x-protobuf".clone_into(value));
        }
        request
    }

    fn with_our_ids(&self, body: Vec<u8>, offers: &[Value]) -> Vec<u8> {
        let body = FRAMEWORK.replace_all(&body, self.framework.id.as_bytes()).into_owned();
        let Ok(mut text) = String::from_utf8(body.clone()) else { return body };
        let golden: Vec<String> = distinct(OFFER.find_iter(&text).map(|id| id.as_str().to_owned()));
        for (golden, ours) in golden.iter().zip(offers) {
            text = text.replace(golden.as_str(), ours["id"]["value"].as_str().unwrap());
        }
        let agent = offers.first().map_or(self.agents[1].as_str(), tasks::agent_of);
        AGENT.replace_all(&text, agent).into_owned().into_bytes()
    }

    /// Offers of ours for those that a case names, whole ones, of the role that the case is about.
    fn offers_for(&mut self, case: &Value) -> Vec<Value> {
        let text = case["request"]["text"].as_str().unwrap_or_default();
        let named = distinct(
            OFFER
                .find_iter(text)
                .filter(|id| !text.contains(&format!("nope{}", id.as_str())))
                .map(|id| id.as_str().to_owned()),
        );
        if named.is_empty() {
            return Vec::new();
        }
        if case["name"] == "ACCEPT offers of two agents" {
            return vec![self.offer(Some("ops")), self.offer(Some("dev"))];
        }
        let events = case["events"].to_string();
        let role = ROLE
            .captures(&events)
            .map(|found| found[1].to_owned())
            .or_else(|| text.contains(r#""role": "dev""#).then(|| "dev".to_owned()));
        vec![self.offer(role.as_deref())]
    }

    /// A whole offer of an agent, of this role.
    fn offer(&mut self, role: Option<&str>) -> Value {
        let start = Instant::now();
        loop {
            let whole = |offer: &Value| {
                tasks::amount(offer, "cpus") >= 4.0
                    && tasks::amount(offer, "mem") >= 4096.0
                    && tasks::ports(offer).len() == 1001
            };
            let of_role = |offer: &Value| role.is_none_or(|role| offer["allocation_info"]["role"] == role);
            if let Some(offer) = self.framework.offers.values().find(|offer| whole(offer) && of_role(offer)) {
                let offer = offer.clone();
                self.framework.offers.remove(offer["id"]["value"].as_str().unwrap());
                return offer;
            }
            assert!(
                start.elapsed() < CASE,
                "no whole offer of role {role:?} came; there are {:?}",
                self.framework.offers
            );
            let parts: Vec<Value> = self.framework.offers.values().filter(|offer| !whole(offer)).cloned().collect();
            parts.iter().for_each(|part| self.framework.decline(part, 0.0));
            if self.framework.next(Duration::from_millis(300)).is_none() {
                // What the other role holds goes to this one while its filter lasts.
                let others: Vec<Value> = self.framework.offers.values().cloned().collect();
                others.iter().for_each(|other| self.framework.decline(other, 1.0));
            }
        }
    }

    fn send(&self, request: &Request) -> Response {
        http::send(self.cluster.master_address, request)
            .unwrap_or_else(|error| panic!("{} {}: {error}", request.method, request.path))
    }

    /// Sends a request and takes what it causes on the stream: as many events as are expected, and any more until the stream has passed a barrier.
    fn observe(&mut self, request: &Request, expected: usize) -> Value {
        let mark = self.framework.mark();
        let response = self.send(request);
        let start = Instant::now();
        // What is refused causes nothing.
        while response.status() == 202
            && caused(&self.framework.events[mark..]).len() < expected
            && start.elapsed() < CASE
        {
            self.framework.next(Duration::from_millis(100));
        }
        self.barrier();
        document(&response, &caused(&self.framework.events[mark..]))
    }

    /// What the master has to say to a call before comes before its answer to this one.
    fn barrier(&mut self) {
        self.barriers += 1;
        let task = format!("barrier-{}", self.barriers);
        let mark = self.framework.mark();
        self.framework.call("RECONCILE", json!({"tasks": [{"task_id": {"value": task}}]}));
        self.framework.wait_status_since(mark, &task, "TASK_UNKNOWN");
    }

    /// A framework of one role, with an offer of each agent.
    fn offers_of_two_agents(&mut self, case: &Value) -> Value {
        let info = json!({"user": "root", "name": "one", "roles": ["dev"], "capabilities": [{"type": "MULTI_ROLE"}, {"type": "PARTITION_AWARE"}]});
        self.framework = Framework::subscribe_in(self.encoding, self.cluster.master_address, info);
        let first = self.offer(None);
        let second = self.offer(None);
        let request = self.request(case, &[first, second]);
        self.observe(&request, 1)
    }

    /// The offer of one framework, used by another.
    fn offer_of_another(&mut self, case: &Value) -> Value {
        let offers: Vec<Value> = vec![self.offer(None), self.offer(None)];
        offers.iter().for_each(|offer| self.framework.decline(offer, 3600.0));
        let info = json!({"user": "root", "name": "other", "roles": ["dev"], "capabilities": [{"type": "MULTI_ROLE"}]});
        let mut other = Framework::subscribe_in(self.encoding, self.cluster.master_address, info);
        let offer = other.wait_any_offer();
        let request = self.request(case, &[offer]);
        self.observe(&request, 1)
    }
}

fn body(golden: &Value) -> Vec<u8> {
    match golden["body_base64"].as_str() {
        Some(text) => base64::engine::general_purpose::STANDARD.decode(text).unwrap(),
        None => golden["text"].as_str().unwrap_or_default().as_bytes().to_vec(),
    }
}

fn distinct(ids: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for id in ids {
        if !found.contains(&id) {
            found.push(id);
        }
    }
    found
}

/// Events that a call caused: those that come of themselves are left out, as in the recording.
fn caused(events: &[Value]) -> Vec<Value> {
    let by_itself = |event: &Value| matches!(event["type"].as_str(), Some("OFFERS" | "HEARTBEAT" | "RESCIND"));
    let barrier = |event: &Value| {
        event["update"]["status"]["task_id"]["value"].as_str().is_some_and(|task| task.starts_with("barrier-"))
    };
    events.iter().filter(|event| !by_itself(event) && !barrier(event)).cloned().collect()
}

fn expected(case: &Value) -> Value {
    let response = &case["response"];
    let mut headers = Map::new();
    for (name, value) in response["headers"].as_object().into_iter().flatten() {
        headers.insert(name.to_lowercase(), value.clone());
    }
    let events = case["events"].as_array().cloned().unwrap_or_default();
    let mut expected = normalised(
        &json!({"status": response["status"], "headers": relevant(headers), "text": response["text"].as_str().unwrap_or_default(), "events": events}),
    );
    subscription::as_of_version(&mut expected);
    if response["status"] == 0 {
        expected["status"] = json!("the master aborted");
    }
    expected
}

/// An answer and the events that it caused, as they are compared.
fn document(response: &Response, events: &[Value]) -> Value {
    let headers = response.head.headers.iter().map(|(name, value)| (name.to_lowercase(), json!(value))).collect();
    normalised(
        &json!({"status": response.status(), "headers": relevant(headers), "text": response.text(), "events": events}),
    )
}

/// Headers that clients read.
fn relevant(headers: Map<String, Value>) -> Value {
    let read = |name: &String| {
        matches!(
            name.as_str(),
            "content-type" | "allow" | "location" | "transfer-encoding" | "mesos-stream-id" | "www-authenticate"
        )
    };
    headers.into_iter().filter(|(name, _)| read(name)).collect()
}

fn normalised(document: &Value) -> Value {
    Normaliser::default().value(document)
}
