//! A session with an ensemble.

use std::time::Duration;

use mezzo_election_core::ZkUrl;
use zookeeper_client::{Acls, Client, Error, Permission};

/// What a znode of ours allows: with credentials anyone may read it and its maker may do everything, without them it is
/// open (src/zookeeper/authentication.cpp).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acl {
    /// `world:anyone` everything.
    Open,
    /// `world:anyone` to read, the user who makes it everything.
    Owner,
}

impl Acl {
    /// The one for this ensemble.
    pub fn of(url: &ZkUrl) -> Self {
        if url.credentials().is_some() { Self::Owner } else { Self::Open }
    }

    /// As the client wants it.
    pub fn acls(self) -> Acls<'static> {
        match self {
            Self::Open => Acls::anyone_all(),
            Self::Owner => Acls::new(&OWNER),
        }
    }
}

static OWNER: [zookeeper_client::Acl; 2] = [
    zookeeper_client::Acl::new_const(Permission::READ, "world", "anyone"),
    zookeeper_client::Acl::new_const(Permission::ALL, "auth", ""),
];

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No server took the connection within the session timeout.
    #[error("no server of {url} answers: {error}")]
    Unreachable {
        /// The ensemble, without its password.
        url: String,
        /// What the client says.
        error: Error,
    },
    /// The servers do not know this user and password.
    #[error("{url} refuses the credentials: check user and password of the URL")]
    Refused {
        /// The ensemble, without its password.
        url: String,
    },
}

/// How long a server may be silent, or a dial take, before another server is tried. A leader that loses its server to a
/// firewall that drops, and dials another one behind it first, must be connected again within its lease, ⅔ of the session's
/// timeout: the client's own ⅖ are too much for that. Servers that think for a moment are not given up for it.
fn connection_timeout(session_timeout: Duration) -> Duration {
    (session_timeout / 5).max(Duration::from_secs(1)).min(session_timeout * 2 / 5)
}

/// Opens a session. It is tried for as long as `session_timeout`, at all servers in turn.
///
/// # Errors
/// If no server answers, or the credentials are refused.
pub async fn connect(url: &ZkUrl, session_timeout: Duration) -> Result<Client, ConnectError> {
    let mut connector = Client::connector()
        .with_session_timeout(session_timeout)
        .with_connection_timeout(connection_timeout(session_timeout));
    if let Some(credentials) = url.credentials() {
        connector = connector.with_auth("digest", credentials.digest().as_bytes());
    }
    let servers = url.servers().join(",");
    // The client gives up when no server can be reached at once, but not while one accepts and says nothing.
    let attempt = tokio::time::timeout(session_timeout, connector.connect(&servers));
    match attempt.await.unwrap_or(Err(Error::Timeout)) {
        Ok(client) => Ok(client),
        Err(Error::AuthFailed) => Err(ConnectError::Refused { url: url.to_string() }),
        Err(error) => Err(ConnectError::Unreachable { url: url.to_string(), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_server_and_a_dial_in_vain_fit_into_a_lease() {
        for milliseconds in [4000, 10_000, 30_000] {
            let session = Duration::from_millis(milliseconds);
            assert!(connection_timeout(session) * 2 < session * 2 / 3, "{session:?}");
        }
        assert_eq!(connection_timeout(Duration::from_secs(1)), Duration::from_millis(400));
    }
}
