//! Downloads over HTTP: redirects are followed, only 200 is success, a stalled transfer fails.

use std::{fs::File, path::Path, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{io::AsyncWriteExt, time::timeout};

const MAX_REDIRECTS: usize = 20;

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("cannot connect or ask: {0}")]
    Request(String),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("more than {MAX_REDIRECTS} redirects")]
    Redirects,
    #[error("redirected to '{0}', which cannot be fetched over http")]
    Target(String),
    #[error("nothing came for {}s", .0.as_secs_f64())]
    Stalled(Duration),
    #[error("the transfer broke off: {0}")]
    Transfer(hyper::Error),
    #[error("cannot write '{}' in the sandbox: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

/// The client for all downloads.
#[derive(Debug)]
pub(super) struct HttpFetcher {
    client: Client<HttpConnector, Empty<Bytes>>,
    stall: Duration,
}

/// A response with status 200, its body still to come.
pub(super) struct Download {
    response: Response<Incoming>,
    stall: Duration,
}

impl HttpFetcher {
    pub(super) fn new(stall: Duration) -> Self {
        let client = Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(5)).build_http();
        Self { client, stall }
    }

    pub(super) async fn get(&self, mut address: Uri) -> Result<Download, HttpError> {
        for _ in 0..=MAX_REDIRECTS {
            let request = Request::get(address.clone())
                .header(header::USER_AGENT, concat!("mezzo-fetcher/", env!("CARGO_PKG_VERSION")))
                .header(header::ACCEPT, "*/*")
                .body(Empty::new())
                .map_err(|error| HttpError::Request(error.to_string()))?;
            let answer = timeout(self.stall, self.client.request(request)).await;
            let response = answer
                .map_err(|_| HttpError::Stalled(self.stall))?
                .map_err(|error| HttpError::Request(with_causes(&error)))?;
            match response.status() {
                StatusCode::OK => return Ok(Download { response, stall: self.stall }),
                status if status.is_redirection() && response.headers().contains_key(header::LOCATION) => {
                    let location = &response.headers()[header::LOCATION];
                    address = redirect(&address, &String::from_utf8_lossy(location.as_bytes()))?;
                }
                status => return Err(HttpError::Status(status)),
            }
        }
        Err(HttpError::Redirects)
    }
}

impl Download {
    /// Writes the body to `file`, which is called `name` in errors.
    pub(super) async fn store(self, file: File, name: &Path) -> Result<(), HttpError> {
        let failed = |source| HttpError::Write { path: name.into(), source };
        let mut file = tokio::fs::File::from_std(file);
        let mut body = self.response.into_body();
        loop {
            let frame = timeout(self.stall, body.frame()).await.map_err(|_| HttpError::Stalled(self.stall))?;
            let Some(frame) = frame else { break };
            if let Ok(data) = frame.map_err(HttpError::Transfer)?.into_data() {
                file.write_all(&data).await.map_err(failed)?;
            }
        }
        file.flush().await.map_err(failed)
    }
}

/// Where `location`, an answer to a request for `base`, leads.
fn redirect(base: &Uri, location: &str) -> Result<Uri, HttpError> {
    let target = || HttpError::Target(location.to_owned());
    let authority = base.authority().ok_or_else(target)?;
    let text = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("http://{rest}")
    } else if location.starts_with('/') {
        format!("http://{authority}{location}")
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("http://{authority}{directory}/{location}")
    };
    // A fragment is the client's own business.
    let text = text.split('#').next().unwrap_or_default();
    text.parse().ok().filter(|uri: &Uri| uri.scheme_str() == Some("http")).ok_or_else(target)
}

/// The client's own text says little; its causes say why.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved() {
        let base: Uri = "http://h:1/a/b?c".parse().unwrap();
        let to = |location: &str| redirect(&base, location).map(|uri| uri.to_string()).ok();
        assert_eq!(to("http://i/x#y").as_deref(), Some("http://i/x"));
        assert_eq!(to("//i/x").as_deref(), Some("http://i/x"));
        assert_eq!(to("/x?y").as_deref(), Some("http://h:1/x?y"));
        assert_eq!(to("x").as_deref(), Some("http://h:1/a/x"));
        assert_eq!(to("https://i/x"), None);
        assert_eq!(to("file:///etc/passwd"), None);
    }
}
