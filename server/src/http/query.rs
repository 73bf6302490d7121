//! Query strings and forms as libprocess reads them: separated by `&` or `;`, the last of equal keys wins.

use std::collections::BTreeMap;

/// A `%` that two hexadecimal digits do not follow, or bytes that are no text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Failed to decode the query: malformed % escape")]
pub struct Malformed;

/// Decoded keys and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads a query string or a form.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let parts = text.split(['&', ';']).filter(|part| !part.is_empty());
        let pairs = parts.map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decoded(key)?, decoded(value)?))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// Reads a query string in which `;` is a character like others.
    pub fn parse_by_ampersand(text: &str) -> Result<Self, Malformed> {
        Self::parse(&text.replace(';', "%3B"))
    }

    /// A value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// Percent escapes and `+` decoded.
pub fn decoded(text: &str) -> Result<String, Malformed> {
    if !text.contains(['%', '+']) {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let [high, low, tail @ ..] = tail else { return Err(Malformed) };
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                rest = tail;
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| Malformed)
}

fn digit(character: u8) -> Result<u8, Malformed> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_libprocess_reads() {
        let query = Query::parse("a=1;b=x%20y+z&a=2&flag&e=").unwrap();
        assert_eq!(query.get("a"), Some("2"));
        assert_eq!(query.get("b"), Some("x y z"));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get("e"), Some(""));
        assert_eq!(query.get("none"), None);
        for bad in ["x=%ZZ", "x=%", "x=%4", "x=%ff", "x=%+1"] {
            assert_eq!(Query::parse(bad), Err(Malformed), "{bad}");
        }
    }
}
