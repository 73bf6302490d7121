//! What `--master` says.

use std::{fmt, str::FromStr};

use crate::url::{ZkUrl, ZkUrlError};

/// The port of a Mesos master when none is given.
const MASTER_PORT: u16 = 5050;

/// Where masters are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// ZooKeeper tells who leads.
    ZooKeeper(ZkUrl),
    /// These, host and port; who does not lead says who does. Never empty.
    Listed(Vec<(String, u16)>),
}

impl Source {
    /// Somebody in the masters' direction, `host:port`.
    pub fn towards(&self) -> String {
        match self {
            Self::ZooKeeper(url) => url.servers().first().cloned().unwrap_or_default(),
            Self::Listed(list) => {
                list.first().map(|(host, port)| crate::candidate::join(host, u32::from(*port))).unwrap_or_default()
            }
        }
    }
}

/// Why a text says nothing of masters. A text that holds a password is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing was given.
    #[error("no master given: expected host:port, a list of them with commas, zk://host:port/path, or file:///path")]
    Empty,
    /// The URL is none.
    #[error(transparent)]
    ZooKeeper(#[from] ZkUrlError),
    /// Another scheme.
    #[error("'{0}': masters are named by host:port, zk://host:port/path, or file:///path")]
    Scheme(String),
    /// No host before the port.
    #[error("'{0}' names no host: expected host:port")]
    Host(String),
    /// The port is no number from 1 to 65535.
    #[error("'{0}' has no valid port: expected a number from 1 to 65535")]
    Port(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZooKeeper(url) => url.fmt(f),
            Self::Listed(list) => {
                let texts: Vec<String> =
                    list.iter().map(|(host, port)| crate::candidate::join(host, u32::from(*port))).collect();
                f.write_str(&texts.join(","))
            }
        }
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SourceError::Empty);
        }
        if text.starts_with("zk://") {
            return Ok(Self::ZooKeeper(text.parse()?));
        }
        text.split(',').map(master).collect::<Result<_, _>>().map(Self::Listed)
    }
}

/// `host`, `host:port`, `master@host:port` or `http://host:port/…`.
fn master(one: &str) -> Result<(String, u16), SourceError> {
    let one = one.trim();
    let rest = match one.split_once("://") {
        Some(("http", rest)) => rest,
        Some((scheme, _)) => return Err(SourceError::Scheme(format!("{scheme}://"))),
        None => one.strip_prefix("//").unwrap_or(one),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, port))) => (host, port.strip_prefix(':').or((!port.is_empty()).then_some("?"))),
        Some(None) => return Err(SourceError::Host(one.to_owned())),
        None => match authority.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => (authority, None), // a bare IPv6 address
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(SourceError::Host(one.to_owned()));
    }
    match port.map(str::parse::<u16>) {
        None => Ok((host.to_owned(), MASTER_PORT)),
        Some(Ok(port)) if port > 0 => Ok((host.to_owned(), port)),
        Some(_) => Err(SourceError::Port(one.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_in_use() {
        let listed = |text: &str| match text.parse::<Source>() {
            Ok(Source::Listed(list)) => {
                list.iter().map(|(host, port)| format!("{host} {port}")).collect::<Vec<_>>().join(", ")
            }
            other => format!("{other:?}"),
        };
        assert_eq!(listed("m1:5051"), "m1 5051");
        assert_eq!(
            listed(" master@10.0.0.1:80, http://m2/x ,[::1]:1,::2,m3"),
            "10.0.0.1 80, m2 5050, ::1 1, ::2 5050, m3 5050"
        );
        assert!(matches!("zk://a:1,b:2/mezzo".parse(), Ok(Source::ZooKeeper(url)) if url.path() == "/mezzo"));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, expected) in [
            ("", "no master given"),
            ("m1:5050,", "names no host"),
            (":1", "names no host"),
            ("[::1", "names no host"),
            ("m1:0", "no valid port"),
            ("m1:x", "no valid port"),
            ("[::1]x", "no valid port"),
            ("etcd://m1", "etcd://"),
            ("zk://a:1", "no path"),
        ] {
            let error = text.parse::<Source>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
