//! `/containers` and `/monitor/statistics` (src/slave/http.cpp).

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{Response, StatusCode};
use mezzo_agent_core::view::{ExecutorState, ExecutorView, View};
use mezzo_server::http::{answer::text, query::Query};
use serde_json::{Map, Value, json};

use super::{
    Body,
    proc::{Usage, usage_by_session},
    state::allocated_to,
};

const MEGABYTE: f64 = 1_048_576.0;

/// `/containers`, all or those that the query names.
pub(super) fn containers(view: &View, query: &Query) -> Result<Value, Box<Response<Body>>> {
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
    let usage = usage_by_session();
    Ok(running(view)
        .filter(|(fid, executor)| wanted(fid, executor))
        .map(|(fid, executor)| {
            let mut out = common(fid, executor, &usage);
            out.insert("container_id".into(), executor.container_id.as_str().into());
            let mut status = json!({ "container_id": { "value": executor.container_id.as_str() } });
            if let Some(pid) = executor.pid {
                status["executor_pid"] = pid.into();
            }
            out.insert("status".into(), status);
            Value::from(out)
        })
        .collect())
}

/// `/monitor/statistics`
pub(super) fn statistics(view: &View) -> Value {
    let usage = usage_by_session();
    running(view).map(|(fid, executor)| Value::from(common(fid, executor, &usage))).collect()
}

fn running(view: &View) -> impl Iterator<Item = (&str, &ExecutorView)> {
    view.frameworks.iter().flat_map(|framework| {
        let id = framework.info.id.as_ref().map_or("", |id| id.value.as_str());
        let executors = framework.executors.iter();
        executors.filter(|executor| executor.state != ExecutorState::Terminated).map(move |executor| (id, executor))
    })
}

#[allow(deprecated)] // `source` is shown
fn common(framework: &str, executor: &ExecutorView, usage: &HashMap<i32, Usage>) -> Map<String, Value> {
    let used = executor.pid.and_then(|pid| usage.get(&pid)).copied().unwrap_or_default();
    let held = allocated_to(executor);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let limit = (held.mem().as_f64() * MEGABYTE).max(0.0) as u64;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let value = json!({
        "executor_id": executor.info.executor_id.value,
        "executor_name": executor.info.name.as_deref().unwrap_or_default(),
        "framework_id": framework,
        "source": executor.info.source.as_deref().unwrap_or_default(),
        "statistics": {
            "cpus_soft_limit": held.cpus().as_f64(),
            "cpus_system_time_secs": used.system_secs,
            "cpus_user_time_secs": used.user_secs,
            "mem_limit_bytes": limit,
            "mem_rss_bytes": used.rss_bytes,
            "mem_soft_limit_bytes": limit,
            "timestamp": now,
        },
    });
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
