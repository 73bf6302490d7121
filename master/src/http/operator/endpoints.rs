//! The endpoints from before the operator API: forms and JSON instead of calls (src/master/http.cpp, quota_handler.cpp,
//! weights_handler.cpp). What they ask for is decided where the calls are.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use mezzo_api::{
    codec::{ApiMessage, DecodeError, Encoding, decode, decode_json_array, to_json_value},
    v1::{self, MachineId, Resource, WeightInfo, maintenance::Schedule, offer::Operation, quota::QuotaRequest},
};
use mezzo_master_core::input::OperatorCall;
use mezzo_server::http::{answer, query::Query, request};
use serde_json::Value;

use super::{ask, changes};
use crate::{
    http::{App, body::Body},
    view::{View, quota_status, weight_infos},
};

/// An endpoint that changes something, or shows what was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint<'a> {
    /// `/teardown`
    Teardown,
    /// `/kill-task`: Mezzo's own, for operators, who are no framework that could KILL.
    KillTask,
    /// `/reserve`
    Reserve,
    /// `/unreserve`
    Unreserve,
    /// `/create-volumes`
    CreateVolumes,
    /// `/destroy-volumes`
    DestroyVolumes,
    /// `/quota`, and the role in its path.
    Quota(Option<&'a str>),
    /// `/weights`
    Weights,
    /// `/maintenance/schedule`
    Schedule,
    /// `/maintenance/status`
    Status,
    /// `/machine/down`
    MachineDown,
    /// `/machine/up`
    MachineUp,
}

impl Endpoint<'_> {
    /// What it takes, as the answer to anything else says it; `None` is everything.
    fn methods(self) -> Option<&'static str> {
        match self {
            Endpoint::Teardown
            | Endpoint::KillTask
            | Endpoint::Reserve
            | Endpoint::Unreserve
            | Endpoint::CreateVolumes
            | Endpoint::DestroyVolumes
            | Endpoint::MachineDown
            | Endpoint::MachineUp => Some("POST"),
            Endpoint::Quota(_) => Some("GET, POST, DELETE"),
            Endpoint::Weights => Some("GET, PUT"),
            Endpoint::Schedule => Some("GET, POST"),
            Endpoint::Status => None,
        }
    }
}

/// Answers, once the core has.
pub(crate) async fn serve(app: &Arc<App>, endpoint: Endpoint<'_>, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = match request::read(request, app.flags.max_request_bytes.0).await {
        Ok(read) => read,
        Err(error) => return answer::unread(&error),
    };
    if let Some(methods) = endpoint.methods()
        && !methods.split(", ").any(|method| method == parts.method.as_str())
    {
        return answer::method_not_allowed(methods, &parts.method);
    }
    let shown = match (endpoint, &parts.method) {
        (Endpoint::Quota(_), &Method::GET) => Some(to_json_value(&quota_status(&app.published.snapshot()))),
        (Endpoint::Weights, &Method::GET) => Some(weights(&app.published.snapshot())),
        (Endpoint::Schedule, &Method::GET) => Some(to_json_value(&app.published.snapshot().maintenance.schedule)),
        (Endpoint::Status, _) => Some(to_json_value(&app.published.snapshot().maintenance.status)),
        _ => None,
    };
    if let Some(shown) = shown {
        return show(&parts.headers, parts.uri.query(), &shown).await;
    }
    let text = String::from_utf8_lossy(&body);
    match asked(endpoint, &parts.method, &text) {
        Ok(call) => ask(app, call, &parts.extensions).await,
        Err(text) => answer::text(StatusCode::BAD_REQUEST, text),
    }
}

fn weights(view: &View) -> Value {
    weight_infos(view).iter().map(to_json_value).collect()
}

async fn show(headers: &HeaderMap, query: Option<&str>, shown: &Value) -> Response<Body> {
    match Query::parse(query.unwrap_or_default()) {
        Ok(query) => answer::json(headers, &query, shown.to_string().into()).await,
        Err(error) => answer::text(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

/// What a request asks for; else what is wrong with it.
fn asked(endpoint: Endpoint<'_>, method: &Method, body: &str) -> Result<OperatorCall, String> {
    let resources = |key, prefix, operation: fn(Vec<Resource>) -> Operation| {
        let (agent_id, resources) = on_agent(body, key, prefix)?;
        Ok(OperatorCall::Operation { agent_id, operation: Box::new(operation(resources)) })
    };
    match endpoint {
        Endpoint::Teardown => {
            let form = Query::parse(body).map_err(|error| error.to_string())?;
            Ok(OperatorCall::Teardown { framework_id: v1::FrameworkId { value: needed(&form, "frameworkId")? } })
        }
        Endpoint::KillTask => {
            let form = Query::parse(body).map_err(|error| error.to_string())?;
            let framework_id = v1::FrameworkId { value: needed(&form, "frameworkId")? };
            Ok(OperatorCall::KillTask { framework_id, task_id: v1::TaskId { value: needed(&form, "taskId")? } })
        }
        Endpoint::Reserve => reserve(body),
        Endpoint::Unreserve => resources("resources", "Error in parsing", changes::unreserve),
        Endpoint::CreateVolumes => resources("volumes", "Error in parsing", changes::create),
        Endpoint::DestroyVolumes => resources("volumes", "Error in parsing", changes::destroy),
        Endpoint::Quota(role) if *method == Method::DELETE => match role {
            Some(role) => {
                Ok(OperatorCall::RemoveQuota { role: role.to_owned(), path: Some(format!("/master/quota/{role}")) })
            }
            None => Err("Failed to parse remove quota request for path '/master/quota': expected 3 tokens, found 2 \
                         tokens"
                .to_owned()),
        },
        Endpoint::Quota(_) => {
            let quota: QuotaRequest = object(body).map_err(|(shape, error)| {
                let what = if shape { "validate" } else { "parse" };
                format!("Failed to {what} set quota request JSON '{body}': {error}")
            })?;
            Ok(OperatorCall::SetQuota(Box::new(quota)))
        }
        Endpoint::Weights => {
            let weights: Vec<WeightInfo> = array(body).map_err(|(shape, error)| {
                if shape {
                    format!("Failed to convert weights JSON array to protobuf '{body}': {error}")
                } else {
                    format!("Failed to parse update weights request JSON '{body}': {error}")
                }
            })?;
            Ok(OperatorCall::UpdateWeights(weights))
        }
        Endpoint::Schedule | Endpoint::Status => {
            let schedule: Schedule = object(body).map_err(|(_, error)| error)?;
            Ok(OperatorCall::UpdateSchedule(schedule))
        }
        Endpoint::MachineDown => {
            array::<MachineId>(body).map(OperatorCall::StartMaintenance).map_err(|(_, error)| error)
        }
        Endpoint::MachineUp => array::<MachineId>(body).map(OperatorCall::StopMaintenance).map_err(|(_, error)| error),
    }
}

fn needed(form: &Query, name: &str) -> Result<String, String> {
    form.get(name).map(str::to_owned).ok_or_else(|| format!("Missing '{name}' query parameter in the request body"))
}

fn reserve(body: &str) -> Result<OperatorCall, String> {
    let (agent_id, resources) = on_agent(body, "resources", "Error parsing")?;
    let form = Query::parse(body).map_err(|error| error.to_string())?;
    let source = match form.get("source") {
        Some(text) => array(text)
            .map_err(|(_, error)| format!("Error parsing 'source' query parameter in the request body: {error}"))?,
        None => Vec::new(),
    };
    Ok(OperatorCall::Operation { agent_id, operation: Box::new(changes::reserve(resources, source)) })
}

/// An agent and a list of resources, from a form.
fn on_agent(body: &str, key: &str, failed: &str) -> Result<(String, Vec<Resource>), String> {
    let form = Query::parse(body).map_err(|error| error.to_string())?;
    let missing = |key: &str| format!("Missing '{key}' query parameter in the request body");
    let agent_id = form.get("slaveId").ok_or_else(|| missing("slaveId"))?;
    let text = form.get(key).ok_or_else(|| missing(key))?;
    let resources =
        array(text).map_err(|(_, error)| format!("{failed} '{key}' query parameter in the request body: {error}"))?;
    Ok((agent_id.to_owned(), resources))
}

/// A JSON array of messages; else whether it is one at all, and what is wrong.
fn array<M: ApiMessage>(text: &str) -> Result<Vec<M>, (bool, String)> {
    decode_json_array(text.as_bytes()).map_err(|error| wrong(text, '[', &error))
}

fn object<M: ApiMessage>(text: &str) -> Result<M, (bool, String)> {
    decode(Encoding::Json, text.as_bytes()).map_err(|error| wrong(text, '{', &error))
}

fn wrong(text: &str, begin: char, error: &DecodeError) -> (bool, String) {
    let syntax = matches!(error, DecodeError::JsonSyntax { .. });
    if !syntax && !text.trim_start().starts_with(begin) {
        return (false, "Unexpected JSON type parsed".to_owned());
    }
    (!syntax, error.detail().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(endpoint: Endpoint<'_>, method: &Method, body: &str) -> String {
        asked(endpoint, method, body).map(|call| format!("taken: {call:?}")).unwrap_err()
    }

    #[test]
    fn what_is_no_request_is_said_in_mesos_words() {
        const SYNTAX: &str = "syntax error at line 1 near: ";
        const SHAPE: &str = "Unexpected JSON type parsed";
        let post = &Method::POST;
        for (endpoint, body, text) in [
            (Endpoint::Reserve, "", "Missing 'slaveId' query parameter in the request body"),
            (Endpoint::Reserve, "slaveId=S0", "Missing 'resources' query parameter in the request body"),
            (Endpoint::CreateVolumes, "slaveId=S0", "Missing 'volumes' query parameter in the request body"),
            (Endpoint::Teardown, "", "Missing 'frameworkId' query parameter in the request body"),
        ] {
            assert_eq!(refused(endpoint, post, body), text);
        }
        let of_form = |endpoint, value: &str| refused(endpoint, post, &format!("slaveId=S0&resources={value}"));
        let failed = |how, error| format!("{how} 'resources' query parameter in the request body: {error}");
        assert_eq!(of_form(Endpoint::Reserve, "%7B"), failed("Error parsing", SYNTAX));
        assert_eq!(of_form(Endpoint::Reserve, "%7B%7D"), failed("Error parsing", SHAPE));
        assert_eq!(of_form(Endpoint::Unreserve, "%7B"), failed("Error in parsing", SYNTAX));
        assert_eq!(
            refused(Endpoint::Quota(None), post, ""),
            format!("Failed to parse set quota request JSON '': {SYNTAX}")
        );
        assert_eq!(
            refused(Endpoint::Weights, &Method::PUT, "{}"),
            format!("Failed to parse update weights request JSON '{{}}': {SHAPE}")
        );
        assert_eq!(refused(Endpoint::Schedule, post, ""), SYNTAX);
        assert_eq!(refused(Endpoint::Schedule, post, "[]"), SHAPE);
        assert_eq!(refused(Endpoint::MachineDown, post, ""), SYNTAX);
        assert!(refused(Endpoint::Quota(None), &Method::DELETE, "").ends_with("expected 3 tokens, found 2 tokens"));
    }

    #[test]
    fn forms_and_json_become_calls() {
        let body = "slaveId=S0&resources=%5B%7B%22name%22%3A%22cpus%22%2C%22type%22%3A%22SCALAR%22%7D%5D";
        match asked(Endpoint::Unreserve, &Method::POST, body) {
            Ok(OperatorCall::Operation { agent_id, operation }) => {
                assert_eq!(agent_id, "S0");
                assert_eq!(operation.unreserve.unwrap().resources.len(), 1);
            }
            other => panic!("{other:?}"),
        }
        let weights = asked(Endpoint::Weights, &Method::PUT, r#"[{"role":"a","weight":"2"}]"#);
        assert!(matches!(weights, Ok(OperatorCall::UpdateWeights(weights)) if weights[0].weight == 2.0));
        let removed = asked(Endpoint::Quota(Some("a/b")), &Method::DELETE, "");
        assert!(matches!(removed, Ok(OperatorCall::RemoveQuota { role, .. }) if role == "a/b"));
    }
}
