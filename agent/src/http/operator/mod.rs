//! `/api/v1` of the agent: calls of operators, in JSON and protobuf (src/slave/http.cpp, Http::api and Http::_api).

mod attach;
mod calls;
mod ids;
mod media;
mod places;
mod reads;
mod validate;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mezzo_agent_core::view::View;
use mezzo_api::{
    codec::{Encoding, decode, encode, to_json_value},
    recordio,
    v1::agent::{
        Call, Response as Answer, call,
        response::{self, GetFlags, GetHealth, GetLoggingLevel, GetMetrics, GetVersion, ListFiles, ReadFile},
    },
};
use mezzo_server::{
    files::Refusal,
    http::{answer, request},
    level, operator,
};

use super::{Body, Door, metrics};
use media::{Form, Media};

/// Answers a call.
pub(super) async fn serve(door: &Arc<Door>, request: Request<Incoming>) -> Response<Body> {
    let Some(view) = door.handle.view().await else { return answer::bare(StatusCode::SERVICE_UNAVAILABLE) };
    if view.recovering {
        return answer::text(StatusCode::SERVICE_UNAVAILABLE, "Agent has not finished recovery");
    }
    if request.method() != Method::POST {
        return answer::method_not_allowed("POST", request.method());
    }
    let media = match media::of(request.headers()) {
        Ok(media) => media,
        Err((status, text)) => return answer::text(status, text),
    };
    match media.content {
        Form::Records(_) => stream_in(door, &view, media, request).await,
        Form::Plain(encoding) => {
            let (parts, body) = match request::read(request, door.flags.max_request_bytes.0).await {
                Ok(read) => read,
                Err(error) => return answer::unread(&error),
            };
            match parsed(encoding, &body).and_then(|call| checked(media, call)) {
                Ok(call) => carry_out(door, &view, call, media.accept, &parts.headers).await,
                Err((status, text)) => answer::text(status, text),
            }
        }
    }
}

type Refused = (StatusCode, String);

/// A request whose first record is the call.
async fn stream_in(door: &Arc<Door>, view: &View, media: Media, request: Request<Incoming>) -> Response<Body> {
    let Form::Records(encoding) = media.content else { return answer::bare(StatusCode::UNSUPPORTED_MEDIA_TYPE) };
    let mut body = request.into_body();
    let mut decoder = recordio::Decoder::new(media::MAX_RECORD_BYTES);
    let record = loop {
        match decoder.next() {
            Ok(Some(record)) => break record,
            Ok(None) => {}
            Err(error) => return answer::text(StatusCode::BAD_REQUEST, error.to_string()),
        }
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    decoder.feed(&piece);
                }
            }
            None | Some(Err(_)) => {
                return answer::text(StatusCode::BAD_REQUEST, "Received EOF while reading request body");
            }
        }
    };
    match parsed(encoding, &record).and_then(|call| checked(media, call)) {
        Ok(call) => attach::input(door, view, &call, attach::Given { body, decoder, encoding }).await,
        Err((status, text)) => answer::text(status, text),
    }
}

fn parsed(encoding: Encoding, bytes: &[u8]) -> Result<Call, Refused> {
    decode(encoding, bytes).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

/// A call that may be carried out.
fn checked(media: Media, call: Call) -> Result<Call, Refused> {
    let bad = |text: String| (StatusCode::BAD_REQUEST, format!("Failed to validate agent::Call: {text}"));
    validate::call(&call).map_err(|error| bad(error.to_string()))?;
    ids::validate(&call).map_err(bad)?;
    media::fits(media, call.r#type())?;
    Ok(call)
}

async fn carry_out(door: &Arc<Door>, view: &View, call: Call, accept: Form, headers: &HeaderMap) -> Response<Body> {
    if let Some(response) = attach::streamed(door, view, &call, accept).await {
        return response;
    }
    let (Form::Plain(encoding) | Form::Records(encoding)) = accept;
    let kind = call.r#type();
    let answer = match kind {
        call::Type::Unknown => return answer::bare(StatusCode::NOT_IMPLEMENTED),
        call::Type::SetLoggingLevel => {
            let set = call.set_logging_level.unwrap_or_default();
            level::raise(set.level, operator::duration(&set.duration));
            return answer::empty(StatusCode::OK);
        }
        call::Type::ListFiles | call::Type::ReadFile => match of_files(door, call).await {
            Ok(message) => message,
            Err(Refusal { status, text }) => return answer::text(status, text),
        },
        call::Type::PruneImages => {
            if let Some(images) = &door.images {
                let excluded = call.prune_images.unwrap_or_default().excluded_images;
                images.prune(excluded.into_iter().filter_map(|image| Some(image.docker?.name)).collect()).await;
            }
            return answer::empty(StatusCode::OK);
        }
        call::Type::GetContainers => reads::containers(door, view, &call.get_containers.unwrap_or_default()).await,
        _ => match calls::serve(door, view, &call).await {
            Some(Ok(message)) => message,
            Some(Err(response)) => return response,
            None => match of_agent(door, view, kind).or_else(|| reads::of_view(view, &call)) {
                Some(message) => message,
                None => {
                    let text = format!("This version of Mezzo does not know the call {} yet.", kind.as_str_name());
                    return answer::text(StatusCode::NOT_IMPLEMENTED, text);
                }
            },
        },
    };
    let body = match encoding {
        Encoding::Protobuf => encode(encoding, &answer),
        Encoding::Json => json(&answer),
    };
    let content_type = HeaderValue::from_static(encoding.media_type());
    answer::packed(headers, answer::of_type(StatusCode::OK, content_type, body)).await
}

fn of(kind: response::Type) -> Answer {
    Answer { r#type: Some(kind as i32), ..Answer::default() }
}

async fn of_files(door: &Door, call: Call) -> Result<Answer, Refusal> {
    if let Some(call::ReadFile { path, offset, length }) = call.read_file {
        let (size, data) = door.attached.read(path, offset, length).await?;
        let read_file = ReadFile { size, data: data.into() };
        return Ok(Answer { read_file: Some(read_file), ..of(response::Type::ReadFile) });
    }
    let file_infos = door.attached.list(call.list_files.unwrap_or_default().path).await?;
    Ok(Answer { list_files: Some(ListFiles { file_infos }), ..of(response::Type::ListFiles) })
}

fn of_agent(door: &Door, view: &View, kind: call::Type) -> Option<Answer> {
    Some(match kind {
        call::Type::GetHealth => {
            Answer { get_health: Some(GetHealth { healthy: true }), ..of(response::Type::GetHealth) }
        }
        call::Type::GetFlags => {
            let flags = operator::flags(&door.flags.listed);
            Answer { get_flags: Some(GetFlags { flags }), ..of(response::Type::GetFlags) }
        }
        call::Type::GetVersion => {
            let version_info = operator::version_info();
            Answer { get_version: Some(GetVersion { version_info }), ..of(response::Type::GetVersion) }
        }
        call::Type::GetMetrics => {
            let metrics = operator::metrics(metrics::collect(door, view));
            Answer { get_metrics: Some(GetMetrics { metrics }), ..of(response::Type::GetMetrics) }
        }
        call::Type::GetLoggingLevel => {
            let get_logging_level = Some(GetLoggingLevel { level: level::verbosity() });
            Answer { get_logging_level, ..of(response::Type::GetLoggingLevel) }
        }
        _ => return None,
    })
}

/// Arrays that Mesos writes even if they are empty (src/slave/http.cpp, jsonifyGetTasks and its kind).
const ARRAYS: [operator::Arrays; 3] = [
    ("get_tasks", &["pending_tasks", "queued_tasks", "launched_tasks", "terminated_tasks", "completed_tasks"]),
    ("get_executors", &["executors", "completed_executors"]),
    ("get_frameworks", &["frameworks", "completed_frameworks"]),
];

fn json(message: &Answer) -> Bytes {
    let lists = message.get_tasks.is_some()
        || message.get_executors.is_some()
        || message.get_frameworks.is_some()
        || message.get_state.is_some();
    if !lists {
        return encode(Encoding::Json, message);
    }
    let mut value = to_json_value(message);
    operator::fill_in(&mut value, &ARRAYS);
    value.to_string().into()
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, CONTENT_TYPE};

    use super::*;

    fn refused(headers: &[(http::HeaderName, &'static str)], body: &'static str) -> (u16, String) {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        let result = media::of(&headers).and_then(|media| {
            let (Form::Plain(encoding) | Form::Records(encoding)) = media.content;
            parsed(encoding, body.as_bytes()).and_then(|call| checked(media, call))
        });
        match result {
            Ok(call) => (200, call.r#type().as_str_name().to_owned()),
            Err((status, text)) => (status.as_u16(), text),
        }
    }

    /// Cases of `operator_errors.json`.
    #[test]
    fn checks_come_in_mesos_order_with_mesos_texts() {
        const MESSAGE_ACCEPT: http::HeaderName = http::HeaderName::from_static("message-accept");
        let json = (CONTENT_TYPE, "application/json");
        let lacks = |what| (400, format!("Failed to validate agent::Call: Expecting '{what}' to be present"));
        assert_eq!(refused(&[], "{}"), (400, "Expecting 'Content-Type' to be present".into()));
        assert_eq!(refused(&[(CONTENT_TYPE, "text/plain")], "{}").0, 415);
        assert_eq!(
            refused(&[(CONTENT_TYPE, "application/recordio")], "2\n{}"),
            (400, "Expecting 'Message-Content-Type' to be set for streaming requests".into())
        );
        assert_eq!(refused(std::slice::from_ref(&json), r#"{"type":"GET_MASTER"}"#), lacks("type"));
        assert_eq!(refused(std::slice::from_ref(&json), r#"{"type":"READ_FILE"}"#), lacks("read_file"));
        assert_eq!(refused(&[json.clone(), (ACCEPT, "text/html")], "{}").0, 406, "before validation");
        assert_eq!(
            refused(
                &[json.clone(), (ACCEPT, "application/recordio"), (MESSAGE_ACCEPT, "application/json")],
                r#"{"type":"GET_HEALTH"}"#
            ),
            (406, "Streaming response is not supported for GET_HEALTH call".into())
        );
        assert_eq!(
            refused(
                &[json.clone(), (ACCEPT, "application/json"), (MESSAGE_ACCEPT, "application/json")],
                r#"{"type":"GET_HEALTH"}"#
            ),
            (406, "Expecting 'Message-Accept' to be not set for non-streaming responses".into())
        );
        assert_eq!(
            refused(
                std::slice::from_ref(&json),
                r#"{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"CONTAINER_ID","container_id":{"value":"x"}}}"#
            ),
            (415, "Expecting 'Content-Type' to be application/recordio for ATTACH_CONTAINER_INPUT call".into())
        );
        assert_eq!(refused(&[json], r#"{"type":"GET_CONTAINERS"}"#), (200, "GET_CONTAINERS".into()));
    }
}
