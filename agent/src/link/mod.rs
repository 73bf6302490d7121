//! The link: the agent dials the master, and serves HTTP/2 on the connection that it opened
//! (`api/types/proto/mezzo/link.proto` says how they speak).

mod control;
mod dial;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mezzo_api::v1::MasterInfo;
use mezzo_election::{Detector, listening_at};
use mezzo_server::notify;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use dial::{Introduction, Redirects};

use crate::{http::Door, identity::seed, shell::Handle};

pub(crate) use control::{Session, control};

/// The first back-off is at most this part of `--registration_backoff_factor`.
const FIRST_BACKOFF_PART: u32 = 10;
/// The longest back-off, in factors.
const LAST_BACKOFF_FACTORS: u32 = 10;
/// A link that ends sooner counts as a failure: a master that refuses the agent is not to be asked without end.
const STABLE_AFTER: Duration = Duration::from_secs(1);
/// The master opens the control stream within this time, or the agent dials again.
const CONTROL_WITHIN: Duration = Duration::from_secs(15);
/// A link that is to end may send what waits for so long.
const LAST_FRAMES: Duration = Duration::from_secs(2);

/// Requests at a time on a second connection: each session has two that last.
const BULK_STREAMS: u32 = 1000;
/// What a request's body may be ahead of its reader. The connection's window is that of all streams together, so that a
/// container that does not read its input holds nobody else up.
const BULK_STREAM_WINDOW: u32 = 256 * 1024;

/// Asks for bulk connections.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    bulk: mpsc::UnboundedSender<String>,
}

impl Dialer {
    /// Opens a second connection with the token that the master gave.
    pub(crate) fn open_bulk(&self, token: String) {
        let _ = self.bulk.send(token);
    }
}

/// A dialer, and the requests that it makes.
pub(crate) fn dialer() -> (Dialer, mpsc::UnboundedReceiver<String>) {
    let (bulk, requests) = mpsc::unbounded_channel();
    (Dialer { bulk }, requests)
}

/// The master that is dialled, `host:port`; empty while none is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leader(Arc<Mutex<String>>);

impl Leader {
    /// Whom it is at present.
    pub(crate) fn present(&self) -> String {
        self.0.lock().map(|leader| leader.clone()).unwrap_or_default()
    }

    fn set(&self, leader: &str) {
        if let Ok(mut present) = self.0.lock() {
            leader.clone_into(&mut present);
        }
    }
}

/// Keeps a link with whoever leads, for ever.
pub(crate) struct Keeper {
    pub(crate) detector: Detector,
    pub(crate) backoff: Duration,
    pub(crate) door: Arc<Door>,
    pub(crate) handle: Handle,
    pub(crate) leader: Leader,
    /// The agent ends: the present link is the last one.
    pub(crate) ending: CancellationToken,
}

/// How often dialling failed since a link stood or a new leader was told.
struct Failures {
    count: u32,
    /// The longest wait before the next attempt.
    limit: Duration,
}

impl Keeper {
    /// Until the agent ends, and what it said last is sent. `bulk` are the second connections that are asked for.
    pub(crate) async fn keep(mut self, mut bulk: mpsc::UnboundedReceiver<String>) {
        let (leader, door) = (self.leader.clone(), self.door.clone());
        let serve_bulk = async {
            while let Some(token) = bulk.recv().await {
                tokio::spawn(bulk_connection(leader.present(), token, door.clone()));
            }
            // Nobody asks any more since the agent ends: its last words are still on their way.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.keep_control() => {}
            () = serve_bulk => {}
        }
    }

    async fn keep_control(&mut self) {
        let none = Failures { count: 0, limit: self.backoff / FIRST_BACKOFF_PART };
        let mut failures = Failures { ..none };
        let mut random = SmallRng::seed_from_u64(seed());
        let redirects = if self.detector.knows() { Redirects::Refuse } else { Redirects::Follow };
        let mut told = self.detector.changed().await;
        while !self.ending.is_cancelled() {
            let Some(address) = told.as_ref().map(listening_at) else {
                tokio::select! {
                    new = self.detector.changed() => told = new,
                    () = self.ending.cancelled() => {}
                }
                continue;
            };
            let began = Instant::now();
            let opened = tokio::select! {
                opened = link(&address, redirects, &failures, &self.leader, &self.door, &self.handle) => opened,
                new = another(&mut self.detector, &address) => {
                    // Whoever leads now is dialled at once, whatever became of the one before.
                    tracing::info!(master = %listening_at(&new), "another master leads; dialling it");
                    (failures, told) = (Failures { ..none }, Some(new));
                    continue;
                }
            };
            if opened && began.elapsed() >= STABLE_AFTER {
                failures = Failures { ..none };
                continue; // it stood: the next dial is immediate
            }
            failures.count = failures.count.saturating_add(1);
            if self.detector.failed() {
                told = self.detector.leader();
                continue;
            }
            let wait = random.random_range(Duration::ZERO..=failures.limit);
            failures.limit = (failures.limit * 2).min(self.backoff * LAST_BACKOFF_FACTORS);
            tokio::select! {
                () = tokio::time::sleep(wait) => told = self.detector.leader().or(told),
                new = self.detector.changed() => (failures, told) = (Failures { ..none }, new),
                () = self.ending.cancelled() => {}
            }
        }
    }
}

/// Waits until another one than `present` leads. That nobody does is no reason to end a link that stands.
async fn another(detector: &mut Detector, present: &str) -> MasterInfo {
    loop {
        if let Some(new) = detector.changed().await
            && listening_at(&new) != present
        {
            return new;
        }
    }
}

/// One link, from its dial to its end; whether it was open.
async fn link(
    address: &str,
    redirects: Redirects,
    failures: &Failures,
    leader: &Leader,
    door: &Arc<Door>,
    handle: &Handle,
) -> bool {
    let introduction = Introduction { credential: door.flags.credential.as_ref(), bulk: None };
    match dial::dial(address, redirects, introduction).await {
        Ok(connection) => {
            leader.set(&connection.leader);
            notify::status(&format!("linked with the master at {}", connection.leader));
            let opened = serve(connection, door.clone(), handle.clone()).await;
            notify::status("no link with the master: dialling; tasks run on");
            opened
        }
        Err(error) => {
            if failures.count.is_power_of_two() || failures.count == 0 {
                tracing::warn!(master = %address, "no link with the master: {error}");
            }
            false
        }
    }
}

/// Serves the connection until its end; whether the master opened the control stream.
async fn serve(connection: dial::Connection, door: Arc<Door>, handle: Handle) -> bool {
    let token = CancellationToken::new();
    let session = control::Session::new(token.clone(), handle);
    let service = {
        let session = session.clone();
        hyper::service::service_fn(move |request| {
            let (door, session) = (door.clone(), session.clone());
            async move { Ok::<_, std::convert::Infallible>(door.serve(request, Some(&session)).await) }
        })
    };
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(connection.stream), service);
    let mut connection = std::pin::pin!(connection);
    let idle = async {
        tokio::time::sleep(CONTROL_WITHIN).await;
        if session.is_open() {
            std::future::pending().await
        }
    };
    tokio::select! {
        result = connection.as_mut() => if let Err(error) = result {
            tracing::warn!("the link broke: {error}");
        },
        () = token.cancelled() => {
            // What was said last, a goodbye for one, is still on its way.
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(LAST_FRAMES, connection).await;
        }
        () = idle => tracing::warn!("the master did not open the control stream"),
    }
    session.was_open()
}

/// A second connection, for downloads: its end is nobody's loss.
async fn bulk_connection(leader: String, token: String, door: Arc<Door>) {
    let introduction = Introduction { credential: door.flags.credential.as_ref(), bulk: Some(&token) };
    let connection = match dial::dial(&leader, Redirects::Refuse, introduction).await {
        Ok(connection) => connection,
        Err(error) => {
            tracing::warn!(master = %leader, "no second connection: {error}");
            return;
        }
    };
    let service = hyper::service::service_fn(move |request| {
        let door = door.clone();
        async move { Ok::<_, std::convert::Infallible>(door.serve(request, None).await) }
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(BULK_STREAMS)
        .initial_stream_window_size(BULK_STREAM_WINDOW)
        .initial_connection_window_size(BULK_STREAMS * BULK_STREAM_WINDOW)
        .serve_connection(TokioIo::new(connection.stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("the second connection broke: {error}");
    }
}
