//! `/explain` and the operator call EXPLAIN: why a framework is not offered what it waits for. Mezzo's own; in JSON only.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use mezzo_api::{
    codec::{Encoding, decode},
    v1::scheduler::offer_constraints::RoleConstraints,
};
use mezzo_master_core::{Explain, input::OperatorCall};
use mezzo_server::http::{answer, query::Query};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, body::Body};
use crate::server::Input;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// EXPLAIN as JSON: `{"type":"EXPLAIN","explain":{…}}`.
#[derive(Deserialize)]
struct Call {
    explain: Option<Asked>,
}

/// Its payload.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    framework_id: Id,
    role: Option<String>,
    #[serde(default)]
    resources: String,
    /// `{"groups":[…]}`, as in a framework's offer constraints.
    constraints: Option<Value>,
}

#[derive(Deserialize)]
struct Id {
    value: String,
}

/// `GET /explain?framework_id=…&role=…&resources=cpus:4;mem:8192&constraints={"groups":[…]}`
pub(super) async fn serve<B>(app: &Arc<App>, request: &Request<B>) -> Response<Body> {
    // Semicolons separate resources here, not parameters.
    let query = match Query::parse_by_ampersand(request.uri().query().unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return answer::text(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let Some(framework_id) = query.get("framework_id") else {
        return answer::text(StatusCode::BAD_REQUEST, "Expecting 'framework_id=value' in query.\n");
    };
    let constraints = match query.get("constraints").map(|text| read_constraints(text.as_bytes())).transpose() {
        Ok(constraints) => constraints,
        Err(text) => return answer::text(StatusCode::BAD_REQUEST, text),
    };
    let explain = Explain {
        framework_id: framework_id.to_owned(),
        role: query.get("role").map(str::to_owned),
        resources: query.get("resources").unwrap_or_default().to_owned(),
        constraints,
    };
    match ask(app, explain).await {
        Ok(explanation) => answer::json(request.headers(), &query, explanation.into()).await,
        Err(refusal) => *refusal,
    }
}

/// The operator call, if the body of a request to `/api/v1` is one: Mesos' protobuf has no such type.
pub(super) async fn call(app: &Arc<App>, headers: &HeaderMap, body: &Bytes) -> Option<Response<Body>> {
    if headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) != Some(JSON.as_bytes()) {
        return None;
    }
    if !body.windows(9).any(|window| window == b"\"EXPLAIN\"") {
        return None; // the common calls are not read twice
    }
    let value: Value = serde_json::from_slice(body).ok()?;
    if value["type"] != "EXPLAIN" {
        return None;
    }
    let bad = |text: String| Some(answer::text(StatusCode::BAD_REQUEST, text));
    let call: Call = match serde_json::from_value(value) {
        Ok(call) => call,
        Err(error) => return bad(format!("Failed to parse body into EXPLAIN: {error}")),
    };
    let Some(asked) = call.explain else {
        return bad("Failed to validate master::Call: Expecting 'explain' to be present".to_owned());
    };
    let constraints = asked.constraints.map(|value| read_constraints(value.to_string().as_bytes())).transpose();
    let constraints = match constraints {
        Ok(constraints) => constraints,
        Err(text) => return bad(text),
    };
    let explain =
        Explain { framework_id: asked.framework_id.value, role: asked.role, resources: asked.resources, constraints };
    Some(match ask(app, explain).await {
        Ok(explanation) => {
            let explanation: Value = serde_json::from_str(&explanation).unwrap_or_default();
            let body = json!({ "type": "EXPLAIN", "explain": explanation }).to_string();
            answer::packed(headers, answer::of_type(StatusCode::OK, JSON, body.into())).await
        }
        Err(refusal) => *refusal,
    })
}

fn read_constraints(json: &[u8]) -> Result<RoleConstraints, String> {
    decode(Encoding::Json, json).map_err(|error| format!("Invalid 'constraints': {error}"))
}

async fn ask(app: &App, explain: Explain) -> Result<String, Box<Response<Body>>> {
    let call = OperatorCall::Explain(explain);
    match app.core.ask(|reply| Input::Operator { call, principal: None, reply }).await {
        Ok(answer) if answer.status == 200 => Ok(answer.body),
        Ok(answer) => Err(Box::new(answer::with_status(answer.status, answer.body))),
        Err(stopped) => Err(Box::new(answer::text(StatusCode::SERVICE_UNAVAILABLE, stopped.to_string()))),
    }
}
