//! Requests to one server, over one connection that is kept.

use std::{convert::Infallible, fmt::Write};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{Request, Response, body::Incoming, client::conn::http1, header::AUTHORIZATION};
use hyper_util::rt::TokioIo;
use mezzo_sdk::Address;
use mezzo_server::http::authentication::Credential;
use tokio::net::TcpStream;

use crate::credential;

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
    /// Where a redirection leads.
    pub(crate) location: Option<String>,
    /// What time it was there.
    pub(crate) date: Option<String>,
    pub(crate) body: Bytes,
}

/// An answer whose body comes bit by bit.
pub(crate) struct Stream {
    pub(crate) status: u16,
    body: Incoming,
}

impl Stream {
    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// All that is left, as text.
    pub(crate) async fn rest(self) -> String {
        let bytes = self.body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
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

    /// GET `path`, query included.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, HttpError> {
        self.send("GET", path, None, Bytes::new()).await
    }

    /// Sends a request. A kept connection that turns out to be closed is replaced once, if nothing can have been changed.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Answer, HttpError> {
        let kept = self.sender.as_ref().is_some_and(|sender| !sender.is_closed());
        let response = match self.send_once(method, path, content_type, body.clone()).await {
            Err(HttpError::Broken { .. }) if kept && method == "GET" => {
                self.sender = None;
                self.send_once(method, path, content_type, body).await?
            }
            result => result?,
        };
        let status = response.status().as_u16();
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (location, date) = (header("location"), header("date"));
        let broken = |source| HttpError::Broken { address: self.address.clone(), source };
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        Ok(Answer { status, location, date, body })
    }

    /// POST, for an answer that goes on and on.
    pub(crate) async fn open(&mut self, path: &str, content_type: &str, body: Bytes) -> Result<Stream, HttpError> {
        let response = self.send_once("POST", path, Some(content_type), body).await?;
        Ok(Stream { status: response.status().as_u16(), body: response.into_body() })
    }

    async fn send_once(
        &mut self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Response<Incoming>, HttpError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("accept", "application/json");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        if let Some(authorization) = credential::own().and_then(Credential::basic) {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::new(body).boxed())
            .map_err(|source| HttpError::Path { path: path.to_owned(), source })?;
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let broken = |source| HttpError::Broken { address: self.address.clone(), source };
        sender.ready().await.map_err(broken)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        self.sender = Some(sender);
        Ok(response)
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

/// A request's body that comes bit by bit.
pub(crate) struct Streamed(pub(crate) tokio::sync::mpsc::Receiver<Bytes>);

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}

/// Sends a request over a connection of its own, and gives what comes back before it is whole.
pub(crate) async fn begin(
    address: &Address,
    mut request: Request<BoxBody<Bytes, Infallible>>,
) -> Result<Response<Incoming>, HttpError> {
    if let Some(authorization) = credential::own().and_then(Credential::basic) {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    let mut sender = Http::new(address.clone()).connect().await?;
    let broken = |source| HttpError::Broken { address: address.clone(), source };
    sender.ready().await.map_err(broken)?;
    sender.send_request(request).await.map_err(broken)
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
