//! `/registrar(1)/registry`: what outlives a master, as the message of Mesos' registry (src/master/registry.proto), as far as
//! it is published.

use mezzo_api::codec::to_json_value;
use serde_json::{Value, json};

use super::{Master, View};

/// The registry as JSON.
pub(crate) fn registry(view: &View, master: Master<'_>) -> Vec<u8> {
    let admitted = view.agents.values().map(|agent| (agent.id.as_str(), &agent.info));
    let recovered = view.recovered.iter().map(|(id, info)| (id.as_str(), info));
    let slaves: Vec<Value> = admitted
        .chain(recovered)
        .map(|(id, info)| {
            let mut info = to_json_value(&info.message());
            info["id"] = json!({ "value": id });
            json!({ "info": info })
        })
        .collect();
    let unreachable: Vec<Value> = view.unreachable.iter().map(|id| json!({ "id": { "value": id.as_str() } })).collect();
    let weights: Vec<Value> = view.weights.iter().map(|(role, weight)| weight_of(role, *weight)).collect();
    json!({
        "master": { "info": to_json_value(&master.identity.info) },
        "slaves": { "slaves": slaves },
        "schedules": [to_json_value(&view.maintenance.schedule)],
        "weights": weights,
        "unreachable": { "slaves": unreachable },
        "quota_configs": view.quotas.values().map(|quota| to_json_value(&**quota)).collect::<Vec<_>>(),
    })
    .to_string()
    .into_bytes()
}

fn weight_of(role: &str, weight: f64) -> Value {
    json!({ "info": { "weight": weight, "role": role } })
}
