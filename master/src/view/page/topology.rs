//! Every agent in few words: ten thousand of them are still a small answer.

use std::collections::BTreeMap;

use mezzo_master_core::model::Agent;
use serde::Serialize;
use serde_json::json;

use super::{
    super::{View, document::Document},
    agents::{running, state},
    amounts::Use,
    list::place,
};

/// The agents of one zone; each is an array, whose members [`COLUMNS`] names.
#[derive(Serialize)]
struct Zone<'a> {
    region: &'a str,
    zone: &'a str,
    agents: Vec<serde_json::Value>,
}

const COLUMNS: [&str; 10] =
    ["id", "host", "state", "tasks", "cpus", "cpus_used", "cpus_offered", "mem", "mem_used", "mem_offered"];

/// `/ui/topology`
pub(crate) fn topology(view: &View) -> Vec<u8> {
    let running = running(view);
    let mut zones: BTreeMap<(&str, &str), Vec<serde_json::Value>> = BTreeMap::new();
    for agent in view.agents.values() {
        let tasks = running.get(agent.id.as_str()).copied().unwrap_or_default();
        zones.entry(place(&agent.info)).or_default().push(block(agent, tasks));
    }
    let mut document = Document::default();
    document.member("version", &view.version).list("columns", COLUMNS);
    document.list("zones", zones.into_iter().map(|((region, zone), agents)| Zone { region, zone, agents }));
    document.end()
}

fn block(agent: &Agent, tasks: u64) -> serde_json::Value {
    let Use { total, used, offered } = Use::of(agent);
    json!([
        agent.id.as_str(),
        agent.info.hostname(),
        state(agent),
        tasks,
        total.cpus.as_f64(),
        used.cpus.as_f64(),
        offered.cpus.as_f64(),
        total.mem.as_f64(),
        used.mem.as_f64(),
        offered.mem.as_f64(),
    ])
}
