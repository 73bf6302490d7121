//! `/registrar(1)/registry`: what outlives a master, as the message of Mesos' registry (src/master/registry.proto), as far as
//! it is published: of agents that have not come back yet, their operators' wishes are not.

use imbl::OrdMap;
use mezzo_api::{codec::to_json_value, ids::AgentId};
use serde_json::{Value, json};

use super::{Master, View};

/// The registry as JSON.
pub(crate) fn registry(view: &View, master: Master<'_>) -> Vec<u8> {
    let admitted = view.agents.values().map(|agent| (agent.id.as_str(), &agent.info, Some(&agent.standing)));
    let recovered = view.recovered.iter().map(|(id, info)| (id.as_str(), info, None));
    let slaves: Vec<Value> = admitted
        .chain(recovered)
        .map(|(id, info, standing)| {
            let mut info = to_json_value(&info.message());
            info["id"] = json!({ "value": id });
            let mut slave =
                json!({ "info": info, "deactivated": standing.is_some_and(|standing| standing.deactivated) });
            if let Some(drain) = standing.and_then(|standing| standing.drain.as_ref()) {
                slave["drain_info"] = to_json_value(drain);
            }
            slave
        })
        .collect();
    // Quota that was reset is listed by other endpoints, and not kept.
    let quotas = view.quotas.values().filter(|quota| !quota.guarantees.is_empty() || !quota.limits.is_empty());
    let weights: Vec<Value> = view.weights.iter().map(|(role, weight)| weight_of(role, *weight)).collect();
    let mut registry = json!({
        "master": { "info": to_json_value(&master.identity.info) },
        "slaves": { "slaves": slaves },
        "schedules": [to_json_value(&view.maintenance.schedule)],
        "weights": weights,
        "unreachable": { "slaves": marked(&view.unreachable) },
        "quota_configs": quotas.map(|quota| to_json_value(&**quota)).collect::<Vec<_>>(),
    });
    // Mesos has no such member before the first one.
    if !view.gone.is_empty() {
        registry["gone"] = json!({ "slaves": marked(&view.gone) });
    }
    registry.to_string().into_bytes()
}

/// The oldest first.
fn marked(agents: &OrdMap<AgentId, i64>) -> Vec<Value> {
    let mut agents: Vec<(i64, &AgentId)> = agents.iter().map(|(id, since)| (*since, id)).collect();
    agents.sort();
    agents
        .into_iter()
        .map(|(since, id)| json!({ "id": { "value": id.as_str() }, "timestamp": { "nanoseconds": since } }))
        .collect()
}

fn weight_of(role: &str, weight: f64) -> Value {
    json!({ "info": { "weight": weight, "role": role } })
}
