//! Which pages of other sites may use this server (<https://fetch.spec.whatwg.org/#http-cors-protocol>): none, unless the
//! operator lists where they come from.

use std::str::FromStr;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Uri,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
};

use super::answer;

const READS: HeaderValue = HeaderValue::from_static("GET, HEAD");
const EVERYTHING: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
/// What clients of this server send beside what browsers always allow.
const SENT: HeaderValue =
    HeaderValue::from_static("Accept, Authorization, Content-Type, If-None-Match, Mesos-Stream-Id");
/// What they look at.
const SEEN: HeaderValue = HeaderValue::from_static("ETag, Location, Mesos-Stream-Id");
/// Seconds for which a browser may remember the answer.
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");

/// Where pages that may use this server come from. By default from here only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// Any page may read.
    any: bool,
    /// Pages from here may read and change.
    listed: Vec<HeaderValue>,
}

/// A text that is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no origin: write scheme://host or scheme://host:port without a path, or * for pages that only read")]
pub struct OriginError(String);

impl FromStr for Origins {
    type Err = OriginError;

    /// Origins with commas between.
    fn from_str(text: &str) -> Result<Self, OriginError> {
        let mut origins = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part {
                "*" => origins.any = true,
                part => origins.listed.push(origin(part).ok_or_else(|| OriginError(part.to_owned()))?),
            }
        }
        Ok(origins)
    }
}

/// As browsers write it: lower case, without a path.
fn origin(text: &str) -> Option<HeaderValue> {
    let uri: Uri = text.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let is_bare = text.eq_ignore_ascii_case(&format!("{scheme}://{authority}")) && !authority.as_str().contains('@');
    is_bare.then(|| HeaderValue::from_str(&text.to_ascii_lowercase()).ok())?
}

impl Origins {
    /// Whether the page that sent this is listed: it may do what people may.
    pub fn trusts(&self, headers: &HeaderMap) -> bool {
        headers.get(ORIGIN).is_some_and(|origin| self.listed.contains(origin))
    }

    /// The answer to a browser that asks on behalf of a page before it sends the request, if this is such a question and the
    /// page may send something.
    pub fn preflight<B: From<Bytes>>(&self, method: &Method, headers: &HeaderMap) -> Option<Response<B>> {
        if *method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        self.allowed(headers)?;
        let mut response = answer::empty(StatusCode::NO_CONTENT);
        let out = response.headers_mut();
        out.insert(ACCESS_CONTROL_ALLOW_METHODS, if self.trusts(headers) { EVERYTHING } else { READS });
        out.insert(ACCESS_CONTROL_ALLOW_HEADERS, SENT);
        out.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED);
        self.mark(headers, &mut response);
        Some(response)
    }

    /// Says in an answer to a request with these headers whether the page may look at it.
    pub fn mark<B>(&self, request: &HeaderMap, response: &mut Response<B>) {
        if *self == Self::default() {
            return;
        }
        let out = response.headers_mut();
        out.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.allowed(request) {
            out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            out.insert(ACCESS_CONTROL_EXPOSE_HEADERS, SEEN);
        }
    }

    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        if self.listed.contains(origin) {
            return Some(origin.clone());
        }
        self.any.then(|| HeaderValue::from_static("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(origin: &'static str) -> HeaderMap {
        HeaderMap::from_iter([
            (ORIGIN, HeaderValue::from_static(origin)),
            (ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST")),
        ])
    }

    fn preflight(origins: &Origins, origin: &'static str) -> Option<[Option<HeaderValue>; 2]> {
        let response = origins.preflight::<Bytes>(&Method::OPTIONS, &from(origin))?;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        let headers = response.headers();
        Some([headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned(), headers.get(ACCESS_CONTROL_ALLOW_METHODS).cloned()])
    }

    #[test]
    fn who_is_listed_may_do_everything_and_others_nothing() {
        let origins: Origins = "https://a.example, http://B:8080".parse().unwrap();
        for origin in ["https://a.example", "http://b:8080"] {
            assert!(origins.trusts(&from(origin)));
            assert_eq!(preflight(&origins, origin), Some([Some(HeaderValue::from_static(origin)), Some(EVERYTHING)]));
        }
        for origin in ["http://a.example", "https://a.example:8443", "https://evil.a.example", "null"] {
            assert!(!origins.trusts(&from(origin)));
            assert_eq!(preflight(&origins, origin), None);
            let mut response = Response::new(Bytes::new());
            origins.mark(&from(origin), &mut response);
            assert!(!response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
            assert_eq!(response.headers()[VARY], "Origin");
        }
        assert_eq!(origins.preflight::<Bytes>(&Method::GET, &from("https://a.example")).map(|_| ()), None);
    }

    #[test]
    fn anybody_may_read_if_the_operator_says_so() {
        let origins: Origins = "*,https://a.example".parse().unwrap();
        assert_eq!(preflight(&origins, "https://x"), Some([Some(HeaderValue::from_static("*")), Some(READS)]));
        assert!(!origins.trusts(&from("https://x")));
        assert!(origins.trusts(&from("https://a.example")));
    }

    #[test]
    fn by_default_nothing_is_said() {
        let origins: Origins = "".parse().unwrap();
        assert_eq!(preflight(&origins, "https://x"), None);
        let mut response = Response::new(Bytes::new());
        origins.mark(&from("https://x"), &mut response);
        assert!(response.headers().is_empty());
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in ["a.example", "https://a/", "https://a/x", "https://u@a", "null", "https://", "https://*.a b"] {
            let error = text.parse::<Origins>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
