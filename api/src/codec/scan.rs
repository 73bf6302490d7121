//! JSON's tokens, accepted and refused as picojson does, which Mesos is built with: leading zeros pass, comments and
//! trailing commas do not; what is not UTF-8 is replaced.

use std::borrow::Cow;

/// How deep objects and arrays may be nested (stout's `STOUT_JSON_MAX_DEPTH`).
pub(super) const MAX_DEPTH: usize = 200;

/// Why a text could not be read on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no JSON from here on.
    Syntax,
    /// A number has no finite value.
    OutOfRange,
    /// The JSON does not fit the message; what to say.
    Shape(String),
}

/// A number as exact as it can be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Signed(i64),
    /// Above `i64::MAX`.
    Unsigned(u64),
    Double(f64),
}

/// A whole text that is one scalar.
#[derive(Debug, PartialEq)]
pub(super) enum Scalar {
    Number(Number),
    Boolean(bool),
    Other,
}

pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The next character after white space, which is left there.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes the character that was peeked at.
    pub(super) fn bump(&mut self) {
        self.at += 1;
    }

    /// Takes the next character after white space if it is this one.
    pub(super) fn take(&mut self, wanted: u8) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    pub(super) fn expect(&mut self, wanted: u8) -> Result<(), Fault> {
        if self.take(wanted) { Ok(()) } else { Err(Fault::Syntax) }
    }

    /// `null`, `true` or `false`.
    pub(super) fn literal(&mut self, literal: &str) -> Result<(), Fault> {
        for byte in literal.bytes() {
            if self.text.get(self.at) != Some(&byte) {
                return Err(Fault::Syntax);
            }
            self.at += 1;
        }
        Ok(())
    }

    /// A member's name and the colon after it.
    pub(super) fn key(&mut self) -> Result<Cow<'a, [u8]>, Fault> {
        self.expect(b'"')?;
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// The rest of a string whose opening quote was taken, without escapes; not necessarily UTF-8.
    pub(super) fn string(&mut self) -> Result<Cow<'a, [u8]>, Fault> {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < b' ');
        let length = length.unwrap_or(rest.len());
        self.at += length;
        match rest.get(length) {
            Some(b'"') => {
                self.at += 1;
                Ok(Cow::Borrowed(&rest[..length]))
            }
            Some(b'\\') => self.string_with_escapes(rest[..length].to_vec()).map(Cow::Owned),
            _ => Err(Fault::Syntax),
        }
    }

    #[cold]
    fn string_with_escapes(&mut self, mut value: Vec<u8>) -> Result<Vec<u8>, Fault> {
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(value);
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut value)?;
                }
                Some(&byte) if byte >= b' ' => {
                    self.at += 1;
                    value.push(byte);
                }
                _ => return Err(Fault::Syntax),
            }
        }
    }

    fn escape(&mut self, value: &mut Vec<u8>) -> Result<(), Fault> {
        let &escape = self.text.get(self.at).ok_or(Fault::Syntax)?;
        self.at += 1;
        value.push(match escape {
            b'"' | b'\\' | b'/' => escape,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = self.code_point()?;
                value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(Fault::Syntax),
        });
        Ok(())
    }

    fn code_point(&mut self) -> Result<char, Fault> {
        let first = self.four_digits()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or(Fault::Syntax);
        }
        self.literal("\\u")?;
        let second = self.four_digits()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(Fault::Syntax);
        }
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(Fault::Syntax)
    }

    fn four_digits(&mut self) -> Result<u32, Fault> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.text.get(self.at).and_then(|&byte| char::from(byte).to_digit(16));
            value = value * 16 + digit.ok_or(Fault::Syntax)?;
            self.at += 1;
        }
        Ok(value)
    }

    /// A number whose first character was peeked at.
    pub(super) fn number(&mut self) -> Result<Number, Fault> {
        let rest = &self.text[self.at..];
        let of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = rest.iter().position(|byte| !of_number(byte)).unwrap_or(rest.len());
        self.at += length;
        let token = std::str::from_utf8(&rest[..length]).map_err(|_| Fault::Syntax)?;
        if let Ok(value) = token.parse() {
            return Ok(Number::Signed(value));
        }
        if let Ok(value) = token.parse() {
            return Ok(Number::Unsigned(value));
        }
        match token.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Number::Double(value)),
            Ok(_) => Err(Fault::OutOfRange),
            Err(_) => Err(Fault::Syntax),
        }
    }

    /// Passes over any value.
    pub(super) fn skip_value(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'n') => self.literal("null"),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            Some(b'"') => {
                self.bump();
                self.string().map(drop)
            }
            Some(b'[') => {
                self.bump();
                self.elements(depth, |scanner, depth| scanner.skip_value(depth))
            }
            Some(b'{') => {
                self.bump();
                self.skip_members(depth)
            }
            _ => Err(Fault::Syntax),
        }
    }

    fn skip_members(&mut self, depth: usize) -> Result<(), Fault> {
        let depth = deeper(depth)?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.key()?;
            self.skip_value(depth)?;
            if !self.take(b',') {
                return self.expect(b'}');
            }
        }
    }

    fn elements(
        &mut self,
        depth: usize,
        mut element: impl FnMut(&mut Self, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let depth = deeper(depth)?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            element(self, depth)?;
            if !self.take(b',') {
                return self.expect(b']');
            }
        }
    }

    /// That nothing but white space follows; what to say otherwise.
    pub(super) fn end(&self) -> Result<(), String> {
        let rest = without_trailing_space(&self.text[self.at..]);
        if rest.is_empty() {
            return Ok(());
        }
        let rest = String::from_utf8_lossy(rest);
        Err(format!("Parsed JSON included non-whitespace trailing characters: {rest}"))
    }

    /// What picojson says about the place where it stopped.
    pub(super) fn describe(&self, fault: &Fault) -> String {
        match fault {
            Fault::OutOfRange => "Value out of range".into(),
            Fault::Shape(detail) => detail.clone(),
            Fault::Syntax => {
                let (before, rest) = self.text.split_at(self.at.min(self.text.len()));
                let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
                let near = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
                let near: Vec<u8> = near.iter().copied().filter(|&byte| byte >= b' ').collect();
                format!("syntax error at line {line} near: {}", String::from_utf8_lossy(&near))
            }
        }
    }
}

fn without_trailing_space(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    &text[..end.map_or(0, |end| end + 1)]
}

pub(super) fn deeper(depth: usize) -> Result<usize, Fault> {
    depth.checked_sub(1).ok_or(Fault::Syntax)
}

/// That the whole text is one JSON value; what to say otherwise.
pub(super) fn check(text: &[u8]) -> Result<(), String> {
    let mut scanner = Scanner::new(text);
    match scanner.skip_value(MAX_DEPTH) {
        Ok(()) => scanner.end(),
        Err(fault) => Err(scanner.describe(&fault)),
    }
}

/// A text that is one JSON value by itself: Mesos takes numbers and booleans in quotes too.
pub(super) fn scalar(text: &[u8]) -> Result<Scalar, String> {
    let mut scanner = Scanner::new(text);
    let scalar = match scanner.peek() {
        Some(b'-' | b'0'..=b'9') => scanner.number().map(Scalar::Number),
        Some(b't') => scanner.literal("true").map(|()| Scalar::Boolean(true)),
        Some(b'f') => scanner.literal("false").map(|()| Scalar::Boolean(false)),
        _ => scanner.skip_value(MAX_DEPTH).map(|()| Scalar::Other),
    };
    let scalar = scalar.map_err(|fault| scanner.describe(&fault))?;
    scanner.end()?;
    Ok(scalar)
}
