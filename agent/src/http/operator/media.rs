//! What a call and its answer are written in. Two calls stream, in RecordIO (src/slave/http.cpp, Http::api).

use http::{HeaderMap, StatusCode, header::ACCEPT, header::CONTENT_TYPE};
use mezzo_api::{codec::Encoding, v1::agent::call};
use mezzo_server::http::negotiate::accepts;

pub(super) const RECORDIO: &str = "application/recordio";
pub(super) const MESSAGE_CONTENT_TYPE: &str = "message-content-type";
const MESSAGE_ACCEPT: &str = "message-accept";
/// The largest record of a stream.
pub(super) const MAX_RECORD_BYTES: usize = 8 << 20;

/// One message, or records of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain(Encoding),
    Records(Encoding),
}

/// Of request and answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Media {
    pub(super) content: Form,
    pub(super) accept: Form,
}

type Refused = (StatusCode, String);

/// Reads the headers; the request's first.
pub(super) fn of(headers: &HeaderMap) -> Result<Media, Refused> {
    Ok(Media { content: content(headers)?, accept: accept(headers)? })
}

fn content(headers: &HeaderMap) -> Result<Form, Refused> {
    let unsupported = |text: &str| Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text.to_owned()));
    let Some(given) = headers.get(CONTENT_TYPE) else {
        return Err((StatusCode::BAD_REQUEST, "Expecting 'Content-Type' to be present".to_owned()));
    };
    let message = headers.get(MESSAGE_CONTENT_TYPE);
    if given.as_bytes() == RECORDIO.as_bytes() {
        let Some(message) = message else {
            let text = "Expecting 'Message-Content-Type' to be set for streaming requests";
            return Err((StatusCode::BAD_REQUEST, text.to_owned()));
        };
        return match encoding(message.as_bytes()) {
            Some(encoding) => Ok(Form::Records(encoding)),
            None => unsupported("Expecting 'Message-Content-Type' of application/json or application/x-protobuf"),
        };
    }
    match encoding(given.as_bytes()) {
        Some(_) if message.is_some() => {
            unsupported("Expecting 'Message-Content-Type' to be not set for non-streaming requests")
        }
        Some(encoding) => Ok(Form::Plain(encoding)),
        None => unsupported(
            "Expecting 'Content-Type' of application/json or application/x-protobuf or application/recordio",
        ),
    }
}

fn encoding(media_type: &[u8]) -> Option<Encoding> {
    [Encoding::Json, Encoding::Protobuf].into_iter().find(|known| known.media_type().as_bytes() == media_type)
}

fn accept(headers: &HeaderMap) -> Result<Form, Refused> {
    let unacceptable = |text: &str| Err((StatusCode::NOT_ACCEPTABLE, text.to_owned()));
    let first = |name: &str| {
        let values = || headers.get_all(name).iter();
        [Encoding::Json, Encoding::Protobuf].into_iter().find(|known| accepts(values(), known.media_type()))
    };
    if let Some(encoding) = first(ACCEPT.as_str()) {
        if headers.contains_key(MESSAGE_ACCEPT) {
            return unacceptable("Expecting 'Message-Accept' to be not set for non-streaming responses");
        }
        return Ok(Form::Plain(encoding));
    }
    if !accepts(headers.get_all(ACCEPT).iter(), RECORDIO) {
        return unacceptable(
            "Expecting 'Accept' to allow 'application/json' or 'application/x-protobuf' or 'application/recordio'",
        );
    }
    match first(MESSAGE_ACCEPT) {
        Some(encoding) => Ok(Form::Records(encoding)),
        None => unacceptable("Expecting 'Message-Accept' to allow 'application/json' or 'application/x-protobuf'"),
    }
}

/// Which calls may stream, and must.
pub(super) fn fits(media: Media, kind: call::Type) -> Result<(), Refused> {
    let name = kind.as_str_name();
    let unsupported = |text: String| Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    match (kind, media.content) {
        (call::Type::AttachContainerInput, Form::Plain(_)) => {
            return unsupported(format!("Expecting 'Content-Type' to be {RECORDIO} for {name} call"));
        }
        (call::Type::AttachContainerInput, Form::Records(_)) | (_, Form::Plain(_)) => {}
        (_, Form::Records(_)) => {
            return unsupported(format!("Streaming 'Content-Type' is not supported for {name} call"));
        }
    }
    let streams = matches!(kind, call::Type::AttachContainerOutput | call::Type::LaunchNestedContainerSession);
    if matches!(media.accept, Form::Records(_)) && !streams {
        return Err((StatusCode::NOT_ACCEPTABLE, format!("Streaming response is not supported for {name} call")));
    }
    Ok(())
}
