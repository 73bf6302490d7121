//! `/files/<operation>` of a server: the router's answer, packed where that helps.

use axum::{Router, body::Body};
use http::{
    HeaderMap, Request, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
};
use http_body::Body as _;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::http::{
    answer::{self, MIN_GZIP_BYTES},
    negotiate::accepts_gzip,
};

/// Longer bodies are streamed, and not packed.
const MAX_GZIP_BYTES: u64 = 1 << 20;

/// Answers a request for `/files/<operation>`, whatever prefix or suffix its path has.
pub async fn serve<B>(router: &Router, request: Request<B>, operation: &str) -> Response<Body> {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let (mut parts, _) = request.into_parts();
    let Ok(uri) = format!("/files/{operation}{query}").parse() else {
        return answer::bare(StatusCode::BAD_REQUEST);
    };
    parts.uri = uri;
    let headers = parts.headers.clone();
    match router.clone().oneshot(Request::from_parts(parts, Body::empty())).await {
        Ok(response) => packed_if_whole(&headers, response).await,
        Err(never) => match never {},
    }
}

/// Packs a whole body of moderate length.
async fn packed_if_whole(headers: &HeaderMap, response: Response<Body>) -> Response<Body> {
    let length = response.body().size_hint().exact();
    let fits = length.is_some_and(|length| (MIN_GZIP_BYTES as u64..=MAX_GZIP_BYTES).contains(&length));
    let plain = response.status() == StatusCode::OK && !response.headers().contains_key(CONTENT_ENCODING);
    if !fits || !plain || !accepts_gzip(headers) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = body.collect().await else { return answer::empty(StatusCode::INTERNAL_SERVER_ERROR) };
    parts.headers.remove(CONTENT_LENGTH);
    answer::packed(headers, Response::from_parts(parts, body.to_bytes())).await
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderValue, header::ACCEPT_ENCODING};

    use super::*;

    #[tokio::test]
    async fn what_the_router_of_files_answers_is_packed_if_it_is_whole() {
        let takes = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
        let long = || Bytes::from(vec![b' '; MIN_GZIP_BYTES]);
        let mut whole: Response<Body> = answer::of_type(StatusCode::OK, HeaderValue::from_static("text/x"), long());
        whole.headers_mut().insert(CONTENT_LENGTH, long().len().into());
        let packed = packed_if_whole(&takes, whole).await;
        assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
        assert!(!packed.headers().contains_key(CONTENT_LENGTH));
        let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(long())]);
        let streamed = packed_if_whole(&takes, Response::new(Body::from_stream(pieces))).await;
        assert!(!streamed.headers().contains_key(CONTENT_ENCODING));
    }
}
