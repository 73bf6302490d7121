//! The agent's doors: what executors, the master (through the link), tools and people of this machine ask.

mod containers;
mod executor;
mod metrics;
mod operator;
mod proc;
mod route;
mod state;

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use mezzo_agent_core::view::View;
use mezzo_api::time::parse_duration;
use mezzo_server::{
    http::{
        answer::{self, text},
        endpoints,
        help::{self, Entry},
        machine,
        query::Query,
    },
    prometheus,
};
use serde_json::json;

use route::Route;

use crate::{
    called::Calls,
    containerizer::Containerizer,
    files::{self, Files},
    flags::Flags,
    gc,
    images::Images,
    isolation::Accounts,
    link::{Leader, Session, control},
    shell::Handle,
};

/// A response's body.
pub(crate) type Body = axum::body::Body;

/// The agent's id in the answer of `/health`.
const ID_HEADER: HeaderName = HeaderName::from_static("mezzo-agent-id");

/// What the doors know besides the core's view.
pub(crate) struct Door {
    pub(crate) handle: Handle,
    pub(crate) flags: Flags,
    /// The master that is dialled.
    pub(crate) leader: Leader,
    /// The address in `pid`.
    pub(crate) ip: IpAddr,
    /// The port in `pid`.
    pub(crate) port: u16,
    /// Seconds since the epoch.
    pub(crate) start_time: f64,
    pub(crate) recovery_time_secs: f64,
    pub(crate) garbage: Arc<gc::Figures>,
    /// What containers are made of, if it is images.
    pub(crate) images: Option<Images>,
    /// What containers use.
    pub(crate) accounts: Arc<Accounts>,
    /// What `/files/…` shows.
    pub(crate) attached: Files,
    /// `/files/…`
    pub(crate) files: axum::Router,
    /// Containers that calls are for.
    pub(crate) calls: Calls,
    /// All containers.
    pub(crate) containers: Containerizer,
    /// Where the sockets of their inputs and outputs are.
    pub(crate) io_directory: PathBuf,
}

impl Door {
    /// Answers a request. `session` is the link connection that it came over, if it did.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        request: Request<Incoming>,
        session: Option<&Session>,
    ) -> Response<Body> {
        // What comes over the link was asked of the master.
        let Some(origins) = self.flags.cors_allowed_origins.as_ref().filter(|_| session.is_none()) else {
            return self.dispatch(request, session).await;
        };
        if let Some(answer) = origins.preflight(request.method(), request.headers()) {
            return answer;
        }
        let headers = request.headers().clone();
        let mut response = self.dispatch(request, session).await;
        origins.mark(&headers, &mut response);
        response
    }

    async fn dispatch(self: &Arc<Self>, mut request: Request<Incoming>, session: Option<&Session>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let route = route::find(&path);
        if let Err(refusal) = self.flags.gate.pass(route.realm(), &mut request) {
            return *refusal;
        }
        match (route, session) {
            (Route::Control, Some(session)) => control(request, session),
            (Route::Control, None) | (Route::NotFound, _) => answer::bare(StatusCode::NOT_FOUND),
            (Route::Executor, _) => executor::call(self, request).await,
            (Route::Files(operation), _) => files::serve(&self.files, request, operation).await,
            (Route::Operator, _) => operator::serve(self, request).await,
            (Route::Health, _) => self.health().await,
            (route, _) => self.read(&route, &request).await,
        }
    }

    /// Says who answers, too: the master looks whether it finds this agent where it says it is.
    async fn health(&self) -> Response<Body> {
        let mut response = answer::empty(StatusCode::OK);
        let view = self.handle.view().await;
        let id = view.and_then(|view| view.agent_id.as_ref()?.as_str().parse().ok());
        if let Some(id) = id {
            response.headers_mut().insert(ID_HEADER, id);
        }
        response
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
            Route::Help => return help::serve(&ENDPOINTS, request.uri().path(), request.headers(), &query),
            Route::Profiler => return help::no_profiler(),
            _ => {
                let Some(view) = self.handle.view().await else { return answer::bare(StatusCode::SERVICE_UNAVAILABLE) };
                if *route == Route::Prometheus {
                    let text = prometheus::render(&metrics::collect(self, &view), &[]);
                    let content_type = HeaderValue::from_static(prometheus::CONTENT_TYPE);
                    let response = answer::of_type(StatusCode::OK, content_type, text.into());
                    return answer::packed(request.headers(), response).await;
                }
                if let (Route::Metrics, Some(Err(error))) = (route, query.get("timeout").map(parse_duration)) {
                    let given = query.get("timeout").unwrap_or_default();
                    return text(StatusCode::BAD_REQUEST, format!("Invalid timeout '{given}': {error}.\n"));
                }
                match self.of_view(route, &query, &view) {
                    Ok(body) => body,
                    Err(response) => return *response,
                }
            }
        };
        answer::tagged_json(request.headers(), &query, body.into()).await
    }

    fn of_view(&self, route: &Route<'_>, query: &Query, view: &View) -> Result<String, Box<Response<Body>>> {
        match route {
            Route::State if view.recovering => {
                Err(Box::new(text(StatusCode::SERVICE_UNAVAILABLE, "Agent has not finished recovery")))
            }
            Route::State => Ok(state::state(self, view).to_string()),
            Route::Metrics => Ok(metrics::snapshot(self, view).to_string()),
            Route::Containers => containers::containers(view, &self.accounts, query).map(|value| value.to_string()),
            Route::Statistics => Ok(containers::statistics(view, &self.accounts).to_string()),
            _ => Err(Box::new(answer::bare(StatusCode::NOT_FOUND))),
        }
    }
}

/// What `/help` tells of the agent's own endpoints.
const ENDPOINTS: [Entry; 9] = [
    Entry("memory-profiler", "", "Refuses: there is none"),
    Entry("profiler", "", "Refuses: there is none"),
    Entry("slave(1)", "/api/v1", "Calls of operators, POST"),
    Entry("slave(1)", "/api/v1/executor", "Calls of executors, POST"),
    Entry("slave(1)", "/containers", "Containers and what they use: container_id, framework_id, executor_id"),
    Entry("slave(1)", "/flags", "The flags that this agent was started with"),
    Entry("slave(1)", "/health", "200 while it lives"),
    Entry("slave(1)", "/monitor/statistics", "What containers use"),
    Entry("slave(1)", "/state", "All there is"),
];
