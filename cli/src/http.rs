//! GET requests to one server, over one connection that is kept.

use std::{convert::Infallible, fmt::Write};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use mezzo_sdk::Address;
use tokio::net::TcpStream;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// No connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// To whom.
        address: Address,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("{address}: {source}")]
    Broken {
        /// With whom.
        address: Address,
        /// How.
        source: hyper::Error,
    },
    /// The path cannot be asked for.
    #[error("cannot ask for {path}: {source}")]
    Path {
        /// Which.
        path: String,
        /// Why.
        source: hyper::http::Error,
    },
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Where another one is that leads.
    pub(crate) leader: Option<String>,
    pub(crate) body: Bytes,
}

/// Asks one server.
#[derive(Debug)]
pub(crate) struct Http {
    address: Address,
    sender: Option<http1::SendRequest<BoxBody<Bytes, Infallible>>>,
}

impl Http {
    pub(crate) fn new(address: Address) -> Self {
        Self { address, sender: None }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// GET `path`, query included. A kept connection that turns out to be closed is replaced once.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, HttpError> {
        let kept = self.sender.as_ref().is_some_and(|sender| !sender.is_closed());
        match self.get_once(path).await {
            Err(HttpError::Broken { .. }) if kept => {
                self.sender = None;
                self.get_once(path).await
            }
            result => result,
        }
    }

    async fn get_once(&mut self, path: &str) -> Result<Answer, HttpError> {
        let broken = |source| HttpError::Broken { address: self.address.clone(), source };
        let request = Request::get(path)
            .header("host", self.address.to_string())
            .header("accept", "application/json")
            .body(Empty::new().boxed())
            .map_err(|source| HttpError::Path { path: path.to_owned(), source })?;
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await.map_err(broken)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let location = response.headers().get("location").filter(|_| status == 307);
        let leader = location.and_then(|location| location.to_str().ok()).map(str::to_owned);
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        self.sender = Some(sender);
        Ok(Answer { status, leader, body })
    }

    async fn connect(&self) -> Result<http1::SendRequest<BoxBody<Bytes, Infallible>>, HttpError> {
        let socket = TcpStream::connect((self.address.host.as_str(), self.address.port))
            .await
            .and_then(|socket| socket.set_nodelay(true).map(|()| socket))
            .map_err(|source| HttpError::Connect { address: self.address.clone(), source })?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|source| HttpError::Broken { address: self.address.clone(), source })?;
        tokio::spawn(connection); // its errors come out of the requests
        Ok(sender)
    }
}

/// Text as a value in a query or a segment of a path.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}"); // a String takes everything
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_query_may_not_have() {
        assert_eq!(escape("/a b/c?d=é&%"), "/a%20b/c%3Fd%3D%C3%A9%26%25");
        assert_eq!(escape("plain-id.1_2~"), "plain-id.1_2~");
    }
}
