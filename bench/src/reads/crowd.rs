//! Those who look on: pollers of `/state` and subscribers to events.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::figure::{Figure, percentile};

/// Bytes.
const READ_AT_A_TIME: usize = 64 * 1024;

/// A connection that is kept.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let mut builder = hyper::client::conn::http1::Builder::new();
        // Others have the processor between two reads.
        let (sender, connection) = builder.max_buf_size(READ_AT_A_TIME).handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: address.to_string() })
    }

    /// GETs, reads all of the body, and gives its length.
    pub(crate) async fn get(&mut self, path: &str, packed: bool) -> Result<usize> {
        let mut request = Request::get(path).header(header::HOST, &self.host);
        if packed {
            request = request.header(header::ACCEPT_ENCODING, "gzip");
        }
        let response = self.ask(request.body(Full::default())?).await?;
        let (mut body, mut bytes) = (response.into_body(), 0);
        while let Some(frame) = body.frame().await {
            bytes += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(bytes)
    }

    /// Subscribes to events; what comes is the body.
    pub(crate) async fn subscribe(&mut self) -> Result<Incoming> {
        let request = Request::post("/api/v1")
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json");
        let response = self.ask(request.body(Full::from(r#"{"type":"SUBSCRIBE"}"#))?).await?;
        Ok(response.into_body())
    }

    async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            bail!("the master answers {}", response.status());
        }
        Ok(response)
    }
}

/// What the crowd saw.
#[derive(Debug, Default)]
struct Seen {
    polls_ms: Mutex<Vec<f64>>,
    polled: AtomicUsize,
    subscribed: AtomicUsize,
    event_bytes: AtomicUsize,
    failed: AtomicUsize,
}

/// The process `mezzo-bench look-on ADDRESS POLLERS SUBSCRIBERS`: says `ready` once everybody has seen the state, goes on until
/// a line comes, and prints what it saw.
pub(crate) async fn look_on(words: &[String]) -> Result<()> {
    let [address, pollers, subscribers] = words else { bail!("ADDRESS POLLERS SUBSCRIBERS are expected") };
    let (address, pollers, subscribers): (SocketAddr, usize, usize) =
        (address.parse()?, pollers.parse()?, subscribers.parse()?);
    let seen = Arc::new(Seen::default());
    for _ in 0..subscribers {
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            if subscriber(address, &seen).await.is_err() {
                seen.failed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for number in 0..pollers {
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            // Spread over the second.
            tokio::time::sleep(Duration::from_secs(1).mul_f64(number as f64 / pollers as f64)).await;
            if poller(address, &seen).await.is_err() {
                seen.failed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while seen.polled.load(Ordering::Relaxed) < pollers || seen.subscribed.load(Ordering::Relaxed) < subscribers {
        if seen.failed.load(Ordering::Relaxed) > 0 {
            bail!("a reader was refused");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("ready");
    lock(&seen.polls_ms).clear();
    let start = Instant::now();
    let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next().transpose()).await??;
    report(&seen, start.elapsed(), pollers, subscribers, line.as_deref() == Some("json"));
    Ok(())
}

async fn poller(address: SocketAddr, seen: &Seen) -> Result<()> {
    let mut client = Client::connect(address).await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in 0.. {
        ticks.tick().await;
        let start = Instant::now();
        client.get("/state", true).await?;
        lock(&seen.polls_ms).push(start.elapsed().as_secs_f64() * 1000.0);
        if round == 0 {
            seen.polled.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

async fn subscriber(address: SocketAddr, seen: &Seen) -> Result<()> {
    let mut events = Client::connect(address).await?.subscribe().await?;
    let mut first = true;
    while let Some(frame) = events.frame().await {
        let bytes = frame?.data_ref().map_or(0, Bytes::len);
        seen.event_bytes.fetch_add(bytes, Ordering::Relaxed);
        if std::mem::take(&mut first) {
            seen.subscribed.fetch_add(1, Ordering::Relaxed);
        }
    }
    bail!("the stream ended")
}

fn report(seen: &Seen, over: Duration, pollers: usize, subscribers: usize, json: bool) {
    let mut times = lock(&seen.polls_ms).clone();
    times.sort_by(f64::total_cmp);
    let print = |case: &str, value: f64, unit: &'static str| {
        Figure::new("watched", case, value, unit).with("pollers", pollers).with("subscribers", subscribers).print(json);
    };
    print("crowd_polls_per_second", times.len() as f64 / over.as_secs_f64(), "1/s");
    if !times.is_empty() {
        print("crowd_poll_p50", percentile(&times, 0.5), "ms");
        print("crowd_poll_p99", percentile(&times, 0.99), "ms");
    }
    print("crowd_refused", seen.failed.load(Ordering::Relaxed) as f64, "count");
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The socket of a subscriber that never reads.
pub(super) fn silent(address: SocketAddr) -> Result<std::net::TcpStream> {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(address)?;
    let body = r#"{"type":"SUBSCRIBE"}"#;
    write!(
        stream,
        "POST /api/v1 HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(stream)
}
