//! Agents, some of them or one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mezzo_api::codec::to_json_value;
use mezzo_master_core::{
    description::Description,
    model::{Agent, TaskList},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    super::{
        View,
        agents::{agent as full_agent, agent_info, pid},
        document::{Document, attributes},
    },
    amounts::Use,
    list::{Key, Wanted, place},
};

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    host: &'a str,
    region: &'a str,
    zone: &'a str,
    state: &'static str,
    tasks: u64,
    #[serde(flatten)]
    resources: Use,
    attributes: Map<String, Value>,
    pid: String,
    registered: f64,
}

/// What the page calls the state of an agent.
pub(super) fn state(agent: &Agent) -> &'static str {
    match (agent.connected, agent.active) {
        (true, true) => "active",
        (true, false) => "deactivated",
        (false, _) => "away",
    }
}

/// Tasks that hold resources, by agent.
pub(super) fn running(view: &View) -> HashMap<&str, u64> {
    let mut running = HashMap::new();
    for task in view.present_tasks().filter(|task| task.list == TaskList::Active) {
        *running.entry(task.agent_id.as_str()).or_default() += 1;
    }
    running
}

/// `/ui/agents`
pub(crate) fn agents(view: &View, wanted: &Wanted) -> Vec<u8> {
    let running = running(view);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut fitting = Vec::new();
    for agent in view.agents.values() {
        let (region, zone) = place(&agent.info);
        if !wanted.fits(&[agent.id.as_str(), agent.info.hostname(), region, zone, &listed(&agent.info)]) {
            continue;
        }
        let state = state(agent);
        *counts.entry(state).or_default() += 1;
        if wanted.fits_state(state) {
            let tasks = running.get(agent.id.as_str()).copied().unwrap_or_default();
            fitting.push(((key(agent, tasks, &wanted.sort), agent.id.clone()), (agent, tasks)));
        }
    }
    let total = fitting.len();
    let mut document = Document::default();
    document.member("version", &view.version).member("total", &total).member("counts", &counts);
    document.member("recovered", &view.recovered.len()).member("unreachable", &view.unreachable.len());
    document.list("rows", wanted.part(fitting).into_iter().map(|(agent, tasks)| row(agent, tasks)));
    document.end()
}

/// `/ui/agent`: one that is registered, or is expected back.
pub(crate) fn agent(view: &View, id: &str) -> Option<Vec<u8>> {
    let mut document = Document::default();
    document.member("version", &view.version);
    let Some(agent) = view.agents.get(id) else {
        if let Some(info) = view.recovered.get(id) {
            document.member("state", &"expected").member("agent", &agent_info(info));
            return Some(document.end());
        }
        if view.unreachable.contains_key(id) {
            document.member("state", &"unreachable").member("agent", &serde_json::json!({ "id": id }));
            return Some(document.end());
        }
        return None;
    };
    let tasks = view.present_tasks().filter(|task| task.agent_id.as_str() == id && task.list == TaskList::Active);
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    let mut frameworks = BTreeSet::new();
    let mut count = 0;
    for task in tasks {
        *states.entry(task.state.as_str_name()).or_default() += 1;
        frameworks.insert(task.framework_id.as_str());
        count += 1;
    }
    let named = |id: &&str| {
        let name = view.frameworks.get(*id).map_or("", |framework| framework.info.name.as_str());
        serde_json::json!({ "id": id, "name": name })
    };
    let executors = view.executors.values().filter(|executor| executor.agent_id.as_str() == id);
    document
        .member("state", &state(agent))
        .member("row", &row(agent, count))
        .member("agent", &full_agent(agent))
        .member("peer", &agent.peer.to_string())
        .optional("mezzo_version", agent.mezzo_version.as_ref())
        .member("states", &states)
        .list("frameworks", frameworks.iter().map(named))
        .list("executors", executors.map(|executor| {
            serde_json::json!({ "framework_id": executor.framework_id.as_str(), "info": to_json_value(&*executor.info) })
        }));
    Some(document.end())
}

fn listed(info: &Description) -> String {
    let texts = attributes(info.attributes()).into_iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name}:{text}"),
        other => format!("{name}:{other}"),
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn key(agent: &Agent, tasks: u64, sort: &str) -> Key {
    #[allow(clippy::cast_precision_loss)] // counts, to be compared
    match sort {
        "id" => Key::Text(agent.id.to_string()),
        "state" => Key::Text(state(agent).to_owned()),
        "zone" => Key::Text(format!("{:?}", place(&agent.info))),
        "tasks" => Key::Number(tasks as f64),
        "cpus" => Key::Number(Use::of(agent).used.cpus.as_f64()),
        "mem" => Key::Number(Use::of(agent).used.mem.as_f64()),
        "disk" => Key::Number(Use::of(agent).used.disk.as_f64()),
        "registered" => Key::Number(agent.registered_time),
        _ => Key::Text(agent.info.hostname().to_owned()),
    }
}

fn row(agent: &Agent, tasks: u64) -> Row<'_> {
    let (region, zone) = place(&agent.info);
    Row {
        id: agent.id.as_str(),
        host: agent.info.hostname(),
        region,
        zone,
        state: state(agent),
        tasks,
        resources: Use::of(agent),
        attributes: attributes(agent.info.attributes()),
        pid: pid(agent),
        registered: agent.registered_time,
    }
}
