//! Bounded ways from the core's thread to a connection. The core never waits: what is full belongs to a reader that is
//! too slow, and is cut off.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

/// The core's end. Dropping it ends the body after what waits in it.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<AtomicUsize>,
    limit_bytes: usize,
}

/// The connection's end: a response body, one chunk for each message.
pub(crate) struct OutboxBody {
    queue: mpsc::UnboundedReceiver<Bytes>,
    waiting: Arc<AtomicUsize>,
    on_end: Option<Box<dyn FnOnce() + Send + Sync>>,
}

/// An empty body of at most `limit_bytes` waiting; `on_end` is called when the connection does not read it any more.
pub(crate) fn outbox(limit_bytes: usize, on_end: impl FnOnce() + Send + Sync + 'static) -> (Outbox, OutboxBody) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let body = OutboxBody { queue: receiver, waiting: waiting.clone(), on_end: Some(Box::new(on_end)) };
    (Outbox { queue: sender, waiting, limit_bytes }, body)
}

impl Outbox {
    /// Appends a message; `false` when the reader is too slow, or gone. An empty outbox takes a message of any size.
    pub(crate) fn push(&self, message: Bytes) -> bool {
        let before = self.waiting.load(Ordering::Relaxed);
        if before > 0 && before.saturating_add(message.len()) > self.limit_bytes {
            return false;
        }
        self.waiting.fetch_add(message.len(), Ordering::Relaxed);
        self.queue.send(message).is_ok()
    }
}

impl Body for OutboxBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = self.queue.poll_recv(context);
        if let Poll::Ready(Some(message)) = &polled {
            self.waiting.fetch_sub(message.len(), Ordering::Relaxed);
        }
        polled.map(|message| message.map(|message| Ok(Frame::data(message))))
    }
}

impl Drop for OutboxBody {
    fn drop(&mut self) {
        if let Some(on_end) = self.on_end.take() {
            on_end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn keeps_order_and_ends_with_its_sender() {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = ended.clone();
        let (outbox, body) = outbox(1000, move || flag.store(true, Ordering::Relaxed));
        assert!(outbox.push("one".into()) && outbox.push("two".into()));
        drop(outbox);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "onetwo");
        assert!(ended.load(Ordering::Relaxed));
    }

    #[test]
    fn refuses_what_a_slow_reader_would_let_pile_up() {
        let (outbox, _body) = outbox(5, || {});
        assert!(outbox.push("more than five bytes".into()));
        assert!(!outbox.push("x".into()));
    }
}
