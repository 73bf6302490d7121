//! The service's own HTTP door: what it is asked and told.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, put},
};
use mezzo_sdk::{
    scheduler::Control,
    supervisor::{GroupError, Supervisor},
};
use serde_json::{Value, json};

use crate::WEB;

type Door = State<Control<Supervisor>>;
type Refusal = (StatusCode, String);

pub(crate) fn router(control: Control<Supervisor>) -> Router {
    Router::new()
        .route("/", get(show).delete(end))
        .route("/count/{count}", put(scale))
        .route("/command", put(change))
        .with_state(control)
}

/// Who runs where.
async fn show(State(control): Door) -> Result<Json<Value>, Refusal> {
    let shown = control.with(|web, _| {
        let summary = web.summary(WEB).unwrap_or_default();
        let replicas = web.instances(WEB).into_iter().map(|replica| {
            json!({
                "task": replica.task_id, "host": replica.hostname, "port": replica.ports.first(),
                "state": replica.state.as_str_name(), "healthy": replica.healthy, "ready": replica.ready,
                "current": replica.current,
            })
        });
        json!({
            "wanted": summary.wanted, "running": summary.running, "ready": summary.ready,
            "outdated": summary.outdated, "leaving": web.leaving() - web.out_of_reach(),
            "out_of_reach": web.out_of_reach(), "replicas": replicas.collect::<Vec<_>>(),
        })
    });
    shown.await.map(Json).map_err(gone)
}

async fn scale(State(control): Door, Path(count): Path<u32>) -> Result<(), Refusal> {
    control.with(move |web, context| web.scale(context, WEB, count)).await.map_err(gone)?.map_err(refused)
}

/// Another command: the replicas are replaced one by one.
async fn change(State(control): Door, command: String) -> Result<(), Refusal> {
    let changed = control.with(move |web, context| {
        let mut group = web.group(WEB).cloned().ok_or_else(|| GroupError::Unknown(WEB.to_owned()))?;
        group.task.command.get_or_insert_default().value = Some(command);
        web.set(context, group)
    });
    changed.await.map_err(gone)?.map_err(refused)
}

/// The framework is removed, and all its tasks are killed.
async fn end(State(control): Door) -> Result<(), Refusal> {
    control.with(|_, context| context.tear_down()).await.map_err(gone)
}

fn gone(error: impl std::fmt::Display) -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

fn refused(error: GroupError) -> Refusal {
    (StatusCode::BAD_REQUEST, error.to_string())
}
