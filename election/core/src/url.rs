//! `zk://user:password@host:port,…/path` (include/mesos/zookeeper/url.hpp, src/zookeeper/authentication.hpp of apache/mesos).

use std::{fmt, str::FromStr};

/// The port of a ZooKeeper server when none is given.
const DEFAULT_PORT: u16 = 2181;
const SCHEME: &str = "zk://";

/// Where an ensemble is, and under which of its paths the masters stand. Neither `Debug` nor `Display` shows the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZkUrl {
    servers: Vec<String>,
    path: String,
    credentials: Option<Credentials>,
}

/// A user of ZooKeeper's scheme `digest`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

/// Why a text names no ensemble.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZkUrlError {
    /// Another scheme, or none.
    #[error("'{0}' is no ZooKeeper URL: expected zk://host:port[,host:port]/path")]
    Scheme(String),
    /// No path, or the root.
    #[error("'{0}' has no path below the root: expected zk://host:port[,host:port]/path, e.g. /mezzo")]
    Path(String),
    /// An empty component, a relative one, or characters that ZooKeeper refuses.
    #[error("'{0}' is no path of ZooKeeper: its parts may not be empty, '.' or '..', and are separated by one '/'")]
    PathPart(String),
    /// Nothing between the commas.
    #[error("'{0}' names no server: expected host:port between the commas")]
    Server(String),
    /// The port is no number from 1 to 65535.
    #[error("'{0}' has no valid port: expected a number from 1 to 65535")]
    Port(String),
    /// A user without a password, or nothing before the `@`.
    #[error("what stands before the '@' of '{0}' is no user:password")]
    Credentials(String),
}

impl ZkUrl {
    /// The servers, `host:port` each.
    pub fn servers(&self) -> &[String] {
        &self.servers
    }

    /// The path of the masters' znodes, absolute, without a slash at its end.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whom to log in as.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// A path beside the one of the masters, whose name is theirs with `suffix` (existing detectors expect nothing but
    /// candidates below it).
    pub fn beside(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.path)
    }
}

impl Credentials {
    /// `user:password`, as ZooKeeper's scheme `digest` wants it.
    pub fn digest(&self) -> String {
        format!("{}:{}", self.user, self.password)
    }

    /// The user.
    pub fn user(&self) -> &str {
        &self.user
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl fmt::Display for ZkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        if let Some(credentials) = &self.credentials {
            write!(f, "{}:***@", credentials.user)?;
        }
        write!(f, "{}{}", self.servers.join(","), self.path)
    }
}

impl FromStr for ZkUrl {
    type Err = ZkUrlError;

    fn from_str(text: &str) -> Result<Self, ZkUrlError> {
        let text = text.trim();
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| ZkUrlError::Scheme(hidden(text)))?;
        // A password may have any character but the '@' that ends it, so the last one does.
        let (credentials, rest) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((pair, rest)) => (Some(credentials(pair).ok_or_else(|| ZkUrlError::Credentials(hidden(text)))?), rest),
        };
        let (servers, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => return Err(ZkUrlError::Path(hidden(text))),
        };
        let servers = servers.split(',').map(|one| server(one, text)).collect::<Result<_, _>>()?;
        Ok(Self { servers, path: checked_path(path, text)?, credentials })
    }
}

fn credentials(pair: &str) -> Option<Credentials> {
    let (user, password) = pair.split_once(':')?;
    let complete = !user.is_empty() && !password.is_empty();
    complete.then(|| Credentials { user: user.to_owned(), password: password.to_owned() })
}

fn server(one: &str, text: &str) -> Result<String, ZkUrlError> {
    let one = one.trim();
    if one.is_empty() || one.contains(char::is_whitespace) {
        return Err(ZkUrlError::Server(hidden(text)));
    }
    let after_host = match one.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(|| ZkUrlError::Server(hidden(text)))?.1,
        None => one.find(':').map_or("", |at| &one[at..]),
    };
    if after_host.is_empty() {
        return Ok(format!("{one}:{DEFAULT_PORT}"));
    }
    match after_host.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()) {
        Some(0) | None => Err(ZkUrlError::Port(one.to_owned())),
        Some(_) if after_host.len() == one.len() => Err(ZkUrlError::Server(hidden(text))),
        Some(_) => Ok(one.to_owned()),
    }
}

fn checked_path(path: &str, text: &str) -> Result<String, ZkUrlError> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Err(ZkUrlError::Path(hidden(text)));
    }
    let sound = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    if path.split('/').skip(1).all(sound) { Ok(path.to_owned()) } else { Err(ZkUrlError::PathPart(path.to_owned())) }
}

/// The text as it may be shown: whatever could be a password is left out.
fn hidden(text: &str) -> String {
    match text.rsplit_once('@') {
        None => text.to_owned(),
        Some((before, rest)) => {
            let user = before.strip_prefix(SCHEME).unwrap_or(before).split(':').next().unwrap_or_default();
            format!("{SCHEME}{user}:***@{rest}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        text.parse::<ZkUrl>().map_or_else(|error| error.to_string(), |url| url.to_string())
    }

    #[test]
    fn reads_the_forms_in_use() {
        for (text, expected) in [
            ("zk://z1:2181/mesos", "zk://z1:2181/mesos"),
            ("zk://z1/mesos/", "zk://z1:2181/mesos"),
            (" zk://z1:1,z2:2,10.0.0.3:3/a/b\n", "zk://z1:1,z2:2,10.0.0.3:3/a/b"),
            ("zk://[::1]:2181,[fe80::1]/mezzo", "zk://[::1]:2181,[fe80::1]:2181/mezzo"),
            ("zk://user:secret@z1:2181/m", "zk://user:***@z1:2181/m"),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, expected) in [
            ("", "no ZooKeeper URL"),
            ("z1:2181/mesos", "no ZooKeeper URL"),
            ("zk://z1:2181", "no path"),
            ("zk://z1:2181/", "no path"),
            ("zk://z1:2181//", "no path of ZooKeeper"),
            ("zk://z1:2181/a//b", "no path of ZooKeeper"),
            ("zk://z1:2181/a/../b", "no path of ZooKeeper"),
            ("zk:///mesos", "names no server"),
            ("zk://z1:2181,,z2/mesos", "names no server"),
            ("zk://:2181/mesos", "names no server"),
            ("zk://z1:x/mesos", "no valid port"),
            ("zk://z1:0/mesos", "no valid port"),
            ("zk://user@z1/mesos", "no user:password"),
            ("zk://:pw@z1/mesos", "no user:password"),
        ] {
            assert!(parsed(text).contains(expected), "{text}: {}", parsed(text));
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let url: ZkUrl = "zk://user:se/c@ret@z1:2181/mesos".parse().unwrap();
        assert_eq!(url.credentials().map(Credentials::digest).as_deref(), Some("user:se/c@ret"));
        let shown = format!("{url} {url:?}");
        assert!(!shown.contains("ret"), "{shown}");
        for broken in ["zk://user:secret@z1:2181", "zk://user:secret@/mesos", "zk://:secret@z1/m", "user:secret@z1/m"] {
            assert!(!parsed(broken).contains("secret"), "{}", parsed(broken));
        }
    }

    #[test]
    fn what_is_ours_stands_beside_the_masters() {
        let url: ZkUrl = "zk://z1/cluster/mesos".parse().unwrap();
        assert_eq!(url.beside("_registry"), "/cluster/mesos_registry");
    }
}
