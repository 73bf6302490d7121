//! The agents' links (`mezzo/link.proto`): an agent dials, asks for an upgrade, and serves HTTP/2 on the connection, whose
//! client is the master. One such connection carries control, a second one, opened when it is needed, everything else.

mod control;
mod directory;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONNECTION, UPGRADE},
};
use hyper::{
    body::Incoming,
    client::conn::http2,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use mezzo_api::link::to_agent;
use mezzo_server::http::answer;

pub(crate) use directory::{Links, ReachError};

use crate::{
    http::{App, Body},
    outbox::{self, Limits},
    server::Cut,
};

/// The version that this master speaks.
const VERSION: &str = "1";
const VERSION_HEADER: &str = "mezzo-link-version";
const BULK_HEADER: &str = "mezzo-link-bulk";
const PROTOCOL: &str = "mezzo-link";

/// Messages that may wait for an agent that reads slowly.
const LIMITS: Limits = Limits { messages: 65_536, bytes: 64 * 1024 * 1024 };
/// An agent that upgraded and then does not speak HTTP/2 is let go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// Bulk connections are kept through routers that forget idle ones.
const BULK_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// What may be on its way to this master before it is taken.
struct Windows {
    stream: u32,
    connection: u32,
}

const CONTROL_WINDOWS: Windows = Windows { stream: 4 * 1024 * 1024, connection: 8 * 1024 * 1024 };
/// The connection's is that of very many streams: who reads one of them slowly holds nobody else up.
const BULK_WINDOWS: Windows = Windows { stream: 1024 * 1024, connection: 512 * 1024 * 1024 };

/// Where an agent's messages go.
#[derive(Debug)]
pub(crate) struct LinkSink {
    /// The link's queue.
    pub(crate) messages: Arc<outbox::Sender<Box<to_agent::Message>>>,
    /// Ends the link when its reader is too slow.
    pub(crate) connection: Cut,
    /// Ends the link after what was sent before.
    pub(crate) closing: Cut,
}

/// `GET /link`
pub(crate) fn accept(app: &Arc<App>, peer: SocketAddr, mut request: Request<Incoming>) -> Response<Body> {
    if let Err(text) = checked(&request) {
        return refusal(StatusCode::UPGRADE_REQUIRED, text);
    }
    let bulk = request.headers().get(BULK_HEADER).map(|token| String::from_utf8_lossy(token.as_bytes()).into_owned());
    let upgrade = hyper::upgrade::on(&mut request);
    match bulk {
        None => {
            tokio::spawn(control::run(Arc::clone(app), peer, upgrade));
        }
        Some(token) => {
            let Some(asked) = app.links.asked_for(&token) else {
                return refusal(StatusCode::NOT_FOUND, "Nobody asked for a bulk connection with this token.");
            };
            tokio::spawn(directory::run_bulk(asked, upgrade));
        }
    }
    let mut response = answer::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    headers.insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
    response
}

fn checked(request: &Request<Incoming>) -> Result<(), &'static str> {
    let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    if !header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(PROTOCOL.as_bytes())) {
        return Err("This is where Mezzo's agents open their links: a request needs 'Upgrade: mezzo-link'.");
    }
    if header(VERSION_HEADER) != Some(VERSION.as_bytes()) {
        return Err(
            "This master speaks version 1 of the link ('Mezzo-Link-Version: 1'): upgrade the older one of agent and master.",
        );
    }
    Ok(())
}

fn refusal(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::Full(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    response
}

/// Why a link did not come about.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("the connection was not upgraded: {0}")]
    Upgrade(hyper::Error),
    #[error("no HTTP/2 on the upgraded connection: {0}")]
    Http2(hyper::Error),
    #[error("no HTTP/2 on the upgraded connection in time")]
    Timeout,
}

type Connection<B> = http2::Connection<Upgraded, B, TokioExecutor>;

async fn handshake<B>(
    upgrade: OnUpgrade,
    keep_alive: Option<Duration>,
) -> Result<(http2::SendRequest<B>, Connection<B>), HandshakeError>
where
    B: http_body::Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<crate::http::BoxError>,
{
    let windows = if keep_alive.is_some() { BULK_WINDOWS } else { CONTROL_WINDOWS };
    let shaken = async {
        let upgraded = upgrade.await.map_err(HandshakeError::Upgrade)?;
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(windows.stream)
            .initial_connection_window_size(windows.connection)
            .max_frame_size(256 * 1024)
            .keep_alive_interval(keep_alive)
            .keep_alive_timeout(BULK_KEEP_ALIVE)
            .keep_alive_while_idle(keep_alive.is_some())
            .handshake(upgraded)
            .await
            .map_err(HandshakeError::Http2)
    };
    tokio::time::timeout(HANDSHAKE_TIMEOUT, shaken).await.map_err(|_| HandshakeError::Timeout)?
}
