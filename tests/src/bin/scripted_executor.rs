//! The executor of the recordings, again: it does what that one did, and writes down what came of it.
//!
//! With the argument `protobuf` it speaks that (bad calls stay as they were recorded). Its records go to `records.jsonl` in its sandbox, one JSON object a line, in the form of the golden data.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use mezzo_api::codec::{self, Encoding};
use mezzo_api::v1::executor::{Call, Event};
use mezzo_tests::golden;
use mezzo_tests::http::{self, Request, Response};
use mezzo_tests::stream::{Arrival, EventStream};
use serde_json::{Value, json};

const PATH: &str = "/slave(1)/api/v1/executor";

fn main() -> Result<()> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} must be set"));
    let sandbox = std::path::PathBuf::from(variable("MESOS_SANDBOX")?);
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    std::fs::write(sandbox.join("environment.json"), serde_json::to_vec(&environment)?)?;
    let encoding =
        if std::env::args().any(|argument| argument == "protobuf") { Encoding::Protobuf } else { Encoding::Json };
    let mut executor = Executor {
        encoding,
        agent: variable("MESOS_AGENT_ENDPOINT")?.parse()?,
        framework: variable("MESOS_FRAMEWORK_ID")?,
        id: variable("MESOS_EXECUTOR_ID")?,
        records: File::create(sandbox.join("records.jsonl"))?,
        cases: golden::load("executor_stream")["pyexec"]["records"].as_array().cloned().unwrap_or_default(),
        tasks: BTreeMap::new(),
        unacknowledged: Vec::new(),
        bad_calls_done: false,
    };
    executor.run()
}

struct Executor {
    encoding: Encoding,
    agent: SocketAddr,
    framework: String,
    id: String,
    records: File,
    cases: Vec<Value>,
    /// Tasks that have not ended, as they were launched.
    tasks: BTreeMap<String, Value>,
    /// Updates that the agent has not acknowledged.
    unacknowledged: Vec<Value>,
    bad_calls_done: bool,
}

impl Executor {
    fn run(&mut self) -> Result<()> {
        let tries_everything = self.id == "pyexec";
        if tries_everything {
            self.cases_until("HEARTBEAT before SUBSCRIBE")?;
        }
        let mut stream = self.subscribe()?.context("the agent refused the subscription")?;
        loop {
            match stream.next(Duration::from_secs(120)).context("nothing came for two minutes")?.1 {
                Arrival::Event(event) => {
                    self.record(&json!({"event": event}))?;
                    if self.take(&event, tries_everything)? {
                        return Ok(());
                    }
                }
                Arrival::Closed(closing) => {
                    self.record(&json!({"closed": closing.describe()}))?;
                    self.update("c-1", json!({"state": "TASK_RUNNING", "message": "made while the agent was down", "data": "b2ZmbGluZQ=="}))?;
                    stream = self.come_back()?;
                }
            }
        }
    }

    /// Does what the recorded executor did at an event; true when it is time to go.
    fn take(&mut self, event: &Value, tries_everything: bool) -> Result<bool> {
        match event["type"].as_str() {
            Some("LAUNCH") => self.launched(&event["launch"]["task"], tries_everything)?,
            Some("LAUNCH_GROUP") => {
                for task in event["launch_group"]["task_group"]["tasks"].as_array().into_iter().flatten() {
                    let id = self.remember(task);
                    self.update(&id, json!({"state": "TASK_RUNNING"}))?;
                }
            }
            Some("MESSAGE") => {
                self.call("MESSAGE", json!({"data": event["message"]["data"]}))?;
            }
            Some("KILL") => {
                let id = event["kill"]["task_id"]["value"].as_str().unwrap_or_default().to_owned();
                self.update(&id, json!({"state": "TASK_KILLING"}))?;
                self.update(&id, json!({"state": "TASK_KILLED", "message": "killed by request"}))?;
                self.update(&id, json!({"state": "TASK_RUNNING", "message": "after the terminal update"}))?;
                self.tasks.remove(&id);
            }
            Some("ACKNOWLEDGED") => {
                self.unacknowledged.retain(|update| update["status"]["uuid"] != event["acknowledged"]["uuid"]);
                return Ok(self.tasks.is_empty() && self.unacknowledged.is_empty());
            }
            Some("SHUTDOWN") => {
                for id in std::mem::take(&mut self.tasks).into_keys() {
                    self.update(&id, json!({"state": "TASK_KILLED", "message": "shutdown"}))?;
                }
                // The agent of the recordings closed the second executor's stream with its framework.
                return Ok(!tries_everything);
            }
            _ => {}
        }
        Ok(false)
    }

    fn launched(&mut self, task: &Value, tries_everything: bool) -> Result<()> {
        let id = self.remember(task);
        self.update(&id, json!({"state": "TASK_STARTING"}))?;
        let network = json!({"network_infos": [{"ip_addresses": [{"ip_address": "10.1.2.3"}]}]});
        let labels = json!({"labels": [{"key": "l", "value": "1"}]});
        let running = json!({"state": "TASK_RUNNING", "message": "up", "data": "cGF5bG9hZA==", "healthy": true, "labels": labels, "container_status": network});
        let update = self.update(&id, running)?;
        if id == "c-dup" {
            let response = self.send(&self.value("UPDATE", update.clone()))?;
            self.record(&json!({"call": self.value("UPDATE", update), "status": response.status(), "text": response.text(), "case": "same uuid again"}))?;
        }
        if !self.bad_calls_done && tries_everything {
            self.bad_calls_done = true;
            self.cases_until("other actor")?;
        }
        if !tries_everything {
            // One bad call of those has an effect that the framework sees.
            let uuid = "C54dTHpTT26cGy0+T1prfA==";
            let status =
                json!({"task_id": {"value": "x"}, "state": "TASK_RUNNING", "source": "SOURCE_EXECUTOR", "uuid": uuid});
            self.send(&self.value("UPDATE", json!({"status": status})))?;
        }
        if id != "c-dup" {
            self.call("MESSAGE", json!({"data": "ZnJvbSBleGVjdXRvcg=="}))?;
        }
        Ok(())
    }

    fn remember(&mut self, task: &Value) -> String {
        let id = task["task_id"]["value"].as_str().unwrap_or_default().to_owned();
        self.tasks.insert(id.clone(), task.clone());
        id
    }

    /// Makes the recorded bad calls up to the one of this name.
    fn cases_until(&mut self, last: &str) -> Result<()> {
        while let Some(at) = self.cases.iter().position(|record| record["case"].is_string()) {
            let case = self.cases.drain(..=at).next_back().unwrap_or_default();
            self.bad_call(&case)?;
            if case["case"] == last {
                return Ok(());
            }
        }
        bail!("the recording has no case {last:?}")
    }

    fn bad_call(&mut self, case: &Value) -> Result<()> {
        let mut body = case["raw_body"].as_str().unwrap_or_default().to_owned();
        if !case["call"].is_null() {
            let mut call = case["call"].clone();
            let framework = call["framework_id"]["value"].as_str().unwrap_or_default();
            if framework.len() > 36 {
                call["framework_id"]["value"] = json!(self.framework);
            }
            body = call.to_string();
        }
        let mut request =
            Request::new(case["method"].as_str().unwrap_or("POST"), case["path"].as_str().unwrap_or(PATH));
        request.body = body.into_bytes();
        match case["request_headers"].as_object() {
            Some(headers) => {
                for (name, value) in headers {
                    request = request.header(name, value.as_str().unwrap_or_default());
                }
            }
            None => request = request.header("Content-Type", "application/json"),
        }
        let response = http::send(self.agent, &request)?;
        self.record(&json!({"case": case["case"], "status": response.status(), "text": response.text(), "headers": headers(&response)}))
    }

    fn subscribe(&mut self) -> Result<Option<EventStream>> {
        let tasks: Vec<&Value> = self.tasks.values().collect();
        let call = self
            .value("SUBSCRIBE", json!({"unacknowledged_tasks": tasks, "unacknowledged_updates": self.unacknowledged}));
        let request = self.request(&call)?.header("Accept", self.encoding.media_type());
        match EventStream::open::<Event>(self.agent, &request)? {
            Ok(stream) => {
                let response = Response { head: stream.head.clone(), body: Vec::new() };
                self.record(&json!({"call": call, "status": 200, "headers": headers(&response)}))?;
                Ok(Some(stream))
            }
            Err(_) => Ok(None),
        }
    }

    fn come_back(&mut self) -> Result<EventStream> {
        for _ in 0..1200 {
            if let Ok(Some(stream)) = self.subscribe() {
                return Ok(stream);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the agent did not come back")
    }

    fn value(&self, kind: &str, body: Value) -> Value {
        let mut call =
            json!({"executor_id": {"value": self.id}, "framework_id": {"value": self.framework}, "type": kind});
        call[kind.to_lowercase()] = body;
        call
    }

    fn update(&mut self, task: &str, more: Value) -> Result<Value> {
        let uuid = base64::engine::general_purpose::STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
        let mut status = json!({"task_id": {"value": task}, "source": "SOURCE_EXECUTOR", "executor_id": {"value": self.id}, "uuid": uuid, "timestamp": now});
        for (name, value) in more.as_object().into_iter().flatten() {
            status[name] = value.clone();
        }
        let update = json!({"status": status});
        self.unacknowledged.push(update.clone());
        self.call("UPDATE", update.clone())?;
        Ok(update)
    }

    fn call(&mut self, kind: &str, body: Value) -> Result<()> {
        let call = self.value(kind, body);
        let status = self.send(&call).map_or(0, |response| response.status());
        self.record(&json!({"call": call, "status": status}))
    }

    fn send(&self, call: &Value) -> Result<Response> {
        Ok(http::send(self.agent, &self.request(call)?)?)
    }

    fn request(&self, call: &Value) -> Result<Request> {
        let text = call.to_string();
        let body = match self.encoding {
            Encoding::Json => text.into_bytes(),
            Encoding::Protobuf => {
                codec::encode(self.encoding, &codec::decode::<Call>(Encoding::Json, text.as_bytes())?).to_vec()
            }
        };
        Ok(Request::post(PATH, self.encoding.media_type(), body))
    }

    fn record(&mut self, record: &Value) -> Result<()> {
        writeln!(self.records, "{record}")?;
        Ok(self.records.flush()?)
    }
}

fn headers(response: &Response) -> Value {
    response.head.headers.iter().map(|(name, value)| (name.to_lowercase(), json!(value))).collect()
}
