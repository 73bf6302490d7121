//! `/containers` and `/monitor/statistics` (src/slave/http.cpp).

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{Response, StatusCode};
use mezzo_agent_core::view::{ExecutorState, ExecutorView, View};
use mezzo_api::{
    codec::to_json_value,
    v1::{self, agent::response::get_containers::Container},
};
use mezzo_server::http::{answer::text, query::Query};
use serde_json::{Map, Value, json};

use crate::isolation::Accounts;

use super::{
    Body,
    proc::{Usage, usage_by_session},
    state::allocated_to,
};

const MEGABYTE: f64 = 1_048_576.0;

/// What is known of what containers use.
struct Counted<'a> {
    /// By `/proc`, of their sessions.
    sessions: HashMap<i32, Usage>,
    /// By isolators.
    accounts: &'a Accounts,
}

/// `/containers`, all or those that the query names.
pub(super) fn containers(view: &View, accounts: &Accounts, query: &Query) -> Result<Value, Box<Response<Body>>> {
    let (container, framework, executor) =
        (query.get("container_id"), query.get("framework_id"), query.get("executor_id"));
    if container.is_some() && (framework.is_some() || executor.is_some()) || framework.is_none() && executor.is_some() {
        let explanation = "Expecting either 'container_id', 'framework_id', or 'framework_id' with 'executor_id'";
        return Err(Box::new(text(StatusCode::BAD_REQUEST, explanation)));
    }
    let wanted = |fid: &str, view: &ExecutorView| {
        container.is_none_or(|id| id == view.container_id.as_str())
            && framework.is_none_or(|id| id == fid)
            && executor.is_none_or(|id| id == view.info.executor_id.value)
    };
    let counted = Counted { sessions: usage_by_session(), accounts };
    let chosen = running(view).filter(|(fid, executor)| wanted(fid, executor));
    let shown = chosen.map(|(fid, executor)| {
        let mut out = common(fid, executor, &counted);
        out.insert("container_id".into(), executor.container_id.as_str().into());
        out.insert("status".into(), to_json_value(&status(executor)));
        Value::from(out)
    });
    Ok(shown.collect())
}

/// GET_CONTAINERS.
pub(super) fn messages(view: &View, accounts: &Accounts) -> Vec<Container> {
    let counted = Counted { sessions: usage_by_session(), accounts };
    let container = |(framework, executor): (&str, &ExecutorView)| Container {
        framework_id: Some(v1::FrameworkId { value: framework.to_owned() }),
        executor_id: Some(executor.info.executor_id.clone()),
        executor_name: Some(executor.info.name.clone().unwrap_or_default()),
        container_id: container_id(executor),
        container_status: Some(status(executor)),
        resource_statistics: Some(resource_statistics(executor, &counted)),
    };
    running(view).map(container).collect()
}

/// The containers of pods' tasks.
pub(super) fn nested(view: &View) -> Vec<Container> {
    let of = |executor: &ExecutorView| {
        let parent = Box::new(container_id(executor));
        let id = |value: &mezzo_api::ids::ContainerId| v1::ContainerId {
            value: value.as_str().to_owned(),
            parent: Some(parent.clone()),
        };
        executor.nested.iter().map(|nested| called(&id(nested), None)).collect::<Vec<_>>()
    };
    running(view).flat_map(|(_, executor)| of(executor)).collect()
}

/// A container that no executor is in.
pub(super) fn called(id: &v1::ContainerId, pid: Option<i32>) -> Container {
    let used = pid.and_then(|pid| usage_by_session().get(&pid).copied()).unwrap_or_default();
    Container {
        container_id: v1::ContainerId { value: id.value.clone(), parent: None },
        container_status: Some(v1::ContainerStatus {
            container_id: Some(id.clone()),
            executor_pid: pid.and_then(|pid| u32::try_from(pid).ok()),
            ..v1::ContainerStatus::default()
        }),
        resource_statistics: Some(v1::ResourceStatistics {
            timestamp: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
            cpus_user_time_secs: Some(used.user_secs),
            cpus_system_time_secs: Some(used.system_secs),
            mem_rss_bytes: Some(used.rss_bytes),
            ..v1::ResourceStatistics::default()
        }),
        ..Container::default()
    }
}

fn container_id(executor: &ExecutorView) -> v1::ContainerId {
    v1::ContainerId { value: executor.container_id.as_str().to_owned(), ..v1::ContainerId::default() }
}

fn status(executor: &ExecutorView) -> v1::ContainerStatus {
    v1::ContainerStatus {
        container_id: Some(container_id(executor)),
        executor_pid: executor.pid.and_then(|pid| u32::try_from(pid).ok()),
        ..v1::ContainerStatus::default()
    }
}

/// `/monitor/statistics`
pub(super) fn statistics(view: &View, accounts: &Accounts) -> Value {
    let counted = Counted { sessions: usage_by_session(), accounts };
    running(view).map(|(fid, executor)| Value::from(common(fid, executor, &counted))).collect()
}

fn running(view: &View) -> impl Iterator<Item = (&str, &ExecutorView)> {
    view.frameworks.iter().flat_map(|framework| {
        let id = framework.info.id.as_ref().map_or("", |id| id.value.as_str());
        let executors = framework.executors.iter();
        executors.filter(|executor| executor.state != ExecutorState::Terminated).map(move |executor| (id, executor))
    })
}

#[allow(deprecated)] // `source` is shown
fn common(framework: &str, executor: &ExecutorView, counted: &Counted<'_>) -> Map<String, Value> {
    let value = json!({
        "executor_id": executor.info.executor_id.value,
        "executor_name": executor.info.name.as_deref().unwrap_or_default(),
        "framework_id": framework,
        "source": executor.info.source.as_deref().unwrap_or_default(),
        "statistics": to_json_value(&resource_statistics(executor, counted)),
    });
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn resource_statistics(executor: &ExecutorView, counted: &Counted<'_>) -> v1::ResourceStatistics {
    let used = executor.pid.and_then(|pid| counted.sessions.get(&pid)).copied().unwrap_or_default();
    let held = allocated_to(executor);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let limit = (held.mem().as_f64() * MEGABYTE).max(0.0) as u64;
    let mut statistics = v1::ResourceStatistics {
        timestamp: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        cpus_user_time_secs: Some(used.user_secs),
        cpus_system_time_secs: Some(used.system_secs),
        cpus_soft_limit: Some(held.cpus().as_f64()),
        mem_limit_bytes: Some(limit),
        mem_soft_limit_bytes: Some(limit),
        mem_rss_bytes: Some(used.rss_bytes),
        ..v1::ResourceStatistics::default()
    };
    counted.accounts.tell(&executor.container_id, &mut statistics);
    statistics
}
