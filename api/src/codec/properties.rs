//! Random messages survive both encodings.

use mezzo_types::descriptor::{Field, Kind, Label, Message};
use proptest::prelude::*;
use prost::encoding::encode_varint;

use super::{ApiMessage, Encoding, decode, encode};
use crate::v1::{agent, executor, master, scheduler};

/// Makes the wire bytes of any message from random bytes; when they run out, only required fields are written.
struct Maker<'a> {
    entropy: &'a [u8],
}

impl Maker<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.entropy.split_first() else { return 0 };
        self.entropy = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        let length = self.next() % 9;
        (0..length).fold(0, |number, _| number << 8 | u64::from(self.next()))
    }

    fn message(&mut self, message: &'static Message, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for field in message.fields {
            let nested = matches!(field.kind, Kind::Message(_));
            let wanted = usize::from(self.next() % 4) * usize::from(!nested || depth < 8);
            let count = match field.label {
                Label::Required => 1,
                Label::Optional => wanted / 2,
                Label::Repeated | Label::Map => wanted,
            };
            let count = if field.label == Label::Optional { count.min(1) } else { count };
            (0..count).for_each(|_| self.field(field, depth, &mut out));
        }
        out
    }

    fn field(&mut self, field: &'static Field, depth: usize, out: &mut Vec<u8>) {
        let key = |wire_type: u64, out: &mut Vec<u8>| encode_varint(u64::from(field.number) << 3 | wire_type, out);
        let bytes = match field.kind {
            Kind::Double => {
                let number = self.number().cast_signed() as f64 / 8.0;
                key(1, out);
                out.extend_from_slice(&number.to_le_bytes());
                return;
            }
            Kind::Enum(values) => {
                let (_, number) = values.values[usize::from(self.next()) % values.values.len()];
                key(0, out);
                return encode_varint(i64::from(number).cast_unsigned(), out);
            }
            Kind::Bool | Kind::Int64 | Kind::Uint64 => {
                let number = self.number();
                key(0, out);
                return encode_varint(if matches!(field.kind, Kind::Bool) { number & 1 } else { number }, out);
            }
            Kind::Int32 => {
                let number = self.number().cast_signed() % i64::from(i32::MAX);
                key(0, out);
                return encode_varint(number.cast_unsigned(), out);
            }
            Kind::Uint32 => {
                let number = self.number() & u64::from(u32::MAX);
                key(0, out);
                return encode_varint(number, out);
            }
            Kind::String => (0..self.next() % 8).map(|_| char::from(self.next())).collect::<String>().into_bytes(),
            Kind::Bytes => (0..self.next() % 8).map(|_| self.next()).collect(),
            Kind::Message(nested) => self.message(nested, depth + 1),
        };
        key(2, out);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(&bytes);
    }
}

fn survives<M: ApiMessage + PartialEq>(entropy: &[u8]) {
    let wire = Maker { entropy }.message(M::descriptor(), 0);
    let message: M = decode(Encoding::Protobuf, &wire).expect("a whole message");
    let json = encode(Encoding::Json, &message);
    serde_json::from_slice::<serde_json::Value>(&json).expect("JSON for everyone");
    let from_json: M = decode(Encoding::Json, &json).unwrap_or_else(|error| panic!("{error}: {json:?}"));
    assert_eq!(encode(Encoding::Json, &from_json), json);
    let from_wire: M = decode(Encoding::Protobuf, &encode(Encoding::Protobuf, &message)).expect("our own bytes");
    assert!(from_wire == message, "{json:?}");
}

proptest! {
    #[test]
    fn any_message_survives(entropy in prop::collection::vec(any::<u8>(), 0..600)) {
        survives::<scheduler::Call>(&entropy);
        survives::<scheduler::Event>(&entropy);
        survives::<executor::Call>(&entropy);
        survives::<executor::Event>(&entropy);
        survives::<master::Call>(&entropy);
        survives::<master::Response>(&entropy);
        survives::<agent::Call>(&entropy);
        survives::<agent::Response>(&entropy);
    }

    #[test]
    fn no_text_is_too_odd(text in "[\\[\\]{}:,\"\\\\a-f0-9.eE+\\- \\n]{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = decode::<scheduler::Call>(Encoding::Json, text.as_bytes());
        let _ = decode::<scheduler::Call>(Encoding::Json, &bytes);
        let _ = decode::<scheduler::Call>(Encoding::Protobuf, &bytes);
    }
}
