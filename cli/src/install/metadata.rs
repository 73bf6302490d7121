//! Requests to a metadata service: small, short, and no word is trusted further than it reaches.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// A service on the machine's own link answers sooner, or there is none.
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_BODY_BYTES: usize = 256 * 1024;

/// What a service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header Metadata-Flavor.
    pub(crate) flavour: Option<String>,
    pub(crate) body: String,
}

/// Nobody answers, or not as a metadata service would.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{endpoint}{path}: {why}")]
pub(crate) struct Unanswered {
    endpoint: String,
    path: String,
    why: String,
}

/// The service at one address.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    endpoint: String,
}

impl Service {
    pub(crate) fn at(endpoint: &str) -> Self {
        Self { endpoint: endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned() }
    }

    /// An answer that is none.
    pub(crate) fn wrong(&self, path: &str, why: &str) -> Unanswered {
        Unanswered { endpoint: self.endpoint.clone(), path: path.to_owned(), why: why.to_owned() }
    }

    /// One request with these headers.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answer, Unanswered> {
        match timeout(PATIENCE, self.ask_once(method, path, headers)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.wrong(path, &error.to_string())),
            Err(_) => Err(self.wrong(path, &format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    async fn ask_once(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let host = self.endpoint.rsplit_once(':').map_or(self.endpoint.as_str(), |(host, _)| host);
        let address = if host.len() == self.endpoint.len() { format!("{host}:80") } else { self.endpoint.clone() };
        let socket = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection); // its errors come out of the request
        let mut request = Request::builder().method(method).uri(path).header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let status = response.status().as_u16();
        let flavour = response.headers().get("metadata-flavor").and_then(|value| value.to_str().ok());
        let flavour = flavour.map(str::to_owned);
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await?.to_bytes();
        Ok(Answer { status, flavour, body: String::from_utf8_lossy(&body).trim().to_owned() })
    }
}
