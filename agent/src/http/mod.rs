//! The agent's doors: what executors, the master (through the link), tools and people of this machine ask.

mod containers;
mod executor;
mod metrics;
mod operator;
mod proc;
mod route;
mod state;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_ENCODING, header::CONTENT_LENGTH};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mezzo_agent_core::view::View;
use mezzo_server::http::{
    answer::{self, MIN_GZIP_BYTES, text},
    endpoints, machine,
    negotiate::accepts_gzip,
    query::Query,
};
use serde_json::json;
use tower::ServiceExt;

use route::Route;

use crate::{
    files::Files,
    flags::Flags,
    gc,
    link::{Session, control},
    shell::Handle,
};

/// A response's body.
pub(crate) type Body = axum::body::Body;

/// Longer bodies are streamed, and not packed.
const MAX_GZIP_BYTES: u64 = 1 << 20;

/// What the doors know besides the core's view.
pub(crate) struct Door {
    pub(crate) handle: Handle,
    pub(crate) flags: Flags,
    /// The address in `pid`.
    pub(crate) ip: IpAddr,
    /// The port in `pid`.
    pub(crate) port: u16,
    /// Seconds since the epoch.
    pub(crate) start_time: f64,
    pub(crate) recovery_time_secs: f64,
    pub(crate) garbage: Arc<gc::Figures>,
    /// What `/files/…` shows.
    pub(crate) attached: Files,
    /// `/files/…`
    pub(crate) files: axum::Router,
}

impl Door {
    /// Answers a request. `session` is the link connection that it came over, if it did.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        request: Request<Incoming>,
        session: Option<&Session>,
    ) -> Response<Body> {
        let path = request.uri().path().to_owned();
        match (route::find(&path), session) {
            (Route::Control, Some(session)) => control(request, session),
            (Route::Control, None) | (Route::NotFound, _) => answer::bare(StatusCode::NOT_FOUND),
            (Route::Executor, _) => executor::call(self, request).await,
            (Route::Files(operation), _) => self.files(request, operation).await,
            (Route::Operator, _) => operator::serve(self, request).await,
            (Route::Health, _) => answer::empty(StatusCode::OK),
            (route, _) => self.read(&route, &request).await,
        }
    }

    async fn read(&self, route: &Route<'_>, request: &Request<Incoming>) -> Response<Body> {
        let Ok(query) = Query::parse(request.uri().query().unwrap_or_default()) else {
            return text(StatusCode::BAD_REQUEST, "Failed to decode the query: malformed % escape");
        };
        let body = match route {
            Route::Version => endpoints::version(),
            Route::Flags => json!({ "flags": self.flags.listed }).to_string(),
            Route::SystemStats => machine::stats().to_string(),
            Route::Constant(text) => (*text).to_owned(),
            Route::LoggingToggle => return endpoints::logging_toggle(&query),
            Route::Help => return help(),
            _ => {
                let Some(view) = self.handle.view().await else { return answer::bare(StatusCode::SERVICE_UNAVAILABLE) };
                match self.of_view(route, &query, &view) {
                    Ok(body) => body,
                    Err(response) => return *response,
                }
            }
        };
        answer::json(request.headers(), &query, body.into()).await
    }

    fn of_view(&self, route: &Route<'_>, query: &Query, view: &View) -> Result<String, Box<Response<Body>>> {
        match route {
            Route::State if view.recovering => {
                Err(Box::new(text(StatusCode::SERVICE_UNAVAILABLE, "Agent has not finished recovery")))
            }
            Route::State => Ok(state::state(self, view).to_string()),
            Route::Metrics => Ok(metrics::snapshot(self, view).to_string()),
            Route::Containers => containers::containers(view, query).map(|value| value.to_string()),
            Route::Statistics => Ok(containers::statistics(view).to_string()),
            _ => Err(Box::new(answer::bare(StatusCode::NOT_FOUND))),
        }
    }

    /// The router of files knows the plain paths only.
    async fn files(&self, request: Request<Incoming>, operation: &str) -> Response<Body> {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let (mut parts, _) = request.into_parts();
        let Ok(uri) = format!("/files/{operation}{query}").parse() else {
            return answer::bare(StatusCode::BAD_REQUEST);
        };
        parts.uri = uri;
        let headers = parts.headers.clone();
        let request = Request::from_parts(parts, axum::body::Body::empty());
        match self.files.clone().oneshot(request).await {
            Ok(response) => packed_if_whole(&headers, response).await,
            Err(never) => match never {},
        }
    }
}

/// `/help`
fn help() -> Response<Body> {
    const HELP: &str = "## HELP\n\
        > /api/v1/executor\n> /containers\n> /files/browse\n> /files/debug\n> /files/download\n> /files/read\n> /flags\n\
        > /health\n> /metrics/snapshot\n> /monitor/statistics\n> /state\n> /system/stats.json\n> /version\n";
    answer::help(HELP)
}

/// Packs what the router of files answers, if it is a whole body of moderate length.
async fn packed_if_whole(headers: &HeaderMap, response: Response<Body>) -> Response<Body> {
    let length = response.body().size_hint().exact();
    let fits = length.is_some_and(|length| (MIN_GZIP_BYTES as u64..=MAX_GZIP_BYTES).contains(&length));
    let plain = response.status() == StatusCode::OK && !response.headers().contains_key(CONTENT_ENCODING);
    if !fits || !plain || !accepts_gzip(headers) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = body.collect().await else { return answer::empty(StatusCode::INTERNAL_SERVER_ERROR) };
    parts.headers.remove(CONTENT_LENGTH);
    answer::packed(headers, Response::from_parts(parts, body.to_bytes())).await
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderValue, header::ACCEPT_ENCODING};

    use super::*;

    #[tokio::test]
    async fn what_the_router_of_files_answers_is_packed_if_it_is_whole() {
        let takes = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
        let long = || Bytes::from(vec![b' '; MIN_GZIP_BYTES]);
        let mut whole: Response<Body> = answer::of_type(StatusCode::OK, HeaderValue::from_static("text/x"), long());
        whole.headers_mut().insert(CONTENT_LENGTH, long().len().into());
        let packed = packed_if_whole(&takes, whole).await;
        assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
        assert!(!packed.headers().contains_key(CONTENT_LENGTH));
        let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(long())]);
        let streamed = packed_if_whole(&takes, Response::new(Body::from_stream(pieces))).await;
        assert!(!streamed.headers().contains_key(CONTENT_ENCODING));
    }
}
