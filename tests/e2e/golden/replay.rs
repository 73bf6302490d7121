//! Replaying a recorded framework call for call, and comparing what comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use mezzo_api::codec::Encoding;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::{self, Framework};
use mezzo_tests::golden::deviations::Findings;
use mezzo_tests::golden::{diff, normalise::Normaliser};
use mezzo_tests::http::{self, Response};
use mezzo_tests::tasks;
use regex::Regex;
use serde_json::{Value, json};

use super::subscription;

/// How long the events of one note may take.
const PATIENCE: Duration = Duration::from_secs(15);

static ID: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[0-9a-f-]{36}-(?:[SO]\d+|\d{4})").unwrap());

/// What happened from one note of the recording to the next.
struct Segment {
    note: String,
    records: Vec<Value>,
}

fn segments(records: &Value) -> Vec<Segment> {
    let mut segments = vec![Segment { note: "subscription".to_owned(), records: Vec::new() }];
    for record in records.as_array().unwrap() {
        match record["note"].as_str().filter(|_| record.get("stream").is_none()) {
            Some(note) => segments.push(Segment { note: note.to_owned(), records: Vec::new() }),
            None => segments.last_mut().unwrap().records.push(record.clone()),
        }
    }
    segments
}

/// A recording that is being replayed.
pub(super) struct Replay {
    pub(super) cluster: Cluster,
    encoding: Encoding,
    pub(super) frameworks: BTreeMap<String, Framework>,
    /// The role of each offer of the recording, none where it does not say.
    roles: BTreeMap<String, Option<String>>,
    /// Our id for each of the recording.
    ids: BTreeMap<String, String>,
    /// Tasks and executors of what was left out.
    left_out: BTreeSet<String>,
    /// Texts of the recording that stand for others here, such as the path of a program.
    pub(super) texts: Vec<(String, String)>,
}

impl Replay {
    pub(super) fn new(cluster: Cluster, encoding: Encoding, records: &Value) -> Self {
        let offers = records.as_array().unwrap().iter().filter(|record| record["event"]["type"] == "OFFERS");
        let offers = offers.flat_map(|record| record["event"]["offers"]["offers"].as_array().unwrap());
        let role = |offer: &Value| {
            (
                offer["id"]["value"].as_str().unwrap().to_owned(),
                offer["allocation_info"]["role"].as_str().map(str::to_owned),
            )
        };
        let roles = offers.map(role).collect();
        let ids = cluster.agent_ids().into_iter().map(|agent| ("S0".to_owned(), agent)).collect();
        Self {
            cluster,
            encoding,
            frameworks: BTreeMap::new(),
            roles,
            ids,
            left_out: BTreeSet::new(),
            texts: Vec::new(),
        }
    }

    /// Replays all parts; `before` does to the cluster what was done before each.
    pub(super) fn all(&mut self, records: &Value, findings: &mut Findings, before: impl Fn(&mut Replay, &str)) {
        for segment in segments(records) {
            if findings.skips(&segment.note) {
                self.leave_out(&segment);
                continue;
            }
            let differences = self.segment(&segment, &before);
            findings.add(&segment.note, differences);
        }
    }

    /// Nothing of this part will be expected later either.
    fn leave_out(&mut self, segment: &Segment) {
        for call in segment.records.iter().map(|record| &record["call"]) {
            for operation in call["accept"]["operations"].as_array().into_iter().flatten() {
                let group = &operation["launch_group"];
                let tasks = operation["launch"]["task_infos"]
                    .as_array()
                    .into_iter()
                    .chain(group["task_group"]["tasks"].as_array())
                    .flatten();
                self.left_out.extend(tasks.filter_map(|task| task["task_id"]["value"].as_str().map(str::to_owned)));
                self.left_out.extend(group["executor"]["executor_id"]["value"].as_str().map(str::to_owned));
            }
        }
    }

    /// Replays a part, and says where it went otherwise.
    fn segment(&mut self, segment: &Segment, before: impl Fn(&mut Replay, &str)) -> Vec<String> {
        let marks: BTreeMap<String, usize> =
            self.frameworks.iter().map(|(name, framework)| (name.clone(), framework.mark())).collect();
        before(self, &segment.note);
        let (mut expected, mut differences) = (Expected::default(), Vec::new());
        for (index, record) in segment.records.iter().enumerate() {
            let stream = record["stream"].as_str().unwrap_or_default();
            if record["event"]["type"] == "OFFERS" {
                differences.extend(self.first_offer(stream, &record["event"]));
            } else if record.get("event").is_some() || record.get("closed").is_some() {
                if !self.is_left_out(record) {
                    expected.add(stream, record);
                }
            } else if let Some(asked) = record["operator"].as_str() {
                self.wait(&expected, &marks);
                differences.extend(self.operate(asked, record));
            } else if record["call"]["type"] == "SUBSCRIBE" {
                differences.extend(self.subscribe(stream, record));
            } else if record.get("call").is_some()
                && record["call"]["type"] != "ACKNOWLEDGE"
                && !self.is_left_out(record)
            {
                self.wait(&expected, &marks);
                differences.extend(
                    self.call(stream, record).into_iter().map(|difference| format!("call {index}: {difference}")),
                );
            }
        }
        self.wait(&expected, &marks);
        differences.extend(self.compare(&expected, &marks));
        differences
    }

    fn is_left_out(&self, record: &Value) -> bool {
        let status = &record["event"]["update"]["status"];
        let names = [
            &status["task_id"]["value"],
            &record["event"]["failure"]["executor_id"]["value"],
            &record["event"]["update_operation_status"]["status"]["operation_id"]["value"],
            &record["call"]["kill"]["task_id"]["value"],
        ];
        names.iter().any(|name| name.as_str().is_some_and(|name| self.left_out.contains(name)))
    }

    fn subscribe(&mut self, stream: &str, record: &Value) -> Vec<String> {
        let call = self.with_our_ids(stream, &record["call"]);
        if matches!(stream, "X" | "Y") {
            return self.refused_subscription(&call);
        }
        let info = call["subscribe"]["framework_info"].clone();
        let framework = Framework::subscribe_in(self.encoding, self.cluster.master_address, info);
        let golden_id = if stream == "C" { "0001" } else { "0000" };
        self.ids.insert(golden_id.to_owned(), framework.id.clone());
        let head = &framework.stream().head;
        let shown = |name: &str| head.header(name).map(|_| json!(head.header(name)));
        let mut differences = Vec::new();
        if shown("Transfer-Encoding") != Some(json!("chunked"))
            || head.header("Content-Type") != Some(self.encoding.media_type())
        {
            differences.push(format!("SUBSCRIBE: {head:?}"));
        }
        self.frameworks.insert(stream.to_owned(), framework);
        differences
    }

    /// A subscription that the master refuses on its stream.
    fn refused_subscription(&self, call: &Value) -> Vec<String> {
        let request = framework::request(self.encoding, call);
        let (response, events) = subscription::first_events(self.cluster.master_address, &request, 2, PATIENCE);
        let name = call["subscribe"]["framework_info"]["principal"].as_str();
        let message = if name == Some("other") {
            "Changing framework's principal is not allowed."
        } else {
            "Framework has been removed"
        };
        let expected = [
            json!({"type": "ERROR", "error": {"message": message}}),
            json!({"closed": "stream closed: terminating chunk"}),
        ];
        diff::differences(
            &json!({"status": 200, "events": expected}),
            &json!({"status": response.status(), "events": events}),
        )
    }

    fn call(&mut self, stream: &str, record: &Value) -> Vec<String> {
        self.find_offers(stream, &record["call"]);
        let mut call = self.with_our_ids(stream, &record["call"]);
        if call["type"] == "ACKNOWLEDGE_OPERATION_STATUS" {
            call = self.acknowledgement(stream, call);
        }
        if let Some(tasks) = call["reconcile"]["tasks"].as_array_mut() {
            let asked = !tasks.is_empty();
            tasks.retain(|task| !self.left_out.contains(task["task_id"]["value"].as_str().unwrap_or_default()));
            if asked && tasks.is_empty() {
                return Vec::new();
            }
        }
        let framework = &self.frameworks[stream];
        let with_stream_of =
            if record["note"] == "call with the stream id of A" { &self.frameworks["A"] } else { framework };
        let request = framework::request(self.encoding, &call).header("Mesos-Stream-Id", &with_stream_of.stream_id);
        let response = http::send(self.cluster.master_address, &request).unwrap();
        let mut expected = json!({"status": record["status"], "text": record["text"].as_str().unwrap_or_default()});
        expected = Normaliser::default().value(&expected);
        diff::differences(&expected, &Normaliser::default().value(&answer(&response)))
    }

    /// What an operator did. A change of weights takes every outstanding offer back.
    fn operate(&mut self, asked: &str, record: &Value) -> Vec<String> {
        let mut parts = asked.splitn(3, ' ');
        let (Some(method), Some(path)) = (parts.next(), parts.next().filter(|path| path.starts_with('/'))) else {
            return Vec::new();
        };
        let body = parts.next().map_or_else(|| record["request"].to_string(), str::to_owned);
        let mut request = http::Request::new(method, path);
        request.body = body.into_bytes();
        let held: Vec<(String, String)> = self
            .frameworks
            .iter_mut()
            .filter(|(_, framework)| framework.closed.is_none() && path == "/weights")
            .filter_map(|(name, framework)| {
                while framework.next(Duration::from_millis(20)).is_some() {}
                Some((name.clone(), framework.offers.keys().next()?.clone()))
            })
            .collect();
        let response = http::send(self.cluster.master_address, &request).unwrap();
        for (name, offer) in held {
            let framework = self.frameworks.get_mut(&name).unwrap();
            framework.wait_since(0, "RESCIND", |event| event["rescind"]["offer_id"]["value"] == offer.as_str());
        }
        let expected = json!({"status": record["status"], "text": record["text"].as_str().unwrap_or_default()});
        diff::differences(&expected, &answer(&response))
    }

    /// The acknowledgement of a status that came here.
    fn acknowledgement(&self, stream: &str, mut call: Value) -> Value {
        let acknowledge = &mut call["acknowledge_operation_status"];
        let of_operation = |event: &&Value| {
            let status = &event["update_operation_status"]["status"];
            status["operation_id"] == acknowledge["operation_id"] && status.get("uuid").is_some()
        };
        if let Some(event) = self.frameworks[stream].events.iter().rev().find(of_operation) {
            acknowledge["uuid"] = event["update_operation_status"]["status"]["uuid"]["value"].clone();
        }
        call
    }

    /// Makes sure that each offer that a call names stands for one of ours.
    fn find_offers(&mut self, stream: &str, call: &Value) {
        let offers = ["accept", "decline"]
            .iter()
            .flat_map(|part| call[part]["offer_ids"].as_array().cloned().unwrap_or_default());
        for golden in offers.map(|id| id["value"].as_str().unwrap().to_owned()) {
            let key = golden.rsplit('-').next().unwrap_or_default().to_owned();
            if self.ids.contains_key(&key) {
                continue;
            }
            let role = self.roles.get(&golden).cloned().flatten();
            let framework = self.frameworks.get_mut(stream).unwrap();
            let ours = if call["type"] == "DECLINE" {
                any_or_none(framework)
            } else {
                Some(whole_offer(framework, role.as_deref()))
            };
            // What is declined and no longer there is declined all the same.
            let ours = ours.map_or_else(|| golden.clone(), |offer| offer["id"]["value"].as_str().unwrap().to_owned());
            framework.offers.remove(&ours);
            self.ids.insert(key, ours);
        }
    }

    fn with_our_ids(&self, _stream: &str, value: &Value) -> Value {
        let text = value.to_string();
        let ours = |found: &regex::Captures<'_>| {
            let key = found[0].rsplit('-').next().unwrap_or_default();
            self.ids.get(key).cloned().unwrap_or_else(|| found[0].to_owned())
        };
        let text = self.texts.iter().fold(text, |text, (golden, ours)| text.replace(golden, ours));
        serde_json::from_str(&ID.replace_all(&text, ours)).unwrap()
    }

    /// Our texts turned into those of the recording.
    pub(super) fn as_recorded(&self, value: &Value) -> Value {
        let text = self.texts.iter().fold(value.to_string(), |text, (golden, ours)| text.replace(ours, golden));
        serde_json::from_str(&text).unwrap()
    }

    /// The first offer of a stream, compared field by field; later ones depend on the moment, and that of B on what was left out.
    fn first_offer(&mut self, stream: &str, golden: &Value) -> Vec<String> {
        if stream == "B" {
            return Vec::new();
        }
        let framework = self.frameworks.get_mut(stream).unwrap();
        if framework.events.iter().any(|event| event["type"] == "OFFERS") || !framework.offers.is_empty() {
            return Vec::new();
        }
        let ours = framework.wait_since(0, "OFFERS", |event| event["type"] == "OFFERS");
        let offer = |event: &Value| Normaliser::default().value(&in_order(event["offers"]["offers"][0].clone()));
        diff::differences(&offer(golden), &offer(&ours))
            .into_iter()
            .map(|difference| format!("first offer: {difference}"))
            .collect()
    }

    fn wait(&mut self, expected: &Expected, marks: &BTreeMap<String, usize>) {
        let start = Instant::now();
        for (stream, events) in &expected.streams {
            let Some(framework) = self.frameworks.get_mut(stream) else { continue };
            let mark = marks.get(stream).copied().unwrap_or(0);
            while start.elapsed() < PATIENCE && !has_all(framework, mark, events) {
                framework.next(Duration::from_millis(50));
            }
        }
    }

    fn compare(&self, expected: &Expected, marks: &BTreeMap<String, usize>) -> Vec<String> {
        let mut differences = Vec::new();
        for (stream, framework) in &self.frameworks {
            let mark = marks.get(stream).copied().unwrap_or(0);
            let mut events = framework.events[mark..].to_vec();
            events.retain(|event| !self.is_left_out(&json!({"event": event})));
            let golden = expected.streams.get(stream).cloned().unwrap_or_default();
            if golden.iter().any(|event| event.get("closed").is_some()) {
                events.extend(framework.closed.iter().map(|closing| json!({"closed": closing.describe()})));
            }
            let events = self.as_recorded(&json!(events));
            let mut golden = picture(&golden);
            subscription::as_of_version(&mut golden);
            differences.extend(
                diff::differences(&golden, &picture(events.as_array().unwrap()))
                    .into_iter()
                    .map(|difference| format!("{stream}: {difference}")),
            );
        }
        differences
    }
}

#[derive(Default)]
struct Expected {
    streams: BTreeMap<String, Vec<Value>>,
}

impl Expected {
    fn add(&mut self, stream: &str, record: &Value) {
        let event = record.get("event").cloned().unwrap_or_else(|| json!({"closed": record["closed"]}));
        // Refused subscriptions are compared where they are made.
        if !matches!(stream, "X" | "Y") {
            self.streams.entry(stream.to_owned()).or_default().push(event);
        }
    }
}

/// Resources of an offer by name: their order means nothing.
fn in_order(mut offer: Value) -> Value {
    if let Some(resources) = offer["resources"].as_array_mut() {
        resources.sort_by_key(|resource| resource["name"].to_string());
    }
    offer
}

fn answer(response: &Response) -> Value {
    json!({"status": response.status(), "text": response.text()})
}

fn any_or_none(framework: &mut Framework) -> Option<Value> {
    framework.next(Duration::from_millis(200));
    framework.offers.values().next().cloned()
}

/// An offer of this role with everything that is free.
fn whole_offer(framework: &mut Framework, role: Option<&str>) -> Value {
    let start = Instant::now();
    loop {
        while framework.next(Duration::from_millis(20)).is_some() {}
        let offers: Vec<Value> = framework.offers.values().cloned().collect();
        match offers.as_slice() {
            [offer]
                if role.is_none_or(|role| offer["allocation_info"]["role"] == role)
                    && tasks::amount(offer, "mem") >= 3000.0 =>
            {
                return offer.clone();
            }
            [] => {
                framework.next(Duration::from_millis(500));
            }
            // Parts come back as one; what another role holds comes to this one while the filter lasts.
            parts => parts.iter().for_each(|part| {
                let of_role = role.is_none_or(|role| part["allocation_info"]["role"] == role);
                framework.decline(part, if of_role { 0.0 } else { 0.6 });
            }),
        }
        assert!(start.elapsed() < PATIENCE, "no whole offer of role {role:?} came; there are {:?}", framework.offers);
    }
}

fn is_compared(event: &Value) -> bool {
    !matches!(
        event["type"].as_str(),
        Some("OFFERS" | "HEARTBEAT" | "RESCIND" | "INVERSE_OFFERS" | "RESCIND_INVERSE_OFFER")
    )
}

fn has_all(framework: &Framework, mark: usize, expected: &[Value]) -> bool {
    let count =
        |events: &[Value]| events.iter().filter(|event| is_compared(event) && event.get("closed").is_none()).count();
    let closes = expected.iter().any(|event| event.get("closed").is_some());
    count(&framework.events[mark..]) >= count(expected) && (!closes || framework.closed.is_some())
}

/// Events as they are compared: each task's and operation's in order; the master's own in order among themselves; the others in order.
pub(super) fn picture(events: &[Value]) -> Value {
    let mut tasks: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let (mut of_master, mut others) = (Vec::new(), Vec::new());
    for event in events.iter().filter(|event| is_compared(event)) {
        let status = if event["type"] == "UPDATE" {
            &event["update"]["status"]
        } else {
            &event["update_operation_status"]["status"]
        };
        let name = status["task_id"]["value"].as_str().or_else(|| status["operation_id"]["value"].as_str());
        match name {
            Some(name) => {
                // Implicit reconciliation answers in no order.
                if status["source"] == "SOURCE_MASTER" && status["message"] != "Reconciliation: Latest task state" {
                    of_master.push(json!(format!("{name} {}", status["state"].as_str().unwrap_or_default())));
                }
                let mut event = Normaliser::default().value(event);
                // The pool that is too small is named whole: it depends on what else runs.
                if let Some(message) = event.pointer_mut("/update_operation_status/status/message")
                    && let Some((pool, wanted)) =
                        message.as_str().and_then(|text| text.split_once(" does not contain "))
                {
                    let before = pool.split_once("operation: ").map_or("", |(before, _)| before);
                    *message = json!(format!("{before} <pool> does not contain {wanted}"));
                }
                tasks.entry(name.to_owned()).or_default().push(event);
            }
            None => others.push(Normaliser::default().value(event)),
        }
    }
    json!({"tasks": tasks, "of master": of_master, "others": others})
}
