//! Principals and their secrets (src/credentials/credentials.hpp).

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Why credentials are of no use. No secret is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// It is no JSON.
    #[error("it is no JSON: line {line}, column {column}")]
    Syntax {
        /// Where.
        line: usize,
        /// Where in it.
        column: usize,
    },
    /// It is JSON of another form.
    #[error("it has not the form {0}")]
    Form(&'static str),
    /// One has no principal or no secret.
    #[error("entry {0} has no 'principal' or no 'secret' that is a text")]
    Entry(usize),
    /// One could never be asked for.
    #[error("entry {0}: a principal is not empty, and has no colon")]
    Principal(usize),
    /// Twice the same.
    #[error("'{0}' has two secrets")]
    Twice(String),
}

/// Those whom a server knows: `--credentials` of the master, `--http_credentials` of the agent.
#[derive(Clone, Default)]
pub struct Credentials(Arc<BTreeMap<String, String>>);

/// Who one is oneself: `--credential` of the agent.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The name.
    pub principal: String,
    secret: String,
}

impl Credentials {
    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is the principal's secret. How long it takes tells nothing of where a wrong one differs: hashes are compared.
    pub fn know(&self, principal: &str, secret: &str) -> bool {
        let known = self.secret(principal);
        let same = Sha256::digest(known.unwrap_or_default()) == Sha256::digest(secret);
        known.is_some() && same
    }

    pub(super) fn secret(&self, principal: &str) -> Option<&str> {
        self.0.get(principal).map(String::as_str)
    }
}

impl Credential {
    /// The value of `Authorization`.
    pub fn basic(&self) -> Option<HeaderValue> {
        let pair = STANDARD.encode(format!("{}:{}", self.principal, self.secret));
        let mut value = HeaderValue::from_str(&format!("Basic {pair}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The secret, for whoever sends it.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl FromStr for Credentials {
    type Err = CredentialsError;

    fn from_str(text: &str) -> Result<Self, CredentialsError> {
        const FORM: &str = r#"{"credentials":[{"principal":"…","secret":"…"}]}"#;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let value = json(text)?;
        let list = value.get("credentials").and_then(Value::as_array).ok_or(CredentialsError::Form(FORM))?;
        let mut known = BTreeMap::new();
        for (index, entry) in list.iter().enumerate() {
            let Credential { principal, secret } = credential(entry, index + 1)?;
            if known.insert(principal.clone(), secret).is_some() {
                return Err(CredentialsError::Twice(principal));
            }
        }
        Ok(Self(Arc::new(known)))
    }
}

impl FromStr for Credential {
    type Err = CredentialsError;

    fn from_str(text: &str) -> Result<Self, CredentialsError> {
        let value = json(text)?;
        if !value.is_object() {
            return Err(CredentialsError::Form(r#"{"principal":"…","secret":"…"}"#));
        }
        credential(&value, 1)
    }
}

fn json(text: &str) -> Result<Value, CredentialsError> {
    serde_json::from_str(text).map_err(|error| CredentialsError::Syntax { line: error.line(), column: error.column() })
}

fn credential(value: &Value, entry: usize) -> Result<Credential, CredentialsError> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let (Some(principal), Some(secret)) = (text("principal"), text("secret")) else {
        return Err(CredentialsError::Entry(entry));
    };
    if principal.is_empty() || principal.contains(':') {
        return Err(CredentialsError::Principal(entry));
    }
    Ok(Credential { principal, secret })
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mesos_files_and_tells_no_secret() {
        let known: Credentials = r#"{"credentials":[{"principal":"p","secret":"s3cret"}]}"#.parse().unwrap();
        assert!(known.know("p", "s3cret") && !known.know("p", "") && !known.know("q", ""));
        assert_eq!(format!("{known:?}"), r#"{"p"}"#);
        assert!(" \n".parse::<Credentials>().unwrap().is_empty());
        let own: Credential = r#"{"principal":"p","secret":"s3cret"}"#.parse().unwrap();
        assert_eq!(own.basic().unwrap(), "Basic cDpzM2NyZXQ=");
        assert_eq!(format!("{own:?} {:?}", own.basic()), "Credential(p) Some(Sensitive)");
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, error) in [
            ("{", "it is no JSON: line 1, column 1"),
            ("[]", r#"it has not the form {"credentials":[{"principal":"…","secret":"…"}]}"#),
            (r#"{"credentials":[{"principal":"p"}]}"#, "entry 1 has no 'principal' or no 'secret' that is a text"),
            (
                r#"{"credentials":[{"principal":"p","secret":"s"},{"principal":"a:b","secret":"s"}]}"#,
                "entry 2: a principal is not empty, and has no colon",
            ),
            (
                r#"{"credentials":[{"principal":"p","secret":"s"},{"principal":"p","secret":"t"}]}"#,
                "'p' has two secrets",
            ),
        ] {
            assert_eq!(text.parse::<Credentials>().unwrap_err().to_string(), error);
        }
        assert!(r#"{"principal":"p","secret":1}"#.parse::<Credential>().is_err());
        assert!("[]".parse::<Credential>().is_err());
    }
}
