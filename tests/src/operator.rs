//! The operator API, as a client of it.

use std::net::SocketAddr;

use mezzo_api::codec::{self, Encoding};
use mezzo_api::v1::master::{Call, Event};
use serde_json::{Value, json};

use crate::http::{self, Request, Response};
use crate::stream::EventStream;

/// Where operators send their calls, on masters and agents.
pub const PATH: &str = "/api/v1";

/// A call with its parts, in JSON.
///
/// # Panics
/// When there is no answer.
#[must_use]
pub fn call(address: SocketAddr, call: &Value) -> Response {
    let request = Request::post(PATH, "application/json", call.to_string()).header("Accept", "application/json");
    http::send(address, &request).unwrap_or_else(|error| panic!("{call}: {error}"))
}

/// A call that only has a type, and its answer.
///
/// # Panics
/// When it is refused.
#[must_use]
pub fn ask(address: SocketAddr, kind: &str) -> Value {
    let response = call(address, &json!({"type": kind}));
    assert_eq!(response.status(), 200, "{kind}: {}", response.text());
    response.json()
}

/// Opens the event stream of a master.
///
/// # Errors
/// What the master answers in its place.
///
/// # Panics
/// When it does not answer.
pub fn subscribe(master: SocketAddr, encoding: Encoding) -> Result<EventStream, Response> {
    let request = subscription(encoding);
    EventStream::open::<Event>(master, &request).unwrap_or_else(|error| panic!("SUBSCRIBE: {error}"))
}

/// The request that opens the event stream.
///
/// # Panics
/// Never.
#[must_use]
pub fn subscription(encoding: Encoding) -> Request {
    let body = json!({"type": "SUBSCRIBE"}).to_string().into_bytes();
    let body = match encoding {
        Encoding::Json => body,
        Encoding::Protobuf => {
            let call: Call = codec::decode(Encoding::Json, &body).unwrap_or_default();
            codec::encode(Encoding::Protobuf, &call).to_vec()
        }
    };
    Request::post(PATH, encoding.media_type(), body).header("Accept", encoding.media_type())
}
