//! What the operator APIs of master and agent have in common (`POST /api/v1`).

use std::{collections::BTreeMap, time::Duration};

use mezzo_api::{MESOS_VERSION, v1};
use serde_json::{Map, Value};

use crate::build;

/// GET_FLAGS.
pub fn flags(listed: &BTreeMap<String, String>) -> Vec<v1::Flag> {
    listed.iter().map(|(name, value)| v1::Flag { name: name.clone(), value: Some(value.clone()) }).collect()
}

/// GET_VERSION.
pub fn version_info() -> v1::VersionInfo {
    v1::VersionInfo {
        version: MESOS_VERSION.to_owned(),
        build_date: Some(build::DATE.clone()),
        build_time: Some(*build::TIME),
        build_user: Some(build::USER.to_owned()),
        ..v1::VersionInfo::default()
    }
}

/// GET_METRICS.
pub fn metrics(metrics: BTreeMap<String, f64>) -> Vec<v1::Metric> {
    metrics.into_iter().map(|(name, value)| v1::Metric { name, value: Some(value) }).collect()
}

/// A duration of a call; what is below zero is none.
pub fn duration(info: &v1::DurationInfo) -> Duration {
    Duration::from_nanos(u64::try_from(info.nanoseconds).unwrap_or_default())
}

/// A part of an answer, and arrays of it that Mesos writes even if they are empty, because it writes them by hand.
pub type Arrays = (&'static str, &'static [&'static str]);

/// Adds the arrays that are not there, in `message` itself and within its `get_state`.
pub fn fill_in(message: &mut Value, arrays: &[Arrays]) {
    let Some(members) = message.as_object_mut() else { return };
    fill_in_parts(members, arrays);
    if let Some(state) = members.get_mut("get_state").and_then(Value::as_object_mut) {
        fill_in_parts(state, arrays);
    }
}

fn fill_in_parts(members: &mut Map<String, Value>, parts: &[Arrays]) {
    for (name, arrays) in parts {
        let Some(part) = members.get_mut(*name).and_then(Value::as_object_mut) else { continue };
        for array in *arrays {
            part.entry(*array).or_insert_with(|| Value::Array(Vec::new()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arrays_are_added_where_their_part_is() {
        const ARRAYS: [Arrays; 2] = [("get_a", &["x", "y"]), ("get_b", &["z"])];
        let mut value = json!({"get_a": {"x": [1]}, "get_state": {"get_b": {}}, "type": "T"});
        fill_in(&mut value, &ARRAYS);
        assert_eq!(value, json!({"get_a": {"x": [1], "y": []}, "get_state": {"get_b": {"z": []}}, "type": "T"}));
    }

    #[test]
    fn a_duration_is_never_negative() {
        assert_eq!(duration(&v1::DurationInfo { nanoseconds: -5 }), Duration::ZERO);
        assert_eq!(duration(&v1::DurationInfo { nanoseconds: 5 }), Duration::from_nanos(5));
    }
}
