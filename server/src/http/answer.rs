//! Responses in the forms that Mesos gives them.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION},
};

use super::{
    negotiate::{ContentTypeError, accepts_gzip},
    query::Query,
    request::BodyError,
};

/// Bodies from this length on are packed for those who take it (3rdparty/libprocess/src/encoder.hpp).
pub const MIN_GZIP_BYTES: usize = 1024;
/// From this length on packing is no work for a thread that serves others.
const SLOW_GZIP_BYTES: usize = 256 * 1024;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript");

/// An empty body.
pub fn empty<B: From<Bytes>>(status: StatusCode) -> Response<B> {
    let mut response = Response::new(B::from(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Plain text.
pub fn text<B: From<Bytes>>(status: StatusCode, text: impl Into<String>) -> Response<B> {
    of_type(status, TEXT, text.into().into())
}

/// A body of this type.
pub fn of_type<B: From<Bytes>>(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<B> {
    let mut response = Response::new(B::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// `404 Not Found.` and the like.
pub fn bare<B: From<Bytes>>(status: StatusCode) -> Response<B> {
    text(status, format!("{} {}.", status.as_u16(), status.canonical_reason().unwrap_or_default()))
}

/// Another method is expected: one of a list, separated by `, `.
pub fn method_not_allowed<B: From<Bytes>>(expected: &'static str, received: &Method) -> Response<B> {
    let quoted: Vec<String> = expected.split(", ").map(|method| format!("'{method}'")).collect();
    let explanation =
        format!("405 Method Not Allowed. Expecting one of {{ {} }}, but received '{received}'.", quoted.join(", "));
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, explanation);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(expected));
    response
}

/// A body that was not read. The connection cannot be used any more: the rest of the body may still come.
pub fn unread<B: From<Bytes>>(error: &BodyError) -> Response<B> {
    let status = match error {
        BodyError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Truncated => StatusCode::BAD_REQUEST,
        BodyError::NoGzip => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let mut response = text(status, error.to_string());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What a core answered; text only if it says something.
pub fn with_status<B: From<Bytes>>(status: u16, body: String) -> Response<B> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if body.is_empty() { empty(status) } else { text(status, body) }
}

/// No type of a body, or one that is not spoken here.
pub fn bad_content_type<B: From<Bytes>>(error: ContentTypeError) -> Response<B> {
    match error {
        ContentTypeError::Missing => text(StatusCode::BAD_REQUEST, "Expecting 'Content-Type' to be present"),
        ContentTypeError::Unsupported => text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        ),
    }
}

/// The client takes nothing that is spoken here.
pub fn not_acceptable<B: From<Bytes>>() -> Response<B> {
    let explanation = "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'";
    text(StatusCode::NOT_ACCEPTABLE, explanation)
}

/// `Location` without a body.
pub fn redirect<B: From<Bytes>>(location: &str) -> Response<B> {
    let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// JSON of a legacy endpoint: as a call of the function that `?jsonp=` names, if it does.
pub async fn json<B: From<Bytes>>(headers: &HeaderMap, query: &Query, json: Bytes) -> Response<B> {
    let response = match query.get("jsonp") {
        None => of_type(StatusCode::OK, JSON, json),
        Some(function) if is_function(function) => {
            let body = [function.as_bytes(), b"(", &json, b")"].concat();
            of_type(StatusCode::OK, JAVASCRIPT, body.into())
        }
        Some(function) => return text(StatusCode::BAD_REQUEST, format!("'{function}' is no name of a function")),
    };
    packed(headers, response).await
}

/// A name, its members and indices: nothing that could do more than be called.
fn is_function(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$.[]".contains(&byte))
}

/// JSON that was packed before.
pub fn packed_json<B: From<Bytes>>(packed: Bytes) -> Response<B> {
    let mut response = of_type(StatusCode::OK, JSON, packed);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

/// JSON of a legacy endpoint with a tag of its content; 304 for a client that has this content.
pub async fn tagged_json<B: From<Bytes>>(headers: &HeaderMap, query: &Query, body: Bytes) -> Response<B> {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let tag = HeaderValue::from_str(&format!("W/\"{:016x}\"", hasher.finish())).ok();
    let mut response = match tag.is_some() && headers.get(IF_NONE_MATCH) == tag.as_ref() {
        true => empty(StatusCode::NOT_MODIFIED),
        false => json(headers, query, body).await,
    };
    if let Some(tag) = tag
        && response.status() != StatusCode::BAD_REQUEST
    {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Packs the body if it is long enough and the client takes it.
pub async fn packed<B: From<Bytes>>(headers: &HeaderMap, mut response: Response<Bytes>) -> Response<B> {
    let body = response.body();
    if body.len() < MIN_GZIP_BYTES || !accepts_gzip(headers) {
        return response.map(B::from);
    }
    if let Some(packed) = pack(body.clone()).await {
        *response.body_mut() = packed;
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response.map(B::from)
}

/// A body packed with gzip; nothing if that fails.
pub async fn pack(body: Bytes) -> Option<Bytes> {
    if body.len() < SLOW_GZIP_BYTES {
        return gzip(&body).ok();
    }
    tokio::task::spawn_blocking(move || gzip(&body)).await.ok()?.ok()
}

fn gzip(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    encoder.write_all(body)?;
    encoder.finish().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT_ENCODING;

    use super::*;

    #[tokio::test]
    async fn jsonp_calls_a_function_and_nothing_else() {
        let headers = HeaderMap::new();
        let json = async |query: &str, text: &'static str| -> Response<Bytes> {
            json(&headers, &Query::parse(query).unwrap(), text.into()).await
        };
        let response = json("jsonp=angular.callbacks._0", "{}").await;
        assert_eq!(response.headers()[CONTENT_TYPE], "text/javascript");
        assert_eq!(response.body(), "angular.callbacks._0({})");
        assert_eq!(json("jsonp=alert(1)//", "{}").await.status(), StatusCode::BAD_REQUEST);
        assert_eq!(json("x=1", "{}").await.headers()[CONTENT_TYPE], "application/json");
    }

    #[tokio::test]
    async fn a_body_that_the_client_has_is_not_sent_again() {
        let query = Query::default();
        let first: Response<Bytes> = tagged_json(&HeaderMap::new(), &query, "{}".into()).await;
        let known = HeaderMap::from_iter([(IF_NONE_MATCH, first.headers()[ETAG].clone())]);
        let again: Response<Bytes> = tagged_json(&known, &query, "{}".into()).await;
        assert_eq!((again.status(), again.body().len()), (StatusCode::NOT_MODIFIED, 0));
        assert_eq!(again.headers()[ETAG], first.headers()[ETAG]);
        let other: Response<Bytes> = tagged_json(&known, &query, "[]".into()).await;
        assert_eq!((other.status(), &other.body()[..]), (StatusCode::OK, &b"[]"[..]));
    }

    #[tokio::test]
    async fn long_bodies_are_packed_for_those_who_take_it() {
        let packed = packed::<Bytes>;
        let long = || of_type(StatusCode::OK, JSON, vec![b' '; 1024].into());
        let takes = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
        assert_eq!(packed(&takes, long()).await.headers()[CONTENT_ENCODING], "gzip");
        assert!(!packed(&HeaderMap::new(), long()).await.headers().contains_key(CONTENT_ENCODING));
        let short = of_type(StatusCode::OK, JSON, vec![b' '; 1023].into());
        assert!(!packed(&takes, short).await.headers().contains_key(CONTENT_ENCODING));
    }
}
