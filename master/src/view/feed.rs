//! Who is told of each change: the subscribers of the operator's event stream.
//!
//! The core's thread only appends a shared batch of drafts to each subscriber's bounded queue. An event is written when
//! the first connection comes to it, once for each encoding, however many subscribe.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use mezzo_api::codec::{Encoding, encode_to_record};

use super::changes::Draft;
use crate::{
    outbox::{self, Limits, PushError},
    server::Cut,
};

/// What may wait for a subscriber that reads slowly; more cuts it off.
const LIMITS: Limits = Limits { messages: 65_536, bytes: 32 * 1024 * 1024 };

/// An event, written at most once in each encoding.
#[derive(Debug)]
pub(crate) struct Announcement {
    draft: Draft,
    json: OnceLock<Bytes>,
    protobuf: OnceLock<Bytes>,
}

impl Announcement {
    fn new(draft: Draft) -> Self {
        Self { draft, json: OnceLock::new(), protobuf: OnceLock::new() }
    }

    /// One record of the stream.
    pub(crate) fn record(&self, encoding: Encoding) -> Bytes {
        let written = match encoding {
            Encoding::Json => &self.json,
            Encoding::Protobuf => &self.protobuf,
        };
        written.get_or_init(|| encode_to_record(encoding, &self.draft.event())).clone()
    }
}

/// What one batch of the core told.
pub(crate) type Batch = Arc<Vec<Announcement>>;

/// The subscribers, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Feed {
    subscribers: VecDeque<Subscriber>,
    next: u64,
    ended: bool,
}

#[derive(Debug)]
struct Subscriber {
    number: u64,
    queue: outbox::Sender<Batch>,
    connection: Cut,
}

impl Feed {
    /// Whether anybody listens.
    pub(super) fn is_heard(&self) -> bool {
        !self.subscribers.is_empty()
    }

    /// How many listen.
    pub(super) fn len(&self) -> usize {
        self.subscribers.len()
    }

    /// One more; beyond `limit` the oldest is cut off, as in Mesos. With no room at all there is none.
    pub(super) fn join(&mut self, limit: usize, connection: Cut) -> (u64, outbox::Receiver<Batch>) {
        let number = self.next;
        self.next += 1;
        let (sender, receiver) = outbox::channel(LIMITS);
        if self.ended {
            return (number, receiver);
        }
        self.subscribers.push_back(Subscriber { number, queue: sender, connection });
        while self.subscribers.len() > limit {
            let Some(oldest) = self.subscribers.pop_front() else { break };
            tracing::warn!(limit, "too many operators subscribe: the oldest event stream is closed");
            oldest.connection.cut();
        }
        (number, receiver)
    }

    /// Nothing changes any more: every stream ends when it has told what is waiting, and so does each that is opened now.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.subscribers.clear();
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// One less.
    pub(super) fn leave(&mut self, number: u64) {
        self.subscribers.retain(|subscriber| subscriber.number != number);
    }

    /// Tells all of them.
    pub(super) fn tell(&mut self, drafts: Vec<Draft>) {
        if drafts.is_empty() {
            return;
        }
        let bytes = drafts.iter().map(Draft::bytes).sum();
        let batch: Batch = Arc::new(drafts.into_iter().map(Announcement::new).collect());
        self.subscribers.retain(|subscriber| match subscriber.queue.push(Arc::clone(&batch), bytes) {
            Ok(()) => true,
            Err(PushError::Closed) => false,
            Err(PushError::Full) => {
                tracing::warn!("an operator reads the event stream too slowly: it is cut off");
                subscriber.connection.cut();
                false
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn drafts(count: usize) -> Vec<Draft> {
        (0..count).map(|number| Draft::AgentRemoved(format!("S{number}").into())).collect()
    }

    #[tokio::test]
    async fn everybody_gets_the_same_bytes() {
        let mut feed = Feed::default();
        let (_, mut one) = feed.join(10, Cut::default());
        let (_, mut two) = feed.join(10, Cut::default());
        feed.tell(drafts(1));
        let first = poll_fn(|context| one.poll_next(context)).await.unwrap();
        let second = poll_fn(|context| two.poll_next(context)).await.unwrap();
        let record = first[0].record(Encoding::Json);
        let event = r#"{"type":"AGENT_REMOVED","agent_removed":{"agent_id":{"value":"S0"}}}"#;
        assert_eq!(record, format!("{}\n{event}", event.len()));
        assert_eq!(record.as_ptr(), second[0].record(Encoding::Json).as_ptr(), "written twice");
        assert_ne!(record, second[0].record(Encoding::Protobuf));
    }

    #[tokio::test]
    async fn the_end_comes_after_what_is_waiting() {
        let mut feed = Feed::default();
        let (_, mut early) = feed.join(10, Cut::default());
        feed.tell(drafts(1));
        feed.end();
        let (_, mut late) = feed.join(10, Cut::default());
        assert!(poll_fn(|context| early.poll_next(context)).await.is_some());
        assert!(poll_fn(|context| early.poll_next(context)).await.is_none());
        assert!(poll_fn(|context| late.poll_next(context)).await.is_none());
        assert_eq!(feed.len(), 0);
    }

    #[test]
    fn who_does_not_read_is_cut_off_and_the_others_stay() {
        let mut feed = Feed::default();
        let cut = Cut::default();
        let (_, _never_read) = feed.join(10, cut.clone());
        let batch_bytes: usize = drafts(1024).iter().map(Draft::bytes).sum();
        for _ in 0..=LIMITS.bytes / batch_bytes {
            assert_eq!(feed.len(), 1);
            feed.tell(drafts(1024));
        }
        assert_eq!(feed.len(), 0);
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut feed = Feed::default();
        let joined: Vec<_> = (0..3).map(|_| feed.join(2, Cut::default())).collect();
        assert_eq!(feed.len(), 2);
        feed.leave(joined[0].0);
        assert_eq!(feed.len(), 2);
        feed.leave(joined[2].0);
        assert!(feed.is_heard());
        feed.leave(joined[1].0);
        assert!(!feed.is_heard());
    }
}
