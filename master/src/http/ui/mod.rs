//! `/ui/…`: what the web page reads and listens to. Reads are rendered from the published picture, never oftener than a part of
//! one processor allows; a stream says when there is something new to read.

mod budget;
mod stream;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH},
};
use mezzo_server::http::{answer, query::Query};

pub(super) use stream::Versions;

use super::{App, body::Body};
use crate::view::page::{PageRead, history::Moment};

/// Samples are taken this often,
const SAMPLED_EVERY: Duration = Duration::from_secs(5);
/// and kept for an hour.
const SAMPLES: usize = 720;

/// What the page's doors keep.
#[derive(Debug, Default)]
pub(crate) struct Page {
    rendered: budget::Rendered,
    samples: Mutex<VecDeque<Arc<Moment>>>,
}

impl Page {
    /// Takes samples of the cluster as long as there is somebody to show them.
    pub(crate) async fn sample(app: Weak<App>) {
        let mut ticks = tokio::time::interval(SAMPLED_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let Some(app) = app.upgrade() else { return };
            let sample = Arc::new(app.published.snapshot().moment());
            let mut samples = app.page.samples.lock().unwrap_or_else(PoisonError::into_inner);
            if samples.len() >= SAMPLES {
                samples.pop_front();
            }
            samples.push_back(sample);
        }
    }

    fn samples(&self) -> Vec<Arc<Moment>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// `/ui/<name>`
pub(super) async fn serve<B>(app: &Arc<App>, name: &str, request: &Request<B>) -> Response<Body> {
    if name == "live" {
        return stream::open(app);
    }
    let query = match Query::parse(request.uri().query().unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return answer::text(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let Some(read) = PageRead::of(name, &query) else { return answer::bare(StatusCode::NOT_FOUND) };
    let headers = request.headers();
    let tag = |version: u64| HeaderValue::from_str(&format!("W/\"{}-{version}\"", app.identity.id())).ok();
    // Samples come without a new version.
    let changes_with_versions = read != PageRead::History;
    if changes_with_versions
        && let Some(current) = tag(app.published.version())
        && headers.get(IF_NONE_MATCH) == Some(&current)
    {
        let mut response = answer::empty(StatusCode::NOT_MODIFIED);
        response.headers_mut().insert(ETAG, current);
        return response;
    }
    let Some((version, body)) = app.page.rendered.get(app, read).await else {
        return answer::text(StatusCode::NOT_FOUND, "The master does not know it, or does not know it any more.");
    };
    let mut response = answer::json(headers, &Query::default(), body).await;
    let out = response.headers_mut();
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if changes_with_versions && let Some(tag) = tag(version) {
        out.insert(ETAG, tag);
    }
    response
}
