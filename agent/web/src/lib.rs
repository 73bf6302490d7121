//! HTTP and HTTPS to elsewhere: for downloads, images and health checks. Redirects are followed.
#![forbid(unsafe_code)]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

const MAX_REDIRECTS: usize = 20;
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("mezzo-agent/", env!("CARGO_PKG_VERSION")));

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// No connection, or none that lasted.
    #[error("cannot connect or ask: {0}")]
    Request(String),
    /// In a circle, most likely.
    #[error("more than {MAX_REDIRECTS} redirects")]
    Redirects,
    /// To something else than http.
    #[error("redirected to '{0}', which cannot be fetched over http or https")]
    Target(String),
}

/// What is asked of a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// One of the system's authorities has signed it.
    System,
    /// Nothing.
    Nothing,
}

/// A client; clones share its connections.
#[derive(Clone, Debug)]
pub struct Client(Pool<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Client {
    /// A client. Without any authority in the system every certificate is refused, with a message that says so.
    pub fn new(verify: Verify) -> Self {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls(verify)).https_or_http().enable_http1().build();
        Self(Pool::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(5)).build(connector))
    }

    /// GETs, from byte `range` on if that is given: a value of the header `Range`.
    ///
    /// # Errors
    /// When there is no response; one of any status is none.
    pub async fn get(&self, address: Uri, range: Option<HeaderValue>) -> Result<Response<Incoming>, WebError> {
        let mut headers = HeaderMap::new();
        headers.extend(range.map(|range| (header::RANGE, range)));
        self.get_with(address, headers).await
    }

    /// GETs with these headers. What authorizes goes to no other server than the one that is asked.
    ///
    /// # Errors
    /// When there is no response; one of any status is none.
    pub async fn get_with(&self, mut address: Uri, mut headers: HeaderMap) -> Result<Response<Incoming>, WebError> {
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        for _ in 0..=MAX_REDIRECTS {
            let mut request = Request::get(address.clone())
                .body(Empty::new())
                .map_err(|error| WebError::Request(error.to_string()))?;
            request.headers_mut().clone_from(&headers);
            let answer = self.0.request(request).await;
            let response = answer.map_err(|error| WebError::Request(with_causes(&error)))?;
            let elsewhere = response.status().is_redirection() && response.status() != StatusCode::NOT_MODIFIED;
            let Some(location) = response.headers().get(header::LOCATION).filter(|_| elsewhere) else {
                return Ok(response);
            };
            let target = redirect(&address, &String::from_utf8_lossy(location.as_bytes()))?;
            if (target.scheme(), target.authority()) != (address.scheme(), address.authority()) {
                headers.remove(header::AUTHORIZATION);
            }
            address = target;
        }
        Err(WebError::Redirects)
    }
}

fn tls(verify: Verify) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|error| unreachable!("the provider has the default versions: {error}"));
    let anything = || {
        let verifier = Arc::new(Anything(provider.clone()));
        builder.clone().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
    };
    match verify {
        Verify::Nothing => anything(),
        Verify::System => match builder.clone().with_native_roots() {
            Ok(builder) => builder.with_no_client_auth(),
            Err(error) => {
                tracing::warn!("no certificate authorities were found, https will not work: {error}");
                builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
            }
        },
    }
}

/// Takes every certificate whose owner has its key.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Where `location`, an answer to a request for `base`, leads.
fn redirect(base: &Uri, location: &str) -> Result<Uri, WebError> {
    let target = || WebError::Target(location.to_owned());
    let authority = base.authority().ok_or_else(target)?;
    let scheme = base.scheme_str().unwrap_or("http");
    let text = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{location}")
    };
    // A fragment is the client's own business.
    let text = text.split('#').next().unwrap_or_default();
    let is_web = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    text.parse().ok().filter(is_web).ok_or_else(target)
}

/// The client's own text says little; its causes say why.
pub fn with_causes(error: &dyn std::error::Error) -> String {
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
        assert_eq!(to("https://i/x").as_deref(), Some("https://i/x"));
        assert_eq!(to("file:///etc/passwd"), None);
    }
}
