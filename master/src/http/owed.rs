//! Long answers hold memory until they are taken: a reader that takes nothing of its own for long is cut off.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use mezzo_server::threads;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

use super::Body;

/// A reader may stop for as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// What is shorter fits into sockets' buffers: nobody waits for its reader.
const LONG: usize = 64 * 1024;
/// At most so many bytes are handed to the system at a time: it copies them without a pause in which another thread could have the
/// processor.
const AT_A_TIME: usize = 64 * 1024;

/// What a connection's client has asked for and not taken yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Long answers that are not written yet.
    answers: AtomicUsize,
    /// Bytes that the socket has taken, of anything.
    taken: AtomicU64,
    /// The first of the answers began.
    begun: Notify,
}

impl Owed {
    /// The stream, with an eye on what it takes.
    pub(super) fn counted<S>(&self, stream: S) -> Counted<S> {
        Counted { stream, owed: self.clone() }
    }

    /// The answer, owed until it is written or given up.
    pub(super) fn note(&self, response: Response<Body>) -> Response<Body> {
        response.map(|body| match body {
            Body::Full(bytes) if bytes.len() > LONG => {
                self.0.answers.fetch_add(1, Ordering::Relaxed);
                self.0.begun.notify_one();
                Body::Full(Bytes::from_owner(Answer { bytes, owed: self.clone() }))
            }
            other => other,
        })
    }

    /// Returns when a long answer waits, and the client has not taken a byte for `patience`, or for twice that at most.
    pub(super) async fn is_stuck(&self, patience: Duration) {
        loop {
            while self.0.answers.load(Ordering::Relaxed) == 0 {
                self.0.begun.notified().await;
            }
            let before = self.0.taken.load(Ordering::Relaxed);
            tokio::time::sleep(patience).await;
            if self.0.answers.load(Ordering::Relaxed) > 0 && self.0.taken.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// A long answer that somebody waits for, or should.
struct Answer {
    bytes: Bytes,
    owed: Owed,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.owed.0.answers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that counts what goes out.
#[derive(Debug)]
pub(super) struct Counted<S> {
    stream: S,
    owed: Owed,
}

impl<S> Counted<S> {
    fn count(&self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        if let Ok(written) = written {
            self.owed.0.taken.fetch_add(written as u64, Ordering::Relaxed);
        }
        threads::give_way();
        Poll::Ready(written)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(AT_A_TIME)];
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(long) = parts.iter().find(|part| !part.is_empty()).filter(|part| part.len() > AT_A_TIME) {
            return self.poll_write(context, long);
        }
        let mut room = AT_A_TIME;
        let fits = |part: &&IoSlice<'_>| room.checked_sub(part.len()).map(|left| room = left).is_some();
        let whole = parts.iter().take_while(fits).count();
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, &parts[..whole]));
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Request;
    use hyper::{body::Incoming, service::service_fn};
    use hyper_util::{
        rt::{TokioExecutor, TokioIo},
        server::conn::auto,
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        task::JoinHandle,
        time::timeout,
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(500);
    const LENGTH: usize = 64 * 1024 * 1024;

    #[tokio::test]
    async fn much_goes_out_in_pieces_and_nothing_is_left_out() {
        let (near, _far) = tokio::io::duplex(LENGTH);
        let mut stream = Owed::default().counted(near);
        let long = vec![0; AT_A_TIME + 1];
        let write = |stream: &mut Counted<_>, parts: &[&[u8]]| {
            let parts: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let mut context = Context::from_waker(std::task::Waker::noop());
            match Pin::new(stream).poll_write_vectored(&mut context, &parts) {
                Poll::Ready(written) => written.unwrap(),
                Poll::Pending => panic!("there is room"),
            }
        };
        assert_eq!(write(&mut stream, &[&long]), AT_A_TIME);
        assert_eq!(write(&mut stream, &[b"", &long]), AT_A_TIME, "an empty part is no end");
        // A duplex takes one part at a time.
        assert_eq!(write(&mut stream, &[b"head", &long]), 4);
        assert_eq!(write(&mut stream, &[&long[1..], b"tail"]), AT_A_TIME);
        assert_eq!(write(&mut stream, &[b""]), 0);
    }

    /// A client's connection, and the server's side of it: true when the client was cut off, false when it went.
    async fn connection(owed: Owed) -> (TcpStream, JoinHandle<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let served = tokio::spawn(async move {
            let noting = owed.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let length = if request.uri().path() == "/long" { LENGTH } else { 2 };
                let response = noting.note(Response::new(Body::Full(vec![b'x'; length].into())));
                async move { Ok::<_, Infallible>(response) }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let io = TokioIo::new(owed.counted(stream));
            tokio::select! {
                _ = builder.serve_connection_with_upgrades(io, service) => false,
                () = owed.is_stuck(SHORT) => true,
            }
        });
        (client, served)
    }

    fn owed(owed: &Owed) -> usize {
        owed.0.answers.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn who_takes_nothing_of_a_long_answer_is_cut_off() {
        let books = Owed::default();
        let (mut client, served) = connection(books.clone()).await;
        client.write_all(b"GET /long HTTP/1.1\r\nHost: m\r\n\r\n").await.unwrap();
        assert!(timeout(Duration::from_secs(60), served).await.unwrap().unwrap(), "it is cut off");
        assert_eq!(owed(&books), 0, "and what it was owed is let go");
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest).await;
        assert!(!rest.is_empty() && rest.len() < LENGTH, "{} bytes came", rest.len());
    }

    #[tokio::test]
    async fn who_is_slow_and_who_asks_for_little_is_waited_for() {
        let books = Owed::default();
        let (mut client, served) = connection(books.clone()).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: m\r\n\r\n").await.unwrap();
        // It does not read its short answer, for long.
        tokio::time::sleep(SHORT * 4).await;
        client.write_all(b"GET /long HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").await.unwrap();
        let (mut taken, mut buffer) = (0, vec![0; LENGTH / 32]);
        loop {
            let length = client.read(&mut buffer).await.unwrap();
            if length == 0 {
                break;
            }
            taken += length;
            tokio::time::sleep(SHORT / 20).await;
        }
        assert!(taken > LENGTH, "{taken} bytes came");
        assert!(!timeout(Duration::from_secs(60), served).await.unwrap().unwrap(), "it was not cut off");
        assert_eq!(owed(&books), 0);
    }
}
