//! Tables that describe the messages' fields.

/// A message that has a table.
pub trait Described {
    /// Its table.
    fn descriptor() -> &'static Message;
}

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Its short name, e.g. `Call`.
    pub name: &'static str,
    /// Its fields in the order of their declaration; at most 64.
    pub fields: &'static [Field],
    /// Bit n is set if field n is required.
    pub required: u64,
}

/// A field.
#[derive(Debug)]
pub struct Field {
    /// As in the .proto file.
    pub name: &'static str,
    /// On the wire.
    pub number: u32,
    /// How often it may be there.
    pub label: Label,
    /// What it holds.
    pub kind: Kind,
}

/// How often a field may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Once or not at all.
    Optional,
    /// Once.
    Required,
    /// Any number of times.
    Repeated,
    /// Any number of times, each an entry with a key and a value.
    Map,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // protobuf's own names
pub enum Kind {
    Double,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Bool,
    String,
    Bytes,
    Enum(&'static Enum),
    Message(&'static Message),
}

/// An enum.
#[derive(Debug)]
pub struct Enum {
    /// Names and numbers in the order of their declaration.
    pub values: &'static [(&'static str, i32)],
}

impl Message {
    /// The field of this name. Fields mostly come in the order of their declaration: it is looked for from
    /// number `hint` on.
    pub fn field_by_name(&self, name: &[u8], hint: usize) -> Option<(usize, &'static Field)> {
        self.find(hint, |field| field.name.as_bytes() == name)
    }

    /// The field of this number, looked for from `hint` on.
    pub fn field_by_number(&self, number: u32, hint: usize) -> Option<(usize, &'static Field)> {
        self.find(hint, |field| field.number == number)
    }

    fn find(&self, hint: usize, wanted: impl Fn(&Field) -> bool) -> Option<(usize, &'static Field)> {
        let from_hint = self.fields.iter().enumerate().skip(hint);
        from_hint.chain(self.fields.iter().enumerate().take(hint)).find(|(_, field)| wanted(field))
    }
}

impl Enum {
    /// The number of a name.
    pub fn number(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    }

    /// Whether a value has this number.
    pub fn has_number(&self, number: i32) -> bool {
        self.values.iter().any(|(_, known)| *known == number)
    }
}
