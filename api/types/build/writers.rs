//! Writers of Mesos' JSON: plain straight-line code for each message.

use std::fmt::Write;

use prost_types::{
    FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto::Label, field_descriptor_proto::Type,
};

use crate::{
    names::{Message, camel, enums, snake, table},
    tables::{is_map_entry, map_entry},
};

pub(crate) fn generate(files: &FileDescriptorSet, messages: &[Message<'_>]) -> String {
    let mut out = String::new();
    for (name, descriptor) in enums(files) {
        let function = enum_function(&name);
        writeln!(out, "fn {function}(value: i32) -> Option<&'static str> {{\n    match value {{").unwrap();
        let mut seen = Vec::new();
        for value in descriptor.value.iter() {
            if !seen.contains(&value.number()) {
                seen.push(value.number());
                writeln!(out, "        {} => Some({:?}),", value.number(), value.name()).unwrap();
            }
        }
        out += "        _ => None,\n    }\n}\n";
    }
    for message in messages.iter().filter(|message| !is_map_entry(message)) {
        writer(&mut out, message, messages);
    }
    out
}

fn enum_function(full_name: &str) -> String {
    format!("name_of_{}", table(full_name).to_lowercase())
}

fn writer(out: &mut String, message: &Message<'_>, messages: &[Message<'_>]) {
    writeln!(out, "impl JsonWrite for {} {{\n    fn write_json(&self, out: &mut Vec<u8>) {{", message.path).unwrap();
    out.push_str("        out.push(b'{');\n");
    for field in &message.descriptor.field {
        let code = field_code(message, field, messages);
        writeln!(out, "        {code}").unwrap();
    }
    out.push_str("        write::end_object(out);\n    }\n}\n");
}

fn field_code(message: &Message<'_>, field: &FieldDescriptorProto, messages: &[Message<'_>]) -> String {
    let member = format!("self.{}", snake(field.name()));
    let key = key(field.name());
    let value = named(field, &key);
    if let Some(entry) = map_entry(field, messages) {
        return map_code(&member, &key, entry);
    }
    if let Some(index) = field.oneof_index.filter(|_| !field.proto3_optional()) {
        let oneof = message.descriptor.oneof_decl[usize::try_from(index).unwrap()].name();
        let (module, r#type, variant) = (&message.module, camel(oneof), camel(field.name()));
        let member = snake(oneof);
        return format!("if let Some({module}::{type}::{variant}(value)) = &self.{member} {{ {value} }}");
    }
    match field.label() {
        Label::Repeated => {
            let element = element(field);
            format!(
                "if !{member}.is_empty() {{ {key} out.push(b'['); for value in &{member} {{ {element} }} write::end_array(out); out.push(b','); }}"
            )
        }
        Label::Required => format!("{{ let value = &{member}; {value} }}"),
        Label::Optional if message.proto3 && field.r#type() != Type::Message && !field.proto3_optional() => {
            format!("if {member} != Default::default() {{ let value = &{member}; {value} }}")
        }
        Label::Optional => {
            let default = default(field)
                .map(|default| format!(" else {{ {key} out.extend_from_slice({default}); out.push(b','); }}"));
            format!("if let Some(value) = &{member} {{ {value} }}{}", default.unwrap_or_default())
        }
    }
}

fn map_code(member: &str, key: &str, entry: &Message<'_>) -> String {
    let (name, value) = (&entry.descriptor.field[0], &entry.descriptor.field[1]);
    assert_eq!(name.r#type(), Type::String, "only maps from strings are known");
    let element = named(value, "write::string(out, name); out.push(b':');");
    format!(
        "if !{member}.is_empty() {{ {key} out.push(b'{{'); for (name, value) in &{member} {{ {element} }} write::end_object(out); out.push(b','); }}"
    )
}

fn key(name: &str) -> String {
    format!("out.extend_from_slice(b\"\\\"{name}\\\":\");")
}

/// Code that writes `value` after `key`; values of an enum that have no name are left out.
fn named(field: &FieldDescriptorProto, key: &str) -> String {
    match field.r#type() {
        Type::Enum => {
            let function = enum_function(field.type_name());
            format!("if let Some(name) = {function}(*value) {{ {key} write::name(out, name); out.push(b','); }}")
        }
        _ => format!("{key} {} out.push(b',');", plain(field)),
    }
}

/// Code that writes `value` as an element of an array.
fn element(field: &FieldDescriptorProto) -> String {
    named(field, "")
}

fn plain(field: &FieldDescriptorProto) -> &'static str {
    match field.r#type() {
        Type::Double => "write::double(out, *value);",
        Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 => "write::integer(out, *value);",
        Type::Bool => "write::boolean(out, *value);",
        Type::String => "write::string(out, value);",
        Type::Bytes => "write::bytes(out, value);",
        Type::Message => "value.write_json(out);",
        other => panic!("field {} has the type {other:?}, which the writers do not know", field.name()),
    }
}

/// The default that is printed for an unset field: an explicit one that is not deprecated.
fn default(field: &FieldDescriptorProto) -> Option<String> {
    let deprecated = field.options.as_ref().is_some_and(|options| options.deprecated());
    let default = field.default_value.as_ref().filter(|_| !deprecated)?;
    let json = match field.r#type() {
        Type::String | Type::Enum => format!("\"{default}\""),
        Type::Double => format!("{:?}", default.parse::<f64>().unwrap()),
        Type::Bytes => panic!("field {} has a default of bytes", field.name()),
        _ => default.clone(),
    };
    Some(format!("b{json:?}"))
}
