//! The agent's end of the socket on which a supervisor serves a container's input and output.

use std::{fs::File, io, os::fd::AsFd, path::Path, time::Duration};

use mezzo_executor::io::{
    address, socket_name,
    wire::{self, Message},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// What is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// A supervisor answers at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Nobody holds the container's input and output.
#[derive(Debug)]
pub(super) struct NotHeld;

/// A connection.
pub(super) struct Socket {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Socket {
    /// Connects to the supervisor of this container.
    pub(super) async fn open(directory: &Path, container: &str) -> Result<Self, NotHeld> {
        let (directory, name) = (directory.to_path_buf(), socket_name(container));
        let opened = tokio::task::spawn_blocking(move || dial(&directory, &name)).await;
        match opened {
            Ok(Ok(stream)) => {
                let stream = UnixStream::from_std(stream).map_err(|_| NotHeld)?;
                Ok(Self { stream, received: Vec::new() })
            }
            Ok(Err(_)) | Err(_) => Err(NotHeld),
        }
    }

    /// Sends a message; waits while the supervisor has no room.
    pub(super) async fn send(&mut self, message: &Message) -> io::Result<()> {
        let mut bytes = Vec::new();
        wire::encode(&mut bytes, message);
        self.stream.write_all(&bytes).await
    }

    /// The next message; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.ready()? {
                return Ok(Some(message));
            }
            self.received.reserve(CHUNK_BYTES);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// A message that has come already.
    pub(super) fn ready(&mut self) -> io::Result<Option<Message>> {
        wire::decode(&mut self.received).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Asks for the output, until it is granted.
    pub(super) async fn attach_output(&mut self) -> io::Result<()> {
        self.send(&Message::Output).await?;
        match self.granted().await? {
            Message::Ready => Ok(()),
            _ => Err(gone()),
        }
    }

    /// The first answer.
    pub(super) async fn granted(&mut self) -> io::Result<Message> {
        match tokio::time::timeout(ANSWER_WITHIN, self.next()).await {
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None)) | Err(_) => Err(gone()),
            Ok(Err(error)) => Err(error),
        }
    }
}

/// Its supervisor is there no more, or does not answer.
pub(super) fn gone() -> io::Error {
    io::Error::other("I/O switchboard has shutdown")
}

fn dial(directory: &Path, name: &str) -> io::Result<std::os::unix::net::UnixStream> {
    let directory = File::open(directory)?;
    let address = address(directory.as_fd(), name.as_bytes())?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &address)?;
    let stream = std::os::unix::net::UnixStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(stream)
}
