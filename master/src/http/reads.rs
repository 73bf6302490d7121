//! Endpoints that only tell: they take any method, as Mesos does, and never touch the core's decisions.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{ETAG, IF_NONE_MATCH},
};
use mezzo_server::http::{answer, endpoints, machine, query::Query};
use serde_json::json;

use super::{App, body::Body, metrics, plain, route::Route};
use crate::view::{self, TaskQuery, View};

/// Pictures with more entities than this are rendered on a thread that serves nobody else.
const LARGE: usize = 2000;
/// Different reads of one version that are remembered.
const REMEMBERED: usize = 32;

/// One of the reads of the published picture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Read {
    State,
    Summary,
    Agents(Option<String>),
    Frameworks(Option<String>),
    Tasks(Option<String>, Option<String>, u64, u64, bool),
    Roles,
}

type Slot = Arc<tokio::sync::Mutex<Option<(u64, Bytes)>>>;

/// Each read is rendered once for each version, however many ask.
#[derive(Debug, Default)]
pub(crate) struct Rendered(Mutex<BTreeMap<Read, Slot>>);

/// All such endpoints.
pub(super) async fn serve<B>(app: &Arc<App>, route: &Route<'_>, request: &Request<B>) -> Response<Body> {
    let query = match Query::parse(request.uri().query().unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return answer::text(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let headers = request.headers();
    let some = |key: &str| query.get(key).map(str::to_owned);
    let read = match route {
        Route::State => Read::State,
        Route::StateSummary => Read::Summary,
        Route::Agents => Read::Agents(some("slave_id")),
        Route::Frameworks => Read::Frameworks(some("framework_id")),
        Route::Tasks => tasks(&query),
        Route::Roles => Read::Roles,
        other => return plain(app, other, headers, &query).await,
    };
    picture(app, read, headers, &query).await
}

async fn plain(app: &Arc<App>, route: &Route<'_>, headers: &HeaderMap, query: &Query) -> Response<Body> {
    let body = match route {
        Route::Version => endpoints::version(),
        Route::Flags => json!({ "flags": app.flags.listed }).to_string(),
        Route::SystemStats => machine::stats().to_string(),
        Route::Metrics => match metrics::snapshot(app, query).await {
            Ok(metrics) => metrics,
            Err(response) => return *response,
        },
        Route::LoggingToggle => return endpoints::logging_toggle(query),
        Route::Help => return plain::help(),
        Route::Constant(constant) => (*constant).to_owned(),
        _ => return answer::bare(StatusCode::NOT_FOUND),
    };
    answer::json(headers, query, body.into()).await
}

fn tasks(query: &Query) -> Read {
    // What is no number is ignored; a negative limit is a very large one.
    let number = |key: &str, default: u64| {
        let text = query.get(key).unwrap_or_default();
        text.parse::<u64>().ok().or_else(|| text.parse::<i64>().ok().map(i64::cast_unsigned)).unwrap_or(default)
    };
    let some = |key: &str| query.get(key).map(str::to_owned);
    Read::Tasks(
        some("framework_id"),
        some("task_id"),
        number("limit", 100),
        number("offset", 0),
        query.get("order") == Some("asc"),
    )
}

async fn picture(app: &Arc<App>, read: Read, headers: &HeaderMap, query: &Query) -> Response<Body> {
    let tag = |version: u64| HeaderValue::from_str(&format!("W/\"{}-{version}\"", app.identity.id())).ok();
    if let Some(current) = tag(app.published.version())
        && headers.get(IF_NONE_MATCH) == Some(&current)
    {
        let mut response = answer::empty(StatusCode::NOT_MODIFIED);
        response.headers_mut().insert(ETAG, current);
        return response;
    }
    let Some((version, body)) = app.rendered.get(app, read).await else {
        return answer::bare(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = answer::json(headers, query, body).await;
    if let Some(tag) = tag(version) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

impl Rendered {
    async fn get(&self, app: &Arc<App>, read: Read) -> Option<(u64, Bytes)> {
        let slot = self.slot(&read);
        let mut slot = slot.lock().await;
        let view = app.published.snapshot();
        if let Some((version, body)) = &*slot
            && *version == view.version
        {
            return Some((*version, body.clone()));
        }
        let version = view.version;
        let body = if view.size() < LARGE {
            render(&view, app, &read)
        } else {
            let app = Arc::clone(app);
            tokio::task::spawn_blocking(move || render(&view, &app, &read)).await.ok()?
        };
        let body = Bytes::from(body);
        *slot = Some((version, body.clone()));
        Some((version, body))
    }

    fn slot(&self, read: &Read) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= REMEMBERED && !slots.contains_key(read) {
            slots.clear();
        }
        Arc::clone(slots.entry(read.clone()).or_default())
    }
}

fn render(view: &View, app: &App, read: &Read) -> Vec<u8> {
    match read {
        Read::State => view::state(view, app.master()),
        Read::Summary => view::summary(view, app.master()),
        Read::Agents(wanted) => view::agents(view, wanted.as_deref()),
        Read::Frameworks(wanted) => view::frameworks(view, wanted.as_deref()),
        Read::Tasks(framework_id, task_id, limit, offset, ascending) => {
            let query = TaskQuery {
                framework_id: framework_id.clone(),
                task_id: task_id.clone(),
                limit: *limit,
                offset: *offset,
                ascending: *ascending,
            };
            view::tasks(view, &query)
        }
        Read::Roles => view::roles(view, app.flags.roles.as_deref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_tasks_are_read_leniently() {
        let read = |text: &str| match tasks(&Query::parse(text).unwrap()) {
            Read::Tasks(.., limit, offset, ascending) => (limit, offset, ascending),
            other => panic!("{other:?}"),
        };
        assert_eq!(read(""), (100, 0, false));
        assert_eq!(read("limit=abc&offset=x&order=foo"), (100, 0, false));
        assert_eq!(read("limit=-1&order=asc"), (u64::MAX, 0, true));
        assert_eq!(read("limit=0&offset=7"), (0, 7, false));
    }
}
