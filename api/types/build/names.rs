//! All messages with the paths that prost gives them.

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

/// A message and where to find it.
pub(crate) struct Message<'a> {
    /// E.g. `.mesos.v1.Offer.Operation`.
    pub(crate) full_name: String,
    /// E.g. `crate::generated::mesos::v1::offer::Operation`.
    pub(crate) path: String,
    /// The path of its own module: of nested types and oneofs.
    pub(crate) module: String,
    /// Fields have no presence unless they are messages or say `optional`.
    pub(crate) proto3: bool,
    pub(crate) descriptor: &'a DescriptorProto,
}

/// Every message, nested ones and entries of maps included.
pub(crate) fn messages(files: &FileDescriptorSet) -> Vec<Message<'_>> {
    let mut all = Vec::new();
    for file in &files.file {
        let package = file.package();
        let module = package.split('.').fold("crate::generated".to_owned(), |path, part| path + "::" + &snake(part));
        for message in &file.message_type {
            collect(&format!(".{package}"), &module, file.syntax() == "proto3", message, &mut all);
        }
    }
    all
}

fn collect<'a>(scope: &str, module: &str, proto3: bool, descriptor: &'a DescriptorProto, all: &mut Vec<Message<'a>>) {
    let name = descriptor.name();
    let full_name = format!("{scope}.{name}");
    let own_module = format!("{module}::{}", snake(name));
    for nested in &descriptor.nested_type {
        collect(&full_name, &own_module, proto3, nested, all);
    }
    let path = format!("{module}::{}", name.to_upper_camel_case());
    all.push(Message { full_name, path, module: own_module, proto3, descriptor });
}

/// Every enum with its full name.
pub(crate) fn enums(files: &FileDescriptorSet) -> Vec<(String, &EnumDescriptorProto)> {
    let mut all = Vec::new();
    for file in &files.file {
        let package = format!(".{}", file.package());
        all.extend(file.enum_type.iter().map(|e| (format!("{package}.{}", e.name()), e)));
    }
    for message in messages(files) {
        let scope = message.full_name;
        all.extend(message.descriptor.enum_type.iter().map(|e| (format!("{scope}.{}", e.name()), e)));
    }
    all
}

/// The name of the static that describes a message or enum, e.g. `MESOS_V1_OFFER_OPERATION`.
pub(crate) fn table(full_name: &str) -> String {
    let parts: Vec<String> = full_name.trim_start_matches('.').split('.').map(ToSnakeCase::to_snake_case).collect();
    parts.join("__").to_uppercase()
}

/// A field, oneof or module as prost writes it.
pub(crate) fn snake(name: &str) -> String {
    const KEYWORDS: &[&str] = &[
        "as", "async", "await", "break", "const", "continue", "dyn", "else", "enum", "extern", "false", "fn", "for",
        "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "static", "struct",
        "trait", "true", "type", "unsafe", "use", "where", "while", "abstract", "become", "box", "do", "final",
        "macro", "override", "priv", "typeof", "unsized", "virtual", "yield", "try", "gen",
    ];
    let snake = name.to_snake_case();
    if KEYWORDS.contains(&snake.as_str()) { format!("r#{snake}") } else { snake }
}

/// A variant of a oneof as prost writes it.
pub(crate) fn camel(name: &str) -> String {
    name.to_upper_camel_case()
}
