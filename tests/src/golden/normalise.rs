//! What differs from run to run is replaced by what it is, so that the rest can be compared.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value};

const UUID: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";

/// Ids of agents, offers, frameworks and containers, and addresses.
static IDS: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = format!(
        r"(?P<agent>{UUID}-S\d+)|(?P<offer>{UUID}-O\d+)|(?P<framework>{UUID}-\d{{4,}})|(?P<uuid>{UUID})|127\.0\.0\.1:(?P<port>\d+)"
    );
    Regex::new(&pattern).expect("the pattern is constant")
});

/// Fields whose value is of the moment; their type stays.
const MOMENTARY: [&str; 12] = [
    "timestamp",
    "uuid",
    "executor_pid",
    "registered_time",
    "reregistered_time",
    "unregistered_time",
    "start_time",
    "elected_time",
    "build_time",
    "build_date",
    "mtime",
    "stream_id",
];

/// Replaces ids by their kind and a number, the first of a kind met is 1. One for each case that is compared.
#[derive(Debug, Default)]
pub struct Normaliser {
    seen: HashMap<String, String>,
    count: HashMap<&'static str, usize>,
}

impl Normaliser {
    /// `text` without what differs from run to run.
    pub fn text(&mut self, text: &str) -> String {
        IDS.replace_all(text, |found: &Captures<'_>| {
            for kind in ["agent", "offer", "framework", "uuid"] {
                if let Some(id) = found.name(kind) {
                    return self.number(kind, id.as_str());
                }
            }
            "127.0.0.1:<port>".to_owned()
        })
        .into_owned()
    }

    fn number(&mut self, kind: &'static str, id: &str) -> String {
        if let Some(known) = self.seen.get(id) {
            return known.clone();
        }
        let count = self.count.entry(kind).or_default();
        *count += 1;
        let name = format!("<{kind} {count}>");
        self.seen.insert(id.to_owned(), name.clone());
        name
    }

    /// `value` without what differs from run to run.
    pub fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => Value::Object(self.fields(fields)),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn fields(&mut self, fields: &Map<String, Value>) -> Map<String, Value> {
        let of_address = fields.contains_key("ip") || fields.contains_key("hostname");
        let of_moment = |name: &str| matches!(name, "unreachable_time" | "unavailability");
        // What a real agent fills in of the container of a task of a pod depends on whether that is there already, or still.
        let of_pod = fields.get("container_id").is_some_and(|id| id.get("parent").is_some());
        let told = |name: &str| !(of_pod && matches!(name, "network_infos" | "executor_pid"));
        let field = |(name, value): (&String, &Value)| {
            let momentary = MOMENTARY.contains(&name.as_str()) || of_address && name == "port" || of_moment(name);
            let value = if momentary { kind_of(value) } else { self.value(value) };
            (name.clone(), value)
        };
        fields.iter().filter(|(name, _)| told(name)).map(field).collect()
    }
}

/// A placeholder that only says of which type a value is.
fn kind_of(value: &Value) -> Value {
    let kind = match value {
        Value::Null => "<null>",
        Value::Bool(_) => "<bool>",
        Value::Number(_) => "<number>",
        Value::String(_) => "<string>",
        Value::Array(items) => return items.iter().map(kind_of).collect(),
        Value::Object(fields) => return fields.iter().map(|(name, value)| (name.clone(), kind_of(value))).collect(),
    };
    Value::String(kind.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "eb5fce68-b89e-45c9-94ea-4870417c946e";

    #[test]
    fn ids_become_their_kind_and_stay_apart() {
        let mut normaliser = Normaliser::default();
        let text =
            format!("{ID}-O7 and {ID}-O8, not {ID}-O7, of {ID}-0000 on {ID}-S1 at slave(1)@127.0.0.1:5051; {ID}");
        let expected = "<offer 1> and <offer 2>, not <offer 1>, of <framework 1> on <agent 1> at slave(1)@127.0.0.1:<port>; <uuid 1>";
        assert_eq!(normaliser.text(&text), expected);
        assert_ne!(normaliser.text(&format!("{ID}-S2")), "<agent 1>");
    }

    #[test]
    fn moments_keep_their_type_and_other_values_stay() {
        let mut normaliser = Normaliser::default();
        let value = json!({"timestamp": 1.5, "uuid": "YQ==", "state": "TASK_RUNNING", "port": 31000, "address": {"ip": "127.0.0.1", "port": 5051}});
        let expected = json!({"timestamp": "<number>", "uuid": "<string>", "state": "TASK_RUNNING", "port": 31000,
            "address": {"ip": "127.0.0.1", "port": "<number>"}});
        assert_eq!(normaliser.value(&value), expected);
        assert_ne!(normaliser.value(&json!({"timestamp": "1.5"})), json!({"timestamp": "<number>"}));
    }
}
