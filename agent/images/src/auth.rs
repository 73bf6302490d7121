//! Who we are to registries: Docker's configuration of credentials, challenges and tokens
//! (distribution-spec; docs/spec/auth/token.md of the registry).

use std::{collections::BTreeMap, fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use http_auth::parser::ChallengeParser;
use serde::Deserialize;

use crate::name::Endpoint;

/// Where Docker keeps the credentials of its own registry.
const HUB_KEYS: [&str; 3] = ["index.docker.io", "docker.io", "registry-1.docker.io"];

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, ***)", self.user)
    }
}

impl Credentials {
    pub(crate) fn header(&self) -> HeaderValue {
        let text = format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)));
        let mut header = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        header.set_sensitive(true);
        header
    }
}

/// `--docker_config`: the credentials of registries, as `docker login` writes them to `config.json`, or, without
/// `auths` around them, to the older `.dockercfg` (apache/mesos, src/docker/spec.cpp, parseAuthConfig).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DockerConfig(BTreeMap<String, Credentials>);

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No JSON of the right shape. The text is not shown: it holds passwords.
    #[error("it is no JSON object with 'auths', as docker login writes it: {0}")]
    Malformed(String),
    /// Not base64 of `user:password`.
    #[error("'auth' of '{0}' is not base64 of user:password")]
    Auth(String),
    /// What needs a program of Docker's, or a protocol that is not spoken.
    #[error("'{0}' holds credentials by '{1}', which is not supported: give 'auth'")]
    Unsupported(String, &'static str),
}

#[derive(Deserialize)]
struct File {
    auths: Option<BTreeMap<String, Auth>>,
    #[serde(rename = "credsStore")]
    creds_store: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl FromStr for DockerConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = |error: serde_json::Error| {
            ConfigError::Malformed(format!("line {}, column {}", error.line(), error.column()))
        };
        let file: File = serde_json::from_str(text).map_err(malformed)?;
        let auths = match file.auths {
            Some(auths) => auths,
            None if file.creds_store.is_some() => return Err(ConfigError::Unsupported("config".into(), "credsStore")),
            None => serde_json::from_str(text).map_err(malformed)?,
        };
        let mut all = BTreeMap::new();
        for (key, auth) in auths {
            let credentials = match (auth.auth, auth.username, auth.password) {
                _ if auth.identitytoken.is_some() => return Err(ConfigError::Unsupported(key, "identitytoken")),
                (Some(auth), ..) => decode(&auth).ok_or_else(|| ConfigError::Auth(key.clone()))?,
                (None, Some(user), Some(password)) => Credentials { user, password },
                _ if file.creds_store.is_some() => return Err(ConfigError::Unsupported(key, "credsStore")),
                _ => return Err(ConfigError::Auth(key)),
            };
            all.insert(host_of(&key).to_owned(), credentials);
        }
        Ok(Self(all))
    }
}

impl DockerConfig {
    /// What is known for this registry.
    pub(crate) fn of(&self, endpoint: &Endpoint) -> Option<&Credentials> {
        let own = self.0.get(&endpoint.authority);
        let is_hub = HUB_KEYS.contains(&endpoint.authority.as_str());
        own.or_else(|| HUB_KEYS.iter().filter(|_| is_hub).find_map(|key| self.0.get(*key)))
    }
}

fn decode(auth: &str) -> Option<Credentials> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credentials { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() })
}

/// Keys are hosts, or addresses like `https://index.docker.io/v1/`.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    /// A token, to be asked for at this address.
    Bearer(String),
}

impl Challenge {
    /// The strongest that the header names and we can answer. `repository` is for registries that name no scope.
    pub(crate) fn of(header: &str, repository: &str) -> Option<Self> {
        let mut basic = None;
        for challenge in ChallengeParser::new(header) {
            let Ok(challenge) = challenge else { break };
            let parameter = |name: &str| {
                let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let realm = parameter("realm")?;
                let mut query = form_urlencoded::Serializer::new(String::new());
                if let Some(service) = parameter("service") {
                    query.append_pair("service", &service);
                }
                let scope = parameter("scope").unwrap_or_else(|| format!("repository:{repository}:pull"));
                query.append_pair("scope", &scope);
                let separator = if realm.contains('?') { '&' } else { '?' };
                return Some(Self::Bearer(format!("{realm}{separator}{}", query.finish())));
            }
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Self::Basic);
            }
        }
        basic
    }
}

/// The answer of a token server.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// The header that shows the token; none if the answer has no usable one.
pub(crate) fn bearer(answer: &[u8]) -> Option<HeaderValue> {
    let token: Token = serde_json::from_slice(answer).ok()?;
    let text = token.token.or(token.access_token).filter(|token| !token.is_empty())?;
    let mut header = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_of_docker_are_read() {
        // "dTpwOnE=" is u:p:q
        let config: DockerConfig =
            r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpwOnE="}, "h:5000": {"username": "a", "password": "b"}}}"#
                .parse()
                .unwrap();
        let hub = config.of(&Endpoint::of_host("docker.io")).unwrap();
        assert_eq!((hub.user.as_str(), hub.password.as_str()), ("u", "p:q"));
        assert_eq!(config.of(&Endpoint::of_host("h:5000")).unwrap().user, "a");
        assert!(config.of(&Endpoint::of_host("h")).is_none());
        let older: DockerConfig = r#"{"h": {"auth": "dTpwOnE=", "email": "x"}}"#.parse().unwrap();
        assert!(older.of(&Endpoint::of_host("h")).is_some());
        assert_eq!(format!("{:?}", older.of(&Endpoint::of_host("h")).unwrap()), "Credentials(u, ***)");
        for wrong in [
            r#"{"auths": {"h": {"auth": "%"}}}"#,
            r#"{"auths": {"h": {"identitytoken": "t"}}}"#,
            "x",
            "[]",
            r#"{"credsStore": "pass"}"#,
        ] {
            let error = wrong.parse::<DockerConfig>().unwrap_err();
            assert!(!error.to_string().is_empty(), "{wrong}");
        }
    }

    #[test]
    fn challenges_are_answered() {
        let bearer_of = |header: &str| Challenge::of(header, "a/b");
        assert_eq!(
            bearer_of(r#"Bearer realm="https://auth.h/token",service="reg h",scope="repository:a/b:pull""#),
            Some(Challenge::Bearer("https://auth.h/token?service=reg+h&scope=repository%3Aa%2Fb%3Apull".into()))
        );
        assert_eq!(
            bearer_of(r#"Basic realm="x", bearer realm="http://t?a=1""#),
            Some(Challenge::Bearer("http://t?a=1&scope=repository%3Aa%2Fb%3Apull".into()))
        );
        assert_eq!(bearer_of(r#"basic realm="x""#), Some(Challenge::Basic));
        assert_eq!(bearer_of("Negotiate"), None);
        assert_eq!(bearer_of("\"\"\""), None);
        assert_eq!(bearer(br#"{"access_token": "t"}"#).unwrap(), "Bearer t");
        assert!(bearer(br#"{"token": "a\nb"}"#).is_none() && bearer(b"{}").is_none());
    }
}
