//! JSON to protobuf's wire, by the tables of the fields, in one pass.

use std::borrow::Cow;

use mezzo_types::descriptor::{Field, Kind, Label, Message};
use prost::encoding::encode_varint;
use smallvec::SmallVec;

use super::{
    DecodeError, base64,
    scan::{self, Fault, MAX_DEPTH, Number, Scalar, Scanner, deeper},
    wire::{self, WireType},
};

/// The wire bytes of the message in `text`.
pub(super) fn json_to_wire(message: &'static Message, text: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut converter = Converter::new(text);
    if converter.scanner.peek() != Some(b'{') {
        return Err(refuse(message, text, "Expecting a JSON object".into()));
    }
    converter.scanner.bump();
    converter.object(message, MAX_DEPTH).map_err(|fault| converter.explain(message, text, &fault))?;
    converter.scanner.end().map_err(|detail| DecodeError::JsonSyntax { detail })?;
    converter.finish(message)
}

/// The wire bytes of each message in the array in `text`.
pub(super) fn json_array_to_wires(message: &'static Message, text: &[u8]) -> Result<Vec<Vec<u8>>, DecodeError> {
    let mut converter = Converter::new(text);
    if !converter.scanner.take(b'[') {
        return Err(refuse(message, text, "Expecting a JSON array".into()));
    }
    let mut wires = Vec::new();
    if !converter.scanner.take(b']') {
        loop {
            if !converter.scanner.take(b'{') {
                return Err(refuse(message, text, "Expecting a JSON object".into()));
            }
            converter.object(message, MAX_DEPTH - 1).map_err(|fault| converter.explain(message, text, &fault))?;
            wires.push(converter.finish(message)?);
            if !converter.scanner.take(b',') {
                break;
            }
        }
        converter.scanner.expect(b']').map_err(|fault| converter.explain(message, text, &fault))?;
    }
    converter.scanner.end().map_err(|detail| DecodeError::JsonSyntax { detail })?;
    Ok(wires)
}

/// JSON that is no JSON is told first.
#[cold]
fn refuse(message: &'static Message, text: &[u8], detail: String) -> DecodeError {
    match scan::check(text) {
        Ok(()) => DecodeError::JsonShape { message: message.name, detail },
        Err(detail) => DecodeError::JsonSyntax { detail },
    }
}

struct Converter<'a> {
    scanner: Scanner<'a>,
    out: Vec<u8>,
    /// Some message lacks a required field.
    incomplete: bool,
}

/// Where a field's bytes are.
struct Span {
    field: usize,
    start: usize,
    end: usize,
}

impl<'a> Converter<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { scanner: Scanner::new(text), out: Vec::with_capacity(text.len()), incomplete: false }
    }

    fn finish(&mut self, message: &'static Message) -> Result<Vec<u8>, DecodeError> {
        let out = std::mem::take(&mut self.out);
        if std::mem::take(&mut self.incomplete) {
            let missing = wire::missing_fields(message, &out);
            let detail = format!("Missing required fields: {}", missing.join(", "));
            return Err(DecodeError::JsonShape { message: message.name, detail });
        }
        Ok(out)
    }

    #[cold]
    fn explain(&self, message: &'static Message, text: &[u8], fault: &Fault) -> DecodeError {
        let detail = self.scanner.describe(fault);
        match fault {
            Fault::Shape(_) => refuse(message, text, detail),
            Fault::Syntax | Fault::OutOfRange => DecodeError::JsonSyntax { detail },
        }
    }

    /// The members of an object whose brace was taken. Of members of the same name the last one counts.
    fn object(&mut self, message: &'static Message, depth: usize) -> Result<(), Fault> {
        let depth = deeper(depth)?;
        let mut seen = 0u64;
        if !self.scanner.take(b'}') {
            let mut spans: SmallVec<[Span; 8]> = SmallVec::new();
            let mut hint = 0;
            loop {
                let key = self.scanner.key()?;
                match message.field_by_name(&key, hint) {
                    None => self.scanner.skip_value(depth)?,
                    Some((index, field)) => {
                        hint = index + 1;
                        if seen & (1 << index) != 0 {
                            seen &= !(1 << index);
                            self.forget(index, &mut spans);
                        }
                        let start = self.out.len();
                        self.value(field, depth)?;
                        if self.out.len() > start {
                            seen |= 1 << index;
                            spans.push(Span { field: index, start, end: self.out.len() });
                        }
                    }
                }
                if !self.scanner.take(b',') {
                    break;
                }
            }
            self.scanner.expect(b'}')?;
        }
        self.incomplete |= message.required & !seen != 0;
        Ok(())
    }

    /// Takes back what an earlier member of the same name wrote.
    #[cold]
    fn forget(&mut self, field: usize, spans: &mut SmallVec<[Span; 8]>) {
        let Some(at) = spans.iter().position(|span| span.field == field) else { return };
        let Span { start, end, .. } = spans.remove(at);
        self.out.drain(start..end);
        for later in &mut spans[at..] {
            later.start -= end - start;
            later.end -= end - start;
        }
    }

    fn value(&mut self, field: &'static Field, depth: usize) -> Result<(), Fault> {
        match self.scanner.peek() {
            Some(b'"') => {
                self.scanner.bump();
                let text = self.scanner.string()?;
                self.string(field, &text)
            }
            Some(b'{') => {
                self.scanner.bump();
                self.object_value(field, depth)
            }
            Some(b'[') => {
                self.scanner.bump();
                self.array(field, depth)
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = self.scanner.number()?;
                self.number(field, number)
            }
            Some(b't') => {
                self.scanner.literal("true")?;
                self.boolean(field, true)
            }
            Some(b'f') => {
                self.scanner.literal("false")?;
                self.boolean(field, false)
            }
            Some(b'n') => self.scanner.literal("null"),
            _ => Err(Fault::Syntax),
        }
    }

    fn array(&mut self, field: &'static Field, depth: usize) -> Result<(), Fault> {
        if matches!(field.label, Label::Optional | Label::Required) {
            return Err(unexpected("array", field));
        }
        let depth = deeper(depth)?;
        if self.scanner.take(b']') {
            return Ok(());
        }
        loop {
            self.value(field, depth)?;
            if !self.scanner.take(b',') {
                return self.scanner.expect(b']');
            }
        }
    }

    fn object_value(&mut self, field: &'static Field, depth: usize) -> Result<(), Fault> {
        let Kind::Message(message) = field.kind else { return Err(unexpected("object", field)) };
        if field.label == Label::Map {
            return self.map(field, message, depth);
        }
        let at = self.open(field);
        self.object(message, depth)?;
        self.close(at)
    }

    fn map(&mut self, field: &'static Field, entry: &'static Message, depth: usize) -> Result<(), Fault> {
        let depth = deeper(depth)?;
        if self.scanner.take(b'}') {
            return Ok(());
        }
        let [name, value] = entry.fields else { return Err(unexpected("object", field)) };
        loop {
            let key = self.scanner.key()?;
            let at = self.open(field);
            self.string(name, &key)?;
            self.value(value, depth)?;
            self.close(at)?;
            if !self.scanner.take(b',') {
                return self.scanner.expect(b'}');
            }
        }
    }

    fn string(&mut self, field: &'static Field, text: &[u8]) -> Result<(), Fault> {
        match field.kind {
            Kind::String => {
                self.text(field, text);
                Ok(())
            }
            Kind::Bytes => self.bytes(field, text),
            Kind::Enum(values) => {
                let known = std::str::from_utf8(text).ok().and_then(|name| values.number(name));
                match known {
                    Some(number) => self.varint(field, i64::from(number).cast_unsigned()),
                    None if field.label == Label::Required => {
                        let name = String::from_utf8_lossy(text);
                        return Err(Fault::Shape(format!("Failed to find enum for '{name}'")));
                    }
                    None => {}
                }
                Ok(())
            }
            Kind::Double if text == b"Infinity" => self.number(field, Number::Double(f64::INFINITY)),
            Kind::Double if text == b"-Infinity" => self.number(field, Number::Double(f64::NEG_INFINITY)),
            Kind::Double | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => match scan::scalar(text) {
                Ok(Scalar::Number(number)) => self.number(field, number),
                Ok(_) => Err(not_parsed("number", field, text, "Unexpected JSON type parsed")),
                Err(detail) => Err(not_parsed("number", field, text, &detail)),
            },
            Kind::Bool => match scan::scalar(text) {
                Ok(Scalar::Boolean(value)) => self.boolean(field, value),
                Ok(_) => Err(not_parsed("boolean", field, text, "Unexpected JSON type parsed")),
                Err(detail) => Err(not_parsed("boolean", field, text, &detail)),
            },
            Kind::Message(_) => Err(unexpected("string", field)),
        }
    }

    fn text(&mut self, field: &'static Field, text: &[u8]) {
        let text = match std::str::from_utf8(text) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(text),
        };
        self.key(field, WireType::Bytes);
        encode_varint(text.len() as u64, &mut self.out);
        self.out.extend_from_slice(text.as_bytes());
    }

    fn bytes(&mut self, field: &'static Field, text: &[u8]) -> Result<(), Fault> {
        let at = self.open(field);
        base64::decode(text, &mut self.out).map_err(|character| {
            let name = field.name;
            Fault::Shape(format!("Failed to base64 decode bytes field '{name}': Invalid character '{character}'"))
        })?;
        self.close(at)
    }

    fn number(&mut self, field: &'static Field, number: Number) -> Result<(), Fault> {
        match field.kind {
            Kind::Double => {
                self.key(field, WireType::Fixed64);
                self.out.extend_from_slice(&number.as_f64().to_le_bytes());
            }
            Kind::Int64 => {
                let value = number.as_i64().ok_or_else(|| out_of_range(field))?;
                self.varint(field, value.cast_unsigned());
            }
            Kind::Int32 => {
                let value = number.as_i64().and_then(|value| i32::try_from(value).ok());
                let value = value.ok_or_else(|| out_of_range(field))?;
                self.varint(field, i64::from(value).cast_unsigned());
            }
            Kind::Uint64 => {
                let value = number.as_u64().ok_or_else(|| out_of_range(field))?;
                self.varint(field, value);
            }
            Kind::Uint32 => {
                let value = number.as_u64().and_then(|value| u32::try_from(value).ok());
                let value = value.ok_or_else(|| out_of_range(field))?;
                self.varint(field, value.into());
            }
            Kind::Bool | Kind::String | Kind::Bytes | Kind::Enum(_) | Kind::Message(_) => {
                return Err(unexpected("number", field));
            }
        }
        Ok(())
    }

    fn boolean(&mut self, field: &'static Field, value: bool) -> Result<(), Fault> {
        if !matches!(field.kind, Kind::Bool) {
            return Err(unexpected("boolean", field));
        }
        self.varint(field, value.into());
        Ok(())
    }

    fn varint(&mut self, field: &Field, value: u64) {
        self.key(field, WireType::Varint);
        encode_varint(value, &mut self.out);
    }

    fn key(&mut self, field: &Field, wire_type: WireType) {
        encode_varint(u64::from(field.number) << 3 | wire_type as u64, &mut self.out);
    }

    /// Begins a field whose length is not known yet; four bytes are kept for it.
    fn open(&mut self, field: &Field) -> usize {
        self.key(field, WireType::Bytes);
        self.out.extend_from_slice(&[0; LENGTH_BYTES]);
        self.out.len()
    }

    /// Ends it: the length is written as a varint of four bytes, the first three always saying that more follow.
    fn close(&mut self, start: usize) -> Result<(), Fault> {
        let length = u32::try_from(self.out.len() - start).ok().filter(|length| length >> 28 == 0);
        let length = length.ok_or_else(|| Fault::Shape("Message is too large".into()))?;
        for (at, byte) in self.out[start - LENGTH_BYTES..start].iter_mut().enumerate() {
            let more = if at + 1 < LENGTH_BYTES { 0x80 } else { 0 };
            *byte = (length >> (7 * at) & 0x7f) as u8 | more;
        }
        Ok(())
    }
}

const LENGTH_BYTES: usize = 4;

impl Number {
    #[allow(clippy::cast_precision_loss)] // the nearest is meant
    fn as_f64(self) -> f64 {
        match self {
            Number::Signed(value) => value as f64,
            Number::Unsigned(value) => value as f64,
            Number::Double(value) => value,
        }
    }

    /// Decimals are cut off, as Mesos does.
    #[allow(clippy::cast_possible_truncation)] // within the bounds
    fn as_i64(self) -> Option<i64> {
        const BOUND: f64 = 9_223_372_036_854_775_808.0;
        match self {
            Number::Signed(value) => Some(value),
            Number::Unsigned(_) => None,
            Number::Double(value) => (-BOUND..BOUND).contains(&value).then_some(value as i64),
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the bounds
    fn as_u64(self) -> Option<u64> {
        const BOUND: f64 = 18_446_744_073_709_551_616.0;
        match self {
            Number::Signed(value) => u64::try_from(value).ok(),
            Number::Unsigned(value) => Some(value),
            Number::Double(value) => (value > -1.0 && value < BOUND).then_some(value as u64),
        }
    }
}

#[cold]
fn unexpected(what: &str, field: &Field) -> Fault {
    Fault::Shape(format!("Not expecting a JSON {what} for field '{}'", field.name))
}

#[cold]
fn out_of_range(field: &Field) -> Fault {
    Fault::Shape(format!("Number out of range for field '{}'", field.name))
}

#[cold]
fn not_parsed(what: &str, field: &Field, text: &[u8], detail: &str) -> Fault {
    let text = String::from_utf8_lossy(text);
    Fault::Shape(format!("Failed to parse '{text}' as a JSON {what} for field '{}': {detail}", field.name))
}
