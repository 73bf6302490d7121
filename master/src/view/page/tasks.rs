//! Tasks, some of them or one.

use std::collections::BTreeMap;

use mezzo_api::{codec::to_json_value, resources::Resources, v1};
use mezzo_master_core::model::{Task, TaskList};
use mezzo_server::http::query::Query;
use prost::Message;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    super::{View, document::Document, tasks::message},
    list::{Key, Wanted},
};

/// Whose tasks are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Narrowed {
    framework: Option<String>,
    agent: Option<String>,
    role: Option<String>,
    executor: Option<String>,
}

impl Narrowed {
    /// `framework`, `agent`, `role`, `executor`.
    pub(crate) fn of(query: &Query) -> Self {
        let some = |key: &str| query.get(key).filter(|value| !value.is_empty()).map(str::to_owned);
        Self { framework: some("framework"), agent: some("agent"), role: some("role"), executor: some("executor") }
    }
}

/// The fields of a task's message that every list looks at; what else is in it is passed over.
#[derive(Clone, PartialEq, Message)]
struct Brief {
    #[prost(string, tag = "1")]
    name: String,
}

/// A row of a list.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    name: String,
    framework_id: &'a str,
    framework: &'a str,
    agent_id: &'a str,
    host: &'a str,
    role: String,
    executor_id: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy: Option<bool>,
    /// Of the first status, seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<f64>,
    /// Of the latest status.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated: Option<f64>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    resources: Map<String, Value>,
}

/// `/ui/tasks`: how many fit, how many in each state, and the wanted part of them.
pub(crate) fn tasks(view: &View, wanted: &Wanted, narrowed: &Narrowed) -> Vec<u8> {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut fitting = Vec::new();
    let whole = narrowed.role.is_some() || narrowed.executor.is_some();
    for task in chosen(view, narrowed) {
        if whole && !fits_whole(task, narrowed) {
            continue;
        }
        let needs_name = !wanted.words.is_empty() || wanted.sort == "name";
        let name = if needs_name { name(task) } else { String::new() };
        if !wanted.words.is_empty() && !wanted.fits(&texts(view, task, &name)) {
            continue;
        }
        *counts.entry(task.state.as_str_name()).or_default() += 1;
        if wanted.fits_state(task.state.as_str_name()) {
            fitting.push(((key(view, task, name, &wanted.sort), task.id.clone()), task));
        }
    }
    let total = fitting.len();
    let mut document = Document::default();
    document.member("version", &view.version).member("total", &total).member("counts", &counts);
    document.list("rows", wanted.part(fitting).into_iter().map(|task| row(view, task)));
    document.end()
}

/// `/ui/task`: all that is known of one, as GET_TASKS has it, and where it stands.
pub(crate) fn task(view: &View, framework: &str, id: &str) -> Option<Vec<u8>> {
    let task = view.tasks.get(framework)?.get(id)?;
    let list = match task.list {
        TaskList::Active => "active",
        TaskList::Unreachable => "unreachable",
        TaskList::Completed => "completed",
    };
    let agent = view.agents.get(&task.agent_id);
    let mut document = Document::default();
    document
        .member("version", &view.version)
        .member("row", &row(view, task))
        .member("list", &list)
        .member("agent_connected", &agent.is_some_and(|agent| agent.connected))
        .member("task", &to_json_value(&message(task)));
    Some(document.end())
}

fn chosen<'a>(view: &'a View, narrowed: &'a Narrowed) -> impl Iterator<Item = &'a Task> {
    let of_framework = move |id: &str| narrowed.framework.as_deref().is_none_or(|wanted| wanted == id);
    let of_agent = move |id: &str| narrowed.agent.as_deref().is_none_or(|wanted| wanted == id);
    let frameworks = view.tasks.iter().filter(move |(id, _)| of_framework(id.as_str()));
    let tasks = frameworks.flat_map(|(_, tasks)| tasks.values()).map(|task| &***task);
    tasks.filter(move |task| of_agent(task.agent_id.as_str()))
}

fn fits_whole(task: &Task, narrowed: &Narrowed) -> bool {
    let fixed = fixed(task);
    let executor = fixed.executor_id.as_ref().map_or("", |id| id.value.as_str());
    narrowed.role.as_deref().is_none_or(|wanted| wanted == role(&fixed))
        && narrowed.executor.as_deref().is_none_or(|wanted| wanted == executor)
}

fn texts<'a>(view: &'a View, task: &'a Task, name: &'a str) -> [&'a str; 5] {
    [task.id.as_str(), name, framework_name(view, task), host(view, task), task.state.as_str_name()]
}

fn key(view: &View, task: &Task, name: String, sort: &str) -> Key {
    match sort {
        "name" => Key::Text(name),
        "id" => Key::Text(task.id.to_string()),
        "state" => Key::Text(task.state.as_str_name().to_owned()),
        "host" => Key::Text(host(view, task).to_owned()),
        "framework" => Key::Text(framework_name(view, task).to_owned()),
        "started" => Key::Number(started(task).unwrap_or_default()),
        _ => Key::Number(updated(task).unwrap_or(f64::INFINITY)),
    }
}

fn row<'a>(view: &'a View, task: &'a Task) -> Row<'a> {
    let fixed = fixed(task);
    let latest = task.statuses.last();
    Row {
        id: task.id.as_str(),
        framework_id: task.framework_id.as_str(),
        framework: framework_name(view, task),
        agent_id: task.agent_id.as_str(),
        host: host(view, task),
        role: role(&fixed).to_owned(),
        executor_id: fixed.executor_id.as_ref().map(|id| id.value.clone()).unwrap_or_default(),
        state: task.state.as_str_name(),
        healthy: latest.as_ref().and_then(|status| status.healthy),
        started: started(task),
        updated: updated(task),
        message: latest.as_ref().map_or_else(String::new, |status| status.message().to_owned()),
        reason: latest.as_ref().filter(|status| status.reason.is_some()).map(|status| status.reason().as_str_name()),
        resources: Resources::from_protos(&fixed.resources).unwrap_or_default().summary(),
        name: fixed.name,
    }
}

fn name(task: &Task) -> String {
    // The core encoded it, so it decodes.
    Brief::decode(task.fixed.clone()).unwrap_or_default().name
}

fn fixed(task: &Task) -> v1::Task {
    v1::Task::decode(task.fixed.clone()).unwrap_or_default()
}

fn role(fixed: &v1::Task) -> &str {
    let first = fixed.resources.first().and_then(|resource| resource.allocation_info.as_ref());
    first.map_or("", |allocation| allocation.role())
}

fn started(task: &Task) -> Option<f64> {
    task.statuses.first_time()
}

fn updated(task: &Task) -> Option<f64> {
    task.statuses.last_time()
}

fn framework_name<'a>(view: &'a View, task: &Task) -> &'a str {
    view.frameworks.get(&task.framework_id).map_or("", |framework| framework.info.name.as_str())
}

fn host<'a>(view: &'a View, task: &Task) -> &'a str {
    if let Some(agent) = view.agents.get(&task.agent_id) {
        return agent.info.hostname();
    }
    view.recovered.get(&task.agent_id).map_or("", |info| info.hostname())
}
