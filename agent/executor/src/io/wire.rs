//! What a supervisor and those who attach say over its socket: `u32` length of the rest, kind, payload; little-endian.
//!
//! A client begins with [`Message::Output`] or [`Message::Input`]. Supervisors outlive agents: kinds are only ever added,
//! and one that is not known is passed over.

use crate::frame::Window;

/// Longest payload.
pub const MAX_PAYLOAD: usize = 64 * 1024;

const LENGTH_BYTES: usize = 4;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Client: give me the output from now on (or what was held back).
    Output,
    /// Client: I give input. At most one does at a time.
    Input,
    /// Client: for the standard input.
    Stdin(Vec<u8>),
    /// Client: the standard input ends here. Of no effect on a terminal.
    Eof,
    /// Client: the terminal has this size now.
    Resize(Window),
    /// Client: there is no more to come; answered by [`Message::Done`] when all of it has been passed on.
    Finish,
    /// Supervisor: from the standard output, or the terminal.
    Stdout(Vec<u8>),
    /// Supervisor: from the standard error.
    Stderr(Vec<u8>),
    /// Supervisor: what the client began with is granted.
    Ready,
    /// Supervisor: there is no more output, or nobody left to take input.
    End,
    /// Supervisor: all input was passed on.
    Done,
    /// Supervisor: another client gives input.
    Busy,
    /// Supervisor: the size could not be set, and why.
    NotResized(String),
    /// Supervisor: input could not be passed on, and why.
    NotWritten(String),
}

const OUTPUT: u8 = 1;
const INPUT: u8 = 2;
const STDIN: u8 = 3;
const EOF: u8 = 4;
const RESIZE: u8 = 5;
const FINISH: u8 = 6;
const STDOUT: u8 = 16;
const STDERR: u8 = 17;
const READY: u8 = 18;
const END: u8 = 19;
const DONE: u8 = 20;
const BUSY: u8 = 21;
const NOT_RESIZED: u8 = 22;
const NOT_WRITTEN: u8 = 23;

/// The peer does not speak this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message on the socket of a container's input and output")]
pub struct Malformed;

/// Appends a message. Longer payloads than [`MAX_PAYLOAD`] are cut: callers send pieces.
pub fn encode(out: &mut Vec<u8>, message: &Message) {
    let window;
    let (kind, payload): (u8, &[u8]) = match message {
        Message::Output => (OUTPUT, &[]),
        Message::Input => (INPUT, &[]),
        Message::Stdin(data) => (STDIN, data),
        Message::Eof => (EOF, &[]),
        Message::Resize(Window { rows, columns }) => {
            let ([a, b], [c, d]) = (rows.to_le_bytes(), columns.to_le_bytes());
            window = [a, b, c, d];
            (RESIZE, &window)
        }
        Message::Finish => (FINISH, &[]),
        Message::Stdout(data) => (STDOUT, data),
        Message::Stderr(data) => (STDERR, data),
        Message::Ready => (READY, &[]),
        Message::End => (END, &[]),
        Message::Done => (DONE, &[]),
        Message::Busy => (BUSY, &[]),
        Message::NotResized(text) => (NOT_RESIZED, text.as_bytes()),
        Message::NotWritten(text) => (NOT_WRITTEN, text.as_bytes()),
    };
    let payload = &payload[..payload.len().min(MAX_PAYLOAD)];
    let length = u32::try_from(payload.len() + 1).unwrap_or_default(); // it is cut above
    out.extend(length.to_le_bytes());
    out.push(kind);
    out.extend(payload);
}

/// Takes the next message off the front of `bytes`, `None` while it is not whole.
///
/// # Errors
/// When what is there can be no message.
pub fn decode(bytes: &mut Vec<u8>) -> Result<Option<Message>, Malformed> {
    loop {
        let Some(prefix) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length == 0 || length > MAX_PAYLOAD + 1 {
            return Err(Malformed);
        }
        let Some(rest) = bytes.get(LENGTH_BYTES..LENGTH_BYTES + length) else { return Ok(None) };
        let message = parse(rest[0], &rest[1..])?;
        bytes.drain(..LENGTH_BYTES + length);
        if message.is_some() {
            return Ok(message);
        }
    }
}

fn parse(kind: u8, payload: &[u8]) -> Result<Option<Message>, Malformed> {
    let text = || String::from_utf8_lossy(payload).into_owned();
    Ok(Some(match kind {
        OUTPUT => Message::Output,
        INPUT => Message::Input,
        STDIN => Message::Stdin(payload.to_vec()),
        EOF => Message::Eof,
        RESIZE => {
            let [a, b, c, d] = *payload.first_chunk::<4>().ok_or(Malformed)?;
            Message::Resize(Window { rows: u16::from_le_bytes([a, b]), columns: u16::from_le_bytes([c, d]) })
        }
        FINISH => Message::Finish,
        STDOUT => Message::Stdout(payload.to_vec()),
        STDERR => Message::Stderr(payload.to_vec()),
        READY => Message::Ready,
        END => Message::End,
        DONE => Message::Done,
        BUSY => Message::Busy,
        NOT_RESIZED => Message::NotResized(text()),
        NOT_WRITTEN => Message::NotWritten(text()),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_as_they_go_in_whatever_pieces() {
        let all = [
            Message::Output,
            Message::Input,
            Message::Stdin(b"in".to_vec()),
            Message::Eof,
            Message::Resize(Window { rows: 50, columns: 200 }),
            Message::Finish,
            Message::Stdout(vec![0; MAX_PAYLOAD]),
            Message::Stderr(b"err".to_vec()),
            Message::Ready,
            Message::End,
            Message::Done,
            Message::Busy,
            Message::NotResized("why".into()),
            Message::NotWritten("why".into()),
        ];
        let mut bytes = Vec::new();
        all.iter().for_each(|message| encode(&mut bytes, message));
        let (mut received, mut found) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(7) {
            received.extend(piece);
            while let Some(message) = decode(&mut received).unwrap() {
                found.push(message);
            }
        }
        assert_eq!(found, all);
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_nonsense_refused() {
        let mut bytes = vec![3, 0, 0, 0, 99, 1, 2];
        encode(&mut bytes, &Message::Eof);
        assert_eq!(decode(&mut bytes), Ok(Some(Message::Eof)));
        assert_eq!(decode(&mut vec![0; 4]), Err(Malformed));
        assert_eq!(decode(&mut vec![255; 8]), Err(Malformed));
        assert_eq!(decode(&mut vec![2, 0, 0, 0, RESIZE, 1]), Err(Malformed));
    }
}
