//! SUBSCRIBE of the operator API: the picture, then each change of it, with heartbeats (src/master/http.cpp, subscribe).

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use mezzo_api::{
    codec::{Encoding, encode_to_record},
    recordio,
    v1::master::{
        Event,
        event::{self, Subscribed},
    },
};
use mezzo_server::http::answer;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Interval, MissedTickBehavior, interval_at},
};

use super::{App, body::Body};
use crate::{
    outbox,
    server::Cut,
    view::{Batch, Field, Part, Published, View, with_part},
};

/// HEARTBEAT events go out this often (src/master/constants.hpp).
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// Whoever has not taken the snapshot by then is cut off.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// So many snapshots of large clusters are on their way at once, each for all who asked for it together.
const LARGE_SNAPSHOTS: usize = 3;
/// A picture of more entities than this is large.
const LARGE: usize = 2000;

/// Those who subscribe and wait for their snapshot: whoever comes while one is written waits for the next one, which is the
/// same bytes for all of them.
#[derive(Debug)]
pub(crate) struct Joining {
    waiting: Mutex<Vec<Waiting>>,
    /// Whoever has it writes for all who wait.
    turn: tokio::sync::Mutex<()>,
    /// Room for large snapshots: each has some until the last of its subscribers has it or is cut off.
    room: Arc<Semaphore>,
}

impl Default for Joining {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(LARGE_SNAPSHOTS));
        Self { waiting: Mutex::default(), turn: tokio::sync::Mutex::default(), room }
    }
}

/// The bytes of a snapshot, and the room that they take.
struct Snapshot {
    record: Vec<u8>,
    _room: Option<Arc<OwnedSemaphorePermit>>,
}

impl AsRef<[u8]> for Snapshot {
    fn as_ref(&self) -> &[u8] {
        &self.record
    }
}

#[derive(Debug)]
struct Waiting {
    encoding: Encoding,
    connection: Cut,
    stream: oneshot::Sender<Box<OperatorEvents>>,
}

/// Opens the stream.
pub(super) async fn subscribe(app: &Arc<App>, connection: &Cut, encoding: Encoding) -> Response<Body> {
    let (stream, opened) = oneshot::channel();
    app.joining.lock().push(Waiting { encoding, connection: connection.clone(), stream });
    // A task of its own: who has the turn may go away.
    tokio::spawn(Arc::clone(app).open_streams());
    let Ok(stream) = opened.await else { return answer::bare(StatusCode::INTERNAL_SERVER_ERROR) };
    let mut response = Response::new(Body::OperatorEvents(stream));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(encoding.media_type()));
    response
}

impl Joining {
    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    async fn open_streams(self: Arc<Self>) {
        let _turn = self.joining.turn.lock().await;
        let is_large = self.published.snapshot().size() > LARGE;
        let room = if is_large { Arc::clone(&self.joining.room).acquire_owned().await.ok() } else { None };
        let room = room.map(Arc::new);
        let mut waiting = std::mem::take(&mut *self.joining.lock());
        waiting.retain(|waiting| !waiting.stream.is_closed());
        if waiting.is_empty() {
            return;
        }
        let connections = waiting.iter().map(|waiting| waiting.connection.clone()).collect();
        let limit = self.flags.max_operator_event_stream_subscribers;
        let (view, queues) = self.published.subscribe(limit, connections);
        // From here on the subscribers leave whatever happens.
        let open = |(waiting, (number, queue)): (Waiting, _)| {
            let stream = OperatorEvents {
                encoding: waiting.encoding,
                first: VecDeque::new(),
                taken: Arc::default(),
                waiting: None,
                queue,
                heartbeat: heartbeat(),
                published: Arc::clone(&self.published),
                number,
            };
            tokio::spawn(watch(Arc::downgrade(&stream.taken), waiting.connection));
            (Box::new(stream), waiting.stream)
        };
        let streams: Vec<_> = waiting.into_iter().zip(queues).map(open).collect();
        let wanted = [Encoding::Json, Encoding::Protobuf]
            .map(|encoding| streams.iter().any(|(stream, _)| stream.encoding == encoding).then_some(encoding));
        let write = move || wanted.map(|encoding| encoding.map(|encoding| snapshot(&view, encoding, room.clone())));
        let written = tokio::task::spawn_blocking(write);
        let Ok([json, protobuf]) = written.await else { return };
        for (mut stream, answer) in streams {
            let snapshot = if stream.encoding == Encoding::Json { &json } else { &protobuf };
            let heartbeat = heartbeat_record(stream.encoding);
            stream.first.extend(snapshot.clone().into_iter().chain([heartbeat]));
            // Whoever has gone away unsubscribes by that.
            let _ = answer.send(stream);
        }
    }
}

fn heartbeat() -> Interval {
    let mut interval = interval_at(tokio::time::Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn heartbeat_record(encoding: Encoding) -> Bytes {
    encode_to_record(encoding, &Event { r#type: Some(event::Type::Heartbeat as i32), ..Event::default() })
}

/// Cuts a subscriber off that does not take its snapshot: it may be large, and nothing else may wait for it.
async fn watch(taken: Weak<AtomicBool>, connection: Cut) {
    tokio::time::sleep(TAKEN_WITHIN).await;
    if taken.upgrade().is_some_and(|taken| !taken.load(Ordering::Relaxed)) {
        tracing::warn!("an operator does not read the snapshot that it subscribed for: it is cut off");
        connection.cut();
    }
}

fn snapshot(view: &View, encoding: Encoding, room: Option<Arc<OwnedSemaphorePermit>>) -> Bytes {
    let heartbeats =
        Subscribed { heartbeat_interval_seconds: Some(HEARTBEAT_INTERVAL.as_secs_f64()), ..Subscribed::default() };
    let state = Part::State.written(view, encoding);
    let subscribed = with_part(encoding, &heartbeats, Field("get_state", 1), &state);
    drop(state);
    let event = Event { r#type: Some(event::Type::Subscribed as i32), ..Event::default() };
    let body = with_part(encoding, &event, Field("subscribed", 2), &subscribed);
    drop(subscribed);
    let mut record = BytesMut::with_capacity(body.len() + 24);
    recordio::encode_record(&mut record, &body);
    Bytes::from_owner(Snapshot { record: record.into(), _room: room })
}

/// An operator's stream: each event is one record in one HTTP chunk.
#[derive(Debug)]
pub(crate) struct OperatorEvents {
    encoding: Encoding,
    /// What comes before everything else.
    first: VecDeque<Bytes>,
    /// Whether all of that was taken.
    taken: Arc<AtomicBool>,
    /// A batch of which this many were written.
    waiting: Option<(Batch, usize)>,
    queue: outbox::Receiver<Batch>,
    heartbeat: Interval,
    published: Arc<Published>,
    number: u64,
}

impl OperatorEvents {
    pub(super) fn poll_record(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(record) = self.first.pop_front() {
            return Poll::Ready(Some(record));
        }
        self.taken.store(true, Ordering::Relaxed);
        if self.heartbeat.poll_tick(context).is_ready() {
            return Poll::Ready(Some(heartbeat_record(self.encoding)));
        }
        loop {
            if let Some((batch, next)) = &mut self.waiting {
                if let Some(announcement) = batch.get(*next) {
                    *next += 1;
                    return Poll::Ready(Some(announcement.record(self.encoding)));
                }
                self.waiting = None;
            }
            match ready!(self.queue.poll_next(context)) {
                Some(batch) => self.waiting = Some((batch, 0)),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for OperatorEvents {
    fn drop(&mut self) {
        self.published.unsubscribe(self.number);
    }
}
