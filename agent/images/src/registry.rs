//! Registries: the pull half of their HTTP API, version 2 (distribution-spec 1.1).

use std::{
    fs::File,
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mezzo_web::{Client, WebError};
use tokio::{
    io::AsyncWriteExt,
    sync::Mutex,
    time::{sleep, timeout},
};

use crate::{
    auth::{self, Challenge, Credentials},
    manifest::{Blob, MAX_DOCUMENT_BYTES, MEDIA_TYPES},
    name::Endpoint,
};

/// How often one blob is taken up again after it broke off with something got.
const MAX_RESUMPTIONS: usize = 16;
/// How often a busy registry is asked again, and after how long at first.
const MAX_RETRIES: u32 = 3;
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// The longest answer of a token server.
const MAX_TOKEN_BYTES: u64 = 1 << 20;

/// Why a registry does not give what is wanted.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection, or none that lasted.
    #[error("{registry}: {source}")]
    Web {
        /// Which.
        registry: String,
        /// Why.
        source: WebError,
    },
    /// An answer that says no.
    #[error("{registry} answered {status} to '{path}'{}", hint(*status))]
    Status {
        /// Which.
        registry: String,
        /// What was asked for.
        path: String,
        /// Its answer.
        status: StatusCode,
    },
    /// It wants what we cannot give.
    #[error("{0} wants a way of authentication that is not supported")]
    Challenge(String),
    /// The token server gives none.
    #[error("the token server of {registry} answered {status}{}", hint(*status))]
    Token {
        /// Which.
        registry: String,
        /// Its answer.
        status: StatusCode,
    },
    /// Nothing came.
    #[error("{registry} sent nothing for {}s", after.as_secs_f64())]
    Stalled {
        /// Which.
        registry: String,
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke.
    #[error("the transfer from {registry} broke off after {got} bytes: {reason}")]
    Transfer {
        /// Which.
        registry: String,
        /// What had come.
        got: u64,
        /// Why.
        reason: String,
    },
    /// More or less than was promised.
    #[error("{registry} sent {got} bytes of a blob of {expected}")]
    Length {
        /// Which.
        registry: String,
        /// What came, at least.
        got: u64,
        /// What was promised.
        expected: u64,
    },
    /// The disk.
    #[error("cannot keep a blob: {0}")]
    Write(io::Error),
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ": the image may be private, or its name wrong; credentials are given with --docker_config"
        }
        StatusCode::NOT_FOUND => ": there is no such image",
        StatusCode::TOO_MANY_REQUESTS => ": it limits how much may be pulled",
        _ => "",
    }
}

/// One repository of a registry, for one pull: keeps the token.
#[derive(Debug)]
pub(crate) struct Repository {
    client: Client,
    endpoint: Endpoint,
    name: String,
    credentials: Option<Credentials>,
    stall: Duration,
    /// There are others to ask: it is not asked again when it is busy or away.
    mirror: bool,
    /// It was away.
    away: AtomicBool,
    /// What is shown with each request, once the registry has asked for it.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Repository {
    pub(crate) fn new(
        client: Client,
        endpoint: Endpoint,
        name: &str,
        credentials: Option<Credentials>,
        stall: Duration,
        mirror: bool,
    ) -> Self {
        let name = endpoint.repository(name);
        let (away, authorization) = (AtomicBool::new(false), Mutex::new(None));
        Self { client, endpoint, name, credentials, stall, mirror, away, authorization }
    }

    /// Whether it is worth asking.
    pub(crate) fn is_here(&self) -> bool {
        !self.away.load(Ordering::Relaxed)
    }

    /// A manifest or an index, by tag or digest. Whether it hashes to the digest is for the caller to check.
    pub(crate) async fn manifest(&self, version: &str) -> Result<Vec<u8>, RegistryError> {
        let path = format!("manifests/{version}");
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::try_from(MEDIA_TYPES.join(", ")).unwrap_or(WILD));
        let response = self.ask(&path, &headers).await?;
        let response = self.success(&path, response)?;
        self.read_all(response, MAX_DOCUMENT_BYTES).await
    }

    /// A small blob. Whether it hashes to its digest is for the caller to check.
    pub(crate) async fn document(&self, blob: Blob) -> Result<Vec<u8>, RegistryError> {
        let path = format!("blobs/{}", blob.digest);
        let response = self.ask(&path, &HeaderMap::new()).await?;
        let response = self.success(&path, response)?;
        self.read_all(response, MAX_DOCUMENT_BYTES.min(blob.bytes)).await
    }

    /// Writes a blob of the promised length to a file at `path`.
    pub(crate) async fn blob(&self, blob: Blob, path: &Path) -> Result<File, RegistryError> {
        let file = File::create_new(path).map_err(RegistryError::Write)?;
        let mut file = tokio::fs::File::from_std(file);
        let (mut got, mut resumptions) = (0, 0);
        loop {
            let before = got;
            let Err(error) = self.take(blob, &mut got, &mut file).await else { break };
            let broken = matches!(error, RegistryError::Transfer { .. } | RegistryError::Stalled { .. });
            if !broken || got == before || resumptions == MAX_RESUMPTIONS {
                return Err(error);
            }
            resumptions += 1;
            tracing::info!(blob = %blob.digest, got, "a layer broke off, resuming it: {error}");
        }
        file.flush().await.map_err(RegistryError::Write)?;
        Ok(file.into_std().await)
    }

    /// What is left of the blob.
    async fn take(&self, blob: Blob, got: &mut u64, file: &mut tokio::fs::File) -> Result<(), RegistryError> {
        let path = format!("blobs/{}", blob.digest);
        let mut headers = HeaderMap::new();
        if *got > 0 {
            headers.extend(HeaderValue::try_from(format!("bytes={got}-")).map(|range| (header::RANGE, range)));
        }
        let mut response = self.success(&path, self.ask(&path, &headers).await?)?;
        if *got > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            // It begins anew.
            file.set_len(0).await.map_err(RegistryError::Write)?;
            tokio::io::AsyncSeekExt::rewind(file).await.map_err(RegistryError::Write)?;
            *got = 0;
        }
        while let Some(data) = self.piece(&mut response, *got).await? {
            file.write_all(&data).await.map_err(RegistryError::Write)?;
            *got += data.len() as u64;
            if *got > blob.bytes {
                break;
            }
        }
        if *got < blob.bytes {
            let reason = "the body ended early".to_owned();
            return Err(RegistryError::Transfer { registry: self.registry(), got: *got, reason });
        }
        if *got > blob.bytes {
            return Err(RegistryError::Length { registry: self.registry(), got: *got, expected: blob.bytes });
        }
        Ok(())
    }

    async fn piece(
        &self,
        response: &mut Response<Incoming>,
        got: u64,
    ) -> Result<Option<hyper::body::Bytes>, RegistryError> {
        loop {
            let frame = timeout(self.stall, response.body_mut().frame()).await;
            let Some(frame) = frame.map_err(|_| self.stalled())? else { return Ok(None) };
            let frame = frame.map_err(|error| RegistryError::Transfer {
                registry: self.registry(),
                got,
                reason: mezzo_web::with_causes(&error),
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }

    async fn read_all(&self, mut response: Response<Incoming>, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let mut all = Vec::new();
        while let Some(data) = self.piece(&mut response, all.len() as u64).await? {
            all.extend_from_slice(&data);
            if all.len() as u64 > limit {
                return Err(RegistryError::Length {
                    registry: self.registry(),
                    got: all.len() as u64,
                    expected: limit,
                });
            }
        }
        Ok(all)
    }

    fn success(&self, path: &str, response: Response<Incoming>) -> Result<Response<Incoming>, RegistryError> {
        let status = response.status();
        if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Ok(response);
        }
        Err(RegistryError::Status { registry: self.registry(), path: format!("{}/{path}", self.name), status })
    }

    /// Asks, and answers the registry's challenge if it has one.
    async fn ask(&self, path: &str, headers: &HeaderMap) -> Result<Response<Incoming>, RegistryError> {
        let address = self.address(path)?;
        let shown = self.authorization.lock().await.clone();
        let response = self.send(&address, headers, shown.clone()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let mut authorization = self.authorization.lock().await;
        if *authorization == shown {
            let challenge = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
            let challenge = challenge.filter_map(|value| Challenge::of(value.to_str().ok()?, &self.name)).next();
            *authorization = self.answer(challenge).await?;
        }
        let renewed = authorization.clone();
        drop(authorization);
        if renewed.is_none() {
            return Ok(response);
        }
        self.send(&address, headers, renewed).await
    }

    async fn answer(&self, challenge: Option<Challenge>) -> Result<Option<HeaderValue>, RegistryError> {
        let own = self.credentials.as_ref().map(Credentials::header);
        match challenge {
            None => Err(RegistryError::Challenge(self.registry())),
            Some(Challenge::Basic) => Ok(own),
            Some(Challenge::Bearer(address)) => {
                let address: Uri = address.parse().map_err(|_| RegistryError::Challenge(self.registry()))?;
                // A password that may go to this registry in secret only goes nowhere in the clear.
                if address.scheme_str() != Some("https") && self.endpoint.scheme == "https" {
                    return Err(RegistryError::Challenge(self.registry()));
                }
                let response = self.send(&address, &HeaderMap::new(), own).await?;
                let status = response.status();
                let refused = || RegistryError::Token { registry: self.registry(), status };
                if status != StatusCode::OK {
                    return Err(refused());
                }
                let answer = self.read_all(response, MAX_TOKEN_BYTES).await?;
                auth::bearer(&answer).map(Some).ok_or_else(refused)
            }
        }
    }

    /// Sends a request; again after a while if the registry is busy.
    async fn send(
        &self,
        address: &Uri,
        headers: &HeaderMap,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut headers = headers.clone();
        headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
        let mut attempt = 0;
        loop {
            let answer = timeout(self.stall, self.client.get_with(address.clone(), headers.clone())).await;
            if self.mirror && matches!(answer, Err(_) | Ok(Err(WebError::Request(_)))) {
                self.away.store(true, Ordering::Relaxed);
            }
            let answer = answer.map_err(|_| self.stalled())?;
            let again = match &answer {
                Ok(response) => {
                    response.status().is_server_error() || response.status() == StatusCode::TOO_MANY_REQUESTS
                }
                Err(WebError::Request(_)) => true,
                Err(WebError::Redirects | WebError::Target(_)) => false,
            };
            if !again || self.mirror || attempt == MAX_RETRIES {
                return answer.map_err(|source| RegistryError::Web { registry: self.registry(), source });
            }
            sleep(RETRY_DELAY * 2u32.pow(attempt)).await;
            attempt += 1;
        }
    }

    fn address(&self, path: &str) -> Result<Uri, RegistryError> {
        let text = format!("{}/v2/{}/{path}", self.endpoint, self.name);
        text.parse().map_err(|_| RegistryError::Web { registry: self.registry(), source: WebError::Target(text) })
    }

    fn registry(&self) -> String {
        self.endpoint.to_string()
    }

    fn stalled(&self) -> RegistryError {
        RegistryError::Stalled { registry: self.registry(), after: self.stall }
    }
}

const WILD: HeaderValue = HeaderValue::from_static("*/*");
