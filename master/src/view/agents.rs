//! Agents as `/state` and `/slaves` show them (src/master/readonly_handler.cpp, SlaveWriter).

use mezzo_api::{codec::to_json_value, ids::AgentId, resources::Resources};
use mezzo_master_core::{description::Description, model::Agent};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    View,
    document::{Document, attributes, domain},
    shown::Entity,
};

#[derive(Serialize)]
pub(super) struct AgentJson<'a> {
    #[serde(flatten)]
    info: AgentInfoJson<'a>,
    pid: String,
    registered_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reregistered_time: Option<f64>,
    resources: Map<String, Value>,
    used_resources: Map<String, Value>,
    offered_resources: Map<String, Value>,
    reserved_resources: Map<String, Value>,
    unreserved_resources: Map<String, Value>,
    active: bool,
    deactivated: bool,
    version: &'a str,
    capabilities: Vec<&'static str>,
    /// Mezzo's own: what its operator should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_info: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_drain_start_time_seconds: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct AgentInfoJson<'a> {
    id: &'a str,
    hostname: &'a str,
    port: i32,
    attributes: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<Value>,
}

#[derive(Serialize)]
struct FullAgentJson<'a> {
    #[serde(flatten)]
    agent: AgentJson<'a>,
    reserved_resources_full: Map<String, Value>,
    unreserved_resources_full: Vec<Value>,
    used_resources_full: Vec<Value>,
    offered_resources_full: Vec<Value>,
}

/// `/slaves`, all or one.
pub(crate) fn agents(view: &View, wanted: Option<&str>) -> Vec<u8> {
    let chosen = |id: &AgentId| wanted.is_none_or(|wanted| wanted == id.as_str());
    let mut document = Document::default();
    document.list("slaves", view.agents.values().filter(|agent| chosen(&agent.id)).map(|agent| full_agent(agent)));
    let recovered = view.recovered.iter().filter(|(id, _)| chosen(id));
    document.list("recovered_slaves", recovered.map(|(_, info)| agent_info(info)));
    document.end()
}

impl Entity for Agent {
    /// As `/state` shows it.
    fn write(&self) -> Vec<u8> {
        serde_json::to_vec(&agent(self)).unwrap_or_else(|_| b"{}".to_vec())
    }
}

/// One agent.
pub(super) fn agent(agent: &Agent) -> AgentJson<'_> {
    AgentJson {
        info: AgentInfoJson { id: agent.id.as_str(), ..agent_info(&agent.info) },
        pid: pid(agent),
        registered_time: agent.registered_time,
        reregistered_time: agent.reregistered_time,
        resources: agent.total.summary(),
        used_resources: agent.used.summary(),
        offered_resources: agent.offered.summary(),
        reserved_resources: by_role(&agent.total, |resources| Value::Object(resources.summary())),
        unreserved_resources: agent.total.unreserved().summary(),
        active: agent.active,
        deactivated: agent.standing.deactivated,
        version: &agent.version,
        capabilities: agent.capabilities.iter().map(|capability| capability.as_str_name()).collect(),
        warning: agent.warning.as_deref(),
        drain_info: agent.standing.drain.as_ref().map(mezzo_api::codec::to_json_value),
        estimated_drain_start_time_seconds: agent.drain_began.map(f64::floor),
    }
}

/// What the registry knows of an agent.
pub(super) fn agent_info(info: &Description) -> AgentInfoJson<'_> {
    AgentInfoJson {
        id: info.id().map_or("", AgentId::as_str),
        hostname: info.hostname(),
        port: info.port(),
        attributes: attributes(info.attributes()),
        domain: info.domain().map(domain),
    }
}

/// What an agent calls itself.
pub(super) fn pid(agent: &Agent) -> String {
    format!("slave(1)@{}", std::net::SocketAddr::from(agent.advertised))
}

fn full_agent(shown: &Agent) -> FullAgentJson<'_> {
    FullAgentJson {
        agent: agent(shown),
        reserved_resources_full: by_role(&shown.total, |resources| full(resources).into()),
        unreserved_resources_full: full(&shown.total.unreserved()),
        used_resources_full: full(&shown.used),
        offered_resources_full: full(&shown.offered),
    }
}

fn by_role(resources: &Resources, show: impl Fn(&Resources) -> Value) -> Map<String, Value> {
    resources.reserved().iter().map(|(role, reserved)| (role.clone(), show(reserved))).collect()
}

fn full(resources: &Resources) -> Vec<Value> {
    resources.to_endpoint_protos().iter().map(to_json_value).collect()
}
