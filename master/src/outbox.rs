//! Bounded queues from the core's thread to a connection. The core never waits: a queue that is full means that its
//! reader is too slow, and the shell cuts it off.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::sync::mpsc;

/// How much may wait in a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Messages.
    pub(crate) messages: usize,
    /// Their encoded size in bytes; one message larger than this is taken by an empty queue.
    pub(crate) bytes: usize,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    /// The reader is too slow.
    Full,
    /// The reader is gone.
    Closed,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// The core's end. Dropping it ends the queue after what waits in it.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    queue: mpsc::UnboundedSender<(T, usize)>,
    waiting: Arc<Waiting>,
    limits: Limits,
}

/// The connection's end.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    queue: mpsc::UnboundedReceiver<(T, usize)>,
    waiting: Arc<Waiting>,
}

/// An empty queue.
pub(crate) fn channel<T>(limits: Limits) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(Waiting::default());
    (Sender { queue: sender, waiting: Arc::clone(&waiting), limits }, Receiver { queue: receiver, waiting })
}

impl<T> Sender<T> {
    /// Appends a message of this encoded size.
    pub(crate) fn push(&self, message: T, bytes: usize) -> Result<(), PushError> {
        let messages_before = self.waiting.messages.load(Ordering::Relaxed);
        let bytes_before = self.waiting.bytes.load(Ordering::Relaxed);
        let fits = messages_before < self.limits.messages && bytes_before.saturating_add(bytes) <= self.limits.bytes;
        if !fits && messages_before > 0 {
            return Err(if self.queue.is_closed() { PushError::Closed } else { PushError::Full });
        }
        self.waiting.messages.fetch_add(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.queue.send((message, bytes)).map_err(|_| PushError::Closed)
    }
}

impl<T> Receiver<T> {
    /// The next message; `None` after the sender is gone and all was read.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let Some((message, bytes)) = ready!(self.queue.poll_recv(context)) else { return Poll::Ready(None) };
        self.waiting.messages.fetch_sub(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Poll::Ready(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LIMITS: Limits = Limits { messages: 2, bytes: 100 };

    #[tokio::test]
    async fn refuses_more_than_fits_and_takes_it_again_once_read() {
        let (sender, mut receiver) = channel(LIMITS);
        assert_eq!(sender.push('a', 10), Ok(()));
        assert_eq!(sender.push('b', 91), Err(PushError::Full));
        assert_eq!(sender.push('b', 90), Ok(()));
        assert_eq!(sender.push('c', 0), Err(PushError::Full));
        assert_eq!(poll_fn(|context| receiver.poll_next(context)).await, Some('a'));
        assert_eq!(sender.push('c', 0), Ok(()));
        drop(sender);
        assert_eq!(poll_fn(|context| receiver.poll_next(context)).await, Some('b'));
        assert_eq!(poll_fn(|context| receiver.poll_next(context)).await, Some('c'));
        assert_eq!(poll_fn(|context| receiver.poll_next(context)).await, None);
    }

    #[tokio::test]
    async fn an_empty_queue_takes_one_message_of_any_size() {
        let (sender, receiver) = channel(LIMITS);
        assert_eq!(sender.push((), 1000), Ok(()));
        assert_eq!(sender.push((), 1), Err(PushError::Full));
        drop(receiver);
        assert_eq!(sender.push((), 1), Err(PushError::Closed));
    }
}
