//! Frameworks as `/state` and `/frameworks` show them (src/master/readonly_handler.cpp, FullFrameworkWriter).

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use mezzo_api::{codec::to_json_value, ids::FrameworkId, resources::Resources, v1};
use mezzo_master_core::model::{Executor, Framework, FrameworkState, Offer};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    View,
    document::{Document, labels},
    pieces::Pieces,
};

#[derive(Serialize)]
pub(super) struct FrameworkSummaryJson<'a> {
    id: &'a str,
    name: &'a str,
    used_resources: Map<String, Value>,
    offered_resources: Map<String, Value>,
    capabilities: Vec<&'static str>,
    hostname: &'a str,
    webui_url: &'a str,
    active: bool,
    connected: bool,
    recovered: bool,
}

/// What stands before a framework's tasks.
#[derive(Serialize)]
struct HeadJson<'a> {
    #[serde(flatten)]
    summary: FrameworkSummaryJson<'a>,
    user: &'a str,
    failover_timeout: f64,
    checkpoint: bool,
    registered_time: f64,
    unregistered_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    resources: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reregistered_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
}

/// `/frameworks`, all or one; it shares what it can with an older one.
pub(crate) fn frameworks(view: &View, wanted: Option<&str>, older: Option<&Pieces>) -> Pieces {
    let mut document = Document::after(older);
    lists(&mut document, view, |found| wanted.is_none_or(|wanted| wanted == found.id.as_str()));
    document.list("unregistered_frameworks", [(); 0]);
    document.pieces()
}

/// Those that are chosen, present and completed ones.
pub(super) fn lists(document: &mut Document, view: &View, chosen: impl Fn(&Framework) -> bool) {
    let mut offers: BTreeMap<&FrameworkId, Vec<&Offer>> = BTreeMap::new();
    for offer in view.offers.values() {
        offers.entry(&offer.framework_id).or_default().push(offer);
    }
    let mut write = |document: &mut Document, found: &Arc<Framework>| {
        framework(document, view, found, &offers.remove(&found.id).unwrap_or_default());
    };
    document.objects("frameworks", view.present_frameworks().filter(|found| chosen(found)), &mut write);
    let completed = view.completed_frameworks().into_iter().filter(|found| chosen(found));
    document.objects("completed_frameworks", completed, &mut write);
}

/// One framework, in short.
pub(super) fn framework_summary(framework: &Framework) -> FrameworkSummaryJson<'_> {
    let info = &framework.info;
    FrameworkSummaryJson {
        id: framework.id.as_str(),
        name: &info.name,
        used_resources: framework.used.summary(),
        offered_resources: framework.offered.summary(),
        capabilities: info.capabilities.iter().map(|capability| capability.r#type().as_str_name()).collect(),
        hostname: info.hostname(),
        webui_url: info.webui_url(),
        active: framework.state == FrameworkState::Active,
        connected: framework.state == FrameworkState::Active,
        recovered: framework.state == FrameworkState::Recovered,
    }
}

/// One framework with all that it has.
fn framework(document: &mut Document, view: &View, framework: &Framework, offers: &[&Offer]) {
    let info = &framework.info;
    document.members(&head(framework));
    document
        .tasks(["tasks", "unreachable_tasks", "completed_tasks"], view, &framework.id)
        .list("offers", offers.iter().map(|shown| offer(shown)))
        .list("executors", executors_of(view, &framework.id).map(executor))
        .optional("labels", info.labels.as_ref().map(labels));
    let constraints = framework.offer_constraints.as_ref().map_or_else(|| json!({}), |given| to_json_value(&**given));
    document.member("offer_constraints", &constraints);
}

fn head(framework: &Framework) -> HeadJson<'_> {
    let info = &framework.info;
    let multi_role = is_multi_role(info);
    let reregistered = framework.reregistered_time != framework.registered_time;
    HeadJson {
        summary: framework_summary(framework),
        user: &info.user,
        failover_timeout: info.failover_timeout(),
        checkpoint: info.checkpoint(),
        registered_time: framework.registered_time,
        unregistered_time: framework.unregistered_time,
        principal: info.principal.as_deref(),
        resources: sum(&framework.used, &framework.offered).summary(),
        reregistered_time: reregistered.then_some(framework.reregistered_time),
        roles: multi_role.then_some(info.roles.as_slice()),
        #[allow(deprecated)] // the role of frameworks without MULTI_ROLE
        role: (!multi_role).then(|| info.role()),
    }
}

/// Whether the framework has a list of roles.
pub(super) fn is_multi_role(info: &v1::FrameworkInfo) -> bool {
    info.capabilities.iter().any(|capability| capability.r#type() == v1::framework_info::capability::Type::MultiRole)
}

/// The framework's executors, agent by agent.
pub(super) fn executors_of<'a>(view: &'a View, framework: &FrameworkId) -> impl Iterator<Item = &'a Arc<Executor>> {
    let first = (framework.clone(), "".into(), "".into());
    let range = view.executors.range((Bound::Included(first), Bound::Unbounded));
    let framework = framework.clone();
    range.take_while(move |((owner, _, _), _)| *owner == framework).map(|(_, executor)| executor)
}

/// Two amounts of resources together.
pub(super) fn sum(a: &Resources, b: &Resources) -> Resources {
    let mut sum = a.clone();
    sum += b;
    sum
}

fn offer(offer: &Offer) -> Value {
    json!({
        "id": offer.id.as_str(),
        "framework_id": offer.framework_id.as_str(),
        "allocation_info": { "role": &*offer.role },
        "slave_id": offer.agent_id.as_str(),
        "resources": offer.resources.summary(),
    })
}

fn executor(executor: &Arc<Executor>) -> Value {
    let info = &executor.info;
    let resources = Resources::from_protos(&info.resources).unwrap_or_default();
    let mut members = Map::new();
    members.insert("executor_id".into(), info.executor_id.value.as_str().into());
    members.insert("name".into(), info.name().into());
    members.insert("framework_id".into(), executor.framework_id.as_str().into());
    members.insert("command".into(), command(info.command.as_ref()));
    members.insert("resources".into(), resources.summary().into());
    if let Some(resource) = info.resources.first() {
        members
            .insert("role".into(), resource.allocation_info.as_ref().map_or("", |allocation| allocation.role()).into());
    }
    if let Some(given) = &info.labels {
        members.insert("labels".into(), labels(given));
    }
    if info.r#type.is_some() {
        members.insert("type".into(), info.r#type().as_str_name().into());
    }
    members.insert("slave_id".into(), executor.agent_id.as_str().into());
    members.into()
}

fn command(command: Option<&v1::CommandInfo>) -> Value {
    let nothing = v1::CommandInfo::default();
    let command = command.unwrap_or(&nothing);
    let mut members = Map::new();
    if let Some(shell) = command.shell {
        members.insert("shell".into(), shell.into());
    }
    if let Some(value) = &command.value {
        members.insert("value".into(), value.as_str().into());
    }
    members.insert("argv".into(), command.arguments.iter().map(String::as_str).collect());
    if let Some(environment) = &command.environment {
        members.insert("environment".into(), to_json_value(environment));
    }
    let uri = |uri: &v1::command_info::Uri| json!({ "value": uri.value, "executable": uri.executable() });
    members.insert("uris".into(), command.uris.iter().map(uri).collect());
    members.into()
}
