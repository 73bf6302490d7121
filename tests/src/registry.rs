//! A real registry (Debian's docker-registry) on loopback, open, with a password, or with tokens that a server of the
//! test hands out and the registry checks.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose};
use mezzo_images::Digest;
use rcgen::{CertificateParams, KeyPair, SigningKey};
use serde_json::json;

use crate::http::{self, Request};
use crate::images::Image;
use crate::part::Part;
use crate::wait;

/// The user and the password that a registry with one wants.
pub const USER: (&str, &str) = ("mezzo", "secret");
/// bcrypt of that password, at its smallest cost.
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
const SERVICE: &str = "registry of a test";
const ISSUER: &str = "a test";

/// What a registry asks of those who come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    Open,
    /// [`USER`]'s password with each request.
    Password,
    /// A token, which [`USER`]'s password gets.
    Token,
}

/// A registry; it ends with this.
#[derive(Debug)]
pub struct Registry {
    /// Its process.
    pub part: Part,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it keeps what is pushed.
    pub storage: PathBuf,
    tokens: Option<Arc<Tokens>>,
}

impl Registry {
    /// Whether there is one on this machine.
    #[must_use]
    pub fn is_installed() -> bool {
        Path::new("/usr/bin/docker-registry").is_file()
    }

    /// Starts one in `dir`, at a port that is the caller's.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(dir: &Path, port: u16, guard: Guard) -> Self {
        let home = dir.join(format!("registry-{port}"));
        let storage = home.join("storage");
        std::fs::create_dir_all(&storage).expect("the test's directory must be writable");
        let tokens = (guard == Guard::Token).then(|| Tokens::start(&home));
        let auth = match (guard, &tokens) {
            (Guard::Password, _) => {
                let path = home.join("users");
                std::fs::write(&path, format!("{}:{HASH}\n", USER.0)).expect("the test's directory must be writable");
                format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path.display())
            }
            (Guard::Token, Some(tokens)) => format!(
                "auth:\n  token:\n    realm: http://{}/token\n    service: {SERVICE}\n    issuer: {ISSUER}\n    rootcertbundle: {}\n",
                tokens.address,
                home.join("issuer.pem").display()
            ),
            _ => String::new(),
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let config = format!(
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
             http:\n  addr: {address}\n{auth}",
            storage.display()
        );
        let path = home.join("config.yml");
        std::fs::write(&path, config).expect("the test's directory must be writable");
        let arguments = [OsString::from("serve"), path.into()].to_vec();
        let mut part = Part::new(&format!("registry-{port}"), "/usr/bin/docker-registry".into(), arguments, dir);
        part.start();
        wait::until("the registry answers", || http::send(address, &Request::get("/v2/")).ok());
        Self { part, address, storage, tokens }
    }

    /// Pushes an image as `repository:tag`, as the user if one is wanted.
    ///
    /// # Panics
    /// When it is refused.
    pub fn push(&self, image: &Image, repository: &str, tag: &str) {
        let authorization = match &self.tokens {
            Some(tokens) => format!("Bearer {}", tokens.token(&format!("repository:{repository}:pull,push"))),
            None => format!("Basic {}", general_purpose::STANDARD.encode(format!("{}:{}", USER.0, USER.1))),
        };
        let send = |request: Request, expected: u16| {
            let response = http::send(self.address, &request.header("Authorization", &authorization)).unwrap();
            assert_eq!(response.status(), expected, "{}", response.text());
            response
        };
        for blob in &image.blobs {
            let response = send(Request::new("POST", &format!("/v2/{repository}/blobs/uploads/")), 202);
            let location = response.head.header("Location").unwrap_or_default().to_owned();
            let path = location.find("/v2/").map_or(location.as_str(), |at| &location[at..]);
            let put =
                Request { body: blob.clone(), ..Request::new("PUT", &format!("{path}&digest={}", Digest::of(blob))) };
            send(put.header("Content-Type", "application/octet-stream"), 201);
        }
        let put = Request {
            body: image.manifest.clone(),
            ..Request::new("PUT", &format!("/v2/{repository}/manifests/{tag}"))
        };
        send(put.header("Content-Type", "application/vnd.oci.image.manifest.v1+json"), 201);
    }

    /// The name under which `repository:tag` is pulled from here.
    #[must_use]
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }

    /// The file that holds a blob.
    #[must_use]
    pub fn blob_file(&self, blob: &[u8]) -> PathBuf {
        let digest = Digest::of(blob).to_string();
        let hex = digest.trim_start_matches("sha256:");
        self.storage.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    /// How often a token was asked for, with the right password and with none.
    #[must_use]
    pub fn tokens_given(&self) -> usize {
        self.tokens.as_ref().map_or(0, |tokens| tokens.given.load(Ordering::SeqCst))
    }

    /// A Docker configuration with the user's password for this registry.
    #[must_use]
    pub fn docker_config(&self) -> String {
        let auth = general_purpose::STANDARD.encode(format!("{}:{}", USER.0, USER.1));
        json!({"auths": {self.address.to_string(): {"auth": auth}}}).to_string()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.part.end(Duration::from_secs(2));
    }
}

/// Hands out tokens that the registry trusts.
struct Tokens {
    address: SocketAddr,
    key: KeyPair,
    /// DER, in base64.
    certificate: String,
    given: AtomicUsize,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", self.address)
    }
}

impl Tokens {
    fn start(home: &Path) -> Arc<Self> {
        let key = KeyPair::generate().expect("a key can be made");
        let parameters = CertificateParams::new(vec!["issuer".to_owned()]).expect("a name is one");
        let certificate = parameters.self_signed(&key).expect("a certificate can be made");
        std::fs::write(home.join("issuer.pem"), certificate.pem()).expect("the test's directory must be writable");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let tokens = Arc::new(Self {
            address: listener.local_addr().expect("a listener has an address"),
            key,
            certificate: general_purpose::STANDARD.encode(certificate.der()),
            given: AtomicUsize::new(0),
        });
        let own = tokens.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| own.answer(stream)));
        tokens
    }

    fn answer(&self, mut stream: std::net::TcpStream) {
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default();
        let wanted = format!("Basic {}", general_purpose::STANDARD.encode(format!("{}:{}", USER.0, USER.1)));
        let known = lines.any(|line| line.split_once(": ").is_some_and(|(_, value)| value == wanted));
        let query = first.split(['?', ' ']).nth(2).unwrap_or_default();
        let scope = query.split('&').find_map(|part| part.strip_prefix("scope=")).unwrap_or_default();
        let scope = scope.replace("%3A", ":").replace("%2F", "/");
        let (status, body) = if known {
            self.given.fetch_add(1, Ordering::SeqCst);
            ("200 OK", json!({"token": self.token(&scope)}).to_string())
        } else {
            ("401 Unauthorized", "{}".to_owned())
        };
        let length = body.len();
        let _ = write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    }

    /// A JSON web token, signed as the registry wants it.
    fn token(&self, scope: &str) -> String {
        let encode = |bytes: &[u8]| general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        let mut parts = scope.splitn(3, ':');
        let (kind, name, actions) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]});
        let claims = json!({
            "iss": ISSUER, "sub": USER.0, "aud": SERVICE, "exp": now + 300, "nbf": now - 10, "iat": now, "jti": "1",
            "access": [{"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}],
        });
        let text = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = self.key.sign(text.as_bytes()).expect("a key signs");
        format!("{text}.{}", encode(&raw_signature(&signature)))
    }
}

/// The two numbers of an ECDSA signature, 32 bytes each, out of their ASN.1.
fn raw_signature(asn1: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(64);
    let mut rest = &asn1[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        raw.resize(raw.len() + 32 - number.len(), 0);
        raw.extend_from_slice(number);
        rest = &rest[2 + length..];
    }
    raw
}
