//! The two encodings of every API message: protobuf and Mesos' JSON, from the same types.
//!
//! JSON comes in as Mesos reads it (3rdparty/stout/include/stout/protobuf.hpp and json.hpp of apache/mesos), with its
//! leniencies and its texts, by way of the protobuf wire: a reader that goes by tables of the fields turns it into
//! wire bytes (module `convert`), which prost decodes. Numbers that do not fit their field are refused. Protobuf comes in
//! with a check of required fields, which prost does not make (module `wire`).

mod base64;
mod convert;
mod scan;
mod wire;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use bytes::{BufMut, Bytes, BytesMut};
use mezzo_types::{descriptor::Described, json::JsonWrite};
use prost::Message;

use crate::recordio;

/// How a message is written on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `application/json`
    Json,
    /// `application/x-protobuf`
    Protobuf,
}

impl Encoding {
    /// The media type, to the letter: Mesos compares it as a string (src/master/http.cpp).
    pub fn media_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Protobuf => "application/x-protobuf",
        }
    }
}

/// Why a body is no message.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes are no protobuf message of this type, or a required field is missing.
    #[error("Failed to parse body into {message} protobuf")]
    Protobuf {
        /// Short name of the message, e.g. `Call`.
        message: &'static str,
        /// What was wrong, for logs: Mesos' answer does not tell.
        detail: String,
    },
    /// The text is no JSON.
    #[error("Failed to parse body into JSON: {detail}")]
    JsonSyntax {
        /// Where and what.
        detail: String,
    },
    /// The JSON does not fit the message.
    #[error("Failed to convert JSON into {message} protobuf: {detail}")]
    JsonShape {
        /// Short name of the message, e.g. `Call`.
        message: &'static str,
        /// Which field, and what was expected.
        detail: String,
    },
}

impl DecodeError {
    /// What was wrong, without what was tried.
    pub fn detail(&self) -> &str {
        match self {
            DecodeError::Protobuf { detail, .. }
            | DecodeError::JsonSyntax { detail }
            | DecodeError::JsonShape { detail, .. } => detail,
        }
    }
}

/// A message of the API: a generated type that both encodings know.
pub trait ApiMessage: Message + Default + Described + JsonWrite {}

impl<T: Message + Default + Described + JsonWrite> ApiMessage for T {}

/// Encodes `message`.
pub fn encode<M: ApiMessage>(encoding: Encoding, message: &M) -> Bytes {
    match encoding {
        Encoding::Protobuf => message.encode_to_vec().into(),
        Encoding::Json => {
            let mut out = Vec::with_capacity(JSON_CAPACITY);
            message.write_json(&mut out);
            out.into()
        }
    }
}

const JSON_CAPACITY: usize = 512;

/// Encodes `message` as one RecordIO record: what an event stream sends. Nothing is copied twice.
pub fn encode_to_record<M: ApiMessage>(encoding: Encoding, message: &M) -> Bytes {
    match encoding {
        Encoding::Protobuf => {
            let length = message.encoded_len();
            let mut out = Vec::with_capacity(length + recordio::MAX_HEADER_BYTES);
            recordio::write_header(&mut out, length);
            message.encode_raw(&mut out);
            out.into()
        }
        Encoding::Json => {
            let mut out = Vec::with_capacity(JSON_CAPACITY);
            out.put_bytes(0, recordio::MAX_HEADER_BYTES);
            message.write_json(&mut out);
            let start = recordio::write_header_before(&mut out, recordio::MAX_HEADER_BYTES);
            Bytes::from(out).slice(start..)
        }
    }
}

/// Appends `message` to `out` as one RecordIO record.
pub fn encode_record<M: ApiMessage>(encoding: Encoding, message: &M, out: &mut BytesMut) {
    out.extend_from_slice(&encode_to_record(encoding, message));
}

/// `message` as a JSON value, for endpoints that show it as a part of their answer.
pub fn to_json_value<M: ApiMessage>(message: &M) -> serde_json::Value {
    serde_json::from_slice(&encode(Encoding::Json, message)).unwrap_or_default()
}

/// Decodes `body`; required fields are checked in both encodings.
///
/// # Errors
/// If the body is not well-formed, does not fit the message, or lacks a required field.
pub fn decode<M: ApiMessage>(encoding: Encoding, body: &[u8]) -> Result<M, DecodeError> {
    let message = M::descriptor();
    match encoding {
        Encoding::Json => decode_wire(message.name, &convert::json_to_wire(message, body)?),
        Encoding::Protobuf => decode_wire(message.name, &wire::check(message, body)?),
    }
}

/// Decodes a JSON array of messages.
///
/// # Errors
/// As [`decode`].
pub fn decode_json_array<M: ApiMessage>(text: &[u8]) -> Result<Vec<M>, DecodeError> {
    let message = M::descriptor();
    let wires = convert::json_array_to_wires(message, text)?;
    wires.iter().map(|wire| decode_wire(message.name, wire)).collect()
}

fn decode_wire<M: ApiMessage>(message: &'static str, wire: &[u8]) -> Result<M, DecodeError> {
    M::decode(wire).map_err(|error| DecodeError::Protobuf { message, detail: error.to_string() })
}
