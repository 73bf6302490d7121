//! To whom a driver talks, and the requests that it writes.

use std::{fmt, io, path::PathBuf};

use bytes::{BufMut, BytesMut};
use mezzo_api::codec::{self, ApiMessage, Encoding};
use mezzo_sdk_core::address::Address;
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// What bytes go through.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The other side.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    Tcp(Address),
    #[cfg(feature = "tls")]
    Tls(Address, crate::tls::Tls),
    Unix(PathBuf),
}

impl Peer {
    pub(crate) async fn connect(self) -> io::Result<Box<dyn Io>> {
        match self {
            Peer::Tcp(address) => Ok(Box::new(tcp(&address).await?)),
            #[cfg(feature = "tls")]
            Peer::Tls(address, tls) => Ok(Box::new(tls.connect(&address.host, tcp(&address).await?).await?)),
            Peer::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        }
    }
}

async fn tcp(address: &Address) -> io::Result<TcpStream> {
    let socket = TcpStream::connect((address.host.as_str(), address.port)).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            #[cfg(feature = "tls")]
            Peer::Tls(address, _) => address.fmt(f),
            Peer::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Writes POST requests to one endpoint; what is the same in all of them is made once.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    encoding: Encoding,
    head: String,
}

impl Requests {
    /// `authorization` is the value of that header.
    pub(crate) fn new(peer: &Peer, path: &str, encoding: Encoding, authorization: Option<&str>) -> Self {
        let host = match peer {
            Peer::Tcp(address) => address.to_string(),
            #[cfg(feature = "tls")]
            Peer::Tls(address, _) => address.to_string(),
            Peer::Unix(_) => "localhost".to_owned(),
        };
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {}\r\n", encoding.media_type());
        if let Some(authorization) = authorization {
            head.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        Self { encoding, head }
    }

    /// Adds a header to all of them.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Appends a request with this body.
    pub(crate) fn write<M: ApiMessage>(&self, message: &M, out: &mut BytesMut) {
        match self.encoding {
            Encoding::Protobuf => {
                let length = message.encoded_len();
                self.write_head(length, out);
                out.reserve(length);
                // never fails: the buffer grows
                let _ = Message::encode(message, out);
            }
            Encoding::Json => {
                let body = codec::encode(Encoding::Json, message);
                self.write_head(body.len(), out);
                out.put_slice(&body);
            }
        }
    }

    fn write_head(&self, length: usize, out: &mut BytesMut) {
        out.put_slice(self.head.as_bytes());
        out.put_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
    }
}
