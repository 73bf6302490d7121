//! Messages that tests send often, as JSON.

use serde_json::{Value, json};

/// A scalar resource.
#[must_use]
pub fn scalar(name: &str, value: f64) -> Value {
    json!({"name": name, "type": "SCALAR", "scalar": {"value": value}})
}

/// One port.
#[must_use]
pub fn port(port: u64) -> Value {
    json!({"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": port, "end": port}]}})
}

/// What a small task needs.
#[must_use]
pub fn small() -> Value {
    json!([scalar("cpus", 0.1), scalar("mem", 32.0)])
}

/// A task that runs a shell command.
#[must_use]
pub fn command(id: &str, agent: &str, command: &str) -> Value {
    json!({"name": id, "task_id": {"value": id}, "agent_id": {"value": agent}, "resources": small(), "command": {"value": command}})
}

/// A framework that knows everything that is new in v1.
#[must_use]
pub fn framework_info(name: &str, role: &str) -> Value {
    let capabilities = ["MULTI_ROLE", "PARTITION_AWARE", "TASK_KILLING_STATE", "RESERVATION_REFINEMENT"]
        .map(|name| json!({"type": name}));
    json!({"user": "root", "name": name, "roles": [role], "checkpoint": true, "failover_timeout": 3600.0, "capabilities": capabilities})
}

/// The id of the agent that an offer is of.
#[must_use]
pub fn agent_of(offer: &Value) -> &str {
    offer["agent_id"]["value"].as_str().unwrap_or_default()
}

/// The sum of a scalar in an offer.
#[must_use]
pub fn amount(offer: &Value, name: &str) -> f64 {
    let resources = offer["resources"].as_array().into_iter().flatten();
    resources
        .filter(|resource| resource["name"] == name)
        .filter_map(|resource| resource["scalar"]["value"].as_f64())
        .sum()
}

/// The ports of an offer.
#[must_use]
pub fn ports(offer: &Value) -> Vec<u64> {
    let resources = offer["resources"].as_array().into_iter().flatten().filter(|resource| resource["name"] == "ports");
    let ranges = resources.flat_map(|resource| resource["ranges"]["range"].as_array().cloned().unwrap_or_default());
    ranges.flat_map(|range| range["begin"].as_u64().unwrap_or(1)..=range["end"].as_u64().unwrap_or(0)).collect()
}

/// Whether a task in this state will never run again.
#[must_use]
pub fn is_terminal(state: &str) -> bool {
    let terminal = [
        "TASK_FINISHED",
        "TASK_FAILED",
        "TASK_KILLED",
        "TASK_LOST",
        "TASK_ERROR",
        "TASK_DROPPED",
        "TASK_GONE",
        "TASK_GONE_BY_OPERATOR",
    ];
    terminal.contains(&state)
}
