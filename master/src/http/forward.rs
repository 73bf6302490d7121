//! `/agent/<id>/<path>`: an agent's own endpoints, reached through the connection that the agent opened. Whoever can reach
//! the master can read a sandbox, wherever the agent is.

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version,
    header::{
        CONNECTION, CONTENT_SECURITY_POLICY, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, X_CONTENT_TYPE_OPTIONS,
    },
};
use hyper::body::Incoming;
use mezzo_server::http::answer;

use super::{App, body::Body};
use crate::link::ReachError;

/// Headers that concern one connection only.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Passes the request on and the answer back, both as they come.
pub(super) async fn serve(app: &App, agent: &str, path: &str, request: Request<Incoming>) -> Response<Body> {
    let mut connection = match app.links.reach(agent).await {
        Ok(connection) => connection,
        Err(error) => return answer::text(unreached(&error), error.to_string()),
    };
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let Ok(uri) = Uri::builder().scheme("http").authority("agent").path_and_query(format!("{path}{query}")).build()
    else {
        return answer::bare(StatusCode::BAD_REQUEST);
    };
    let mut passed = Request::new(body);
    *passed.method_mut() = parts.method;
    *passed.uri_mut() = uri;
    *passed.version_mut() = Version::HTTP_2;
    *passed.headers_mut() = end_to_end(parts.headers);
    match connection.send_request(passed).await {
        Ok(response) => back(response),
        Err(error) => {
            let text = format!("The agent {agent} did not answer: {error}.");
            answer::text(StatusCode::BAD_GATEWAY, text)
        }
    }
}

fn unreached(error: &ReachError) -> StatusCode {
    match error {
        ReachError::Unknown { .. } => StatusCode::NOT_FOUND,
        ReachError::Gone { .. } => StatusCode::SERVICE_UNAVAILABLE,
        ReachError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn back(response: Response<Incoming>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let mut response = Response::new(Body::Relayed(body));
    *response.status_mut() = parts.status;
    *response.headers_mut() = end_to_end(parts.headers);
    let headers = response.headers_mut();
    // What tasks wrote must not act as a page of the master.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    response
}

fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    headers
}
