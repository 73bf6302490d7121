//! The link: the agent dials the master, and serves HTTP/2 on the connection that it opened
//! (`api/types/proto/mezzo/link.proto` says how they speak).

mod control;
mod dial;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

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
const LAST_FRAMES: Duration = Duration::from_millis(200);

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

/// Keeps a link with the master at `address`, for ever.
pub(crate) async fn keep(
    address: String,
    backoff: Duration,
    door: Arc<Door>,
    handle: Handle,
    mut bulk: mpsc::UnboundedReceiver<String>,
) {
    let present = Arc::new(std::sync::Mutex::new(address.clone()));
    let control = keep_control(address, backoff, door.clone(), handle, present.clone());
    let serve_bulk = async {
        while let Some(token) = bulk.recv().await {
            let leader = present.lock().map(|leader| leader.clone()).unwrap_or_default();
            tokio::spawn(bulk_connection(leader, token, door.clone()));
        }
    };
    tokio::join!(control, serve_bulk);
}

async fn keep_control(
    address: String,
    backoff: Duration,
    door: Arc<Door>,
    handle: Handle,
    present: Arc<std::sync::Mutex<String>>,
) {
    let first = backoff / FIRST_BACKOFF_PART;
    let mut limit = first;
    let mut failures = 0_u32;
    let mut random = SmallRng::seed_from_u64(seed());
    loop {
        let began = Instant::now();
        let opened = match dial::dial(&address, None).await {
            Ok(connection) => {
                if let Ok(mut leader) = present.lock() {
                    leader.clone_from(&connection.leader);
                }
                serve(connection, door.clone(), handle.clone()).await
            }
            Err(error) => {
                if failures.is_power_of_two() || failures == 0 {
                    tracing::warn!(master = %address, "no link with the master: {error}");
                }
                false
            }
        };
        if opened && began.elapsed() >= STABLE_AFTER {
            (limit, failures) = (first, 0);
            continue; // it stood: the next dial is immediate
        }
        failures = failures.saturating_add(1);
        let wait = random.random_range(Duration::ZERO..=limit);
        limit = (limit * 2).min(backoff * LAST_BACKOFF_FACTORS);
        tokio::time::sleep(wait).await;
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
    let connection = match dial::dial(&leader, Some(&token)).await {
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
        .serve_connection(TokioIo::new(connection.stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("the second connection broke: {error}");
    }
}
