//! Base64 as Mesos reads it (3rdparty/stout/include/stout/base64.hpp): white space is passed over, the first `=` ends
//! it, and what is missing at the end does not matter.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Appends the bytes that `text` stands for.
///
/// # Errors
/// The character that does not belong there.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), char> {
    let start = out.len();
    if LENIENT.decode_vec(text, out).is_ok() {
        return Ok(());
    }
    out.truncate(start);
    let mut characters = Vec::with_capacity(text.len());
    for &byte in text.iter().take_while(|&&byte| byte != b'=') {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => characters.push(byte),
            b' ' | 0x09..=0x0d => {}
            _ => return Err(char::from(byte)),
        }
    }
    if characters.len() % 4 == 1 {
        characters.pop(); // six bits are no byte
    }
    LENIENT.decode_vec(&characters, out).map_err(|_| '=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Result<String, char> {
        let mut out = b"x".to_vec();
        decode(text.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn leniencies() {
        for text in ["aGVsbG8=", "aGVsbG8", " aGVs\nbG8= ", "aGVsbG8=!!", "aGVsbG9", "aGVsbG8==="] {
            assert_eq!(decoded(text).as_deref(), Ok("xhello"), "{text}");
        }
        assert_eq!(decoded("").as_deref(), Ok("x"));
        assert_eq!(decoded("a").as_deref(), Ok("x"));
    }

    #[test]
    fn names_what_does_not_belong_there() {
        assert_eq!(decoded("!!!"), Err('!'));
        assert_eq!(decoded("_-8="), Err('_'));
    }
}
