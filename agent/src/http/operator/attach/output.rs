//! A container's output as records of ProcessIO, no faster than they are read.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use mezzo_api::{
    codec::{Encoding, encode_record},
    v1::{
        DurationInfo,
        agent::{
            ProcessIo,
            process_io::{self, Control, Data, control, data},
        },
    },
};
use mezzo_executor::io::wire::Message;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{
    super::super::Body,
    socket::{Socket, gone},
};
use crate::called::{Owner, Reader};

/// What is put into one piece of the body.
const PIECE_BYTES: usize = 64 * 1024;

/// What ends with the stream.
#[derive(Debug)]
pub(super) struct Guards {
    pub(super) _owner: Option<Owner>,
    pub(super) _reader: Option<Reader>,
}

struct Output {
    socket: Socket,
    encoding: Encoding,
    heartbeat: Interval,
    ended: bool,
    _guards: Guards,
}

/// The stream, until the container's end. It breaks off when the supervisor dies or lets go of a reader that is too slow.
pub(super) fn body(socket: Socket, encoding: Encoding, every: Duration, guards: Guards) -> Body {
    let output = Output { socket, encoding, heartbeat: heartbeat(every), ended: false, _guards: guards };
    Body::from_stream(futures_util::stream::try_unfold(output, async |mut output: Output| {
        let piece = output.piece().await?;
        Ok::<_, io::Error>(piece.map(|piece| (piece, output)))
    }))
}

/// Signs of life, `--http_heartbeat_interval` apart.
pub(super) fn heartbeat(every: Duration) -> Interval {
    let far = Duration::from_secs(86400 * 365); // what no clock can hold is for ever
    let every = every.clamp(Duration::from_millis(1), far);
    let mut interval = interval_at(Instant::now() + every, every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl Output {
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        let mut piece = BytesMut::new();
        loop {
            let message = tokio::select! {
                message = self.socket.next() => message?.ok_or_else(gone)?,
                _ = self.heartbeat.tick() => {
                    encode_record(self.encoding, &beat(self.heartbeat.period()), &mut piece);
                    return Ok(Some(piece.freeze()));
                }
            };
            self.ended = !self.add(message, &mut piece);
            while !self.ended
                && piece.len() < PIECE_BYTES
                && let Some(message) = self.socket.ready()?
            {
                self.ended = !self.add(message, &mut piece);
            }
            if !piece.is_empty() {
                return Ok(Some(piece.freeze()));
            }
            if self.ended {
                return Ok(None);
            }
        }
    }

    /// `false` at the end.
    fn add(&self, message: Message, piece: &mut BytesMut) -> bool {
        match message {
            Message::Stdout(bytes) => encode_record(self.encoding, &data(data::Type::Stdout, bytes), piece),
            Message::Stderr(bytes) => encode_record(self.encoding, &data(data::Type::Stderr, bytes), piece),
            Message::End => return false,
            _ => {}
        }
        true
    }
}

/// A piece of output.
pub(super) fn data(of: data::Type, bytes: Vec<u8>) -> ProcessIo {
    ProcessIo {
        r#type: Some(process_io::Type::Data as i32),
        data: Some(Data { r#type: Some(of as i32), data: Some(bytes.into()) }),
        control: None,
    }
}

/// A sign of life, of which the next one comes after `every`.
pub(super) fn beat(every: Duration) -> ProcessIo {
    let nanoseconds = i64::try_from(every.as_nanos()).unwrap_or(i64::MAX);
    let heartbeat = control::Heartbeat { interval: Some(DurationInfo { nanoseconds }) };
    ProcessIo {
        r#type: Some(process_io::Type::Control as i32),
        data: None,
        control: Some(Control {
            r#type: Some(control::Type::Heartbeat as i32),
            heartbeat: Some(heartbeat),
            tty_info: None,
        }),
    }
}
