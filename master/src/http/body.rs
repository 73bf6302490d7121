//! Responses' bodies, of each kind.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use mezzo_api::{
    codec::{Encoding, encode_record},
    v1::scheduler::Event,
};
use mezzo_master_core::input::StreamId;

use super::events::OperatorEvents;
use super::ui::Versions;
use crate::{
    outbox,
    server::{CoreHandle, Input},
};

/// What breaks a response off.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response's body.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it.
    Full(Bytes),
    /// A framework's event stream.
    Events(Box<Events>),
    /// What tells a web page of new versions.
    Versions(Box<Versions>),
    /// An operator's event stream.
    OperatorEvents(Box<OperatorEvents>),
    /// A file, or what there is of them.
    File(axum::body::Body),
    /// What an agent answers.
    Relayed(Incoming),
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Full(bytes)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Events(events) => {
                events.poll_record(context).map(|record| record.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Versions(versions) => {
                versions.poll_event(context).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::OperatorEvents(events) => {
                events.poll_record(context).map(|record| record.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::File(file) => Pin::new(file).poll_frame(context).map_err(Into::into),
            Self::Relayed(incoming) => Pin::new(incoming).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_empty(),
            Self::Events(_) | Self::OperatorEvents(_) | Self::Versions(_) => false,
            Self::File(file) => file.is_end_stream(),
            Self::Relayed(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Events(_) | Self::OperatorEvents(_) | Self::Versions(_) => SizeHint::default(),
            Self::File(file) => file.size_hint(),
            Self::Relayed(incoming) => incoming.size_hint(),
        }
    }
}

/// Events as they come from the core, encoded here, in the connection's own task: each is one record in one HTTP chunk,
/// which clients rely on.
#[derive(Debug)]
pub(crate) struct Events {
    /// Which stream.
    pub(crate) stream: StreamId,
    /// The client's choice.
    pub(crate) encoding: Encoding,
    /// What comes.
    pub(crate) queue: outbox::Receiver<Box<Event>>,
    /// Who is told of the end.
    pub(crate) core: CoreHandle,
    /// Room for records.
    pub(crate) buffer: BytesMut,
}

impl Events {
    fn poll_record(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(event) = ready!(self.queue.poll_next(context)) else { return Poll::Ready(None) };
        encode_record(self.encoding, &*event, &mut self.buffer);
        Poll::Ready(Some(self.buffer.split().freeze()))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.core.send_later(Input::StreamClosed(self.stream));
    }
}
