//! Downloads: only 200 is success, a stalled transfer fails, one that breaks off is resumed where the server can.

use std::{fs::File, io, path::Path, path::PathBuf, time::Duration};

use http::{HeaderValue, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mezzo_web::{Client, Verify, WebError};
use tokio::{io::AsyncWriteExt, time::timeout};

/// How often one download is taken up again after it has broken off with something got.
const MAX_RESUMPTIONS: usize = 16;

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error(transparent)]
    Web(#[from] WebError),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("nothing came for {}s", .0.as_secs_f64())]
    Stalled(Duration),
    #[error("the transfer broke off after {got} bytes: {source}")]
    Transfer { got: u64, source: hyper::Error },
    #[error("the transfer ended after {got} of {expected} bytes")]
    Short { got: u64, expected: u64 },
    #[error("cannot write '{}': {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// The client for all downloads.
#[derive(Debug)]
pub(super) struct HttpFetcher {
    client: Client,
    stall: Duration,
}

/// A response with status 200, its body still to come.
pub(super) struct Download<'a> {
    fetcher: &'a HttpFetcher,
    address: Uri,
    response: Response<Incoming>,
    /// What the server says of the whole, if it does.
    length: Option<u64>,
    /// What names this very content: a strong entity tag.
    tag: Option<HeaderValue>,
}

impl HttpFetcher {
    pub(super) fn new(stall: Duration) -> Self {
        Self { client: Client::new(Verify::System), stall }
    }

    pub(super) async fn get(&self, address: Uri) -> Result<Download<'_>, HttpError> {
        let response = self.ask(&address, None).await?;
        if response.status() != StatusCode::OK {
            return Err(HttpError::Status(response.status()));
        }
        let length = number(response.headers().get(header::CONTENT_LENGTH));
        let tag = response.headers().get(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")).cloned();
        Ok(Download { fetcher: self, address, response, length, tag })
    }

    async fn ask(&self, address: &Uri, range: Option<HeaderValue>) -> Result<Response<Incoming>, HttpError> {
        let answer = timeout(self.stall, self.client.get(address.clone(), range)).await;
        Ok(answer.map_err(|_| HttpError::Stalled(self.stall))??)
    }
}

impl Download<'_> {
    /// How long the whole is, if the server says so.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Writes the body to `file`, which is called `name` in errors. Gives the number of bytes.
    pub(super) async fn store(mut self, file: File, name: &Path) -> Result<u64, HttpError> {
        let mut file = tokio::fs::File::from_std(file);
        let (mut got, mut resumptions) = (0, 0);
        loop {
            let before = got;
            let Err(error) = self.take(&mut file, name, &mut got).await else { break };
            let broken = matches!(error, HttpError::Transfer { .. } | HttpError::Short { .. } | HttpError::Stalled(_));
            // Only one and the same content is put together.
            if !broken || got == before || resumptions == MAX_RESUMPTIONS || self.tag.is_none() {
                return Err(error);
            }
            resumptions += 1;
            tracing::info!(uri = %self.address, got, "a download broke off, resuming it: {error}");
            self.response = self.rest(got).await?.ok_or(error)?;
        }
        file.flush().await.map_err(|source| HttpError::Write { path: name.into(), source })?;
        Ok(got)
    }

    async fn take(&mut self, file: &mut tokio::fs::File, name: &Path, got: &mut u64) -> Result<(), HttpError> {
        let stall = self.fetcher.stall;
        loop {
            let frame = timeout(stall, self.response.body_mut().frame()).await;
            let Some(frame) = frame.map_err(|_| HttpError::Stalled(stall))? else { break };
            let frame = frame.map_err(|source| HttpError::Transfer { got: *got, source })?;
            if let Ok(data) = frame.into_data() {
                let written = file.write_all(&data).await;
                written.map_err(|source| HttpError::Write { path: name.into(), source })?;
                *got += data.len() as u64;
            }
        }
        match self.length.filter(|expected| *expected != *got) {
            Some(expected) => Err(HttpError::Short { got: *got, expected }),
            None => Ok(()),
        }
    }

    /// What is left from byte `got` on; none if the server does not give just that.
    async fn rest(&self, got: u64) -> Result<Option<Response<Incoming>>, HttpError> {
        let range = HeaderValue::from_str(&format!("bytes={got}-")).ok();
        let response = self.fetcher.ask(&self.address, range).await?;
        let begins = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let there = begins.is_some_and(|range| range.starts_with(&format!("bytes {got}-")));
        let same = response.headers().get(header::ETAG) == self.tag.as_ref();
        Ok((response.status() == StatusCode::PARTIAL_CONTENT && there && same).then_some(response))
    }
}

fn number(header: Option<&HeaderValue>) -> Option<u64> {
    header?.to_str().ok()?.parse().ok()
}
