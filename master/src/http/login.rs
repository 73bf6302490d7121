//! The web page's way in: `/ui/session` tells whether one is asked for a secret, and who one is; `/ui/login` opens a session,
//! `/ui/logout` ends it.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use mezzo_server::http::{
    answer,
    authentication::{LogIn, log_out, opened, principal_of},
    query::Query,
    request,
};
use serde_json::json;

use super::{Node, body::Body};

/// A form is no longer.
const MAX_BYTES: usize = 16 * 1024;
/// Who guesses waits.
const AFTER_A_WRONG_ONE: Duration = Duration::from_millis(500);

/// One of the three.
pub(super) async fn serve(node: &Node, name: &str, request: Request<Incoming>) -> Response<Body> {
    match name {
        "session" => session(node, &request).await,
        "login" => log_in(node, request).await,
        _ if request.method() == Method::POST => log_out(),
        _ => answer::method_not_allowed("POST", request.method()),
    }
}

async fn session<B>(node: &Node, request: &Request<B>) -> Response<Body> {
    let principal = principal_of(request.headers(), node.gate.credentials());
    let body = json!({ "asked": !node.gate.is_open(), "principal": principal }).to_string();
    answer::json(request.headers(), &Query::default(), body.into()).await
}

async fn log_in(node: &Node, request: Request<Incoming>) -> Response<Body> {
    if request.method() != Method::POST {
        return answer::method_not_allowed("POST", request.method());
    }
    let body = match request::read(request, MAX_BYTES).await {
        Ok((_, body)) => body,
        Err(error) => return answer::unread(&error),
    };
    let Ok(form) = serde_json::from_slice::<LogIn>(&body) else {
        return answer::text(StatusCode::BAD_REQUEST, r#"Expecting {"principal":"…","secret":"…"}"#);
    };
    let response = opened(node.gate.credentials(), &form);
    if response.status() == StatusCode::FORBIDDEN {
        tracing::warn!(principal = form.principal, "a login with a wrong principal or secret");
        tokio::time::sleep(AFTER_A_WRONG_ONE).await;
    }
    response
}
