//! Tables of fields: what the reader of JSON and the check of required fields go by.

use std::fmt::Write;

use prost_types::{
    FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto::Label, field_descriptor_proto::Type,
};

use crate::names::{Message, enums, table};

pub(crate) fn generate(files: &FileDescriptorSet, messages: &[Message<'_>]) -> String {
    let mut out = String::new();
    for (name, descriptor) in enums(files) {
        let values: Vec<String> =
            descriptor.value.iter().map(|value| format!("({:?}, {})", value.name(), value.number())).collect();
        let table = table(&name);
        writeln!(out, "pub static {table}: Enum = Enum {{ values: &[{}] }};", values.join(", ")).unwrap();
    }
    for message in messages {
        message_table(&mut out, message, messages);
    }
    out
}

fn message_table(out: &mut String, message: &Message<'_>, messages: &[Message<'_>]) {
    let fields = &message.descriptor.field;
    assert!(fields.len() <= 64, "{} has more fields than a mask has bits", message.full_name);
    let required = fields
        .iter()
        .enumerate()
        .filter(|(_, field)| field.label() == Label::Required)
        .fold(0u64, |mask, (at, _)| mask | 1 << at);
    let (table, name) = (table(&message.full_name), message.descriptor.name());
    writeln!(out, "pub static {table}: Message = Message {{ name: {name:?}, required: {required:#x}, fields: &[")
        .unwrap();
    for field in fields {
        let label = label(field, messages);
        let (name, number, kind) = (field.name(), field.number(), kind(field));
        writeln!(out, "    Field {{ name: {name:?}, number: {number}, label: Label::{label}, kind: {kind} }},")
            .unwrap();
    }
    writeln!(out, "] }};").unwrap();
    if !is_map_entry(message) {
        let path = &message.path;
        writeln!(out, "impl Described for {path} {{ fn descriptor() -> &'static Message {{ &{table} }} }}").unwrap();
    }
}

fn label(field: &FieldDescriptorProto, messages: &[Message<'_>]) -> &'static str {
    match field.label() {
        Label::Repeated if map_entry(field, messages).is_some() => "Map",
        Label::Repeated => "Repeated",
        Label::Required => "Required",
        Label::Optional => "Optional",
    }
}

fn kind(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Double => "Kind::Double".into(),
        Type::Int32 => "Kind::Int32".into(),
        Type::Int64 => "Kind::Int64".into(),
        Type::Uint32 => "Kind::Uint32".into(),
        Type::Uint64 => "Kind::Uint64".into(),
        Type::Bool => "Kind::Bool".into(),
        Type::String => "Kind::String".into(),
        Type::Bytes => "Kind::Bytes".into(),
        Type::Enum => format!("Kind::Enum(&{})", table(field.type_name())),
        Type::Message => format!("Kind::Message(&{})", table(field.type_name())),
        other => panic!("field {} has the type {other:?}, which the tables do not know", field.name()),
    }
}

/// The entry of a map field.
pub(crate) fn map_entry<'a>(field: &FieldDescriptorProto, messages: &'a [Message<'a>]) -> Option<&'a Message<'a>> {
    messages.iter().find(|message| message.full_name == field.type_name() && is_map_entry(message))
}

pub(crate) fn is_map_entry(message: &Message<'_>) -> bool {
    message.descriptor.options.as_ref().is_some_and(|options| options.map_entry())
}
