//! The doors of a master that does not lead: they send to the one that does (src/master/http.cpp, Master::Http::redirect).

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use mezzo_api::v1::MasterInfo;
use mezzo_election::listening_at;
use mezzo_server::http::{answer, endpoints, help, machine, query::Query};
use serde_json::json;

use super::{Node, Role, body::Body, masters, metrics, plain, route, route::Route, webui};
use crate::identity::authority_of;

const ID: HeaderName = HeaderName::from_static(mezzo_election::ID_HEADER);

/// Each request to a master that does not lead.
pub(super) async fn serve<B: Send + Sync + 'static>(
    node: &Arc<Node>,
    role: &Role,
    request: Request<B>,
) -> Response<Body> {
    let uri = request.uri().clone();
    let route = route::find(uri.path());
    match route {
        Route::Home => webui::home(node, request.headers()).await,
        Route::Asset(file) => webui::asset(file, request.headers()).await,
        Route::Ui("masters") => masters::serve(node, &request).await,
        Route::Health => health(id(role)),
        Route::NotFound if is_below_redirect(request.uri().path()) && leader(role).is_none() => no_leader(role),
        Route::NotFound => answer::bare(StatusCode::NOT_FOUND),
        Route::Version
        | Route::Flags
        | Route::Metrics
        | Route::SystemStats
        | Route::LoggingToggle
        | Route::Help
        | Route::Profiler => local(node, &route, &request).await,
        Route::Files(operation) => {
            let operation = operation.to_owned();
            mezzo_server::files::serve(&node.file_router, request, &operation).await.map(Body::File)
        }
        Route::Constant(constant) if is_local(request.uri().path()) => of_constant(constant, &request).await,
        Route::Redirect => match leader(role) {
            Some(leader) => answer::redirect(&format!("//{}", authority_of(leader))),
            None => no_leader(role),
        },
        // Agents reach masters by their address, which is the same for all of them.
        Route::Link => match leader(role) {
            Some(leader) => answer::redirect(&format!("//{}/link", listening_at(leader))),
            None => no_leader(role),
        },
        Route::Agent { .. } | Route::Ui(_) => elsewhere(role, &request, ""),
        Route::Prometheus => metrics::as_text(&metrics::of_standby(node.start_time), &[], request.headers()).await,
        Route::Scheduler
        | Route::Operator
        | Route::State
        | Route::StateSummary
        | Route::Agents
        | Route::Frameworks
        | Route::Tasks
        | Route::Roles
        | Route::Change(_)
        | Route::Explain
        | Route::Registry
        | Route::OfferConstraints
        | Route::Constant(_) => elsewhere(role, &request, "/master"),
    }
}

/// `/health`: whoever answers lives. Another master learns whether it is the one that it looks for.
pub(super) fn health(id: &str) -> Response<Body> {
    let mut response = answer::empty(StatusCode::OK);
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(ID, id);
    }
    response
}

/// A standby is nobody's leader: it tells an id that no leader has.
fn id(role: &Role) -> &str {
    match role {
        Role::Leading(app) => app.identity.id(),
        Role::Recovering(info) => &info.id,
        Role::Standby(_) => "standby",
    }
}

fn leader(role: &Role) -> Option<&MasterInfo> {
    match role {
        Role::Standby(Some(leader)) => Some(leader),
        Role::Standby(None) | Role::Recovering(_) | Role::Leading(_) => None,
    }
}

fn no_leader(role: &Role) -> Response<Body> {
    let text = match role {
        Role::Recovering(_) => "Master has not finished recovery",
        Role::Standby(_) | Role::Leading(_) => "No leader elected",
    };
    answer::text(StatusCode::SERVICE_UNAVAILABLE, text)
}

/// The same path at the leader; the master's own with `prefix` before it, as Mesos writes them.
fn elsewhere<B>(role: &Role, request: &Request<B>, prefix: &str) -> Response<Body> {
    let Some(leader) = leader(role) else { return no_leader(role) };
    let path = request.uri().path();
    let path = path.strip_prefix(prefix).filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    answer::redirect(&format!("//{}{prefix}{path}{query}", authority_of(leader)))
}

fn is_below_redirect(path: &str) -> bool {
    let mut components = path.split('/').filter(|component| !component.is_empty() && *component != "master");
    components.next() == Some("redirect")
}

/// Constants that no leader is asked for.
fn is_local(path: &str) -> bool {
    matches!(path.split('/').find(|component| !component.is_empty()), Some("files" | "__processes__"))
}

async fn of_constant<B>(constant: &'static str, request: &Request<B>) -> Response<Body> {
    match Query::parse(request.uri().query().unwrap_or_default()) {
        Ok(query) => answer::json(request.headers(), &query, constant.into()).await,
        Err(error) => answer::text(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

async fn local<B>(node: &Node, route: &Route<'_>, request: &Request<B>) -> Response<Body> {
    let query = match Query::parse(request.uri().query().unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return answer::text(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let body = match route {
        Route::Version => endpoints::version(),
        Route::Flags => json!({ "flags": node.flags.listed }).to_string(),
        Route::SystemStats => machine::stats().to_string(),
        Route::Metrics => serde_json::to_string(&metrics::of_standby(node.start_time)).unwrap_or_default(),
        Route::LoggingToggle => return endpoints::logging_toggle(&query),
        Route::Help => return help::serve(&plain::ENDPOINTS, request.uri().path(), request.headers(), &query),
        Route::Profiler => return help::no_profiler(),
        _ => return answer::bare(StatusCode::NOT_FOUND),
    };
    answer::json(request.headers(), &query, body.into()).await
}

#[cfg(test)]
mod tests {
    use http::header::LOCATION;
    use mezzo_election::fixed;
    use mezzo_server::files::Files;

    use super::*;
    use crate::flags::Flags;

    async fn answer_of(role: &Role, path: &str) -> (u16, Option<String>) {
        let node = Arc::new(Node::new(Flags::default(), 0.0, Files::default()));
        let response = serve(&node, role, Request::builder().uri(path).body(()).unwrap()).await;
        let location = response.headers().get(LOCATION).map(|location| location.to_str().unwrap().to_owned());
        (response.status().as_u16(), location)
    }

    #[tokio::test]
    async fn sends_to_the_leader_what_only_it_can_answer() {
        let mut leader = fixed("10.0.0.7", 5050);
        leader.hostname = Some("m2".into());
        let role = Role::Standby(Some(Arc::new(leader)));
        for (path, status, location) in [
            ("/state", 307, Some("//m2:5050/master/state")),
            ("/master/state?x=1&y=%2F", 307, Some("//m2:5050/master/state?x=1&y=%2F")),
            ("/master", 200, None),
            ("/api/v1/scheduler", 307, Some("//m2:5050/master/api/v1/scheduler")),
            ("/quota", 307, Some("//m2:5050/master/quota")),
            ("/machine/up", 307, Some("//m2:5050/master/machine/up")),
            ("/redirect", 307, Some("//m2:5050")),
            ("/redirect/x", 404, None),
            ("/link", 307, Some("//10.0.0.7:5050/link")),
            ("/agent/a-S0/files/read?path=/x", 307, Some("//m2:5050/agent/a-S0/files/read?path=/x")),
            ("/files/debug", 200, None),
            ("/version", 200, None),
            ("/ui/overview", 307, Some("//m2:5050/ui/overview")),
            ("/metrics", 200, None),
            ("/nosuch", 404, None),
        ] {
            assert_eq!(answer_of(&role, path).await, (status, location.map(str::to_owned)), "{path}");
        }
    }

    #[tokio::test]
    async fn says_that_nobody_leads() {
        for role in [Role::Standby(None), Role::Recovering(Arc::new(fixed("m", 1)))] {
            for (path, status) in
                [("/state", 503), ("/link", 503), ("/redirect", 503), ("/redirect/x", 503), ("/nosuch", 404)]
            {
                assert_eq!(answer_of(&role, path).await, (status, None), "{path}");
            }
        }
    }
}
