//! The web page: a few files that come with the binary.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};
use mezzo_server::http::answer;
use rust_embed::{EmbeddedFile, RustEmbed};

use super::{Node, body::Body, masters};

/// Nothing from elsewhere, no inline script, no page around it, and no text that is parsed as HTML: a browser that knows
/// trusted types refuses it even if the page's own code were to try. `MASTERS`: the page may look for the next leader.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'MASTERS; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// A file on its own is no page.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// A window that another site opened, or that opened it, has no hold on this one.
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The files of `master/webui`: in the binary, or, in builds for development, read anew for each request.
#[derive(RustEmbed)]
#[folder = "webui/"]
struct Files;

/// `/`
pub(super) async fn home(node: &Node, headers: &HeaderMap) -> Response<Body> {
    let policy = POLICY.replace("MASTERS", &masters::sources(&node.masters()));
    let mut response = asset("index.html", headers).await;
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// `/assets/…`
pub(super) async fn asset(name: &str, headers: &HeaderMap) -> Response<Body> {
    match (Files::get(name), media_type(name)) {
        (Some(file), Some(media_type)) => page(headers, media_type, file).await,
        _ => answer::bare(StatusCode::NOT_FOUND),
    }
}

fn media_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "html" => "text/html",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

async fn page(headers: &HeaderMap, media_type: &'static str, file: EmbeddedFile) -> Response<Body> {
    let tag = tag(&file);
    let mut response = if headers.get(IF_NONE_MATCH) == Some(&tag) {
        answer::empty(StatusCode::NOT_MODIFIED)
    } else {
        let content = Bytes::from(file.data.into_owned());
        answer::of_type(StatusCode::OK, HeaderValue::from_static(media_type), content)
    };
    let out = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, NOTHING),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (OPENER_POLICY, "same-origin"),
        (RESOURCE_POLICY, "same-origin"),
        // A newer master brings a newer page.
        (CACHE_CONTROL, "no-cache"),
    ] {
        out.insert(name, HeaderValue::from_static(value));
    }
    out.insert(ETAG, tag);
    answer::packed(headers, response).await
}

/// The first bytes of the content's hash.
fn tag(file: &EmbeddedFile) -> HeaderValue {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    // Weak: what goes over the line may be packed.
    HeaderValue::from_str(&format!("W/\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::BTreeMap};

    use crate::flags::Flags;

    use super::*;

    fn texts() -> BTreeMap<Cow<'static, str>, String> {
        let read = |name: &str| String::from_utf8(Files::get(name).unwrap().data.into_owned()).unwrap();
        Files::iter().map(|name| (name.clone(), read(&name))).collect()
    }

    #[test]
    fn every_file_has_a_type() {
        for name in Files::iter() {
            assert!(media_type(&name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_page_asks_for_nothing_that_is_not_here_and_parses_no_html() {
        for (name, text) in texts().iter().filter(|(name, _)| !name.ends_with(".txt")) {
            let own = !name.starts_with("vendor/");
            for outside in ["http://", "https://", "eval(", "new Function"] {
                let names = text.matches("http://www.w3.org/2000/svg").count() * usize::from(outside == "http://");
                // What a kept library mentions in a comment is asked of nobody: the browser's tests hold that.
                assert!(!own || text.matches(outside).count() == names, "{outside} in {name}");
            }
            // The library knows how to, and is never asked to.
            for parsing in ["innerHTML", "outerHTML", "insertAdjacentHTML", "InnerHTML", "document.write"] {
                assert!(!own || !text.contains(parsing), "{parsing} in {name}");
            }
        }
    }

    #[tokio::test]
    async fn every_file_that_is_named_is_there() {
        let texts = texts();
        for part in texts["index.html"].split('"').filter_map(|part| part.strip_prefix("/assets/")) {
            assert!(texts.contains_key(part), "{part}");
        }
        for (name, text) in texts.iter().filter(|(name, _)| name.ends_with(".js") && !name.starts_with("vendor/")) {
            let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
            for part in text.split('\'').filter(|part| part.starts_with("./") || part.starts_with("../")) {
                let path = match part.strip_prefix("../") {
                    Some(rest) => rest.to_owned(),
                    None if dir.is_empty() => part[2..].to_owned(),
                    None => format!("{dir}/{}", &part[2..]),
                };
                assert!(texts.contains_key(path.as_str()), "{name} imports {part}");
            }
        }
    }

    #[tokio::test]
    async fn what_a_browser_has_is_not_sent_again() {
        let node = Node::new(Flags::default(), 0.0, mezzo_server::files::Files::default());
        let first = home(&node, &HeaderMap::new()).await;
        assert_eq!(first.status(), StatusCode::OK);
        assert!(first.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().contains("default-src 'none'"));
        let known = HeaderMap::from_iter([(IF_NONE_MATCH, first.headers()[ETAG].clone())]);
        let again = home(&node, &known).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(again.headers().contains_key(CONTENT_SECURITY_POLICY));
        assert_eq!(asset("../Cargo.toml", &HeaderMap::new()).await.status(), StatusCode::NOT_FOUND);
    }
}
