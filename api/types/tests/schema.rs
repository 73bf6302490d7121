//! Our .proto files say what Mesos' say: every message, field, number, type, label, default and oneof, every value
//! of every enum, and nothing else.

use std::collections::BTreeMap;

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto::Label,
    field_descriptor_proto::Type,
};
use serde_json::{Value, json};

fn descriptors() -> FileDescriptorSet {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let names = [
        "mesos",
        "scheduler/scheduler",
        "executor/executor",
        "agent/agent",
        "master/master",
        "maintenance/maintenance",
        "allocator/allocator",
        "quota/quota",
        "resource_provider/resource_provider",
    ];
    let files = names.map(|name| format!("mesos/v1/{name}.proto"));
    protox::compile(files, [root]).unwrap()
}

/// In the form of schema.json.
#[derive(Default)]
struct Schema {
    messages: BTreeMap<String, Value>,
    enums: BTreeMap<String, Value>,
}

impl Schema {
    fn ours() -> Self {
        let mut schema = Self::default();
        for file in descriptors().file.iter().filter(|file| file.package().starts_with("mesos.v1")) {
            for message in &file.message_type {
                schema.add_message(file.package(), message);
            }
            for r#enum in &file.enum_type {
                schema.add_enum(file.package(), r#enum);
            }
        }
        schema
    }

    fn theirs() -> Self {
        let text = include_str!("schema.json");
        let mut value: BTreeMap<String, Value> = serde_json::from_str(text).unwrap();
        let mut take = |name| serde_json::from_value(value.remove(name).unwrap()).unwrap();
        Self { messages: take("messages"), enums: take("enums") }
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        let fields: Vec<Value> = message.field.iter().map(|field| describe(field, message, &name)).collect();
        for nested in message.nested_type.iter().filter(|nested| !is_map_entry(nested)) {
            self.add_message(&name, nested);
        }
        for r#enum in &message.enum_type {
            self.add_enum(&name, r#enum);
        }
        self.messages.insert(name, fields.into());
    }

    fn add_enum(&mut self, scope: &str, r#enum: &EnumDescriptorProto) {
        let values = r#enum.value.iter().map(|value| (value.name().to_owned(), Value::from(value.number())));
        self.enums.insert(format!("{scope}.{}", r#enum.name()), Value::Object(values.collect()));
    }
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|options| options.map_entry())
}

fn describe(field: &FieldDescriptorProto, message: &DescriptorProto, message_name: &str) -> Value {
    let entry = message
        .nested_type
        .iter()
        .find(|nested| is_map_entry(nested) && field.type_name() == format!(".{message_name}.{}", nested.name()));
    let (r#type, label) = match (entry, field.label()) {
        (Some(entry), _) => (format!("map<{},{}>", type_name(&entry.field[0]), type_name(&entry.field[1])), "map"),
        (None, Label::Optional) => (type_name(field), "optional"),
        (None, Label::Required) => (type_name(field), "required"),
        (None, Label::Repeated) => (type_name(field), "repeated"),
    };
    let mut extras = serde_json::Map::new();
    if let Some(default) = &field.default_value {
        extras.insert("default".into(), default.as_str().into());
    }
    if field.options.as_ref().is_some_and(|options| options.deprecated()) {
        extras.insert("deprecated".into(), true.into());
    }
    if let Some(index) = field.oneof_index {
        let oneof = message.oneof_decl[usize::try_from(index).unwrap()].name();
        extras.insert("oneof".into(), oneof.into());
    }
    let mut described = json!([field.name(), field.number(), r#type, label]);
    if !extras.is_empty() {
        described.as_array_mut().unwrap().push(extras.into());
    }
    described
}

fn type_name(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => field.type_name().trim_start_matches('.').to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    }
}

fn assert_same(what: &str, ours: &BTreeMap<String, Value>, theirs: &BTreeMap<String, Value>) {
    let only = |left: &BTreeMap<String, Value>, right: &BTreeMap<String, Value>| {
        left.keys().filter(|name| !right.contains_key(*name)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(only(theirs, ours), [""; 0], "{what} that we lack");
    assert_eq!(only(ours, theirs), [""; 0], "{what} that Mesos lacks");
    for (name, value) in theirs {
        assert_eq!(ours[name], *value, "{name}");
    }
}

#[test]
fn messages_are_those_of_mesos() {
    let (ours, theirs) = (Schema::ours(), Schema::theirs());
    assert!(theirs.messages.len() > 250, "{} messages", theirs.messages.len());
    assert_same("messages", &ours.messages, &theirs.messages);
}

#[test]
fn enums_are_those_of_mesos() {
    let (ours, theirs) = (Schema::ours(), Schema::theirs());
    assert!(theirs.enums.len() > 50, "{} enums", theirs.enums.len());
    assert_same("enums", &ours.enums, &theirs.enums);
}
