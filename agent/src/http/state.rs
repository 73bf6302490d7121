//! `/state` of the agent, member by member in Mesos' order (src/slave/http.cpp, state; src/common/http.cpp).

use mezzo_agent_core::{
    capability_names,
    view::{ExecutorView, FrameworkView, View},
};
use mezzo_api::{codec::to_json_value, resources::Resources, v1};
use mezzo_server::build;
use serde_json::{Map, Value, json};

use super::Door;

/// The whole document.
pub(super) fn state(door: &Door, view: &View) -> Value {
    let total = view.total.clone();
    let mut allocated = Resources::new();
    for executor in view.frameworks.iter().flat_map(|framework| &framework.executors) {
        let mut held = allocated_to(executor);
        held.unallocate();
        allocated += &held;
    }
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("version", mezzo_api::MESOS_VERSION.into());
    put("mezzo_version", mezzo_api::MEZZO_VERSION.into());
    put("build_date", build::DATE.as_str().into());
    put("build_time", (*build::TIME).into());
    put("build_user", build::USER.into());
    put("start_time", door.start_time.into());
    put("id", view.agent_id.as_ref().map_or("", |id| id.as_str()).into());
    put("pid", format!("slave(1)@{}", std::net::SocketAddr::new(door.ip, door.port)).into());
    put("hostname", view.info.hostname.as_str().into());
    put("capabilities", capability_names().collect());
    if let Some(domain) = &view.info.domain {
        put("domain", to_json_value(domain));
    }
    put("resources", total.summary().into());
    put("reserved_resources", by_role(&total, |resources| resources.summary().into()));
    put("unreserved_resources", total.unreserved().summary().into());
    put("reserved_resources_full", by_role(&total, full));
    put("unreserved_resources_full", full(&total.unreserved()));
    put("reserved_resources_allocated", by_role(&allocated, |resources| resources.summary().into()));
    put("unreserved_resources_allocated", allocated.unreserved().summary().into());
    put("resource_providers", json!([]));
    put("attributes", attributes(&view.info.attributes).into());
    if view.registered {
        let master = door.leader.present();
        put("master_hostname", master.rsplit_once(':').map_or(master.as_str(), |(host, _)| host).into());
    }
    put("flags", json!(door.flags.listed));
    put("frameworks", view.frameworks.iter().map(framework).collect());
    put("completed_frameworks", view.completed_frameworks.iter().map(framework).collect());
    out.into()
}

fn by_role(resources: &Resources, show: impl Fn(&Resources) -> Value) -> Value {
    let roles = resources.reserved();
    roles.iter().map(|(role, resources)| (role.clone(), show(resources))).collect::<Map<_, _>>().into()
}

fn full(resources: &Resources) -> Value {
    resources.to_endpoint_protos().iter().map(to_json_value).collect()
}

/// What an executor holds with its tasks.
pub(super) fn allocated_to(executor: &ExecutorView) -> Resources {
    let parse = |protos: &[v1::Resource]| Resources::from_protos(protos).unwrap_or_default();
    let mut sum = parse(&executor.info.resources);
    for task in &executor.queued {
        sum += &parse(&task.resources);
    }
    for task in &executor.tasks {
        sum += &parse(&task.resources);
    }
    sum
}

#[allow(deprecated)] // `role` is what frameworks without MULTI_ROLE have
fn framework(view: &FrameworkView) -> Value {
    let info = &view.info;
    let multi_role = v1::framework_info::capability::Type::MultiRole as i32;
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("id", info.id.as_ref().map_or("", |id| id.value.as_str()).into());
    put("name", info.name.as_str().into());
    put("user", info.user.as_str().into());
    put("failover_timeout", info.failover_timeout.unwrap_or_default().into());
    put("checkpoint", info.checkpoint.unwrap_or_default().into());
    put("hostname", info.hostname.as_deref().unwrap_or_default().into());
    if let Some(principal) = &info.principal {
        put("principal", principal.as_str().into());
    }
    if info.capabilities.iter().any(|capability| capability.r#type == Some(multi_role)) {
        put("roles", json!(info.roles));
    } else {
        put("role", info.role.as_deref().unwrap_or("*").into());
    }
    put("executors", view.executors.iter().map(executor).collect());
    put("completed_executors", view.completed_executors.iter().map(|view| executor(view)).collect());
    out.into()
}

#[allow(deprecated)] // `source` is shown
fn executor(view: &ExecutorView) -> Value {
    let info = &view.info;
    let resources = allocated_to(view);
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("id", info.executor_id.value.as_str().into());
    put("name", info.name.as_deref().unwrap_or_default().into());
    put("source", info.source.as_deref().unwrap_or_default().into());
    put("container", view.container_id.as_str().into());
    put("directory", view.directory.to_string_lossy().into());
    put("resources", resources.summary().into());
    if let Some(role) = role(&info.resources) {
        put("role", role.into());
    }
    if let Some(given) = &info.labels {
        put("labels", labels(given));
    }
    if let Some(kind) = info.r#type.and_then(|kind| v1::executor_info::Type::try_from(kind).ok()) {
        put("type", kind.as_str_name().into());
    }
    put("tasks", view.tasks.iter().map(|entry| task(entry)).collect());
    put("queued_tasks", view.queued.iter().map(|entry| queued_task(entry)).collect());
    put("completed_tasks", view.completed.iter().chain(&view.terminated).map(|entry| task(entry)).collect());
    out.into()
}

fn role(resources: &[v1::Resource]) -> Option<&str> {
    resources.first()?.allocation_info.as_ref()?.role.as_deref()
}

fn labels(labels: &v1::Labels) -> Value {
    labels.labels.iter().map(to_json_value).collect()
}

fn task(task: &v1::Task) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("id", task.task_id.value.as_str().into());
    put("name", task.name.as_str().into());
    put("framework_id", task.framework_id.value.as_str().into());
    put("executor_id", task.executor_id.as_ref().map_or("", |id| id.value.as_str()).into());
    put("slave_id", task.agent_id.value.as_str().into());
    put("state", task.state().as_str_name().into());
    put("resources", Resources::from_protos(&task.resources).unwrap_or_default().summary().into());
    if !task.limits.is_empty() {
        let limit = |value: f64| if value.is_finite() { value.into() } else { Value::from("Infinity") };
        let limits: Map<_, _> = task.limits.iter().map(|(name, scalar)| (name.clone(), limit(scalar.value))).collect();
        put("limits", limits.into());
    }
    put("role", role(&task.resources).unwrap_or_default().into());
    put("statuses", task.statuses.iter().map(status).collect());
    if let Some(user) = &task.user {
        put("user", user.as_str().into());
    }
    if let Some(given) = &task.labels {
        put("labels", labels(given));
    }
    if let Some(discovery) = &task.discovery {
        put("discovery", to_json_value(discovery));
    }
    if let Some(container) = task.container.as_deref() {
        put("container", to_json_value(container));
    }
    if let Some(health_check) = task.health_check.as_deref() {
        put("health_check", to_json_value(health_check));
    }
    out.into()
}

fn status(status: &v1::TaskStatus) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("state", status.state().as_str_name().into());
    put("timestamp", status.timestamp.unwrap_or_default().into());
    if let Some(given) = &status.labels {
        put("labels", labels(given));
    }
    if let Some(container) = &status.container_status {
        put("container_status", container_status(container));
    }
    if let Some(healthy) = status.healthy {
        put("healthy", healthy.into());
    }
    out.into()
}

fn container_status(status: &v1::ContainerStatus) -> Value {
    let mut out = Map::new();
    if let Some(id) = &status.container_id {
        out.insert("container_id".into(), to_json_value(id));
    }
    if !status.network_infos.is_empty() {
        out.insert("network_infos".into(), status.network_infos.iter().map(network_info).collect());
    }
    if let Some(cgroup) = &status.cgroup_info {
        out.insert("cgroup_info".into(), to_json_value(cgroup));
    }
    out.into()
}

fn network_info(info: &v1::NetworkInfo) -> Value {
    let mut value = to_json_value(info);
    if let (Some(members), Some(given)) = (value.as_object_mut(), &info.labels) {
        members.insert("labels".into(), labels(given));
    }
    value
}

fn queued_task(task: &v1::TaskInfo) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("id", task.task_id.value.as_str().into());
    put("name", task.name.as_str().into());
    put("slave_id", task.agent_id.value.as_str().into());
    put("resources", Resources::from_protos(&task.resources).unwrap_or_default().summary().into());
    put("role", role(&task.resources).unwrap_or_default().into());
    if let Some(command) = &task.command {
        put("command", to_json_value(command));
    }
    if let Some(executor) = &task.executor {
        put("executor_id", executor.executor_id.value.as_str().into());
    }
    if let Some(discovery) = &task.discovery {
        put("discovery", to_json_value(discovery));
    }
    out.into()
}

/// Attributes by name (src/common/http.cpp).
fn attributes(attributes: &[v1::Attribute]) -> Map<String, Value> {
    let value = |attribute: &v1::Attribute| match attribute.r#type() {
        v1::value::Type::Scalar => attribute.scalar.as_ref().map_or(Value::Null, |scalar| scalar.value.into()),
        v1::value::Type::Text => attribute.text.as_ref().map_or(Value::Null, |text| text.value.as_str().into()),
        v1::value::Type::Ranges => {
            let ranges = attribute.ranges.iter().flat_map(|ranges| &ranges.range);
            let texts: Vec<_> = ranges.map(|range| format!("{}-{}", range.begin, range.end)).collect();
            format!("[{}]", texts.join(", ")).into()
        }
        v1::value::Type::Set => {
            let items: Vec<_> = attribute.set.iter().flat_map(|set| &set.item).map(String::as_str).collect();
            format!("{{{}}}", items.join(", ")).into()
        }
    };
    attributes.iter().map(|attribute| (attribute.name.clone(), value(attribute))).collect()
}
