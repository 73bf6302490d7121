//! A stream of events as a client sees it: every record with the moment it came, and how the stream ended.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mezzo_api::codec::{self, ApiMessage, Encoding};
use mezzo_api::recordio;
use serde_json::Value;

use crate::http::{Connection, Head, Request, Response};

/// The largest event that a test expects.
const MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// In order: the last chunk came.
    TerminatingChunk,
    /// The connection ended without a last chunk.
    ConnectionClosed,
    /// What came was no stream of events.
    Broken(String),
}

impl Closing {
    /// In the words of the golden data.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Closing::TerminatingChunk => "stream closed: terminating chunk".to_owned(),
            Closing::ConnectionClosed => "stream closed: connection closed without terminating chunk".to_owned(),
            Closing::Broken(what) => format!("stream broken: {what}"),
        }
    }
}

/// What a stream brings.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrival {
    /// An event, as JSON whatever its encoding on the wire.
    Event(Value),
    /// The end.
    Closed(Closing),
}

/// An open stream of events; it is read on a thread of its own, so that moments are true.
#[derive(Debug)]
pub struct EventStream {
    /// Status line and headers of the answer that carries the stream.
    pub head: Head,
    arrivals: Receiver<(Instant, Arrival)>,
    socket: TcpStream,
    odd_chunks: Arc<AtomicUsize>,
    raw: Arc<Mutex<Vec<u8>>>,
}

impl EventStream {
    /// Sends `request`; gives the stream when the answer is 200, the answer when it is another.
    ///
    /// # Errors
    /// When the connection breaks before that.
    pub fn open<E: ApiMessage>(address: SocketAddr, request: &Request) -> std::io::Result<Result<Self, Response>> {
        let mut connection = Connection::open(address)?;
        let head = connection.start(request)?;
        if head.status != 200 {
            let length = head.header("Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0_usize);
            let body = connection.exactly(length)?;
            return Ok(Err(Response { head, body }));
        }
        let encoding = match head.header("Content-Type") {
            Some("application/x-protobuf") => Encoding::Protobuf,
            _ => Encoding::Json,
        };
        connection.socket().set_read_timeout(None)?;
        let socket = connection.socket().try_clone()?;
        let (sender, arrivals) = channel();
        let (odd_chunks, raw) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let reader = Reader {
            connection,
            decoder: recordio::Decoder::new(MAX_RECORD_BYTES),
            odd_chunks: odd_chunks.clone(),
            raw: raw.clone(),
        };
        std::thread::spawn(move || {
            reader.read(
                |record| to_json::<E>(encoding, record),
                |arrival| sender.send((Instant::now(), arrival)).is_ok(),
            );
        });
        Ok(Ok(Self { head, arrivals, socket, odd_chunks, raw }))
    }

    /// What comes next within `patience`.
    pub fn next(&self, patience: Duration) -> Option<(Instant, Arrival)> {
        self.arrivals.recv_timeout(patience).ok()
    }

    /// Chunks so far that did not hold exactly one record. Some clients cannot read such streams.
    #[must_use]
    pub fn odd_chunks(&self) -> usize {
        self.odd_chunks.load(Ordering::Relaxed)
    }

    /// Closes the connection at once.
    pub fn hang_up(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// The bytes of all chunks so far.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        self.raw.lock().map(|raw| raw.clone()).unwrap_or_default()
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        // The reader holds the other half: without this it would keep the connection open.
        self.hang_up();
    }
}

struct Reader {
    connection: Connection,
    decoder: recordio::Decoder,
    odd_chunks: Arc<AtomicUsize>,
    raw: Arc<Mutex<Vec<u8>>>,
}

impl Reader {
    fn read(mut self, decode: impl Fn(&[u8]) -> Result<Value, String>, send: impl Fn(Arrival) -> bool) {
        loop {
            match self.records() {
                Ok(records) => {
                    for record in records {
                        let arrival =
                            decode(&record).map_or_else(|what| Arrival::Closed(Closing::Broken(what)), Arrival::Event);
                        if !send(arrival) {
                            return;
                        }
                    }
                }
                Err(closing) => {
                    send(Arrival::Closed(closing));
                    return;
                }
            }
        }
    }

    /// The records that one chunk completes.
    fn records(&mut self) -> Result<Vec<bytes::Bytes>, Closing> {
        let chunk = match self.connection.chunk() {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Err(Closing::TerminatingChunk),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(Closing::Broken(error.to_string()));
            }
            Err(_) => return Err(Closing::ConnectionClosed),
        };
        if let Ok(mut raw) = self.raw.lock() {
            raw.extend_from_slice(&chunk);
        }
        self.decoder.feed(&chunk);
        let mut records = Vec::new();
        while let Some(record) = self.decoder.next().map_err(|error| Closing::Broken(error.to_string()))? {
            records.push(record);
        }
        if records.len() != 1 {
            self.odd_chunks.fetch_add(1, Ordering::Relaxed);
        }
        Ok(records)
    }
}

fn to_json<E: ApiMessage>(encoding: Encoding, record: &[u8]) -> Result<Value, String> {
    match encoding {
        Encoding::Json => serde_json::from_slice(record).map_err(|error| format!("an event that is no JSON: {error}")),
        Encoding::Protobuf => codec::decode::<E>(Encoding::Protobuf, record)
            .map(|event| codec::to_json_value(&event))
            .map_err(|error| error.to_string()),
    }
}
