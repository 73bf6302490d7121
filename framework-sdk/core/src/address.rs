//! Where a master or an agent is reached.

use std::{fmt, str::FromStr};

/// The port of a Mesos master when none is given.
pub const MASTER_PORT: u16 = 5050;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing was given.
    #[error("no address given: expected host:port")]
    Empty,
    /// An ensemble that tells who leads, where a master itself is expected.
    #[error("a ZooKeeper URL is no address: expected host:port")]
    ZooKeeper,
    /// The scheme is none that is spoken.
    #[error("'{0}': only http:// is spoken here")]
    Scheme(String),
    /// No host before the port.
    #[error("'{0}' names no host: expected host:port")]
    Host(String),
    /// The port is no number from 1 to 65535.
    #[error("'{0}' has no valid port: expected a number from 1 to 65535")]
    Port(String),
}

impl Address {
    /// Reads `host`, `host:port`, `http://host:port/…`, `//host:port/…` (as Mesos redirects) or `master@host:port`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let whole = text.trim();
        if whole.is_empty() {
            return Err(AddressError::Empty);
        }
        let authority = authority(whole)?;
        let (host, port) = split_port(whole, authority)?;
        if host.is_empty() || host.contains([' ', '\t', '\r', '\n']) {
            return Err(AddressError::Host(whole.to_owned()));
        }
        let port = match port {
            None => default_port,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(AddressError::Port(whole.to_owned())),
                Ok(port) => port,
            },
        };
        Ok(Self { host: host.to_owned(), port })
    }

    /// Reads a list of masters, separated by commas.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, AddressError> {
        if text.trim_start().starts_with("zk://") {
            return Err(AddressError::ZooKeeper);
        }
        text.split(',').map(|one| Self::parse(one, MASTER_PORT)).collect()
    }
}

/// What stands between the scheme and the path.
fn authority(whole: &str) -> Result<&str, AddressError> {
    if whole.starts_with("zk://") {
        return Err(AddressError::ZooKeeper);
    }
    let rest = match whole.split_once("://") {
        Some(("http", rest)) => rest,
        Some(_) => return Err(AddressError::Scheme(whole.to_owned())),
        None => whole.strip_prefix("//").unwrap_or(whole),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    Ok(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

fn split_port<'a>(whole: &str, authority: &'a str) -> Result<(&'a str, Option<&'a str>), AddressError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(|| AddressError::Host(whole.to_owned()))?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(AddressError::Port(whole.to_owned())),
        };
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Ok((authority, None)), // a bare IPv6 address
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, MASTER_PORT)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        Address::parse(text, MASTER_PORT).map_or_else(|error| error.to_string(), |address| address.to_string())
    }

    #[test]
    fn reads_the_forms_in_use() {
        for (text, expected) in [
            ("10.0.0.1:5051", "10.0.0.1:5051"),
            ("m1.example", "m1.example:5050"),
            (" m1:80 ", "m1:80"),
            ("http://m1:5050/", "m1:5050"),
            ("http://m1/master/api/v1?x=1", "m1:5050"),
            ("//m2:5055/master/state", "m2:5055"),
            ("master@10.0.0.1:5050", "10.0.0.1:5050"),
            ("[::1]:5050", "[::1]:5050"),
            ("[::1]", "[::1]:5050"),
            ("::1", "[::1]:5050"),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, expected) in [
            ("", "no address given"),
            ("m1:", "no valid port"),
            ("m1:0", "no valid port"),
            ("m1:65536", "no valid port"),
            ("m1:-1", "no valid port"),
            (":5050", "names no host"),
            ("a b:1", "names no host"),
            ("[::1", "names no host"),
            ("[::1]x", "no valid port"),
            ("https://m1:5050", "only http://"),
            ("zk://z1:2181/mesos", "ZooKeeper"),
        ] {
            assert!(parsed(text).contains(expected), "{text}: {}", parsed(text));
        }
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let list = Address::parse_list("m1:5050,m2, http://m3:5052").unwrap();
        assert_eq!(list.iter().map(ToString::to_string).collect::<Vec<_>>(), ["m1:5050", "m2:5050", "m3:5052"]);
        assert_eq!(Address::parse_list("zk://a:2181,b:2181/mesos"), Err(AddressError::ZooKeeper));
        assert_eq!(Address::parse_list("m1:5050,,"), Err(AddressError::Empty));
    }
}
