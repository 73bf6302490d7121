//! Names of images, as Docker and Mesos read them (apache/mesos, src/docker/spec.cpp, parseImageReference).

use std::{fmt, net::IpAddr, str::FromStr};

use oci_spec::distribution::Reference;

use crate::digest::Digest;

/// Docker's own registry: its host in names, and where it is.
const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";
/// Of images of Docker's registry that name nobody.
const OFFICIAL: &str = "library/";

/// A name, read: `[registry/]repository[:tag][@digest]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Host and port, if the name has one.
    pub registry: Option<String>,
    /// E.g. `library/alpine`.
    pub repository: String,
    /// `latest` if it names neither tag nor digest.
    pub tag: Option<String>,
    /// What the manifest must hash to.
    pub digest: Option<Digest>,
}

/// A name that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is no name of an image, like alpine:3.20 or host:5000/team/app@sha256:…: {reason}")]
pub struct NameError {
    name: String,
    reason: String,
}

impl Name {
    /// What a registry is asked for: the digest if there is one, else the tag.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |reason: String| NameError { name: text.to_owned(), reason };
        let reference = Reference::try_from(text).map_err(|error| refused(error.to_string()))?;
        let digest =
            reference.digest().map(Digest::from_str).transpose().map_err(|error| refused(error.to_string()))?;
        let first = text.split_once('/').map(|(first, _)| first);
        let registry =
            first.filter(|first| first.contains(['.', ':']) || *first == "localhost").map(|_| reference.registry());
        let repository = reference.repository();
        // The library takes every name without a registry for one of Docker's.
        let added = registry.is_none() && first.is_none();
        let repository = if added { repository.strip_prefix(OFFICIAL).unwrap_or(repository) } else { repository };
        Ok(Self {
            registry: registry.map(str::to_owned),
            repository: repository.to_owned(),
            tag: reference.tag().map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// Where a registry listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host and port.
    pub authority: String,
}

/// A text that is no place of a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no place of a registry, like https://registry.example.com or http://10.0.0.1:5000")]
pub struct EndpointError(String);

impl Endpoint {
    /// Of a registry that is named without a scheme: http for port 80 and this machine's own, else https.
    pub fn of_host(host: &str) -> Self {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
        let own = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let scheme = if own || host.ends_with(":80") { "http" } else { "https" };
        let host = if matches!(host, HUB | "index.docker.io") { HUB_HOST } else { host };
        Self { scheme, authority: host.to_owned() }
    }

    /// Whether it is Docker's own registry, whose official images lie in `library/`.
    fn is_hub(&self) -> bool {
        self.authority.ends_with(HUB)
    }

    /// The repository as this registry calls it.
    pub(crate) fn repository(&self, repository: &str) -> String {
        let official = self.is_hub() && !repository.contains('/');
        format!("{}{repository}", if official { OFFICIAL } else { "" })
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || EndpointError(text.to_owned());
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some("http"), rest),
            Some(("https", rest)) => (Some("https"), rest),
            Some(_) => return Err(refused()),
            None => (None, text),
        };
        let host = rest.trim_end_matches('/');
        let sound: Option<http::uri::Authority> = host.parse().ok();
        sound.filter(|authority| !authority.host().is_empty() && !host.contains('@')).ok_or_else(refused)?;
        let endpoint = Self::of_host(host);
        Ok(Self { scheme: scheme.unwrap_or(endpoint.scheme), ..endpoint })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<String>, String, String) {
        let name: Name = text.parse().unwrap();
        (name.registry.clone(), name.repository.clone(), name.version())
    }

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let some = |registry: &str| Some(registry.to_owned());
        assert_eq!(read("alpine"), (None, "alpine".into(), "latest".into()));
        assert_eq!(read("team/app:1.2"), (None, "team/app".into(), "1.2".into()));
        assert_eq!(read("localhost:5000/app"), (some("localhost:5000"), "app".into(), "latest".into()));
        assert_eq!(read("localhost/app"), (some("localhost"), "app".into(), "latest".into()));
        assert_eq!(read("quay.io/a/b/c:t"), (some("quay.io"), "a/b/c".into(), "t".into()));
        let digest = Digest::of(b"x").to_string();
        assert_eq!(read(&format!("a:t@{digest}")), (None, "a".into(), digest));
        for wrong in ["", "UPPER", "a b", "../x", "a@sha256:12", "a:b:c", "http://x/y", "/etc"] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
        let name: Name = "h:1/a:t".parse().unwrap();
        assert_eq!(name.to_string(), "h:1/a:t");
    }

    #[test]
    fn registries_are_found_where_mesos_finds_them() {
        let of = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()).unwrap_or_default();
        assert_eq!(of("https://registry-1.docker.io"), "https://registry-1.docker.io");
        assert_eq!(of("docker.io"), "https://registry-1.docker.io");
        assert_eq!(of("127.0.0.1:5000"), "http://127.0.0.1:5000");
        assert_eq!(of("https://localhost:5000/"), "https://localhost:5000");
        assert_eq!(of("h:80"), "http://h:80");
        assert_eq!(of("h:5000"), "https://h:5000");
        for wrong in ["ftp://h", "", "http://", "https://u:p@h", "h/path"] {
            assert_eq!(of(wrong), "", "{wrong}");
        }
        assert_eq!(Endpoint::of_host("docker.io").repository("alpine"), "library/alpine");
        assert_eq!(Endpoint::of_host("h").repository("alpine"), "alpine");
    }
}
