//! What the supervisor stores: a group under `group/<name>`, a place to fill under `slot/<name>/<number>`.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::warn;

use super::{group::Group, slot::Slot};

/// Of the records' form; a record of a newer one is refused.
const FORM: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Record<T> {
    form: u32,
    #[serde(flatten)]
    value: T,
}

/// A group as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredGroup {
    pub(super) version: u64,
    pub(super) group: Group,
}

/// What was stored, understood.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) groups: BTreeMap<String, StoredGroup>,
    pub(super) slots: Vec<(String, u32, Slot)>,
}

pub(super) fn group_key(name: &str) -> String {
    format!("group/{name}")
}

pub(super) fn slot_key(name: &str, number: u32) -> String {
    format!("slot/{name}/{number}")
}

pub(super) fn encode<T: Serialize>(value: T) -> Bytes {
    // never fails: string keys and plain values
    serde_json::to_vec(&Record { form: FORM, value }).unwrap_or_default().into()
}

/// Reads all records. One that cannot be read is passed over with a warning: a task of it is then unknown, and is killed.
pub(super) fn read(entries: &BTreeMap<String, Bytes>) -> Stored {
    let mut stored = Stored::default();
    for (key, value) in entries {
        let mut parts = key.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("group"), Some(name), None, None) => {
                if let Some(group) = decode::<StoredGroup>(key, value) {
                    stored.groups.insert(name.to_owned(), group);
                }
            }
            (Some("slot"), Some(name), Some(number), None) => {
                if let (Ok(number), Some(slot)) = (number.parse(), decode(key, value)) {
                    stored.slots.push((name.to_owned(), number, slot));
                }
            }
            _ => {} // another's
        }
    }
    stored
}

fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Option<T> {
    match serde_json::from_slice::<Record<T>>(value) {
        Ok(record) if record.form <= FORM => return Some(record.value),
        Ok(record) => warn!(key, form = record.form, "a record of a newer version is passed over"),
        Err(error) => warn!(key, %error, "a record that cannot be read is passed over"),
    }
    None
}

/// A task's description, as Mesos' JSON.
pub(super) mod task_info {
    use mezzo_api::{
        codec::{self, Encoding},
        v1::TaskInfo,
    };
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(in crate::supervisor) fn serialize<S: Serializer>(task: &TaskInfo, serializer: S) -> Result<S::Ok, S::Error> {
        codec::to_json_value(task).serialize(serializer)
    }

    pub(in crate::supervisor) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TaskInfo, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        codec::decode(Encoding::Json, value.to_string().as_bytes()).map_err(D::Error::custom)
    }
}
