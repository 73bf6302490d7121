//! `/ui/live`: server-sent events (the browser's EventSource) that say which version of the picture is the latest. A page asks
//! for what it shows when that changes, and for nothing while it does not.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use mezzo_server::http::answer;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::App;
use crate::http::body::Body;

/// A page hears of a change after so long at the latest, and of many changes at once.
const LOOK: Duration = Duration::from_millis(200);
/// Something is said this often even if nothing changes, so that a broken connection shows.
const STILL_HERE: Duration = Duration::from_secs(5);

/// The stream of one page. It costs a glance at a number five times a second, whatever the cluster does, and a reader that
/// does not read costs nothing: it is not asked for more until it takes what it has.
pub(crate) struct Versions {
    app: Arc<App>,
    ticks: Interval,
    told: Option<u64>,
    spoken: Instant,
}

/// `/ui/live`
pub(super) fn open(app: &Arc<App>) -> Response<Body> {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let versions = Versions { app: Arc::clone(app), ticks, told: None, spoken: Instant::now() };
    let mut response: Response<Body> = answer::empty(StatusCode::OK);
    *response.body_mut() = Body::Versions(Box::new(versions));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Versions {
    /// The next event, when there is one; the end with the leadership, so that the page looks for the next leader.
    pub(crate) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if self.ticks.poll_tick(context).is_pending() {
                return Poll::Pending;
            }
            if self.app.published.has_ended() {
                return Poll::Ready(None);
            }
            let version = self.app.published.version();
            if self.told != Some(version) || self.spoken.elapsed() >= STILL_HERE {
                self.told = Some(version);
                self.spoken = Instant::now();
                let master = self.app.identity.id();
                let event = format!("data: {{\"version\":{version},\"master\":\"{master}\"}}\n\n");
                return Poll::Ready(Some(event.into()));
            }
        }
    }
}

impl std::fmt::Debug for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Versions").field("told", &self.told).finish_non_exhaustive()
    }
}
