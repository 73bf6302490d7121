//! `/api/v1/executor`: decodes, checks in Mesos' order, hands to the core (src/slave/http.cpp, executor).

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use hyper::body::Incoming;
use mezzo_agent_core::{effect::StreamId, validate};
use mezzo_api::{
    codec::{self, Encoding},
    v1::executor::{Call, call},
};
use mezzo_server::http::{
    answer::{self, text},
    negotiate, request,
};
use tokio::sync::oneshot;

use super::{Body, Door};
use crate::{
    outbox::outbox,
    shell::{EventStream, Input},
};

/// What may wait for an executor that does not read.
const STREAM_LIMIT_BYTES: usize = 16 << 20;

/// Answers a call.
pub(super) async fn call(door: &Arc<Door>, request: Request<Incoming>) -> Response<Body> {
    match take(door, request).await {
        Ok(response) => response,
        Err(refusal) => *refusal,
    }
}

async fn take(door: &Arc<Door>, request: Request<Incoming>) -> Result<Response<Body>, Box<Response<Body>>> {
    let refuse = |status, explanation: String| Box::new(text(status, explanation));
    if request.method() != Method::POST {
        return Err(Box::new(answer::method_not_allowed("POST", request.method())));
    }
    let encoding =
        negotiate::content_type(request.headers()).map_err(|error| Box::new(answer::bad_content_type(error)))?;
    let (parts, body) = request::read(request, door.flags.max_request_bytes.0)
        .await
        .map_err(|error| Box::new(answer::unread(&error)))?;
    let call: Call =
        codec::decode(encoding, &body).map_err(|error| refuse(StatusCode::BAD_REQUEST, error.to_string()))?;
    validate::executor_call(&call)
        .map_err(|error| refuse(StatusCode::BAD_REQUEST, format!("Failed to validate Executor::Call: {error}")))?;
    match call.r#type() {
        call::Type::Subscribe => {
            let accepted = negotiate::accepted(&parts.headers).ok_or_else(|| Box::new(answer::not_acceptable()))?;
            Ok(subscribe(door, call, accepted).await)
        }
        call::Type::Heartbeat => Ok(answer::empty(StatusCode::ACCEPTED)),
        call::Type::Update | call::Type::Message | call::Type::Unknown => {
            let (sender, receiver) = oneshot::channel();
            door.handle.tell(Input::Call(Box::new(call), sender));
            Ok(match receiver.await {
                Ok(answer) => answer::with_status(answer.status, answer.body),
                Err(_) => answer::bare(StatusCode::SERVICE_UNAVAILABLE),
            })
        }
    }
}

async fn subscribe(door: &Arc<Door>, call: Call, encoding: Encoding) -> Response<Body> {
    let id = StreamId(door.handle.number());
    let handle = door.handle.clone();
    let (outbox, body) = outbox(STREAM_LIMIT_BYTES, move || handle.tell(Input::StreamClosed(id)));
    let (sender, receiver) = oneshot::channel();
    door.handle.tell(Input::Subscribe(Box::new(call), EventStream { id, encoding, outbox }, sender));
    let Ok(answer) = receiver.await else { return answer::bare(StatusCode::SERVICE_UNAVAILABLE) };
    if answer.status != 200 {
        return answer::with_status(answer.status, answer.body);
    }
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(encoding.media_type()));
    response
}
