//! The web page: a few files that come with the binary.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS},
};
use mezzo_server::http::answer;

use super::body::Body;

/// Nothing from elsewhere, no inline script, and no page around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const INDEX: &[u8] = include_bytes!("../../webui/index.html");

macro_rules! assets {
    ($($name:literal: $media_type:literal,)*) => {
        const ASSETS: &[(&str, &str, &[u8])] = &[$(($name, $media_type, include_bytes!(concat!("../../webui/", $name))),)*];
    };
}

assets! {
    "app.js": "text/javascript; charset=utf-8",
    "dom.js": "text/javascript; charset=utf-8",
    "overview.js": "text/javascript; charset=utf-8",
    "task.js": "text/javascript; charset=utf-8",
    "text.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

/// `/`
pub(super) async fn home(headers: &HeaderMap) -> Response<Body> {
    page(headers, "text/html", INDEX).await
}

/// `/assets/…`
pub(super) async fn asset(name: &str, headers: &HeaderMap) -> Response<Body> {
    match ASSETS.iter().find(|(known, _, _)| *known == name) {
        Some((_, media_type, content)) => page(headers, media_type, content).await,
        None => answer::bare(StatusCode::NOT_FOUND),
    }
}

async fn page(headers: &HeaderMap, media_type: &'static str, content: &'static [u8]) -> Response<Body> {
    let mut response =
        answer::of_type(StatusCode::OK, HeaderValue::from_static(media_type), Bytes::from_static(content));
    let out = response.headers_mut();
    out.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    out.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    out.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // A newer master brings a newer page.
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer::packed(headers, response).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_for_nothing_that_is_not_here() {
        let texts = std::iter::once(INDEX).chain(ASSETS.iter().map(|(_, _, content)| *content));
        for content in texts {
            let text = std::str::from_utf8(content).unwrap();
            for outside in ["http://", "https://", "innerHTML", "eval("] {
                let found = text.matches(outside).count()
                    - text.matches("http://www.w3.org/2000/svg").count() * usize::from(outside == "http://");
                assert_eq!(found, 0, "{outside} in {}", &text[..60.min(text.len())]);
            }
        }
        let index = std::str::from_utf8(INDEX).unwrap();
        for part in index.split('"').filter_map(|part| part.strip_prefix("/assets/")) {
            assert!(ASSETS.iter().any(|(name, _, _)| *name == part), "{part}");
        }
        for (_, _, content) in ASSETS.iter().filter(|(name, _, _)| name.ends_with(".js")) {
            let text = std::str::from_utf8(content).unwrap();
            for part in text.split('\'').filter_map(|part| part.strip_prefix("./")) {
                assert!(ASSETS.iter().any(|(name, _, _)| *name == part), "{part}");
            }
        }
    }
}
