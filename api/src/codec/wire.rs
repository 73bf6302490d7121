//! What proto2 asks of a message on the wire and prost does not: required fields are there, and enum values that
//! nobody knows count as unset.

use std::borrow::Cow;

use mezzo_types::descriptor::{Field, Kind, Label, Message};
use prost::encoding::{decode_varint, encode_varint};

use super::DecodeError;

/// How deep messages may be nested: prost's own limit.
const MAX_DEPTH: usize = 100;

/// The wire types that fields of ours have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireType {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
}

/// Bytes that are no protobuf message.
#[derive(Debug)]
struct Malformed;

#[derive(Clone, Copy, Debug)]
enum Payload<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of fixed length, or a group.
    Other,
}

/// One field as it stands on the wire.
struct Item<'a> {
    number: u32,
    payload: Payload<'a>,
    /// Key and payload.
    raw: &'a [u8],
}

/// What is to be found in a message.
#[derive(Clone, Copy, Debug, Default)]
struct Findings {
    incomplete: bool,
    unknown_enum: bool,
}

/// The wire bytes to decode: `body` itself, or without unknown enum values.
pub(super) fn check<'a>(message: &'static Message, body: &'a [u8]) -> Result<Cow<'a, [u8]>, DecodeError> {
    let refuse = |detail: String| DecodeError::Protobuf { message: message.name, detail };
    let malformed = |Malformed| refuse("malformed".into());
    let mut body = Cow::Borrowed(body);
    let mut findings = inspect(message, &body, MAX_DEPTH).map_err(malformed)?;
    if findings.unknown_enum {
        body = Cow::Owned(without_unknown_enums(message, &body).map_err(malformed)?);
        findings = inspect(message, &body, MAX_DEPTH).map_err(malformed)?;
    }
    if findings.incomplete {
        let missing = missing_fields(message, &body);
        if !missing.is_empty() {
            return Err(refuse(format!("Missing required fields: {}", missing.join(", "))));
        }
    }
    Ok(body)
}

/// Looks at each occurrence of a message by itself: one that is spread over several occurrences may be reported as
/// incomplete although it is not.
fn inspect(message: &'static Message, wire: &[u8], depth: usize) -> Result<Findings, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let mut findings = Findings::default();
    let mut seen = 0u64;
    let mut hint = 0;
    for item in items(wire) {
        let item = item?;
        let Some((index, field)) = message.field_by_number(item.number, hint) else { continue };
        hint = index + usize::from(!matches!(field.label, Label::Repeated | Label::Map));
        match (field.kind, item.payload) {
            (Kind::Enum(_), payload) if has_unknown_enum(field, payload)? => findings.unknown_enum = true,
            (Kind::Message(nested), Payload::Bytes(bytes)) => {
                let nested = inspect(nested, bytes, depth)?;
                findings.incomplete |= nested.incomplete;
                findings.unknown_enum |= nested.unknown_enum;
                seen |= 1 << index;
            }
            _ => seen |= 1 << index,
        }
    }
    findings.incomplete |= message.required & !seen != 0;
    Ok(findings)
}

fn has_unknown_enum(field: &Field, payload: Payload<'_>) -> Result<bool, Malformed> {
    match payload {
        Payload::Varint(value) => Ok(!is_known(field, value)),
        Payload::Bytes(packed) => Ok(varints(packed)?.into_iter().any(|value| !is_known(field, value))),
        Payload::Other => Err(Malformed),
    }
}

#[allow(clippy::cast_possible_truncation)] // as protobuf does
fn is_known(field: &Field, value: u64) -> bool {
    matches!(field.kind, Kind::Enum(values) if values.has_number(value as i32))
}

/// The same message without values that their enums do not have.
fn without_unknown_enums(message: &'static Message, wire: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(wire.len());
    for item in items(wire) {
        let item = item?;
        match (message.field_by_number(item.number, 0), item.payload) {
            (Some((_, field @ Field { kind: Kind::Enum(_), .. })), Payload::Varint(value)) => {
                if is_known(field, value) {
                    out.extend_from_slice(item.raw);
                }
            }
            (Some((_, field @ Field { kind: Kind::Enum(_), .. })), Payload::Bytes(packed)) => {
                for value in varints(packed)?.into_iter().filter(|value| is_known(field, *value)) {
                    encode_varint(u64::from(item.number) << 3, &mut out);
                    encode_varint(value, &mut out);
                }
            }
            (Some((_, Field { kind: Kind::Message(nested), .. })), Payload::Bytes(bytes)) => {
                let nested = without_unknown_enums(nested, bytes)?;
                encode_varint(u64::from(item.number) << 3 | WireType::Bytes as u64, &mut out);
                encode_varint(nested.len() as u64, &mut out);
                out.extend_from_slice(&nested);
            }
            _ => out.extend_from_slice(item.raw),
        }
    }
    Ok(out)
}

/// The paths of required fields that well-formed wire bytes lack, in protobuf's order: a message's own first, in the
/// order of their declaration, then those of the messages in it, by field number.
pub(super) fn missing_fields(message: &'static Message, wire: &[u8]) -> Vec<String> {
    let mut missing = Vec::new();
    collect_missing(message, wire, "", &mut missing);
    missing
}

fn collect_missing(message: &'static Message, wire: &[u8], prefix: &str, missing: &mut Vec<String>) {
    let items: Vec<Item<'_>> = items(wire).map_while(Result::ok).collect();
    for field in message.fields.iter().filter(|field| field.label == Label::Required) {
        if !items.iter().any(|item| item.number == field.number) {
            missing.push(format!("{prefix}{}", field.name));
        }
    }
    let mut fields: Vec<&'static Field> = message.fields.iter().collect();
    fields.sort_by_key(|field| field.number);
    for field in fields {
        let Kind::Message(nested) = field.kind else { continue };
        let occurrences =
            items.iter().filter(|item| item.number == field.number).filter_map(|item| match item.payload {
                Payload::Bytes(bytes) => Some(bytes),
                Payload::Varint(_) | Payload::Other => None,
            });
        match field.label {
            Label::Repeated | Label::Map => {
                for (at, bytes) in occurrences.enumerate() {
                    collect_missing(nested, bytes, &format!("{prefix}{}[{at}].", field.name), missing);
                }
            }
            Label::Optional | Label::Required => {
                let merged: Vec<&[u8]> = occurrences.collect();
                if !merged.is_empty() {
                    collect_missing(nested, &merged.concat(), &format!("{prefix}{}.", field.name), missing);
                }
            }
        }
    }
}

fn items(wire: &[u8]) -> impl Iterator<Item = Result<Item<'_>, Malformed>> {
    let mut rest = wire;
    let mut failed = false;
    std::iter::from_fn(move || {
        if rest.is_empty() || failed {
            return None;
        }
        let item = take_item(&mut rest);
        failed = item.is_err();
        Some(item)
    })
}

fn take_item<'a>(rest: &mut &'a [u8]) -> Result<Item<'a>, Malformed> {
    let start = *rest;
    let key = u32::try_from(varint(rest)?).map_err(|_| Malformed)?;
    let payload = match key & 7 {
        0 => Payload::Varint(varint(rest)?),
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
            Payload::Bytes(take(rest, length)?)
        }
        1 => take(rest, 8).map(|_| Payload::Other)?,
        5 => take(rest, 4).map(|_| Payload::Other)?,
        3 => {
            skip_group(rest, key >> 3)?;
            Payload::Other
        }
        _ => return Err(Malformed),
    };
    Ok(Item { number: key >> 3, payload, raw: &start[..start.len() - rest.len()] })
}

/// Passes over a group of an unknown field.
fn skip_group(rest: &mut &[u8], number: u32) -> Result<(), Malformed> {
    let mut open = vec![number];
    while let Some(&innermost) = open.last() {
        let key = u32::try_from(varint(rest)?).map_err(|_| Malformed)?;
        match key & 7 {
            0 => drop(varint(rest)?),
            1 => drop(take(rest, 8)?),
            2 => {
                let length = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
                take(rest, length)?;
            }
            3 if open.len() < MAX_DEPTH => open.push(key >> 3),
            4 if key >> 3 == innermost => drop(open.pop()),
            5 => drop(take(rest, 4)?),
            _ => return Err(Malformed),
        }
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, left) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = left;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    decode_varint(rest).map_err(|_| Malformed)
}

fn varints(mut packed: &[u8]) -> Result<Vec<u64>, Malformed> {
    let mut values = Vec::new();
    while !packed.is_empty() {
        values.push(varint(&mut packed)?);
    }
    Ok(values)
}
