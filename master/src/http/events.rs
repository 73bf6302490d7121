//! SUBSCRIBE of the operator API: the picture, then each change of it, with heartbeats (src/master/http.cpp, subscribe).

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use mezzo_api::{
    codec::{Encoding, encode, encode_to_record, to_json_value},
    recordio,
    v1::master::{
        Event,
        event::{self, Subscribed},
    },
};
use mezzo_server::{http::answer, operator::fill_in};
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::{App, body::Body, operator};
use crate::{
    outbox,
    server::Cut,
    view::{Batch, Published, View, get_state},
};

/// HEARTBEAT events go out this often (src/master/constants.hpp).
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// Opens the stream.
pub(super) async fn subscribe(app: &Arc<App>, connection: &Cut, encoding: Encoding) -> Response<Body> {
    let limit = app.flags.max_operator_event_stream_subscribers;
    let (view, number, queue) = app.published.subscribe(limit, connection.clone());
    // From here on the subscriber leaves whatever happens.
    let mut stream = OperatorEvents {
        encoding,
        first: VecDeque::new(),
        waiting: None,
        queue,
        heartbeat: heartbeat(),
        published: Arc::clone(&app.published),
        number,
    };
    let Ok(snapshot) = tokio::task::spawn_blocking(move || snapshot(&view, encoding)).await else {
        return answer::bare(StatusCode::INTERNAL_SERVER_ERROR);
    };
    stream.first.extend([snapshot, heartbeat_record(encoding)]);
    let mut response = Response::new(Body::OperatorEvents(Box::new(stream)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(encoding.media_type()));
    response
}

fn heartbeat() -> Interval {
    let mut interval = interval_at(tokio::time::Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn heartbeat_record(encoding: Encoding) -> Bytes {
    encode_to_record(encoding, &Event { r#type: Some(event::Type::Heartbeat as i32), ..Event::default() })
}

fn snapshot(view: &View, encoding: Encoding) -> Bytes {
    let subscribed = Subscribed {
        get_state: Some(get_state(view)),
        heartbeat_interval_seconds: Some(HEARTBEAT_INTERVAL.as_secs_f64()),
    };
    let event =
        Event { r#type: Some(event::Type::Subscribed as i32), subscribed: Some(subscribed), ..Event::default() };
    let body = match encoding {
        Encoding::Protobuf => encode(encoding, &event),
        Encoding::Json => {
            let mut value = to_json_value(&event);
            if let Some(subscribed) = value.get_mut("subscribed") {
                fill_in(subscribed, &operator::ARRAYS);
            }
            value.to_string().into()
        }
    };
    let mut record = BytesMut::with_capacity(body.len() + 24);
    recordio::encode_record(&mut record, &body);
    record.freeze()
}

/// An operator's stream: each event is one record in one HTTP chunk.
#[derive(Debug)]
pub(crate) struct OperatorEvents {
    encoding: Encoding,
    /// What comes before everything else.
    first: VecDeque<Bytes>,
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
