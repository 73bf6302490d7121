//! JSON objects written member by member, in the order in which Mesos writes them.

use std::sync::Arc;

use mezzo_api::{
    codec::{ApiMessage, to_json_value},
    ids::FrameworkId,
    v1,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    View,
    pieces::{Known, Pieces, Run},
    shown::Text,
};

/// An object on its way out.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// What stands before `out`.
    before: Pieces,
    known: Known,
    out: Vec<u8>,
}

impl Document {
    /// One that shares what it can with an older one.
    pub(super) fn after(older: Option<&Pieces>) -> Self {
        Self { known: older.map(Pieces::known).unwrap_or_default(), ..Self::default() }
    }

    /// Adds a member.
    pub(crate) fn member(&mut self, name: &str, value: &impl Serialize) -> &mut Self {
        self.name(name);
        self.value(value);
        self
    }

    /// Adds a member if there is a value.
    pub(crate) fn optional(&mut self, name: &str, value: Option<impl Serialize>) -> &mut Self {
        if let Some(value) = value {
            self.member(name, &value);
        }
        self
    }

    /// Adds a message, if there is one.
    pub(crate) fn message(&mut self, name: &str, message: Option<&impl ApiMessage>) -> &mut Self {
        if let Some(message) = message {
            self.name(name);
            message.write_json(&mut self.out);
        }
        self
    }

    /// Adds an array of messages.
    pub(crate) fn messages<'a, M: ApiMessage + 'a>(
        &mut self,
        name: &str,
        messages: impl IntoIterator<Item = &'a M>,
    ) -> &mut Self {
        self.array(name, messages, |out, message| message.write_json(&mut out.out))
    }

    /// Adds labels, if there are any, as Mesos shows them: an array without its wrapper.
    pub(crate) fn labels(&mut self, labels: Option<&v1::Labels>) -> &mut Self {
        if let Some(labels) = labels {
            self.messages("labels", &labels.labels);
        }
        self
    }

    /// Adds an object, written by `write`.
    pub(crate) fn object(&mut self, name: &str, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.name(name);
        self.out.push(b'{');
        write(self);
        self.out.push(b'}');
        self
    }

    /// Adds all members of another object.
    pub(crate) fn members(&mut self, object: &impl Serialize) -> &mut Self {
        let start = self.out.len();
        self.value(object);
        self.join(start);
        self
    }

    /// Adds all members of another object, which was written before.
    pub(crate) fn written_members(&mut self, object: &[u8]) -> &mut Self {
        let start = self.out.len();
        self.out.extend_from_slice(object);
        self.join(start);
        self
    }

    /// Adds an array of values that were written before.
    pub(crate) fn written<'a>(&mut self, name: &str, values: impl IntoIterator<Item = &'a [u8]>) -> &mut Self {
        self.array(name, values, |out, value| out.out.extend_from_slice(value))
    }

    /// Adds an array of entities, each with the text that it keeps.
    pub(crate) fn shown<'a, T: Text + 'static>(
        &mut self,
        name: &str,
        entities: impl IntoIterator<Item = &'a Arc<T>>,
    ) -> &mut Self {
        let runs = self.known.runs(&entities.into_iter().collect::<Vec<_>>());
        self.runs(name, &runs)
    }

    /// Adds the arrays of a framework's tasks.
    pub(super) fn tasks(&mut self, names: [&str; 3], view: &View, framework: &FrameworkId) -> &mut Self {
        let runs = self.before.task_runs(view, framework, &self.known);
        for (name, runs) in names.into_iter().zip(runs.lists()) {
            self.runs(name, runs);
        }
        self
    }

    fn runs(&mut self, name: &str, runs: &[Arc<Run>]) -> &mut Self {
        self.name(name);
        self.out.push(b'[');
        self.before.push(std::mem::take(&mut self.out));
        self.before.extend(runs);
        self.out.push(b']');
        self
    }

    /// Adds an array of objects, each written by `write`.
    pub(crate) fn objects<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.array(name, items, |out, item| {
            out.out.push(b'{');
            write(out, item);
            out.out.push(b'}');
        })
    }

    /// Adds an array, element by element.
    pub(crate) fn list<T: Serialize>(&mut self, name: &str, items: impl IntoIterator<Item = T>) -> &mut Self {
        self.array(name, items, |out, item| out.value(&item))
    }

    /// The object as text.
    pub(crate) fn end(self) -> Vec<u8> {
        let Self { mut before, out, .. } = self.closed();
        if before.is_empty() {
            return out;
        }
        before.push(out);
        before.text()
    }

    /// The object in pieces.
    pub(crate) fn pieces(self) -> Pieces {
        let Self { mut before, out, .. } = self.closed();
        before.push(out);
        before
    }

    fn closed(mut self) -> Self {
        if self.out.is_empty() {
            self.out.push(b'{');
        }
        self.out.push(b'}');
        self
    }

    /// Room for so many bytes more.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// Makes members of the object that begins at `start`, behind those that stand before it.
    fn join(&mut self, start: usize) {
        if self.out.get(start..) == Some(b"{}") {
            self.out.truncate(start);
            return;
        }
        self.out.pop();
        match start.checked_sub(1).map(|before| self.out[before]) {
            None => {}
            Some(b'{') => {
                self.out.remove(start);
            }
            Some(_) => self.out[start] = b',',
        }
    }

    /// A member that is an array, each of its values written by `write`.
    fn array<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.name(name);
        self.out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write(self, item);
        }
        self.out.push(b']');
        self
    }

    fn name(&mut self, name: &str) {
        match self.out.last() {
            None => self.out.push(b'{'),
            Some(b'{') => {}
            Some(_) => self.out.push(b','),
        }
        self.value(&name);
        self.out.push(b':');
    }

    fn value(&mut self, value: &impl Serialize) {
        let start = self.out.len();
        if serde_json::to_writer(&mut self.out, value).is_err() {
            // Only a map with keys that are no strings could come here, and there is none.
            self.out.truncate(start);
            self.out.extend_from_slice(b"null");
        }
    }
}

/// Labels as Mesos shows them: an array without its wrapper.
pub(crate) fn labels(labels: &v1::Labels) -> Value {
    labels.labels.iter().map(to_json_value).collect()
}

/// Attributes by name (src/common/http.cpp).
pub(crate) fn attributes(attributes: &[v1::Attribute]) -> Map<String, Value> {
    attributes.iter().map(|attribute| (attribute.name.clone(), attribute_value(attribute))).collect()
}

fn attribute_value(attribute: &v1::Attribute) -> Value {
    match attribute.r#type() {
        v1::value::Type::Scalar => attribute.scalar.as_ref().map_or(Value::Null, |scalar| scalar.value.into()),
        v1::value::Type::Text => attribute.text.as_ref().map_or(Value::Null, |text| text.value.as_str().into()),
        v1::value::Type::Ranges => {
            let ranges = attribute.ranges.iter().flat_map(|ranges| &ranges.range);
            let texts: Vec<_> = ranges.map(|range| format!("{}-{}", range.begin, range.end)).collect();
            format!("[{}]", texts.join(", ")).into()
        }
        v1::value::Type::Set => {
            let items: Vec<_> = attribute.set.iter().flat_map(|set| &set.item).map(String::as_str).collect();
            format!("{{{}}}", items.join(", ")).into()
        }
    }
}

/// The fault domain, of which only the names are shown.
pub(crate) fn domain(domain: &v1::DomainInfo) -> Value {
    to_json_value(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_members_in_order() {
        let mut document = Document::default();
        document.member("b", &1.0).optional("x", None::<u8>).list("a", [1, 2]).list("none", [0; 0]).member("c", &"\"");
        assert_eq!(document.end(), br#"{"b":1.0,"a":[1,2],"none":[],"c":"\""}"#);
        assert_eq!(Document::default().end(), b"{}");
    }

    #[test]
    fn objects_within_are_written_in_place() {
        let mut document = Document::default();
        document.members(&serde_json::json!({"a": 1, "b": {"c": 2}})).members(&serde_json::json!({}));
        document.objects("list", [1, 2], |object, number| {
            object.written_members(br#"{"x":0}"#).member("y", &number).objects("none", [0; 0], |_, _| {});
        });
        document
            .objects("empty", [()], |_, ()| {})
            .written("texts", [&b"1"[..], b"{}"])
            .members(&serde_json::json!({"z": 3}));
        let expected = r#"{"a":1,"b":{"c":2},"list":[{"x":0,"y":1,"none":[]},{"x":0,"y":2,"none":[]}],"empty":[{}],"texts":[1,{}],"z":3}"#;
        assert_eq!(String::from_utf8(document.end()).unwrap(), expected);
    }
}
