//! `/api/v1`: calls of operators, and the endpoints from before it. The checks stand in the order in which Mesos makes them
//! (src/master/http.cpp, Master::Http::api).

mod changes;
mod endpoints;

use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request::Parts};
use hyper::body::Incoming;
use mezzo_api::{
    codec::{Encoding, decode, encode},
    v1::master::{
        Call, Response as Answer, call,
        response::{
            self, GetFlags, GetHealth, GetLoggingLevel, GetMaster, GetMetrics, GetVersion, ListFiles, ReadFile,
        },
    },
};
use mezzo_master_core::input::OperatorCall;
use mezzo_server::{
    files::Refusal,
    http::{answer, authentication::Principal, negotiate, request},
    level, operator,
};

pub(crate) use endpoints::{Endpoint, serve as endpoint};

use super::{App, body::Body, events, explain, metrics};
use crate::{
    server::{Cut, Input},
    view::{Part, View, get_operations, get_roles, quota_status, weight_infos, with_part},
};

/// `/api/v1`
pub(super) async fn serve(app: &Arc<App>, connection: &Cut, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = match request::read(request, app.flags.max_request_bytes.0).await {
        Ok(read) => read,
        Err(error) => return answer::unread(&error),
    };
    if let Some(answer) = explain::call(app, &parts.headers, &body).await {
        return answer;
    }
    match checked(&parts.method, &parts.headers, &body) {
        Ok((call, encoding)) if call.r#type() == call::Type::Subscribe => {
            events::subscribe(app, connection, encoding).await
        }
        Ok((call, encoding)) => carry_out(app, call, encoding, &parts).await,
        Err(refusal) => *refusal,
    }
}

async fn ask(app: &App, call: OperatorCall, by: &Extensions) -> Response<Body> {
    let principal = Principal::of(by);
    match app.core.ask(|reply| Input::Operator { call, principal, reply }).await {
        Ok(answer) => answer::with_status(answer.status, answer.body),
        Err(stopped) => answer::text(StatusCode::SERVICE_UNAVAILABLE, stopped.to_string()),
    }
}

fn checked(method: &Method, headers: &HeaderMap, body: &Bytes) -> Result<(Call, Encoding), Box<Response<Body>>> {
    if *method != Method::POST {
        return Err(Box::new(answer::method_not_allowed("POST", method)));
    }
    let encoding = negotiate::content_type(headers).map_err(|error| Box::new(answer::bad_content_type(error)))?;
    let bad = |text: String| Box::new(answer::text(StatusCode::BAD_REQUEST, text));
    let call: Call = decode(encoding, body).map_err(|error| bad(error.to_string()))?;
    if let Some(missing) = missing(&call) {
        return Err(bad(format!("Failed to validate master::Call: Expecting '{missing}' to be present")));
    }
    let encoding = negotiate::accepted(headers).ok_or_else(|| Box::new(answer::not_acceptable()))?;
    Ok((call, encoding))
}

/// What a call lacks (src/master/validation.cpp, master::call::validate).
#[allow(deprecated)] // SET_QUOTA and REMOVE_QUOTA are calls like others
fn missing(call: &Call) -> Option<&'static str> {
    let Some(Ok(kind)) = call.r#type.map(call::Type::try_from) else { return Some("type") };
    let (there, field) = match kind {
        call::Type::GetMetrics => (call.get_metrics.is_some(), "get_metrics"),
        call::Type::SetLoggingLevel => (call.set_logging_level.is_some(), "set_logging_level"),
        call::Type::ListFiles => (call.list_files.is_some(), "list_files"),
        call::Type::ReadFile => (call.read_file.is_some(), "read_file"),
        call::Type::UpdateWeights => (call.update_weights.is_some(), "update_weights"),
        call::Type::ReserveResources => (call.reserve_resources.is_some(), "reserve_resources"),
        call::Type::UnreserveResources => (call.unreserve_resources.is_some(), "unreserve_resources"),
        call::Type::CreateVolumes => (call.create_volumes.is_some(), "create_volumes"),
        call::Type::DestroyVolumes => (call.destroy_volumes.is_some(), "destroy_volumes"),
        call::Type::GrowVolume => (call.grow_volume.is_some(), "grow_volume"),
        call::Type::ShrinkVolume => (call.shrink_volume.is_some(), "shrink_volume"),
        call::Type::UpdateMaintenanceSchedule => {
            (call.update_maintenance_schedule.is_some(), "update_maintenance_schedule")
        }
        call::Type::StartMaintenance => (call.start_maintenance.is_some(), "start_maintenance"),
        call::Type::StopMaintenance => (call.stop_maintenance.is_some(), "stop_maintenance"),
        call::Type::UpdateQuota => (call.update_quota.is_some(), "update_quota"),
        call::Type::SetQuota => (call.set_quota.is_some(), "set_quota"),
        call::Type::RemoveQuota => (call.remove_quota.is_some(), "remove_quota"),
        call::Type::Teardown => (call.teardown.is_some(), "teardown"),
        call::Type::MarkAgentGone => (call.mark_agent_gone.is_some(), "mark_agent_gone"),
        call::Type::DrainAgent => (call.drain_agent.is_some(), "drain_agent"),
        call::Type::DeactivateAgent => (call.deactivate_agent.is_some(), "deactivate_agent"),
        call::Type::ReactivateAgent => (call.reactivate_agent.is_some(), "reactivate_agent"),
        call::Type::Unknown
        | call::Type::GetHealth
        | call::Type::GetFlags
        | call::Type::GetVersion
        | call::Type::GetLoggingLevel
        | call::Type::GetState
        | call::Type::GetAgents
        | call::Type::GetFrameworks
        | call::Type::GetExecutors
        | call::Type::GetOperations
        | call::Type::GetTasks
        | call::Type::GetRoles
        | call::Type::GetWeights
        | call::Type::GetMaster
        | call::Type::Subscribe
        | call::Type::GetMaintenanceStatus
        | call::Type::GetMaintenanceSchedule
        | call::Type::GetQuota => return None,
    };
    (!there).then_some(field)
}

async fn carry_out(app: &Arc<App>, call: Call, encoding: Encoding, request: &Parts) -> Response<Body> {
    let headers = &request.headers;
    let call = match changes::change(call) {
        Ok(asked) => return ask(app, asked, &request.extensions).await,
        Err(call) => *call,
    };
    let kind = call.r#type();
    if let Some(part) = part(kind) {
        return of_part(app, part, encoding, headers).await;
    }
    let message = match kind {
        call::Type::Unknown => return answer::bare(StatusCode::NOT_IMPLEMENTED),
        call::Type::SetLoggingLevel => {
            let set = call.set_logging_level.unwrap_or_default();
            level::raise(set.level, operator::duration(&set.duration));
            return answer::empty(StatusCode::OK);
        }
        call::Type::ListFiles | call::Type::ReadFile => match of_files(app, call).await {
            Ok(message) => message,
            Err(Refusal { status, text }) => return answer::text(status, text),
        },
        call::Type::GetMetrics => match metrics::collect(app).await {
            Ok(metrics) => of_metrics(metrics),
            Err(stopped) => return answer::text(StatusCode::SERVICE_UNAVAILABLE, stopped.to_string()),
        },
        _ => match of_master(app, kind).or_else(|| of_picture(&app.published.snapshot(), kind)) {
            Some(message) => message,
            None => {
                let text = format!("This version of Mezzo does not know the call {} yet.", kind.as_str_name());
                return answer::text(StatusCode::NOT_IMPLEMENTED, text);
            }
        },
    };
    in_encoding(encode(encoding, &message), encoding, headers).await
}

async fn in_encoding(body: Bytes, encoding: Encoding, headers: &HeaderMap) -> Response<Body> {
    let content_type = HeaderValue::from_static(encoding.media_type());
    answer::packed(headers, answer::of_type(StatusCode::OK, content_type, body)).await
}

/// The calls whose answers may be large.
fn part(kind: call::Type) -> Option<Part> {
    Some(match kind {
        call::Type::GetAgents => Part::Agents,
        call::Type::GetFrameworks => Part::Frameworks,
        call::Type::GetExecutors => Part::Executors,
        call::Type::GetTasks => Part::Tasks,
        call::Type::GetState => Part::State,
        _ => return None,
    })
}

async fn of_part(app: &App, part: Part, encoding: Encoding, headers: &HeaderMap) -> Response<Body> {
    let view = app.published.snapshot();
    let write = move || {
        let head = Answer { r#type: Some(part.kind() as i32), ..Answer::default() };
        with_part(encoding, &head, part.field(), &part.written(&view, encoding))
    };
    match tokio::task::spawn_blocking(write).await {
        Ok(body) => in_encoding(body.into(), encoding, headers).await,
        Err(_) => answer::bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

async fn of_files(app: &App, call: Call) -> Result<Answer, Refusal> {
    let of = |kind: response::Type| Answer { r#type: Some(kind as i32), ..Answer::default() };
    if let Some(call::ReadFile { path, offset, length }) = call.read_file {
        let (size, data) = app.files.read(path, offset, length).await?;
        let read_file = ReadFile { size, data: data.into() };
        return Ok(Answer { read_file: Some(read_file), ..of(response::Type::ReadFile) });
    }
    let file_infos = app.files.list(call.list_files.unwrap_or_default().path).await?;
    Ok(Answer { list_files: Some(ListFiles { file_infos }), ..of(response::Type::ListFiles) })
}

fn of_metrics(metrics: metrics::Metrics) -> Answer {
    let get_metrics = Some(GetMetrics { metrics: operator::metrics(metrics) });
    Answer { r#type: Some(response::Type::GetMetrics as i32), get_metrics, ..Answer::default() }
}

fn of_master(app: &App, kind: call::Type) -> Option<Answer> {
    let of = |kind: response::Type| Answer { r#type: Some(kind as i32), ..Answer::default() };
    Some(match kind {
        call::Type::GetHealth => {
            Answer { get_health: Some(GetHealth { healthy: true }), ..of(response::Type::GetHealth) }
        }
        call::Type::GetFlags => {
            let flags = operator::flags(&app.flags.listed);
            Answer { get_flags: Some(GetFlags { flags }), ..of(response::Type::GetFlags) }
        }
        call::Type::GetVersion => {
            let version_info = operator::version_info();
            Answer { get_version: Some(GetVersion { version_info }), ..of(response::Type::GetVersion) }
        }
        call::Type::GetLoggingLevel => Answer {
            get_logging_level: Some(GetLoggingLevel { level: level::verbosity() }),
            ..of(response::Type::GetLoggingLevel)
        },
        call::Type::GetMaster => {
            let get_master = GetMaster {
                master_info: Some(app.identity.info.clone()),
                start_time: Some(app.identity.start_time),
                elected_time: Some(app.identity.elected_time),
            };
            Answer { get_master: Some(get_master), ..of(response::Type::GetMaster) }
        }
        _ => return None,
    })
}

fn of_picture(view: &View, kind: call::Type) -> Option<Answer> {
    let of = |kind: response::Type| Answer { r#type: Some(kind as i32), ..Answer::default() };
    Some(match kind {
        call::Type::GetRoles => Answer { get_roles: Some(get_roles(view)), ..of(response::Type::GetRoles) },
        call::Type::GetOperations => {
            Answer { get_operations: Some(get_operations(view)), ..of(response::Type::GetOperations) }
        }
        call::Type::GetWeights => {
            let weight_infos = weight_infos(view);
            let get_weights = (!weight_infos.is_empty()).then_some(response::GetWeights { weight_infos });
            Answer { get_weights, ..of(response::Type::GetWeights) }
        }
        call::Type::GetQuota => {
            let get_quota = Some(response::GetQuota { status: quota_status(view) });
            Answer { get_quota, ..of(response::Type::GetQuota) }
        }
        call::Type::GetMaintenanceSchedule => {
            let schedule = view.maintenance.schedule.clone();
            let get_maintenance_schedule = Some(response::GetMaintenanceSchedule { schedule });
            Answer { get_maintenance_schedule, ..of(response::Type::GetMaintenanceSchedule) }
        }
        call::Type::GetMaintenanceStatus => {
            let status = view.maintenance.status.clone();
            let get_maintenance_status = Some(response::GetMaintenanceStatus { status });
            Answer { get_maintenance_status, ..of(response::Type::GetMaintenanceStatus) }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_empty_is_written_as_mesos_writes_it() {
        let view = View::default();
        let text = |kind| {
            let message = of_picture(&view, kind).unwrap();
            serde_json::from_slice::<Value>(&encode(Encoding::Json, &message)).unwrap()
        };
        assert_eq!(text(call::Type::GetOperations), json!({"type": "GET_OPERATIONS", "get_operations": {}}));
        assert_eq!(text(call::Type::GetWeights), json!({"type": "GET_WEIGHTS"}));
        assert_eq!(text(call::Type::GetQuota), json!({"type": "GET_QUOTA", "get_quota": {"status": {}}}));
    }

    #[test]
    fn checks_come_in_mesos_order_with_mesos_texts() {
        let headers = |accept: &'static str| {
            HeaderMap::from_iter([
                (http::header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (http::header::ACCEPT, HeaderValue::from_static(accept)),
            ])
        };
        let refused = |accept, body: &'static str| {
            let refusal = checked(&Method::POST, &headers(accept), &Bytes::from_static(body.as_bytes())).unwrap_err();
            let Body::Full(text) = refusal.body() else { panic!("no text") };
            (refusal.status().as_u16(), String::from_utf8_lossy(text).into_owned())
        };
        let lacks = |what| (400, format!("Failed to validate master::Call: Expecting '{what}' to be present"));
        assert_eq!(refused("*/*", "{}"), lacks("type"));
        assert_eq!(refused("*/*", r#"{"type":"GET_CONTAINERS"}"#), lacks("type"));
        assert_eq!(refused("text/html", r#"{"type":"READ_FILE"}"#), lacks("read_file"));
        assert_eq!(refused("text/html", r#"{"type":"GET_HEALTH"}"#).0, 406);
    }
}
