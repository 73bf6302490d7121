//! A server whose every answer the test decides.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use mezzo_api::{
    codec::{self, ApiMessage, Encoding},
    recordio,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

type Body = BoxBody<Bytes, io::Error>;
/// Decides the answer to a call that is no SUBSCRIBE: status, headers and text.
type Rule = Box<dyn Fn(&Received) -> Reply + Send>;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Which connection it came on.
    pub(super) connection: u64,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn encoding(&self) -> Encoding {
        match self.header("content-type") {
            Some("application/json") => Encoding::Json,
            Some("application/x-protobuf") => Encoding::Protobuf,
            other => panic!("content type {other:?}"),
        }
    }

    pub(super) fn read<M: ApiMessage>(&self) -> M {
        codec::decode(self.encoding(), &self.body).unwrap()
    }
}

/// What the server does with a request.
pub(super) enum Reply {
    Status(u16, Vec<(&'static str, String)>, String),
    /// The connection breaks without an answer.
    Break,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Reply::Status(status, Vec::new(), String::new())
    }
}

struct Shared {
    rule: Mutex<Rule>,
    calls: mpsc::UnboundedSender<Received>,
    subscriptions: mpsc::UnboundedSender<(Received, mpsc::UnboundedSender<Answer>)>,
}

enum Answer {
    Reply(Reply),
    Stream(Vec<(&'static str, String)>),
    Bytes(Bytes),
    Break,
}

/// Listens on a free port of the loopback until it is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    calls: mpsc::UnboundedReceiver<Received>,
    subscriptions: mpsc::UnboundedReceiver<(Received, mpsc::UnboundedSender<Answer>)>,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    /// `is_subscribe` tells a SUBSCRIBE from other calls.
    pub(super) async fn start(is_subscribe: fn(&Received) -> bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to_calls, calls) = mpsc::unbounded_channel();
        let (to_subscriptions, subscriptions) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            rule: Mutex::new(Box::new(|_| Reply::status(202))),
            calls: to_calls,
            subscriptions: to_subscriptions,
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), is_subscribe));
        Self { address, shared, calls, subscriptions, accepting }
    }

    /// From now on calls are answered so.
    pub(super) fn answer_calls(&self, rule: impl Fn(&Received) -> Reply + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// The next SUBSCRIBE; it waits for its answer.
    pub(super) async fn subscription(&mut self) -> Subscription {
        let (request, answer) = soon(self.subscriptions.recv()).await.unwrap();
        Subscription { request, answer }
    }

    /// The next call that is no SUBSCRIBE.
    pub(super) async fn call(&mut self) -> Received {
        soon(self.calls.recv()).await.unwrap()
    }
}

/// A SUBSCRIBE, and the stream that it may become.
pub(super) struct Subscription {
    pub(super) request: Received,
    answer: mpsc::UnboundedSender<Answer>,
}

impl Subscription {
    pub(super) fn refuse(self, status: u16, headers: Vec<(&'static str, String)>, text: &str) {
        self.tell(Answer::Reply(Reply::Status(status, headers, text.to_owned())));
    }

    pub(super) fn accept(&self, stream_id: &str) {
        self.tell(Answer::Stream(vec![("mesos-stream-id", stream_id.to_owned())]));
    }

    pub(super) fn send<M: ApiMessage>(&self, event: &M) {
        self.send_bytes(record(self.request.encoding(), event));
    }

    /// Any piece of the stream.
    pub(super) fn send_bytes(&self, bytes: Bytes) {
        self.tell(Answer::Bytes(bytes));
    }

    /// The connection breaks in the middle of the stream.
    pub(super) fn break_off(self) {
        self.tell(Answer::Break);
    }

    fn tell(&self, answer: Answer) {
        // the driver may have left
        let _ = self.answer.send(answer);
    }

    /// Waits until the driver has left.
    pub(super) async fn left(&self) {
        soon(self.answer.closed()).await;
    }
}

/// An encoded event as it stands in a stream.
pub(super) fn record<M: ApiMessage>(encoding: Encoding, event: &M) -> Bytes {
    let mut out = BytesMut::new();
    recordio::encode_record(&mut out, &codec::encode(encoding, event));
    out.freeze()
}

/// Nothing in these tests takes long; what hangs, fails.
pub(super) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it came to nothing within 20 s")
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, is_subscribe: fn(&Received) -> bool) {
    let mut connections = tokio::task::JoinSet::new(); // they end with the server
    for connection in 0.. {
        let Ok((socket, _)) = listener.accept().await else { return };
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| serve(request, connection, Arc::clone(&shared), is_subscribe));
        connections.spawn(async move {
            // a broken connection is what some of these tests are about
            let _ = hyper::server::conn::http1::Builder::new()
                .half_close(false)
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

async fn serve(
    request: Request<Incoming>,
    connection: u64,
    shared: Arc<Shared>,
    is_subscribe: fn(&Received) -> bool,
) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let request = Received { path: head.uri.path().to_owned(), headers: head.headers, body, connection };
    if !is_subscribe(&request) {
        let reply = (shared.rule.lock().unwrap())(&request);
        let _ = shared.calls.send(request);
        return reply_of(reply);
    }
    let (answer, mut answers) = mpsc::unbounded_channel();
    let _ = shared.subscriptions.send((request, answer));
    match answers.recv().await {
        Some(Answer::Reply(reply)) => reply_of(reply),
        Some(Answer::Stream(headers)) => {
            let mut response = Response::builder().status(200);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let frames: Pin<Box<dyn futures_util::Stream<Item = _> + Send + Sync>> =
                Box::pin(futures_util::stream::unfold(answers, next_frame));
            Ok(response.body(BodyExt::boxed(StreamBody::new(frames))).unwrap())
        }
        _ => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

type Frames = (Result<Frame<Bytes>, io::Error>, mpsc::UnboundedReceiver<Answer>);

async fn next_frame(mut answers: mpsc::UnboundedReceiver<Answer>) -> Option<Frames> {
    match answers.recv().await {
        Some(Answer::Bytes(bytes)) => Some((Ok(Frame::data(bytes)), answers)),
        Some(Answer::Break) => Some((Err(io::ErrorKind::ConnectionAborted.into()), answers)),
        _ => None,
    }
}

fn reply_of(reply: Reply) -> Result<Response<Body>, io::Error> {
    match reply {
        Reply::Break => Err(io::ErrorKind::ConnectionAborted.into()),
        Reply::Status(status, headers, text) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed();
            Ok(response.body(body).unwrap())
        }
    }
}
