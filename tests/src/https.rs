//! A server of files over https, with certificates of a test's own, that breaks connections off when it is told to.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// What is served at a path.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// All of it.
    pub content: Vec<u8>,
    /// Its strong entity tag; without one nothing is resumed.
    pub tag: Option<String>,
    /// The connection is broken off after so many bytes of a body.
    pub cut_after: Option<usize>,
}

/// The server, for `localhost`; it ends with the process.
#[derive(Debug)]
pub struct Https {
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificate of the authority that vouches for it.
    pub authority: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Served>>,
    /// Path and `Range` of each request, in order.
    asked: Mutex<Vec<(String, Option<String>)>>,
}

impl Https {
    /// Starts one; its authority's certificate goes into `dir`, under this name.
    ///
    /// # Panics
    /// When it cannot be.
    #[must_use]
    pub fn start(dir: &Path, name: &str) -> Self {
        let (config, certificate) = certified(name);
        let authority = dir.join(format!("{name}.pem"));
        std::fs::write(&authority, certificate).expect("the test's directory must be writable");
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared::default());
        let of_server = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, shared) = (config.clone(), of_server.clone());
                std::thread::spawn(move || {
                    // One that does not trust the certificate hangs up, and so do we.
                    let _ = serve(stream, config, &shared);
                });
            }
        });
        Self { address, authority, shared }
    }

    /// Serves this at `path` from now on.
    pub fn put(&self, path: &str, served: Served) {
        self.shared.files.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), served);
    }

    /// The address of `path`.
    #[must_use]
    pub fn uri(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// The values of `Range` with which a path was asked for.
    #[must_use]
    pub fn asked(&self, path: &str) -> Vec<Option<String>> {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|(of, _)| of == path).map(|(_, range)| range.clone()).collect()
    }
}

/// A server's settings, and the certificate of the authority that signed its own.
fn certified(name: &str) -> (Arc<ServerConfig>, String) {
    let key = || KeyPair::generate().expect("keys can be made");
    let mut params = CertificateParams::new(Vec::new()).expect("there are no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let authority_key = key();
    let authority = params.self_signed(&authority_key).expect("it can be signed");
    let issuer = Issuer::new(params, authority_key);
    let own_key = key();
    let own = CertificateParams::new(vec!["localhost".to_owned()]).expect("it is a name");
    let own = own.signed_by(&own_key, &issuer).expect("it can be signed");
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], secret)
        .expect("key and certificate are a pair");
    (Arc::new(config), authority.pem())
}

/// One request; then the connection ends, as it should or before its time.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, shared: &Shared) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let range = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("range").then(|| value.trim().to_owned())
    });
    shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push((path.clone(), range.clone()));
    let served = shared.files.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
    let out = stream.get_mut();
    let Some(served) = served else {
        out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        return end(out);
    };
    let from = range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let length = served.content.len();
    let body = &served.content[from.unwrap_or(0).min(length)..];
    let status = match from {
        Some(from) => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{length}", length - 1),
        None => "200 OK".to_owned(),
    };
    let tag = served.tag.map(|tag| format!("ETag: \"{tag}\"\r\n")).unwrap_or_default();
    write!(out, "HTTP/1.1 {status}\r\n{tag}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    match served.cut_after.filter(|cut| *cut < body.len()) {
        Some(cut) => {
            out.write_all(&body[..cut])?;
            out.flush() // and gone, in the middle
        }
        None => {
            out.write_all(body)?;
            end(out)
        }
    }
}

/// Says that this is all, and waits until the other side has heard it.
fn end(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<()> {
    stream.conn.send_close_notify();
    stream.flush()?;
    stream.sock.shutdown(std::net::Shutdown::Write)?;
    let _ = stream.sock.read(&mut [0; 64]);
    Ok(())
}
