//! What a client sends and what it takes (src/common/http.cpp, 3rdparty/libprocess/src/http.cpp).

use http::{HeaderMap, HeaderValue, header::ACCEPT, header::ACCEPT_ENCODING, header::CONTENT_TYPE};
use mezzo_api::codec::Encoding;

/// Why a body's type is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentTypeError {
    /// There is none.
    Missing,
    /// It is another one.
    Unsupported,
}

/// The encoding of a request's body; compared to the letter, as Mesos does.
pub fn content_type(headers: &HeaderMap) -> Result<Encoding, ContentTypeError> {
    let given = headers.get(CONTENT_TYPE).ok_or(ContentTypeError::Missing)?;
    [Encoding::Json, Encoding::Protobuf]
        .into_iter()
        .find(|encoding| given.as_bytes() == encoding.media_type().as_bytes())
        .ok_or(ContentTypeError::Unsupported)
}

/// The encoding of the response; JSON if the client does not care.
pub fn accepted(headers: &HeaderMap) -> Option<Encoding> {
    [Encoding::Json, Encoding::Protobuf]
        .into_iter()
        .find(|encoding| accepts(headers.get_all(ACCEPT).iter(), encoding.media_type()))
}

/// Whether the values of `Accept`, or of a header like it, allow a media type; without any, everything is allowed.
pub fn accepts<'a>(values: impl Iterator<Item = &'a HeaderValue>, media_type: &str) -> bool {
    let mut given = values.peekable();
    if given.peek().is_none() {
        return true;
    }
    let (main, sub) = media_type.split_once('/').unwrap_or((media_type, ""));
    alternatives(given).any(|(range, quality)| {
        let Some((given_main, given_sub)) = range.split_once('/') else { return false };
        quality > 0.0 && (given_main == "*" || given_main == main) && (given_sub == "*" || given_sub == sub)
    })
}

/// Whether a compressed body is welcome.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    alternatives(headers.get_all(ACCEPT_ENCODING).iter())
        .any(|(coding, quality)| quality > 0.0 && (coding == "gzip" || coding == "*"))
}

fn alternatives<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> impl Iterator<Item = (&'a str, f32)> {
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(|alternative| {
        let mut parts = alternative.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |text| text.parse().unwrap_or(0.0));
        (name, quality)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_body_type_is_compared_to_the_letter() {
        let of = |value| content_type(&headers(CONTENT_TYPE, value));
        assert_eq!(of("application/json"), Ok(Encoding::Json));
        assert_eq!(of("application/x-protobuf"), Ok(Encoding::Protobuf));
        for other in ["application/json; charset=utf-8", "Application/JSON", "text/plain", ""] {
            assert_eq!(of(other), Err(ContentTypeError::Unsupported), "{other}");
        }
        assert_eq!(content_type(&HeaderMap::new()), Err(ContentTypeError::Missing));
    }

    #[test]
    fn json_comes_first_when_both_are_welcome() {
        assert_eq!(accepted(&HeaderMap::new()), Some(Encoding::Json));
        for (value, expected) in [
            ("*/*", Some(Encoding::Json)),
            ("application/*", Some(Encoding::Json)),
            ("text/html, application/json;q=0.1", Some(Encoding::Json)),
            ("application/x-protobuf", Some(Encoding::Protobuf)),
            ("application/x-protobuf, application/json", Some(Encoding::Json)),
            ("application/json;q=0, application/x-protobuf", Some(Encoding::Protobuf)),
            ("text/html", None),
            ("application/json;q=0", None),
            ("", None),
        ] {
            assert_eq!(accepted(&headers(ACCEPT, value)), expected, "{value}");
        }
    }

    #[test]
    fn gzip() {
        assert!(accepts_gzip(&headers(ACCEPT_ENCODING, "deflate, gzip;q=0.5")));
        assert!(!accepts_gzip(&headers(ACCEPT_ENCODING, "gzip;q=0")));
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
