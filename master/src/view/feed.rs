//! Who is told of each change: the subscribers of the operator's event stream.
//!
//! The core's thread only leaves a batch of drafts. A task appends it, shared, to each subscriber's bounded queue. An event is
//! written when the first connection comes to it, once for each encoding, however many subscribe.

use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use mezzo_api::codec::{Encoding, encode_to_record};
use tokio::sync::Notify;

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

/// Between two moments at which subscribers are woken. The first change after a quiet time is told at once; of a busy time's
/// changes, as many as came together are written together.
const GATHERED_FOR: Duration = Duration::from_millis(20);

/// The way to the subscribers. The core's thread leaves a batch and wakes one task at most, however many subscribe; what is
/// done for each of them is done by others.
#[derive(Debug, Default)]
pub(super) struct Feed {
    subscribers: Mutex<Subscribers>,
    /// How many they are, to be asked without waiting for whoever distributes.
    count: AtomicUsize,
    /// There is something to distribute.
    told: Notify,
}

/// What is told, and has not been distributed.
pub(super) type Pending = Vec<(Batch, usize)>;

/// A batch with its size, of what changed.
pub(super) fn batch(drafts: Vec<Draft>) -> (Batch, usize) {
    let bytes = drafts.iter().map(Draft::bytes).sum();
    (Arc::new(drafts.into_iter().map(Announcement::new).collect()), bytes)
}

/// The subscribers, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    all: VecDeque<Subscriber>,
    next: u64,
    /// A task distributes.
    served: bool,
    ended: bool,
}

#[derive(Debug)]
struct Subscriber {
    number: u64,
    queue: outbox::Sender<Batch>,
    connection: Cut,
}

impl Feed {
    /// How many listen.
    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Something was left for them.
    pub(super) fn wake(&self) {
        self.told.notify_one();
    }

    /// Calls `distribute` whenever there is something, until nobody listens.
    pub(super) async fn serve(&self, mut distribute: impl FnMut(&mut Subscribers)) {
        loop {
            self.told.notified().await;
            {
                let mut subscribers = self.lock();
                distribute(&mut subscribers);
                if subscribers.all.is_empty() {
                    subscribers.served = false;
                    return;
                }
            }
            tokio::time::sleep(GATHERED_FOR).await;
        }
    }

    /// Those who listen; nobody else joins or leaves, and nothing is distributed, while they are held.
    pub(super) fn lock(&self) -> Held<'_> {
        Held { subscribers: self.subscribers.lock().unwrap_or_else(PoisonError::into_inner), count: &self.count }
    }

    /// One less.
    pub(super) fn leave(&self, number: u64) {
        self.lock().all.retain(|subscriber| subscriber.number != number);
        // Whoever distributes ends with the last of them.
        self.wake();
    }
}

/// The subscribers, for one who changes them.
pub(super) struct Held<'a> {
    subscribers: MutexGuard<'a, Subscribers>,
    count: &'a AtomicUsize,
}

impl Held<'_> {
    /// So many are about to join: they count from now on, so that whatever changes after this is told.
    pub(super) fn expect(&self, more: usize) {
        self.count.store(self.subscribers.all.len() + more, Ordering::Relaxed);
    }
}

impl Deref for Held<'_> {
    type Target = Subscribers;

    fn deref(&self) -> &Subscribers {
        &self.subscribers
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Subscribers {
        &mut self.subscribers
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.count.store(self.subscribers.all.len(), Ordering::Relaxed);
    }
}

impl Subscribers {
    /// One more; beyond `limit` the oldest is cut off, as in Mesos. With no room at all there is none.
    pub(super) fn join(&mut self, limit: usize, connection: Cut) -> (u64, outbox::Receiver<Batch>) {
        let number = self.next;
        self.next += 1;
        let (sender, receiver) = outbox::channel(LIMITS);
        if self.ended {
            return (number, receiver);
        }
        self.all.push_back(Subscriber { number, queue: sender, connection });
        while self.all.len() > limit {
            let Some(oldest) = self.all.pop_front() else { break };
            tracing::warn!(limit, "too many operators subscribe: the oldest event stream is closed");
            oldest.connection.cut();
        }
        (number, receiver)
    }

    /// Whether a task must be started that distributes.
    pub(super) fn is_unserved(&mut self) -> bool {
        !self.all.is_empty() && !std::mem::replace(&mut self.served, true)
    }

    /// Nothing changes any more: every stream ends when it has told what is waiting, and so does each that is opened now.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.all.clear();
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Tells all of them.
    pub(super) fn tell(&mut self, pending: Pending) {
        for (batch, bytes) in pending {
            self.all.retain(|subscriber| match subscriber.queue.push(Arc::clone(&batch), bytes) {
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
        let feed = Feed::default();
        let mut subscribers = feed.lock();
        let (_, mut one) = subscribers.join(10, Cut::default());
        let (_, mut two) = subscribers.join(10, Cut::default());
        subscribers.tell(vec![batch(drafts(1))]);
        drop(subscribers);
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
        let feed = Feed::default();
        let (_, mut early) = feed.lock().join(10, Cut::default());
        feed.lock().tell(vec![batch(drafts(1))]);
        feed.lock().end();
        let (_, mut late) = feed.lock().join(10, Cut::default());
        assert!(poll_fn(|context| early.poll_next(context)).await.is_some());
        assert!(poll_fn(|context| early.poll_next(context)).await.is_none());
        assert!(poll_fn(|context| late.poll_next(context)).await.is_none());
        assert_eq!(feed.len(), 0);
    }

    #[test]
    fn who_does_not_read_is_cut_off_and_the_others_stay() {
        let feed = Feed::default();
        let (_, _never_read) = feed.lock().join(10, Cut::default());
        let (batch, bytes) = batch(drafts(1024));
        for _ in 0..=LIMITS.bytes / bytes {
            assert_eq!(feed.len(), 1);
            feed.lock().tell(vec![(Arc::clone(&batch), bytes)]);
        }
        assert_eq!(feed.len(), 0);
    }

    #[test]
    fn the_oldest_makes_room() {
        let feed = Feed::default();
        let joined: Vec<_> = (0..3).map(|_| feed.lock().join(2, Cut::default())).collect();
        assert_eq!(feed.len(), 2);
        feed.leave(joined[0].0);
        assert_eq!(feed.len(), 2);
        feed.leave(joined[2].0);
        assert_eq!(feed.len(), 1);
        feed.leave(joined[1].0);
        assert_eq!(feed.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_those_that_follow_together() {
        let feed = Arc::new(Feed::default());
        let (number, _queue) = feed.lock().join(10, Cut::default());
        assert!(feed.lock().is_unserved());
        assert!(!feed.lock().is_unserved());
        let (told, mut times) = tokio::sync::mpsc::unbounded_channel();
        let serving = Arc::clone(&feed);
        let start = tokio::time::Instant::now();
        let served = tokio::spawn(async move { serving.serve(|_| told.send(start.elapsed()).unwrap()).await });
        feed.wake();
        assert_eq!(times.recv().await, Some(Duration::ZERO));
        feed.wake();
        feed.wake();
        assert_eq!(times.recv().await, Some(GATHERED_FOR));
        feed.leave(number);
        served.await.unwrap();
        assert_eq!(times.recv().await, Some(GATHERED_FOR * 2));
        assert_eq!(times.recv().await, None, "told more often than there was something");
        let _ = feed.lock().join(10, Cut::default());
        assert!(feed.lock().is_unserved(), "nobody serves who comes later");
    }
}
