//! The connection of a subscription's calls. Calls are pipelined: many are written with one system call, and the
//! answers come in the same order (RFC 9112, 9.3.2). It is made when there is something to send.

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use mezzo_api::codec::ApiMessage;
use mezzo_sdk_core::answer::Answer;
use tokio::io::AsyncWrite;

use super::{
    response::{Parser, Piece},
    socket::{Io, Peer, Requests},
    stream::{answer, append},
};

const READ_BYTES: usize = 16 * 1024;

/// What is sent as the body of a request.
pub(crate) trait Body {
    type Message: ApiMessage;

    fn message(&self) -> &Self::Message;
}

/// What became of calls.
#[derive(Debug)]
pub(crate) enum Done<T> {
    Answered(T, Answer),
    /// The connection broke before these were answered, or could not be made.
    Lost {
        calls: Vec<T>,
        reachable: bool,
    },
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

enum Link {
    Idle,
    Connecting(Connecting),
    Open(Box<dyn Io>),
}

/// Calls on their way.
pub(crate) struct Calls<T> {
    peer: Peer,
    requests: Requests,
    depth: usize,
    link: Link,
    /// Not yet written.
    waiting: VecDeque<T>,
    /// Written, at least in part, and not answered.
    unanswered: VecDeque<T>,
    out: BytesMut,
    input: BytesMut,
    parser: Parser,
    answer: Option<(Answer, bool)>,
}

impl<T: Body> Calls<T> {
    /// Calls to `peer`, of which at most `depth` wait for their answers at a time.
    pub(crate) fn new(peer: Peer, requests: Requests, depth: usize) -> Self {
        Self {
            peer,
            requests,
            depth: depth.max(1),
            link: Link::Idle,
            waiting: VecDeque::new(),
            unanswered: VecDeque::new(),
            out: BytesMut::new(),
            input: BytesMut::new(),
            parser: Parser::new(),
            answer: None,
        }
    }

    pub(crate) fn push(&mut self, call: T) {
        self.waiting.push_back(call);
    }

    /// All that has no answer, in order.
    pub(crate) fn into_unanswered(self) -> Vec<T> {
        self.unanswered.into_iter().chain(self.waiting).collect()
    }

    /// Writes and reads until something is done, and appends it. May be dropped and called again at any time.
    pub(crate) async fn progress(&mut self, done: &mut Vec<Done<T>>) {
        std::future::poll_fn(|context| self.poll(context, done)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>, done: &mut Vec<Done<T>>) -> Poll<()> {
        loop {
            match &mut self.link {
                Link::Idle if self.waiting.is_empty() => return Poll::Pending,
                Link::Idle => self.link = Link::Connecting(Box::pin(self.peer.clone().connect())),
                Link::Connecting(connecting) => match ready!(connecting.as_mut().poll(context)) {
                    Ok(socket) => self.link = Link::Open(socket),
                    Err(error) => {
                        tracing::warn!(peer = %self.peer, %error, "cannot connect to make calls");
                        self.link = Link::Idle;
                        done.push(Done::Lost { calls: self.waiting.drain(..).collect(), reachable: false });
                        return Poll::Ready(());
                    }
                },
                Link::Open(_) => {
                    let result = ready!(self.poll_open(context, done));
                    if let Err(error) = result {
                        self.broken(&error, done);
                    }
                    if !done.is_empty() {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }

    /// Ready when something was answered or the connection cannot be used any more.
    fn poll_open(&mut self, context: &mut Context<'_>, done: &mut Vec<Done<T>>) -> Poll<io::Result<()>> {
        loop {
            self.poll_write(context)?;
            let count = ready!(self.poll_read(context))?;
            self.take_answers(done)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if !done.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Link::Open(socket) = &mut self.link else { return Ok(()) };
        loop {
            while self.unanswered.len() < self.depth {
                let Some(call) = self.waiting.pop_front() else { break };
                self.requests.write(call.message(), &mut self.out);
                self.unanswered.push_back(call);
            }
            if self.out.is_empty() {
                return Ok(());
            }
            match Pin::new(&mut *socket).poll_write(context, &self.out) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.out.advance(count),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Link::Open(socket) = &mut self.link else { return Poll::Pending };
        self.input.reserve(READ_BYTES);
        tokio_util::io::poll_read_buf(Pin::new(socket), context, &mut self.input)
    }

    fn take_answers(&mut self, done: &mut Vec<Done<T>>) -> io::Result<()> {
        while let Some(piece) = self.parser.next(&mut self.input).map_err(io::Error::other)? {
            match piece {
                Piece::Head(head) => {
                    let keep_alive = head.keep_alive;
                    self.answer = Some((answer(head), keep_alive));
                }
                Piece::Body(body) => {
                    if let Some((answer, _)) = &mut self.answer {
                        append(&mut answer.message, &body);
                    }
                }
                Piece::End => self.answered(done)?,
            }
        }
        Ok(())
    }

    fn answered(&mut self, done: &mut Vec<Done<T>>) -> io::Result<()> {
        let (Some((answer, keep_alive)), Some(call)) = (self.answer.take(), self.unanswered.pop_front()) else {
            return Err(io::Error::other("an answer to no call"));
        };
        done.push(Done::Answered(call, answer));
        if keep_alive { Ok(()) } else { Err(io::Error::other("closed after an answer")) }
    }

    fn broken(&mut self, error: &io::Error, done: &mut Vec<Done<T>>) {
        self.link = Link::Idle;
        self.out.clear();
        let whole = self.parser.end(&self.input).is_ok();
        if let Some((answer, _)) = self.answer.take().filter(|_| whole)
            && let Some(call) = self.unanswered.pop_front()
        {
            done.push(Done::Answered(call, answer)); // an answer that lasted until the connection's end
        }
        self.input.clear();
        self.parser = Parser::new();
        if self.unanswered.is_empty() {
            return; // an idle connection that the other side closed
        }
        tracing::debug!(peer = %self.peer, %error, calls = self.unanswered.len(), "the connection of calls broke");
        done.push(Done::Lost { calls: self.unanswered.drain(..).collect(), reachable: true });
    }
}

impl<T> fmt::Debug for Calls<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("peer", &self.peer)
            .field("unanswered", &self.unanswered.len())
            .finish_non_exhaustive()
    }
}
