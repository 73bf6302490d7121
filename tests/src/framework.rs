//! A plain v1 framework, in JSON or protobuf: what it is told to send is sent, what comes is kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mezzo_api::codec::{self, Encoding};
use mezzo_api::v1::scheduler::{Call, Event};
use serde_json::{Value, json};

use crate::http::{self, Connection, Request, Response};
use crate::stream::{Arrival, Closing, EventStream};
use crate::tasks;
use crate::wait::PATIENCE;

/// Where frameworks send their calls.
pub const PATH: &str = "/api/v1/scheduler";

/// A framework with an open subscription.
#[derive(Debug)]
pub struct Framework {
    /// Its id.
    pub id: String,
    /// What names the subscription in each further call.
    pub stream_id: String,
    /// Everything that came, in order.
    pub events: Vec<Value>,
    /// Offers that are ours to use.
    pub offers: BTreeMap<String, Value>,
    /// How the stream ended, when it has.
    pub closed: Option<Closing>,
    /// Whether updates are acknowledged as they come.
    pub acknowledges: bool,
    /// When the latest event came; it may have been taken much later.
    pub latest_arrival: Instant,
    encoding: Encoding,
    master: SocketAddr,
    info: Value,
    stream: EventStream,
    calls: Option<Connection>,
}

/// The body of a call, as JSON or as the same call in protobuf.
///
/// # Panics
/// When `call` is no call and protobuf is wanted.
#[must_use]
pub fn body(encoding: Encoding, call: &Value) -> Vec<u8> {
    let text = call.to_string().into_bytes();
    match encoding {
        Encoding::Json => text,
        Encoding::Protobuf => {
            let call: Call = codec::decode(Encoding::Json, &text).unwrap_or_else(|error| panic!("{error}: {call}"));
            codec::encode(Encoding::Protobuf, &call).to_vec()
        }
    }
}

/// The request of a call.
#[must_use]
pub fn request(encoding: Encoding, call: &Value) -> Request {
    Request::post(PATH, encoding.media_type(), body(encoding, call)).header("Accept", encoding.media_type())
}

/// Opens a subscription; gives the answer when it is no stream.
///
/// # Panics
/// When the master does not answer.
pub fn open_stream(master: SocketAddr, request: &Request) -> Result<EventStream, Response> {
    EventStream::open::<Event>(master, request).unwrap_or_else(|error| panic!("SUBSCRIBE: {error}"))
}

impl Framework {
    /// Subscribes, in JSON.
    #[must_use]
    pub fn subscribe(master: SocketAddr, info: Value) -> Self {
        Self::subscribe_in(Encoding::Json, master, info)
    }

    /// Subscribes, in this encoding, and waits until it is subscribed.
    ///
    /// # Panics
    /// When the master refuses.
    #[must_use]
    pub fn subscribe_in(encoding: Encoding, master: SocketAddr, info: Value) -> Self {
        Self::try_subscribe(encoding, master, info).unwrap_or_else(|what| panic!("SUBSCRIBE: {what}"))
    }

    /// Subscribes, and waits until it is subscribed.
    ///
    /// # Errors
    /// What the master said, or why it could not be asked.
    pub fn try_subscribe(encoding: Encoding, master: SocketAddr, info: Value) -> Result<Self, String> {
        let mut call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
        if let Some(id) = info.get("id") {
            call["framework_id"] = id.clone();
        }
        let stream =
            EventStream::open::<Event>(master, &request(encoding, &call)).map_err(|error| error.to_string())?;
        let stream = stream.map_err(|response| format!("{} {}", response.status(), response.text()))?;
        let stream_id = stream.head.header("Mesos-Stream-Id").unwrap_or_default().to_owned();
        let mut framework = Self {
            id: String::new(),
            stream_id,
            events: Vec::new(),
            offers: BTreeMap::new(),
            closed: None,
            acknowledges: true,
            latest_arrival: Instant::now(),
            encoding,
            master,
            info,
            stream,
            calls: None,
        };
        let first = framework.next(PATIENCE).ok_or("no event came")?;
        if first["type"] != "SUBSCRIBED" {
            return Err(first.to_string());
        }
        first["subscribed"]["framework_id"]["value"].as_str().unwrap_or_default().clone_into(&mut framework.id);
        framework.info["id"] = json!({"value": framework.id});
        Ok(framework)
    }

    /// Subscribes again under the same id; what came before is kept.
    ///
    /// # Errors
    /// What the master said, or why it could not be asked.
    pub fn resubscribe(&mut self) -> Result<(), String> {
        let fresh = Self::try_subscribe(self.encoding, self.master, self.info.clone())?;
        let earlier = std::mem::replace(self, fresh);
        let mut events = earlier.events;
        events.append(&mut self.events);
        self.events = events;
        self.acknowledges = earlier.acknowledges;
        Ok(())
    }

    /// Subscribes again under the same id, with another master.
    ///
    /// # Errors
    /// What the master said, or why it could not be asked.
    pub fn follow(&mut self, master: SocketAddr) -> Result<(), String> {
        self.master = master;
        self.resubscribe()
    }

    /// As [`Framework::resubscribe`], with another description, which has the id.
    ///
    /// # Errors
    /// What the master said, or why it could not be asked.
    pub fn resubscribe_as(&mut self, info: Value) -> Result<(), String> {
        self.info = info;
        self.resubscribe()
    }

    /// Its encoding.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The stream of events.
    #[must_use]
    pub fn stream(&self) -> &EventStream {
        &self.stream
    }

    /// What it subscribed with, its id filled in.
    #[must_use]
    pub fn info(&self) -> &Value {
        &self.info
    }

    /// A call of this framework.
    #[must_use]
    pub fn call_value(&self, kind: &str, body: Value) -> Value {
        let mut call = json!({"framework_id": {"value": self.id}, "type": kind});
        if !body.is_null() {
            call[kind.to_lowercase()] = body;
        }
        call
    }

    /// Sends a call.
    ///
    /// # Errors
    /// When the master does not answer.
    pub fn try_call(&mut self, kind: &str, body: Value) -> std::io::Result<Response> {
        let request = request(self.encoding, &self.call_value(kind, body)).header("Mesos-Stream-Id", &self.stream_id);
        self.send(&request)
    }

    /// Sends a request on the connection that this framework uses for calls.
    ///
    /// # Errors
    /// When the master does not answer.
    pub fn send(&mut self, request: &Request) -> std::io::Result<Response> {
        if let Some(calls) = &mut self.calls {
            // A kept connection may have been closed meanwhile: then the call goes on a new one.
            if let Ok(response) = calls.send(request) {
                return Ok(response);
            }
        }
        let mut connection = Connection::open(self.master)?;
        let response = connection.send(request)?;
        let keeps = !response.head.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        self.calls = keeps.then_some(connection);
        Ok(response)
    }

    /// Sends a call that must be accepted.
    ///
    /// # Panics
    /// When it is not.
    pub fn call(&mut self, kind: &str, body: Value) {
        let response = self.try_call(kind, body).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(matches!(response.status(), 200 | 202), "{kind}: {} {}", response.status(), response.text());
    }

    /// The next event within `patience`, after this framework has done with it what it does.
    pub fn next(&mut self, patience: Duration) -> Option<Value> {
        let (moment, arrival) = self.stream.next(patience)?;
        self.latest_arrival = moment;
        match arrival {
            Arrival::Event(event) => {
                self.take(&event);
                self.events.push(event.clone());
                Some(event)
            }
            Arrival::Closed(closing) => {
                self.closed = Some(closing);
                self.offers.clear();
                None
            }
        }
    }

    fn take(&mut self, event: &Value) {
        match event["type"].as_str() {
            Some("OFFERS") => {
                for offer in event["offers"]["offers"].as_array().into_iter().flatten() {
                    self.offers.insert(offer["id"]["value"].as_str().unwrap_or_default().to_owned(), offer.clone());
                }
            }
            Some("RESCIND") => {
                self.offers.remove(event["rescind"]["offer_id"]["value"].as_str().unwrap_or_default());
            }
            Some("UPDATE") if self.acknowledges => {
                let _ = self.acknowledge(&event["update"]["status"]);
            }
            _ => {}
        }
    }

    /// Acknowledges an update, where it wants to be; true when the master accepted it.
    ///
    /// # Errors
    /// When the master does not answer.
    pub fn acknowledge(&mut self, status: &Value) -> std::io::Result<bool> {
        if !status["uuid"].is_string() {
            return Ok(false);
        }
        let body = json!({"agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"]});
        self.try_call("ACKNOWLEDGE", body).map(|response| response.status() == 202)
    }

    /// Takes whatever comes for so long.
    pub fn listen(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            if self.next(left).is_none() && self.closed.is_some() {
                return;
            }
        }
    }

    /// How many events have come: what is waited for [`since`](Self::wait_since) this mark came later.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.events.len()
    }

    /// The first event since `mark` that `fits`, waiting for it.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_since(&mut self, mark: usize, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        let mut seen = mark;
        loop {
            while seen < self.events.len() {
                if fits(&self.events[seen]) {
                    return self.events[seen].clone();
                }
                seen += 1;
            }
            let left = PATIENCE.checked_sub(start.elapsed());
            let came = left.is_some_and(|left| self.next(left).is_some());
            assert!(
                came,
                "no {what} came in {:.1} s; closed: {:?}; what came: {}",
                start.elapsed().as_secs_f64(),
                self.closed,
                self.summary(mark)
            );
        }
    }

    fn summary(&self, mark: usize) -> String {
        let one = |event: &Value| match event["type"].as_str() {
            Some("UPDATE") => {
                format!("{} {}", event["update"]["status"]["task_id"]["value"], event["update"]["status"]["state"])
            }
            Some("OFFERS") => "OFFERS".to_owned(),
            _ => event.to_string(),
        };
        self.events[mark.min(self.events.len())..].iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// The update that says that `task` is in `state`, waiting for it.
    pub fn wait_status(&mut self, task: &str, state: &str) -> Value {
        self.wait_status_since(0, task, state)
    }

    /// The update since `mark` that says that `task` is in `state`, waiting for it.
    pub fn wait_status_since(&mut self, mark: usize, task: &str, state: &str) -> Value {
        let fits = |event: &Value| {
            let status = &event["update"]["status"];
            event["type"] == "UPDATE" && status["task_id"]["value"] == task && status["state"] == state
        };
        self.wait_since(mark, &format!("{state} of {task}"), fits)["update"]["status"].clone()
    }

    /// All updates of a task so far.
    #[must_use]
    pub fn statuses(&self, task: &str) -> Vec<Value> {
        let updates =
            self.events.iter().filter(|event| event["type"] == "UPDATE").map(|event| &event["update"]["status"]);
        updates.filter(|status| status["task_id"]["value"] == task).cloned().collect()
    }

    /// An offer that `fits`, waiting for it.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_offer(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            if let Some(offer) = self.offers.values().find(|offer| fits(offer)) {
                return offer.clone();
            }
            let left = PATIENCE.checked_sub(start.elapsed());
            let came = left.is_some_and(|left| self.next(left).is_some());
            assert!(
                came,
                "no offer {what} came in {:.1} s; closed: {:?}; there are: {:?}",
                start.elapsed().as_secs_f64(),
                self.closed,
                self.offers
            );
        }
    }

    /// Any offer, waiting for it.
    pub fn wait_any_offer(&mut self) -> Value {
        self.wait_offer("at all", |_| true)
    }

    /// Accepts an offer with operations; what is left comes back at once.
    pub fn accept(&mut self, offer: &Value, operations: Value) {
        self.offers.remove(offer["id"]["value"].as_str().unwrap_or_default());
        self.call(
            "ACCEPT",
            json!({"offer_ids": [offer["id"]], "operations": operations, "filters": {"refuse_seconds": 0.0}}),
        );
    }

    /// Launches tasks on an offer.
    pub fn launch(&mut self, offer: &Value, tasks: &[Value]) {
        self.accept(offer, json!([{"type": "LAUNCH", "launch": {"task_infos": tasks}}]));
    }

    /// Runs a shell command on any offer, and gives its task's id.
    pub fn run(&mut self, task: &str, command: &str) {
        let offer = self.wait_any_offer();
        self.launch(&offer, &[tasks::command(task, tasks::agent_of(&offer), command)]);
    }

    /// Declines an offer for so long.
    pub fn decline(&mut self, offer: &Value, refuse_seconds: f64) {
        self.offers.remove(offer["id"]["value"].as_str().unwrap_or_default());
        self.call("DECLINE", json!({"offer_ids": [offer["id"]], "filters": {"refuse_seconds": refuse_seconds}}));
    }

    /// Closes the stream without a word, as a framework does that dies.
    pub fn hang_up(&mut self) {
        self.stream.hang_up();
    }

    /// Ends the framework and everything that it runs, and waits until its stream ends.
    ///
    /// # Panics
    /// When the stream does not end.
    pub fn teardown(mut self) {
        self.call("TEARDOWN", Value::Null);
        let start = Instant::now();
        while self.closed.is_none() {
            assert!(start.elapsed() < PATIENCE, "the stream stays open after TEARDOWN");
            self.next(Duration::from_millis(100));
        }
    }

    /// What the master shows of this framework.
    #[must_use]
    pub fn shown(&self) -> Value {
        let answer = http::get_json(self.master, &format!("/frameworks?framework_id={}", self.id));
        answer["frameworks"][0].clone()
    }
}
