//! One control link: the master's messages in the request's body, the agent's in the response's.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use mezzo_api::{
    frame::{self, FrameError, encode_frame},
    link::{FromAgent, ToAgent, to_agent},
};
use mezzo_master_core::input::{LinkId, LinkUp};
use prost::Message;

use super::{HandshakeError, LIMITS, LinkSink, handshake};
use crate::{
    http::App,
    outbox,
    server::{CoreHandle, Cut, Input, Stopped},
};

/// Messages are gathered into pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;
/// How long an agent may take to end a link that the master has ended.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("the connection broke: {0}")]
    Connection(#[from] hyper::Error),
    #[error("the agent answered {0} to the control request")]
    Refused(StatusCode),
    #[error("the agent sent what is no message: {0}")]
    Frame(#[from] FrameError),
    #[error("the agent sent what is no message: {0}")]
    Message(#[from] prost::DecodeError),
    #[error("the agent read too slowly")]
    Cut,
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The link from its upgrade to its end.
pub(super) async fn run(app: Arc<App>, peer: SocketAddr, upgrade: OnUpgrade) {
    let link = app.links.next_id();
    match talk(&app, link, peer, upgrade).await {
        Ok(()) => tracing::info!(link = link.0, %peer, "a link ended"),
        Err(LinkError::Stopped(_)) => {}
        Err(error) => tracing::warn!(link = link.0, %peer, %error, "a link ended"),
    }
}

async fn talk(app: &App, link: LinkId, peer: SocketAddr, upgrade: OnUpgrade) -> Result<(), LinkError> {
    let (mut sender, connection) = handshake(upgrade, None).await?;
    let cut = Cut::default();
    let (messages, queue) = outbox::channel(LIMITS);
    let closing = Cut::default();
    let body = Outgoing { term: app.links.term(), queue, buffer: BytesMut::new() };
    let sink = LinkSink { messages: Arc::new(messages), connection: cut.clone(), closing: closing.clone() };
    app.core.send(Input::LinkUp(LinkUp { link, peer: peer.ip() }, sink)).await?;
    let _down = Down { link, core: app.core.clone() };

    let request =
        Request::post("http://agent/link/control").body(body).unwrap_or_else(|_| unreachable!("it is constant"));
    let response = sender.send_request(request);
    let reading = async {
        let response = response.await?;
        if response.status() != StatusCode::OK {
            return Err(LinkError::Refused(response.status()));
        }
        read(app, link, response.into_body()).await
    };
    let mut reading = std::pin::pin!(reading);
    tokio::select! {
        result = &mut reading => result,
        // What came before the connection's end, a goodbye for one, is there to be read.
        result = connection => reading.await.and(result.map_err(LinkError::from)),
        () = cut.wanted() => Err(LinkError::Cut),
        () = async {
            closing.wanted().await;
            tokio::time::sleep(GOODBYE).await;
        } => Ok(()),
    }
}

async fn read(app: &App, link: LinkId, mut body: Incoming) -> Result<(), LinkError> {
    let mut decoder = frame::Decoder::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        decoder.feed(&piece);
        let mut messages = Vec::new();
        while let Some(bytes) = decoder.next()? {
            messages.push(FromAgent::decode(bytes)?);
        }
        if !messages.is_empty() {
            app.core.send(Input::Agent(link, messages)).await?;
        }
    }
    Ok(())
}

/// Tells the core of the link's end, however it came.
struct Down {
    link: LinkId,
    core: CoreHandle,
}

impl Drop for Down {
    fn drop(&mut self) {
        self.core.send_later(Input::LinkDown(self.link));
    }
}

/// The request's body. What waits is gathered into one piece.
struct Outgoing {
    term: u64,
    queue: outbox::Receiver<Box<to_agent::Message>>,
    buffer: BytesMut,
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            match this.queue.poll_next(context) {
                Poll::Ready(Some(message)) => {
                    let message = ToAgent { term: this.term, message: Some(*message) };
                    encode_frame(&mut this.buffer, &message);
                    if this.buffer.len() >= PIECE_BYTES {
                        break;
                    }
                }
                Poll::Ready(None) if this.buffer.is_empty() => return Poll::Ready(None),
                Poll::Pending if this.buffer.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(Some(Ok(Frame::data(this.buffer.split().freeze()))))
    }
}

#[cfg(test)]
mod tests {
    use mezzo_api::link::Ping;

    use super::*;

    #[tokio::test]
    async fn messages_that_wait_go_out_in_one_piece_with_the_term() {
        let (sender, queue) = outbox::channel(LIMITS);
        let mut body = Outgoing { term: 7, queue, buffer: BytesMut::new() };
        for sequence in 1..=3 {
            sender.push(Box::new(to_agent::Message::Ping(Ping { sequence })), 2).unwrap();
        }
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let mut decoder = frame::Decoder::new();
        decoder.feed(&piece);
        for sequence in 1..=3 {
            let message = ToAgent::decode(decoder.next().unwrap().unwrap()).unwrap();
            assert_eq!(message, ToAgent { term: 7, message: Some(to_agent::Message::Ping(Ping { sequence })) });
        }
        assert!(decoder.is_at_boundary());
        drop(sender);
        assert!(body.frame().await.is_none());
    }
}
