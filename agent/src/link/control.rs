//! `POST /link/control`: the request's body is what the master says, the response's body what the agent says.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mezzo_agent_core::effect::LinkId;
use mezzo_api::{frame::Decoder, link};
use mezzo_server::http::answer::text;
use prost::Message;
use tokio_util::sync::CancellationToken;

use crate::{
    http::Body,
    outbox::outbox,
    shell::{Handle, Input},
};

/// What may wait for a master that does not read: a re-registration of everything, and more.
const LIMIT_BYTES: usize = 64 << 20;

/// One link connection.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    token: CancellationToken,
    handle: Handle,
    opened: Arc<AtomicBool>,
    present: Arc<Mutex<BTreeSet<LinkId>>>,
}

impl Session {
    pub(super) fn new(token: CancellationToken, handle: Handle) -> Self {
        Self { token, handle, opened: Arc::default(), present: Arc::default() }
    }

    /// The control stream was opened once.
    pub(super) fn was_open(&self) -> bool {
        self.opened.load(Ordering::Relaxed)
    }

    /// The control stream is open.
    pub(super) fn is_open(&self) -> bool {
        self.present.lock().is_ok_and(|present| !present.is_empty())
    }

    fn ended(&self, link: LinkId) {
        let was_there = self.present.lock().is_ok_and(|mut present| present.remove(&link));
        if was_there {
            self.handle.tell(Input::LinkDown(link));
            self.token.cancel();
        }
    }
}

/// Opens the control stream.
pub(crate) fn control(request: Request<Incoming>, session: &Session) -> Response<Body> {
    if request.method() != http::Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "the control stream is opened by POST");
    }
    let link = LinkId(session.handle.number());
    let ending = session.clone();
    let (outbox, body) = outbox(LIMIT_BYTES, move || ending.ended(link));
    if let Ok(mut present) = session.present.lock() {
        present.insert(link);
    }
    session.opened.store(true, Ordering::Relaxed);
    session.handle.tell(Input::LinkUp(link, outbox, session.token.clone()));
    tokio::spawn(listen(request.into_body(), link, session.clone()));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-mezzo-link"));
    response
}

/// Hands on what the master says, until it ends.
async fn listen(mut body: Incoming, link: LinkId, session: Session) {
    let mut decoder = Decoder::new();
    while let Some(piece) = body.frame().await {
        let Ok(piece) = piece else { break };
        let Some(data) = piece.data_ref() else { continue };
        decoder.feed(data);
        let mut messages = Vec::new();
        let understood = loop {
            match decoder.next() {
                Ok(Some(frame)) => match link::ToAgent::decode(frame) {
                    Ok(message) => messages.push(message),
                    Err(error) => {
                        tracing::warn!("the master said what this agent cannot read: {error}");
                        break false;
                    }
                },
                Ok(None) => break true,
                Err(error) => {
                    tracing::warn!("the master broke the link's protocol: {error}");
                    break false;
                }
            }
        };
        if !messages.is_empty() {
            session.handle.tell(Input::Master(link, messages));
        }
        if !understood {
            break;
        }
    }
    session.ended(link);
}
