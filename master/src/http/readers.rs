//! Who only reads is served by threads of their own, which the system lets wait when those that schedule have something to do:
//! however many look at the cluster, and however large it is, tasks are launched as soon as without them.

use std::{future::Future, io};

use mezzo_server::threads;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle, Runtime},
    sync::watch,
};

/// Threads that serve readers' connections.
const THREADS: usize = 1;
/// Threads that render large pictures and pack them.
const RENDERING: usize = 2;
/// How much nicer these threads are than the others: about a tenth of their share when processors are scarce.
const NICER: i32 = 10;
const STACK_BYTES: usize = 1024 * 1024;
/// Of a connection's first request, so much is looked at.
const LOOKED_AT: usize = 256;

/// The readers' threads. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Readers(Option<Runtime>);

impl Readers {
    /// Starts them.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("readers")
            .worker_threads(THREADS)
            .max_blocking_threads(RENDERING)
            .thread_stack_size(STACK_BYTES)
            .on_thread_start(|| threads::patient(NICER))
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Serves a connection, here or on the readers' threads, once it has sent something.
    pub(super) fn sort<F>(
        &self,
        stream: TcpStream,
        mut stop: watch::Receiver<bool>,
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let readers = self.0.as_ref().map(Runtime::handle).cloned();
        tokio::spawn(async move {
            let mut first = [0; LOOKED_AT];
            let length = tokio::select! {
                length = stream.peek(&mut first) => length.unwrap_or_default(),
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match readers {
                Some(readers) if is_reader(&first[..length]) => move_to(&readers, stream, serve),
                _ => serve(stream).await,
            }
        });
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn move_to<F>(readers: &Handle, stream: TcpStream, serve: impl FnOnce(TcpStream) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(stream) = stream.into_std() else { return };
    readers.spawn(async move {
        // It is known to the system calls of these threads from here on.
        if let Ok(stream) = TcpStream::from_std(stream) {
            serve(stream).await;
        }
    });
}

/// Whether a connection that begins so is of somebody who looks on: neither an agent's link nor a framework.
fn is_reader(first: &[u8]) -> bool {
    let mut words = first.split(|byte| byte.is_ascii_whitespace());
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return false };
    let is_method = !method.is_empty() && method.iter().all(u8::is_ascii_uppercase) && method != b"PRI";
    let mut parts = target.split(|byte| matches!(byte, b'/' | b'?'));
    is_method && !parts.any(|part| part == b"scheduler" || part == b"link")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_and_frameworks_are_no_readers() {
        for (first, reader) in [
            ("GET /state HTTP/1.1\r\nHost: m\r\n", true),
            ("GET /master/state?jsonp=x HTTP/1.0\r\n", true),
            ("POST /api/v1 HTTP/1.1\r\n", true),
            ("GET /", true),
            ("POST /api/v1/scheduler HTTP/1.1\r\n", false),
            ("POST /master/api/v1/scheduler?x HTTP/1.1\r\n", false),
            ("GET /link HTTP/1.1\r\nUpgrade: mezzo-link\r\n", false),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false),
            ("\u{16}\u{3}\u{1} not in clear", false),
            ("GE", false),
            ("", false),
        ] {
            assert_eq!(is_reader(first.as_bytes()), reader, "{first:?}");
        }
    }

    #[test]
    fn the_threads_are_nicer() {
        let readers = Readers::start().unwrap();
        let nice = || rustix::process::nice(0).unwrap();
        let runtime = readers.0.as_ref().unwrap();
        let (here, there) = (nice(), runtime.block_on(async { tokio::spawn(async move { nice() }).await.unwrap() }));
        assert_eq!(there, (here + NICER).min(19));
    }
}
