//! Frameworks, some of them or one.

use std::collections::BTreeMap;

use mezzo_api::codec::to_json_value;
use mezzo_master_core::model::{Framework, FrameworkState, TaskList};
use serde::Serialize;

use super::{
    super::{
        View,
        document::Document,
        frameworks::{executors_of, is_multi_role},
    },
    amounts::Amounts,
    list::{Key, Wanted},
};

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    name: &'a str,
    user: &'a str,
    host: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    webui_url: &'a str,
    state: &'static str,
    roles: Vec<&'a str>,
    suppressed: &'a [String],
    tasks: u64,
    used: Amounts,
    offered: Amounts,
    share: f64,
    registered: f64,
    reregistered: f64,
    unregistered: f64,
}

/// `/ui/frameworks`
pub(crate) fn frameworks(view: &View, wanted: &Wanted) -> Vec<u8> {
    let capacity = view.capacity();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut fitting = Vec::new();
    for framework in view.frameworks.values() {
        let info = &framework.info;
        let mut texts = vec![framework.id.as_str(), &info.name, &info.user, info.hostname()];
        texts.extend(roles(framework));
        if !wanted.fits(&texts) {
            continue;
        }
        *counts.entry(state(framework)).or_default() += 1;
        if wanted.fits_state(state(framework)) {
            let row = row(view, framework, &capacity);
            fitting.push(((key(&row, &wanted.sort), framework.id.clone()), row));
        }
    }
    let total = fitting.len();
    let mut document = Document::default();
    document.member("version", &view.version).member("total", &total).member("counts", &counts);
    document.list("rows", wanted.part(fitting));
    document.end()
}

/// `/ui/framework`
pub(crate) fn framework(view: &View, id: &str) -> Option<Vec<u8>> {
    let framework = view.frameworks.get(id)?;
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for task in view.tasks.get(id).into_iter().flat_map(imbl::HashMap::values) {
        *states.entry(task.state.as_str_name()).or_default() += 1;
    }
    let offers = view.offers.values().filter(|offer| offer.framework_id == framework.id).count();
    let executors = executors_of(view, &framework.id).map(|executor| {
        serde_json::json!({ "agent_id": executor.agent_id.as_str(), "info": to_json_value(&*executor.info) })
    });
    let mut document = Document::default();
    document
        .member("version", &view.version)
        .member("row", &row(view, framework, &view.capacity()))
        .member("info", &to_json_value(&*framework.info))
        .member("states", &states)
        .member("offers", &offers)
        .optional("offer_constraints", framework.offer_constraints.as_ref().map(|given| to_json_value(&**given)))
        .list("executors", executors);
    Some(document.end())
}

fn state(framework: &Framework) -> &'static str {
    match framework.state {
        FrameworkState::Active => "active",
        FrameworkState::Disconnected => "disconnected",
        FrameworkState::Recovered => "recovered",
        FrameworkState::Completed => "completed",
    }
}

fn roles(framework: &Framework) -> Vec<&str> {
    let info = &framework.info;
    #[allow(deprecated)] // the role of frameworks without MULTI_ROLE
    if is_multi_role(info) { info.roles.iter().map(String::as_str).collect() } else { vec![info.role()] }
}

fn key(row: &Row<'_>, sort: &str) -> Key {
    #[allow(clippy::cast_precision_loss)] // counts, to be compared
    match sort {
        "id" => Key::Text(row.id.to_owned()),
        "state" => Key::Text(row.state.to_owned()),
        "user" => Key::Text(row.user.to_owned()),
        "host" => Key::Text(row.host.to_owned()),
        "tasks" => Key::Number(row.tasks as f64),
        "cpus" => Key::Number(row.used.cpus.as_f64()),
        "mem" => Key::Number(row.used.mem.as_f64()),
        "share" => Key::Number(row.share),
        "registered" => Key::Number(row.registered),
        _ => Key::Text(row.name.to_owned()),
    }
}

fn row<'a>(view: &'a View, framework: &'a Framework, capacity: &Amounts) -> Row<'a> {
    let info = &framework.info;
    let tasks = view.tasks.get(&framework.id).into_iter().flat_map(imbl::HashMap::values);
    let used = Amounts::of(&framework.used);
    Row {
        id: framework.id.as_str(),
        name: &info.name,
        user: &info.user,
        host: info.hostname(),
        principal: info.principal.as_deref(),
        webui_url: info.webui_url(),
        state: state(framework),
        roles: roles(framework),
        suppressed: &framework.suppressed_roles,
        tasks: tasks.filter(|task| task.list == TaskList::Active).map(|_| 1).sum(),
        used,
        offered: Amounts::of(&framework.offered),
        share: used.dominant_share(capacity),
        registered: framework.registered_time,
        reregistered: framework.reregistered_time,
        unregistered: framework.unregistered_time,
    }
}
