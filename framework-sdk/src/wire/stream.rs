//! The connection of a subscription: its request, and the response that never ends.

use std::{fmt, io, pin::Pin};

use bytes::{Bytes, BytesMut};
use mezzo_api::{codec::ApiMessage, codec::Encoding, recordio};
use mezzo_sdk_core::answer::Answer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    response::{Head, Parser, Piece},
    socket::{Io, Peer, Requests},
};

/// What is kept of the body of a refusal.
const MAX_MESSAGE_BYTES: usize = 8 * 1024;
/// What is read at once: many small events in one go.
const READ_BYTES: usize = 64 * 1024;

/// What comes of a subscription, in order.
#[derive(Debug)]
pub(crate) enum Item {
    /// The answer to the SUBSCRIBE; nothing follows unless its status is 200.
    Head(Answer),
    /// An encoded event.
    Record(Encoding, Bytes),
    /// The last item: why there is no more.
    Closed(String),
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

enum State {
    Connecting(Connecting),
    Open(Box<dyn Io>),
    Closed,
}

/// A subscription's connection.
pub(crate) struct EventStream {
    peer: Peer,
    state: State,
    buffer: BytesMut,
    parser: Parser,
    records: recordio::Decoder,
    encoding: Encoding,
    refusal: Option<Answer>,
}

impl EventStream {
    /// Will connect to `peer` and send this SUBSCRIBE.
    pub(crate) fn open<M: ApiMessage>(peer: Peer, requests: &Requests, subscribe: &M, max_record_bytes: usize) -> Self {
        let mut request = BytesMut::new();
        requests.clone().with("Accept", requests.encoding().media_type()).write(subscribe, &mut request);
        let to = peer.clone();
        let connecting = async move {
            let mut socket = to.connect().await?;
            socket.write_all(&request).await?;
            Ok(socket)
        };
        Self {
            peer,
            state: State::Connecting(Box::pin(connecting)),
            buffer: BytesMut::new(),
            parser: Parser::new(),
            records: recordio::Decoder::new(max_record_bytes),
            encoding: requests.encoding(),
            refusal: None,
        }
    }

    /// Waits for something to come, and appends all that came. May be dropped and called again at any time.
    pub(crate) async fn read(&mut self, items: &mut Vec<Item>) {
        let before = items.len();
        while items.len() == before {
            if let Err(reason) = self.read_once(items).await {
                self.state = State::Closed;
                items.push(Item::Closed(reason));
            }
        }
    }

    async fn read_once(&mut self, items: &mut Vec<Item>) -> Result<(), String> {
        match &mut self.state {
            State::Closed => std::future::pending().await,
            State::Connecting(connecting) => {
                let socket = connecting.await.map_err(|error| format!("cannot connect to {}: {error}", self.peer))?;
                self.state = State::Open(socket);
                Ok(())
            }
            State::Open(socket) => {
                self.buffer.reserve(READ_BYTES);
                let count = socket
                    .read_buf(&mut self.buffer)
                    .await
                    .map_err(|error| format!("{} is lost: {error}", self.peer))?;
                self.parse(items)?;
                if count > 0 || matches!(self.state, State::Closed) {
                    return Ok(());
                }
                if let Some(refusal) = self.refusal.take() {
                    items.push(Item::Head(refusal)); // its body ended with the connection, or was cut
                    self.state = State::Closed;
                    return Ok(());
                }
                Err(format!("{} closed the connection", self.peer))
            }
        }
    }

    fn parse(&mut self, items: &mut Vec<Item>) -> Result<(), String> {
        while let Some(piece) = self.parser.next(&mut self.buffer).map_err(|error| error.to_string())? {
            match piece {
                Piece::Head(head) => self.head(head, items),
                Piece::Body(body) => match &mut self.refusal {
                    Some(refusal) => append(&mut refusal.message, &body),
                    None => {
                        self.records.feed(&body);
                        self.take_records(items)?;
                    }
                },
                Piece::End => {
                    let Some(refusal) = self.refusal.take() else {
                        return Err(format!("{} ended the stream", self.peer));
                    };
                    items.push(Item::Head(refusal));
                    self.state = State::Closed;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn take_records(&mut self, items: &mut Vec<Item>) -> Result<(), String> {
        while let Some(record) = self.records.next().map_err(|error| error.to_string())? {
            items.push(Item::Record(self.encoding, record));
        }
        Ok(())
    }

    fn head(&mut self, head: Head, items: &mut Vec<Item>) {
        if head.content_type.as_deref() == Some(Encoding::Json.media_type()) {
            self.encoding = Encoding::Json;
        }
        let answer = answer(head);
        if answer.status == 200 {
            items.push(Item::Head(answer));
        } else {
            self.refusal = Some(answer);
        }
    }
}

pub(super) fn answer(head: Head) -> Answer {
    Answer {
        status: head.status,
        mesos_stream_id: head.mesos_stream_id,
        location: head.location,
        message: String::new(),
    }
}

/// Appends text, up to a limit.
pub(super) fn append(message: &mut String, body: &[u8]) {
    let room = MAX_MESSAGE_BYTES.saturating_sub(message.len()).min(body.len());
    message.push_str(&String::from_utf8_lossy(&body[..room]));
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("peer", &self.peer).finish_non_exhaustive()
    }
}
