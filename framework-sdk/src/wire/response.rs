//! HTTP/1.1 responses, taken out of a connection piece by piece.

use bytes::{Buf, Bytes, BytesMut};

/// Longest head, and longest chunk-size line or trailer section.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;

/// Status and the headers that drivers read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    pub(super) mesos_stream_id: Option<String>,
    pub(super) location: Option<String>,
    /// Whether another response can follow on the connection.
    pub(super) keep_alive: bool,
}

/// A part of a response, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Head(Head),
    Body(Bytes),
    End,
}

/// What comes is no HTTP/1.1 response.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResponseError {
    #[error("the answer is not HTTP/1.1: {0}")]
    Syntax(String),
    #[error("the head of the answer is longer than {MAX_HEAD_BYTES} bytes")]
    TooLong,
    #[error("the connection ended in the middle of an answer")]
    Truncated,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
}

/// Reads one response after the other.
#[derive(Debug)]
pub(super) struct Parser {
    state: State,
}

impl Parser {
    pub(super) fn new() -> Self {
        Self { state: State::Head }
    }

    /// The next piece in `buffer`; what was read is taken out of it. `None` until there is more.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, ResponseError> {
        loop {
            match self.state {
                State::Head => return self.head(buffer),
                State::Length(0) => {
                    self.state = State::Head;
                    return Ok(Some(Piece::End));
                }
                State::Length(left) => {
                    let Some(body) = take(buffer, left) else { return Ok(None) };
                    self.state = State::Length(left - body.len() as u64);
                    return Ok(Some(Piece::Body(body)));
                }
                State::UntilClose => return Ok(take(buffer, u64::MAX).map(Piece::Body)),
                State::ChunkSize => {
                    if !self.chunk_size(buffer)? {
                        return Ok(None);
                    }
                }
                State::Chunk(left) => {
                    let Some(body) = take(buffer, left) else { return Ok(None) };
                    let left = left - body.len() as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Some(Piece::Body(body)));
                }
                State::ChunkEnd => {
                    if buffer.len() < 2 {
                        return Ok(None);
                    }
                    if &buffer[..2] != b"\r\n" {
                        return Err(ResponseError::Syntax("no line end after a chunk".to_owned()));
                    }
                    buffer.advance(2);
                    self.state = State::ChunkSize;
                }
                State::Trailers => {
                    let Some(line) = take_line(buffer)? else { return Ok(None) };
                    if line.is_empty() {
                        self.state = State::Head;
                        return Ok(Some(Piece::End));
                    }
                }
            }
        }
    }

    /// The connection has ended: whether that is an error, or the end of a response that lasted until then.
    pub(super) fn end(&mut self, buffer: &BytesMut) -> Result<(), ResponseError> {
        match self.state {
            State::UntilClose => Ok(()),
            State::Head if buffer.is_empty() => Ok(()),
            _ => Err(ResponseError::Truncated),
        }
    }

    fn head(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, ResponseError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(buffer) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if buffer.len() > MAX_HEAD_BYTES => return Err(ResponseError::TooLong),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(ResponseError::Syntax(error.to_string())),
        };
        let (head, state) = read_head(&response)?;
        buffer.advance(length);
        if (100..200).contains(&head.status) {
            return self.head(buffer); // an interim answer: the final one follows
        }
        self.state = state;
        Ok(Some(Piece::Head(head)))
    }

    /// Whether the size line was there.
    fn chunk_size(&mut self, buffer: &mut BytesMut) -> Result<bool, ResponseError> {
        match httparse::parse_chunk_size(buffer) {
            Ok(httparse::Status::Complete((length, size))) => {
                buffer.advance(length);
                self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
                Ok(true)
            }
            Ok(httparse::Status::Partial) if buffer.len() > MAX_HEAD_BYTES => Err(ResponseError::TooLong),
            Ok(httparse::Status::Partial) => Ok(false),
            Err(_) => Err(ResponseError::Syntax("bad chunk size".to_owned())),
        }
    }
}

fn read_head(response: &httparse::Response<'_, '_>) -> Result<(Head, State), ResponseError> {
    let mut head =
        Head { status: response.code.unwrap_or_default(), keep_alive: response.version == Some(1), ..Head::default() };
    let mut state = State::UntilClose;
    for header in response.headers.iter() {
        let value = || String::from_utf8_lossy(header.value).trim().to_owned();
        let name = header.name;
        if name.eq_ignore_ascii_case("content-length") && state != State::ChunkSize {
            let length = value();
            let length = length.parse().map_err(|_| ResponseError::Syntax(format!("Content-Length: {length}")))?;
            state = State::Length(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if value().to_ascii_lowercase().ends_with("chunked") {
                state = State::ChunkSize;
            }
        } else if name.eq_ignore_ascii_case("connection") {
            match value().to_ascii_lowercase().as_str() {
                "close" => head.keep_alive = false,
                "keep-alive" => head.keep_alive = true,
                _ => {}
            }
        } else if name.eq_ignore_ascii_case("content-type") {
            head.content_type = Some(value());
        } else if name.eq_ignore_ascii_case("mesos-stream-id") {
            head.mesos_stream_id = Some(value());
        } else if name.eq_ignore_ascii_case("location") {
            head.location = Some(value());
        }
    }
    if matches!(head.status, 204 | 304) {
        state = State::Length(0);
    }
    head.keep_alive &= state != State::UntilClose;
    Ok((head, state))
}

fn take(buffer: &mut BytesMut, limit: u64) -> Option<Bytes> {
    if buffer.is_empty() {
        return None;
    }
    let length = usize::try_from(limit).unwrap_or(usize::MAX).min(buffer.len());
    Some(buffer.split_to(length).freeze())
}

fn take_line(buffer: &mut BytesMut) -> Result<Option<Bytes>, ResponseError> {
    let Some(at) = buffer.iter().position(|byte| *byte == b'\n') else {
        return if buffer.len() > MAX_HEAD_BYTES { Err(ResponseError::TooLong) } else { Ok(None) };
    };
    let mut line = buffer.split_to(at + 1);
    line.truncate(at);
    if line.last() == Some(&b'\r') {
        line.truncate(at - 1);
    }
    Ok(Some(line.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pieces when the bytes come in steps of `step`.
    fn read(bytes: &[u8], step: usize) -> Result<Vec<Piece>, ResponseError> {
        let (mut parser, mut buffer, mut pieces) = (Parser::new(), BytesMut::new(), Vec::new());
        for part in bytes.chunks(step) {
            buffer.extend_from_slice(part);
            while let Some(piece) = parser.next(&mut buffer)? {
                pieces.push(piece);
            }
        }
        parser.end(&buffer)?;
        Ok(pieces)
    }

    /// Status and body of each response.
    fn responses(pieces: Vec<Piece>) -> Vec<(u16, String)> {
        let mut responses = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Head(head) => responses.push((head.status, String::new())),
                Piece::Body(body) => responses.last_mut().unwrap().1.push_str(std::str::from_utf8(&body).unwrap()),
                Piece::End => {}
            }
        }
        responses
    }

    #[test]
    fn reads_pipelined_answers_split_anywhere() {
        let bytes = b"HTTP/1.1 202 Accepted\r\nDate: x\r\nContent-Length: 0\r\n\r\n\
            HTTP/1.1 100 Continue\r\n\r\n\
            HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\n\r\nwrong\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n\
            HTTP/1.1 204 No Content\r\n\r\n\
            HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
        let expected = [(202, ""), (400, "wrong"), (200, "abcde"), (204, ""), (202, "")];
        for step in 1..bytes.len() {
            let responses = responses(read(bytes, step).unwrap());
            assert_eq!(responses.iter().map(|(status, body)| (*status, body.as_str())).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn takes_what_drivers_need_from_the_head() {
        let bytes = b"HTTP/1.1 307 Temporary Redirect\r\nLOCATION: //m:5050/master/x\r\nMesos-Stream-Id: s-1\r\n\
            Content-Type: application/json\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let head = Head {
            status: 307,
            content_type: Some("application/json".into()),
            mesos_stream_id: Some("s-1".into()),
            location: Some("//m:5050/master/x".into()),
            keep_alive: false,
        };
        assert_eq!(read(bytes, 7).unwrap(), [Piece::Head(head), Piece::End]);
    }

    #[test]
    fn a_body_without_a_length_lasts_until_the_end() {
        let bytes = b"HTTP/1.0 200 OK\r\n\r\nall of it";
        assert_eq!(responses(read(bytes, 4).unwrap()), [(200, "all of it".to_owned())]);
    }

    #[test]
    fn refuses_what_is_no_answer() {
        for bytes in [
            b"SSH-2.0-OpenSSH_9.2\r\n".as_slice(),
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert!(matches!(read(bytes, 5), Err(ResponseError::Syntax(_))), "{}", String::from_utf8_lossy(bytes));
        }
        for bytes in [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".as_slice(), b"HTTP/1.1 200"] {
            assert_eq!(read(bytes, 5), Err(ResponseError::Truncated));
        }
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'a'; MAX_HEAD_BYTES + 10]].concat();
        assert_eq!(read(&endless, 1000), Err(ResponseError::TooLong));
    }
}
