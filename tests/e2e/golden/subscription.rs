//! Subscribing as the recordings did.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mezzo_api::MESOS_VERSION;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::http::{Request, Response};
use mezzo_tests::stream::Arrival;
use mezzo_tests::{framework, wait};
use serde_json::{Value, json};

/// Opens a subscription and takes its first `count` events; an end of the stream counts as one. Offers are left out.
pub(super) fn first_events(
    master: SocketAddr,
    request: &Request,
    count: usize,
    patience: Duration,
) -> (Response, Vec<Value>) {
    let stream = match framework::open_stream(master, request) {
        Ok(stream) => stream,
        Err(response) => return (response, Vec::new()),
    };
    let mut events = Vec::new();
    let start = Instant::now();
    while events.len() < count && start.elapsed() < patience {
        match stream.next(Duration::from_millis(100)).map(|(_, arrival)| arrival) {
            Some(Arrival::Event(event)) if event["type"] == "OFFERS" => {}
            Some(Arrival::Event(event)) => events.push(event),
            Some(Arrival::Closed(closing)) => {
                events.push(json!({"closed": closing.describe()}));
                break;
            }
            None => {}
        }
    }
    (Response { head: stream.head.clone(), body: Vec::new() }, events)
}

/// Waits until a framework that went is no longer among those that the master has.
pub(super) fn wait_until_removed(cluster: &Cluster, id: &str) {
    wait::until_true(&format!("framework {id} is removed"), || {
        let frameworks = cluster.get("/frameworks").map(|response| response.json()).unwrap_or_default();
        frameworks["frameworks"].as_array().is_some_and(|known| known.iter().all(|framework| framework["id"] != id))
    });
}

/// The recordings of streams are of a later version than the one that Mezzo says it speaks.
pub(super) fn as_of_version(golden: &mut Value) {
    match golden {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| {
            if name == "version" && value == "1.12.0" {
                *value = json!(MESOS_VERSION);
            }
            as_of_version(value);
        }),
        Value::Array(items) => items.iter_mut().for_each(as_of_version),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
