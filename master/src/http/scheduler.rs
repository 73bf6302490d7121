//! `/api/v1/scheduler`: frameworks' calls and event streams. The checks stand in the order in which Mesos makes them
//! (src/master/http.cpp, Master::Http::scheduler).

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use hyper::body::Incoming;
use mezzo_api::{
    codec::{Encoding, decode},
    v1::scheduler::{Call, call},
};
use mezzo_master_core::{
    input::{StreamId, Subscribe},
    validate,
};
use mezzo_server::http::{answer, authentication::Principal, negotiate, request};
use uuid::Uuid;

use super::{
    App,
    body::{Body, Events},
};
use crate::{
    outbox::{self, Limits},
    server::{Cut, Input, StreamSink},
};

/// The header that ties calls to a stream.
const STREAM_ID: &str = "mesos-stream-id";

/// Events that may wait for a framework that reads slowly.
const LIMITS: Limits = Limits { messages: 65_536, bytes: 64 * 1024 * 1024 };

/// The whole endpoint.
pub(crate) async fn serve(app: &App, connection: &Cut, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = match request::read(request, app.flags.max_request_bytes.0).await {
        Ok(read) => read,
        Err(error) => return answer::unread(&error),
    };
    let principal = Principal::of(&parts.extensions);
    let call = match checked(&parts.method, &parts.headers, &body, principal.as_deref()) {
        Ok(call) => call,
        Err(refusal) => return *refusal,
    };
    match call {
        Checked::Subscribe(subscribe, encoding) => {
            self::subscribe(
                app,
                connection,
                Subscribe { stream: StreamId(Uuid::new_v4()), principal, subscribe: *subscribe },
                encoding,
            )
            .await
        }
        Checked::Call(call, stream_id) => self::call(app, call, stream_id, principal).await,
    }
}

/// A call that the core may hear.
#[derive(Debug)]
enum Checked {
    Subscribe(Box<call::Subscribe>, Encoding),
    Call(Box<Call>, Option<String>),
}

fn checked(
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
    principal: Option<&str>,
) -> Result<Checked, Box<Response<Body>>> {
    let refused = |status, text: String| Box::new(answer::text(status, text));
    if *method != Method::POST {
        return Err(Box::new(answer::method_not_allowed("POST", method)));
    }
    let encoding = negotiate::content_type(headers).map_err(|error| Box::new(answer::bad_content_type(error)))?;
    let call: Call = decode(encoding, body).map_err(|error| refused(StatusCode::BAD_REQUEST, error.to_string()))?;
    validate::scheduler_call(&call, principal).map_err(|error| refused(StatusCode::BAD_REQUEST, error.to_string()))?;
    let stream_id = headers.get(STREAM_ID).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match call.r#type() {
        call::Type::Subscribe => {
            let encoding = negotiate::accepted(headers).ok_or_else(|| Box::new(answer::not_acceptable()))?;
            if stream_id.is_some() {
                let text = "Subscribe calls should not include the 'Mesos-Stream-Id' header";
                return Err(refused(StatusCode::BAD_REQUEST, text.to_owned()));
            }
            // Validation has seen that it is there.
            let subscribe = call.subscribe.unwrap_or_default();
            Ok(Checked::Subscribe(subscribe, encoding))
        }
        call::Type::ReconcileOperations if negotiate::accepted(headers).is_none() => {
            Err(Box::new(answer::not_acceptable()))
        }
        _ => Ok(Checked::Call(Box::new(call), stream_id)),
    }
}

async fn call(app: &App, call: Box<Call>, stream_id: Option<String>, principal: Option<String>) -> Response<Body> {
    match app.core.ask(|reply| Input::Scheduler { call, stream_id, principal, reply }).await {
        Ok(answer) => answer::with_status(answer.status, answer.body),
        Err(stopped) => answer::text(StatusCode::SERVICE_UNAVAILABLE, stopped.to_string()),
    }
}

async fn subscribe(app: &App, connection: &Cut, input: Subscribe, encoding: Encoding) -> Response<Body> {
    let stream = input.stream;
    let (sender, queue) = outbox::channel(LIMITS);
    let sink = StreamSink { events: sender, connection: connection.clone() };
    if let Err(stopped) = app.core.send(Input::Subscribe(Box::new(input), sink)).await {
        return answer::text(StatusCode::SERVICE_UNAVAILABLE, stopped.to_string());
    }
    let events = Events { stream, encoding, queue, core: app.core.clone(), buffer: BytesMut::new() };
    let mut response = Response::new(Body::Events(Box::new(events)));
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&stream.0.to_string()) {
        headers.insert(STREAM_ID, id);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(encoding.media_type()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases of `scheduler_errors.json` that need no framework, in the order of the checks.
    #[test]
    fn checks_come_in_mesos_order_with_mesos_texts() {
        const SUBSCRIBE: &str = r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"n"}}}"#;
        const JSON: (&str, &str) = ("content-type", "application/json");
        type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str, u16, &'static str);
        let cases: &[Case] = &[
            ("GET", &[], "", 405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'."),
            ("PUT", &[JSON], "{", 405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'PUT'."),
            ("POST", &[], "{", 400, "Expecting 'Content-Type' to be present"),
            (
                "POST",
                &[("content-type", "text/plain")],
                "{",
                415,
                "Expecting 'Content-Type' of application/json or application/x-protobuf",
            ),
            ("POST", &[JSON], "", 400, "Failed to parse body into JSON: syntax error at line 1 near: "),
            ("POST", &[JSON], "[]", 400, "Failed to convert JSON into Call protobuf: Expecting a JSON object"),
            ("POST", &[JSON], "{}", 400, "Failed to validate scheduler::Call: Expecting 'type' to be present"),
            (
                "POST",
                &[JSON],
                r#"{"type":"NOPE"}"#,
                400,
                "Failed to validate scheduler::Call: Expecting 'type' to be present",
            ),
            (
                "POST",
                &[JSON],
                r#"{"type":"REVIVE"}"#,
                400,
                "Failed to validate scheduler::Call: Expecting 'framework_id' to be present",
            ),
            (
                "POST",
                &[("content-type", "application/x-protobuf")],
                "",
                400,
                "Failed to validate scheduler::Call: Expecting 'type' to be present",
            ),
            (
                "POST",
                &[("content-type", "application/x-protobuf")],
                "garbage",
                400,
                "Failed to parse body into Call protobuf",
            ),
            (
                "POST",
                &[JSON, ("accept", "text/html"), ("mesos-stream-id", "x")],
                SUBSCRIBE,
                406,
                "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'",
            ),
            (
                "POST",
                &[JSON, ("mesos-stream-id", "x")],
                SUBSCRIBE,
                400,
                "Subscribe calls should not include the 'Mesos-Stream-Id' header",
            ),
        ];
        for (method, headers, body, status, text) in cases {
            let mut request = Request::builder().method(*method);
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let refusal =
                checked(&parts.method, &parts.headers, &Bytes::from_static(body.as_bytes()), None).unwrap_err();
            assert_eq!(refusal.status().as_u16(), *status, "{body}");
            let Body::Full(answer) = refusal.body() else { panic!("no text for {body}") };
            assert_eq!(answer, text, "{body}");
        }
    }

    #[test]
    fn a_framework_is_nobody_else_than_who_asks() {
        let (parts, ()) = Request::post("/").header("content-type", "application/json").body(()).unwrap().into_parts();
        let body = r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","principal":"other"}}}"#;
        let refusal = checked(&parts.method, &parts.headers, &body.into(), Some("ops")).unwrap_err();
        let Body::Full(text) = refusal.body() else { panic!("no text") };
        assert_eq!(
            (refusal.status().as_u16(), &text[..]),
            (400, &b"Failed to validate scheduler::Call: Authenticated principal 'ops' does not match principal 'other' set in `FrameworkInfo`"[..])
        );
        assert!(checked(&parts.method, &parts.headers, &body.into(), Some("other")).is_ok());
    }

    #[test]
    fn a_good_call_passes_with_its_stream_id() {
        let (parts, ()) = Request::builder()
            .method("POST")
            .header("Content-Type", "application/json")
            .header("Mesos-Stream-Id", "abc")
            .body(())
            .unwrap()
            .into_parts();
        let body = Bytes::from_static(br#"{"type":"REVIVE","framework_id":{"value":"f"}}"#);
        let passed = checked(&parts.method, &parts.headers, &body, None).unwrap();
        assert!(matches!(passed, Checked::Call(_, Some(id)) if id == "abc"));
    }
}
