//! Mesos' JSON as it is written (3rdparty/stout/include/stout/protobuf.hpp and jsonify.hpp of apache/mesos): fields
//! by their names in the .proto file and in the order of their declaration; enums by name (a value without a name
//! is left out); bytes in base64; 64-bit integers as numbers; maps as objects; unset fields left out, but for those with an
//! explicit default that are not deprecated.

/// A message that writes itself as Mesos' JSON.
pub trait JsonWrite {
    /// Appends the message.
    fn write_json(&self, out: &mut Vec<u8>);
}

pub(crate) mod write {
    use base64::{Engine, engine::general_purpose::STANDARD};

    /// Each member leaves a comma behind; the last one becomes the end.
    pub(crate) fn end_object(out: &mut Vec<u8>) {
        end(out, b'}');
    }

    pub(crate) fn end_array(out: &mut Vec<u8>) {
        end(out, b']');
    }

    fn end(out: &mut Vec<u8>, end: u8) {
        match out.last_mut() {
            Some(last) if *last == b',' => *last = end,
            _ => out.push(end),
        }
    }

    pub(crate) fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    pub(crate) fn boolean(out: &mut Vec<u8>, value: bool) {
        out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// JSON knows no infinity: it is the string that the reader takes for it. What is no number is null.
    pub(crate) fn double(out: &mut Vec<u8>, value: f64) {
        if value.is_finite() {
            out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        } else {
            not_finite(out, value);
        }
    }

    #[cold]
    fn not_finite(out: &mut Vec<u8>, value: f64) {
        out.extend_from_slice(match value {
            f64::INFINITY => b"\"Infinity\"".as_slice(),
            f64::NEG_INFINITY => b"\"-Infinity\"",
            _ => b"null",
        });
    }

    /// A name that needs no escapes.
    pub(crate) fn name(out: &mut Vec<u8>, name: &str) {
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
    }

    pub(crate) fn bytes(out: &mut Vec<u8>, value: &[u8]) {
        out.push(b'"');
        let start = out.len();
        out.resize(start + value.len().div_ceil(3) * 4, b'=');
        let written = STANDARD.encode_slice(value, &mut out[start..]);
        debug_assert!(written.is_ok());
        out.push(b'"');
    }

    pub(crate) fn string(out: &mut Vec<u8>, value: &str) {
        out.reserve(value.len() + 2);
        out.push(b'"');
        let mut rest = value.as_bytes();
        while let Some(at) = rest.iter().position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            out.extend_from_slice(&rest[..at]);
            escape(out, rest[at]);
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
        out.push(b'"');
    }

    #[cold]
    fn escape(out: &mut Vec<u8>, byte: u8) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        out.push(b'\\');
        match byte {
            b'"' | b'\\' => out.push(byte),
            0x08 => out.push(b'b'),
            0x0c => out.push(b'f'),
            b'\n' => out.push(b'n'),
            b'\r' => out.push(b'r'),
            b'\t' => out.push(b't'),
            _ => {
                out.extend_from_slice(b"u00");
                out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{JsonWrite, write};
    use crate::v1;

    fn text(message: &impl JsonWrite) -> String {
        let mut out = Vec::new();
        message.write_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_what_must_be() {
        let mut out = Vec::new();
        write::string(&mut out, "a\"b\\c/\u{1}\n\t\u{8}\u{c}\r\u{1f}é\u{7f}");
        assert_eq!(String::from_utf8(out).unwrap(), "\"a\\\"b\\\\c/\\u0001\\n\\t\\b\\f\\r\\u001Fé\u{7f}\"");
    }

    #[test]
    fn numbers() {
        for (value, expected) in [(5.0, "5.0"), (0.1, "0.1"), (f64::INFINITY, "\"Infinity\""), (f64::NAN, "null")] {
            assert_eq!(text(&v1::value::Scalar { value }), format!("{{\"value\":{expected}}}"));
        }
        assert_eq!(text(&v1::DurationInfo { nanoseconds: i64::MIN }), "{\"nanoseconds\":-9223372036854775808}");
    }

    #[test]
    fn explicit_defaults_are_printed_unless_deprecated() {
        let info = v1::FrameworkInfo { user: "u".into(), name: "n".into(), ..Default::default() };
        assert_eq!(text(&info), "{\"user\":\"u\",\"name\":\"n\",\"failover_timeout\":0.0,\"checkpoint\":false}");
    }

    #[test]
    fn enums_without_a_name_are_left_out() {
        assert_eq!(text(&v1::scheduler::Call { r#type: Some(99), ..Default::default() }), "{}");
        assert_eq!(text(&v1::scheduler::Call { r#type: Some(5), ..Default::default() }), "{\"type\":\"REVIVE\"}");
    }
}
