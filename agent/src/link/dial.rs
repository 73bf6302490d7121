//! One connection to the leading master, upgraded.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use mezzo_server::http::authentication::Credential;
use tokio::net::TcpStream;

/// The protocol's name in `Upgrade`.
const PROTOCOL: &str = "mezzo-link";
/// Its version.
const VERSION: &str = "1";
/// The header that carries the token of a second connection.
const BULK: &str = "mezzo-link-bulk";
/// A master is sent on to at most so many others.
const MAX_REDIRECTS: usize = 5;
/// Everything up to the upgrade is done within this time.
const WITHIN: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("{address} does not answer as HTTP: {source}")]
    Http { address: String, source: hyper::Error },
    #[error("{0} leads to no master: there is no leader, or it does not say where")]
    NoLeader(String),
    #[error("{0} does not know yet that it leads")]
    NotYet(String),
    #[error("{0} asks who this agent is: give it --credential")]
    NoCredential(String),
    #[error(
        "{address} does not take the credential of principal {principal}: it has to be in the master's --credentials"
    )]
    Stranger { address: String, principal: String },
    #[error("{address} is no Mezzo master: it answered {status}")]
    Refused { address: String, status: StatusCode },
    #[error("{0} sends from master to master")]
    Loop(String),
    #[error("{0} did not answer in time")]
    Late(String),
}

/// An upgraded connection.
pub(super) struct Connection {
    pub(super) stream: TokioIo<Upgraded>,
    /// The master at its end.
    pub(super) leader: String,
}

enum Outcome {
    Open(Upgraded),
    Redirect(String),
}

/// Whether a master that does not lead is asked who does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirects {
    /// It is.
    Follow,
    /// It is not: ZooKeeper told that this one leads, and it has not heard of it yet. Whom it takes for the leader may be
    /// dead.
    Refuse,
}

/// What is said when dialling.
#[derive(Clone, Copy)]
pub(super) struct Introduction<'a> {
    /// Who this agent is, if it has to say so.
    pub(super) credential: Option<&'a Credential>,
    /// The token of a second connection.
    pub(super) bulk: Option<&'a str>,
}

/// Dials `address`, and whoever it says leads.
pub(super) async fn dial(
    address: &str,
    redirects: Redirects,
    introduction: Introduction<'_>,
) -> Result<Connection, DialError> {
    let mut leader = address.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let attempt = tokio::time::timeout(WITHIN, open(&leader, introduction)).await;
        match attempt.map_err(|_| DialError::Late(leader.clone()))?? {
            Outcome::Open(upgraded) => return Ok(Connection { stream: TokioIo::new(upgraded), leader }),
            Outcome::Redirect(_) if redirects == Redirects::Refuse => return Err(DialError::NotYet(leader)),
            Outcome::Redirect(to) => leader = to,
        }
    }
    Err(DialError::Loop(address.to_owned()))
}

async fn open(address: &str, introduction: Introduction<'_>) -> Result<Outcome, DialError> {
    let connect = |source| DialError::Connect { address: address.to_owned(), source };
    let http = |source| DialError::Http { address: address.to_owned(), source };
    let stream = TcpStream::connect(address).await.map_err(connect)?;
    stream.set_nodelay(true).map_err(connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    let response = sender.send_request(request(address, introduction)).await.map_err(http)?;
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => hyper::upgrade::on(response).await.map(Outcome::Open).map_err(http),
        StatusCode::TEMPORARY_REDIRECT => {
            let to = response.headers().get(header::LOCATION).and_then(leader);
            to.map(Outcome::Redirect).ok_or_else(|| DialError::NoLeader(address.to_owned()))
        }
        StatusCode::SERVICE_UNAVAILABLE => Err(DialError::NoLeader(address.to_owned())),
        StatusCode::UNAUTHORIZED => Err(match introduction.credential {
            None => DialError::NoCredential(address.to_owned()),
            Some(own) => DialError::Stranger { address: address.to_owned(), principal: own.principal.clone() },
        }),
        status => Err(DialError::Refused { address: address.to_owned(), status }),
    }
}

fn request(address: &str, introduction: Introduction<'_>) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = http::Uri::from_static("/link");
    let headers = request.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    headers.insert("mezzo-link-version", HeaderValue::from_static(VERSION));
    if let Ok(host) = HeaderValue::from_str(address) {
        headers.insert(header::HOST, host);
    }
    if let Some(authorization) = introduction.credential.and_then(Credential::basic) {
        headers.insert(header::AUTHORIZATION, authorization);
    }
    if let Some(token) = introduction.bulk.and_then(|token| HeaderValue::from_str(token).ok()) {
        headers.insert(BULK, token);
    }
    request
}

/// `//host:port/path`, with or without a scheme.
fn leader(location: &HeaderValue) -> Option<String> {
    let text = location.to_str().ok()?;
    let (_, rest) = text.split_once("//")?;
    let authority = rest.split(['/', '?']).next()?;
    authority.contains(':').then(|| authority.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_where_the_leader_is() {
        for (location, expected) in [
            ("//m2:5050/link", Some("m2:5050")),
            ("http://10.0.0.1:5050", Some("10.0.0.1:5050")),
            ("//m2", None),
            ("/link", None),
        ] {
            assert_eq!(leader(&HeaderValue::from_static(location)).as_deref(), expected, "{location}");
        }
    }
}
