//! TLS to masters: whom to trust, and who we are.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How masters are spoken to over TLS.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be used.
    #[error("{path}: {problem}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No certificate authority to trust.
    #[error("no certificate authority is trusted: {0}")]
    NoRoots(String),
    /// Certificate and key do not go together, or are of an unknown kind.
    #[error("the client's certificate cannot be used: {0}")]
    Identity(String),
}

impl Tls {
    /// Trusts whom the operating system trusts.
    ///
    /// # Errors
    /// If it trusts nobody.
    pub fn system() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(TlsError::NoRoots(found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")));
        }
        Self::new(roots, None)
    }

    /// Trusts the authorities of this PEM file alone.
    ///
    /// # Errors
    /// If the file cannot be read or has none.
    pub fn authorities(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        Self::new(roots(path.as_ref())?, None)
    }

    /// As [`authorities`](Self::authorities), and shows this certificate (with its chain) when the master asks for one.
    ///
    /// # Errors
    /// If a file cannot be read, or certificate and key do not go together.
    pub fn with_identity(
        authorities: impl AsRef<Path>,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let chain = certificates(certificate.as_ref())?;
        let key = key.as_ref();
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| TlsError::File { path: key.to_owned(), problem: error.to_string() })?;
        Self::new(roots(authorities.as_ref())?, Some((chain, key)))
    }

    fn new(
        roots: RootCertStore,
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Identity(error.to_string()))?
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain, key).map_err(|error| TlsError::Identity(error.to_string()))?
            }
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    pub(crate) async fn connect(&self, host: &str, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.connector.connect(name, socket).await
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let problem = |problem: String| TlsError::File { path: path.to_owned(), problem };
    let read = CertificateDer::pem_file_iter(path).map_err(|error| problem(error.to_string()))?;
    let found: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| problem(error.to_string()))?;
    if found.is_empty() {
        return Err(problem("there is no certificate in it".to_owned()));
    }
    Ok(found)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::File { path: path.to_owned(), problem: error.to_string() })?;
    }
    Ok(roots)
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
