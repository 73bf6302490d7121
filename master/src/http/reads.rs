//! Endpoints that only tell: they take any method, as Mesos does, and never touch the core's decisions.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{ETAG, IF_NONE_MATCH},
};
use mezzo_server::http::{
    answer::{self, MIN_GZIP_BYTES},
    endpoints, help, machine,
    negotiate::accepts_gzip,
    query::Query,
};
use serde_json::json;
use tokio::time::Instant;

use super::{App, body::Body, metrics, plain, route::Route};
use crate::view::{self, Pieces, TaskQuery, View};

/// Different reads of one version that are remembered.
const REMEMBERED: usize = 32;
/// Texts up to this length are remembered of any of them.
const SMALL: usize = 256 * 1024;
/// As many who want the same read at once are a crowd.
const CROWD: usize = 4;
/// For a crowd nothing is made for so many times as long as the latest picture took: however many look at a large cluster, that
/// costs a twentieth of a processor.
const REST: u32 = 19;
/// They do not wait longer than that.
const LONGEST_REST: Duration = Duration::from_millis(500);

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

impl Read {
    /// Whether its text is kept however long it is: there are few of these. Of others there may be as many as somebody makes up.
    fn is_kept(&self) -> bool {
        match self {
            Self::State | Self::Summary | Self::Roles => true,
            Self::Agents(wanted) | Self::Frameworks(wanted) => wanted.is_none(),
            Self::Tasks(..) => false,
        }
    }
}

/// What a read told of one version.
#[derive(Clone, Debug)]
struct Picture {
    version: u64,
    pieces: Arc<Pieces>,
    /// Its text, if somebody wanted it so.
    text: Option<Bytes>,
    /// The same, packed.
    packed: Option<Bytes>,
}

impl Picture {
    async fn of(app: &Arc<App>, read: Read, older: Option<Arc<Pieces>>) -> Option<Self> {
        let view = app.published.snapshot();
        let (version, size, app) = (view.version, view.size(), Arc::clone(app));
        let pieces = aside(size >= view::LARGE, move || render(&view, &app, &read, older.as_deref())).await?;
        Some(Self { version, pieces: Arc::new(pieces), text: None, packed: None })
    }

    /// Its text in the form that is wanted, if packing is worth it.
    async fn write(&mut self, packed: bool) -> Option<()> {
        let pieces = Arc::clone(&self.pieces);
        let is_large = pieces.is_long();
        if packed && (is_large || pieces.len() >= MIN_GZIP_BYTES) {
            if self.packed.is_none() {
                self.packed = Some(aside(is_large, move || pieces.packed()).await?.into());
            }
        } else if self.text.is_none() {
            self.text = Some(aside(is_large, move || pieces.text()).await?.into());
        }
        Some(())
    }
}

/// Does something here, or if it takes a while on a thread that serves nobody else.
async fn aside<T: Send + 'static>(is_long: bool, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if is_long { tokio::task::spawn_blocking(work).await.ok() } else { Some(work()) }
}

/// The latest picture of a read.
#[derive(Debug, Default)]
struct Latest {
    picture: Option<Picture>,
    /// How many were answered with it.
    readers: usize,
    /// When the next one may be made, if it is for many.
    due: Option<Instant>,
}

type Slot = Arc<tokio::sync::Mutex<Latest>>;

/// Each read is rendered, and packed, once for each version, however many ask.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    slots: Mutex<BTreeMap<Read, Slot>>,
    hits: AtomicU64,
}

/// All such endpoints.
pub(super) async fn serve<B>(app: &Arc<App>, route: &Route<'_>, request: &Request<B>) -> Response<Body> {
    let query = match Query::parse(request.uri().query().unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return answer::text(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let headers = request.headers();
    match route {
        Route::Help => return help::serve(&plain::ENDPOINTS, request.uri().path(), headers, &query),
        Route::Profiler => return help::no_profiler(),
        _ => {}
    }
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
        Route::Prometheus => return metrics::prometheus(app, headers).await,
        Route::LoggingToggle => return endpoints::logging_toggle(query),
        Route::Registry => {
            let leader = Arc::clone(app);
            return written(app, headers, query, move |view| view::registry(view, leader.master())).await;
        }
        // Whatever is asked beside it is ignored: it knows no JSONP.
        Route::OfferConstraints => return written(app, headers, &Query::default(), view::offer_constraints).await,
        Route::Constant(constant) => (*constant).to_owned(),
        _ => return answer::bare(StatusCode::NOT_FOUND),
    };
    answer::json(headers, query, body.into()).await
}

/// What takes a while to write, and is rarely asked for.
async fn written(
    app: &App,
    headers: &HeaderMap,
    query: &Query,
    write: impl FnOnce(&View) -> Vec<u8> + Send + 'static,
) -> Response<Body> {
    let view = app.published.snapshot();
    match tokio::task::spawn_blocking(move || write(&view)).await {
        Ok(body) => answer::json(headers, query, body.into()).await,
        Err(_) => answer::bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
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
    let packed = accepts_gzip(headers) && query.get("jsonp").is_none();
    let Some(picture) = app.rendered.get(app, read, packed).await else {
        return answer::bare(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = match (picture.packed, picture.text) {
        (Some(body), _) if packed => answer::packed_json(body),
        (_, text) => answer::json(headers, query, text.unwrap_or_default()).await,
    };
    if let Some(tag) = tag(picture.version) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

impl Rendered {
    /// What the read tells of a version that is not older than the request. Whoever comes while it is written waits for what
    /// is written next, together with all others who wait: however many ask, one writes. For a crowd it rests in between.
    async fn get(&self, app: &Arc<App>, read: Read, packed: bool) -> Option<Picture> {
        let wanted = app.published.version();
        let is_kept = read.is_kept();
        let slot = self.slot(&read);
        let mut latest = slot.lock().await;
        if latest.picture.as_ref().is_some_and(|picture| picture.version >= wanted) {
            self.hits.fetch_add(1, Ordering::Relaxed);
        } else {
            if let Some(due) = latest.due.filter(|_| latest.readers >= CROWD) {
                tokio::time::sleep_until(due).await;
            }
            let begin = std::time::Instant::now();
            let older = latest.picture.as_ref().map(|picture| Arc::clone(&picture.pieces));
            let mut picture = Picture::of(app, read, older).await?;
            picture.write(packed).await?;
            let rest = (begin.elapsed() * REST).min(LONGEST_REST);
            *latest = Latest { picture: Some(picture), readers: 0, due: Some(Instant::now() + rest) };
        }
        latest.readers += 1;
        let picture = latest.picture.as_mut()?;
        picture.write(packed).await?;
        let picture = picture.clone();
        if !is_kept && picture.pieces.len() > SMALL {
            latest.picture = None;
        }
        Some(picture)
    }

    /// Reads that were answered with what had been written for others.
    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    fn slot(&self, read: &Read) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= REMEMBERED && !slots.contains_key(read) {
            slots.clear();
        }
        Arc::clone(slots.entry(read.clone()).or_default())
    }
}

fn render(view: &View, app: &App, read: &Read, older: Option<&Pieces>) -> Pieces {
    match read {
        Read::State => view::state(view, app.master(), older),
        Read::Summary => view::summary(view, app.master()).into(),
        Read::Agents(wanted) => view::agents(view, wanted.as_deref()).into(),
        Read::Frameworks(wanted) => view::frameworks(view, wanted.as_deref(), older),
        Read::Tasks(framework_id, task_id, limit, offset, ascending) => {
            let query = TaskQuery {
                framework_id: framework_id.clone(),
                task_id: task_id.clone(),
                limit: *limit,
                offset: *offset,
                ascending: *ascending,
            };
            view::tasks(view, &query).into()
        }
        Read::Roles => view::roles(view, app.flags.roles.as_deref()).into(),
    }
}

#[cfg(test)]
mod tests {
    use mezzo_master_core::{effect::Change, registry::Recovered};

    use super::*;
    use crate::{flags::Flags, identity::Identity, stand_in, view::Published};

    #[tokio::test(start_paused = true)]
    async fn a_crowd_waits_for_its_next_picture_and_one_reader_does_not() {
        let (flags, published) = (Flags::default(), Arc::new(Published::new(&Recovered::default())));
        let identity = Identity::new(&flags, "127.0.0.1:5050".parse().unwrap(), None);
        let app = Arc::new(stand_in::app(flags, identity, published));
        let next = |role: &str| app.published.apply(vec![Change::Weight(role.to_owned(), 2.0)]);
        let read = async || {
            let begin = Instant::now();
            let picture = app.rendered.get(&app, Read::State, true).await.unwrap();
            assert_eq!(picture.version, app.published.version());
            begin.elapsed()
        };
        for role in ["a", "b", "c"] {
            next(role);
            assert_eq!((read().await, read().await), (Duration::ZERO, Duration::ZERO));
        }
        for _ in 0..CROWD {
            assert_eq!(read().await, Duration::ZERO, "it was written");
        }
        assert_eq!(app.rendered.hits(), 3 + CROWD as u64);
        next("d");
        let waited = read().await;
        assert!(!waited.is_zero() && waited <= LONGEST_REST, "{waited:?}");
        next("e");
        assert_eq!(read().await, Duration::ZERO, "the crowd is gone");
    }

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
