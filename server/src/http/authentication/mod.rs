//! Who asks. A realm is a group of endpoints that asks for a principal and its secret, by HTTP basic authentication
//! (3rdparty/libprocess/src/authenticator.cpp) or by a session of the web page; other endpoints are open to everybody.

mod credentials;
mod session;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};

pub use credentials::{Credential, Credentials, CredentialsError};
pub use session::{LogIn, log_out, opened, principal_of};

use super::answer;

/// Who was found to ask; an extension of the request. Without one the endpoint asked nobody who he is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(pub String);

impl Principal {
    /// The one of this request.
    pub fn of(extensions: &http::Extensions) -> Option<String> {
        extensions.get::<Self>().map(|principal| principal.0.clone())
    }
}

/// Realms are to be guarded, and nobody is known who could pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{flag} needs --{credentials}: without it nobody could pass")]
pub struct NobodyPasses {
    flag: &'static str,
    credentials: &'static str,
}

/// Which realms are guarded, and whom the guard knows.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    realms: Vec<&'static str>,
    credentials: Credentials,
}

impl Gate {
    /// Guards the realms whose flag is set, of `(realm, flag's name, is set)`.
    ///
    /// # Errors
    /// If one is to be guarded without credentials; `flag` is what would give them.
    pub fn new(
        guarded: &[(&'static str, &'static str, bool)],
        credentials: Option<&Credentials>,
        flag: &'static str,
    ) -> Result<Self, NobodyPasses> {
        let credentials = credentials.cloned().unwrap_or_default();
        let realms: Vec<_> = guarded.iter().filter(|(.., set)| *set).copied().collect();
        if let Some((_, name, _)) = realms.first().filter(|_| credentials.is_empty()) {
            return Err(NobodyPasses { flag: name, credentials: flag });
        }
        Ok(Self { realms: realms.into_iter().map(|(realm, ..)| realm).collect(), credentials })
    }

    /// Whether anything is guarded.
    pub fn is_open(&self) -> bool {
        self.realms.is_empty()
    }

    /// Whom it knows.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Lets a request for an endpoint of `realm` pass, with its [`Principal`]; none is asked for where the realm is not guarded.
    ///
    /// # Errors
    /// The answer to one that does not pass: 401 with a challenge.
    pub fn pass<T, B: From<Bytes>>(
        &self,
        realm: Option<&'static str>,
        request: &mut Request<T>,
    ) -> Result<(), Box<Response<B>>> {
        let Some(realm) = realm.filter(|realm| self.realms.contains(realm)) else { return Ok(()) };
        match self.principal(request.headers()) {
            Some(principal) => {
                request.extensions_mut().insert(Principal(principal));
                Ok(())
            }
            None => Err(Box::new(challenge(realm, request.headers()))),
        }
    }

    fn principal(&self, headers: &HeaderMap) -> Option<String> {
        if let Some(header) = headers.get(AUTHORIZATION) {
            let (principal, secret) = basic(header)?;
            return self.credentials.know(&principal, &secret).then_some(principal);
        }
        principal_of(headers, &self.credentials)
    }
}

/// `Basic base64(principal:secret)`, to the letter. A secret may have colons, unlike in Mesos, where it never works.
fn basic(header: &HeaderValue) -> Option<(String, String)> {
    let encoded = header.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (principal, secret) = text.split_once(':')?;
    Some((principal.to_owned(), secret.to_owned()))
}

/// A script of the web page has its own way to ask for a secret: browsers show theirs only at the word `Basic`.
fn challenge<B: From<Bytes>>(realm: &str, headers: &HeaderMap) -> Response<B> {
    let by_script = headers.get("sec-fetch-dest").is_some_and(|what| what.as_bytes() == b"empty");
    let scheme = if by_script { "Session" } else { "Basic" };
    let mut response = answer::bare(StatusCode::UNAUTHORIZED);
    if let Ok(challenge) = HeaderValue::from_str(&format!("{scheme} realm=\"{realm}\"")) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const REALM: &str = "mesos-master-readonly";

    fn gate() -> Gate {
        let credentials = r#"{"credentials":[{"principal":"ops","secret":"a:b"},{"principal":"dev","secret":"c"}]}"#;
        Gate::new(&[(REALM, "authenticate_http_readonly", true)], Some(&credentials.parse().unwrap()), "credentials")
            .unwrap()
    }

    fn ask(headers: &[(&str, String)], realm: Option<&'static str>) -> Result<Option<String>, Box<Response<Bytes>>> {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().insert(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        gate().pass(realm, &mut request).map(|()| Principal::of(request.extensions()))
    }

    fn authorization(text: &str) -> [(&'static str, String); 1] {
        [("authorization", format!("Basic {}", STANDARD.encode(text)))]
    }

    #[test]
    fn who_knows_the_secret_passes_and_is_known() {
        assert_eq!(ask(&authorization("ops:a:b"), Some(REALM)).unwrap().as_deref(), Some("ops"));
        assert_eq!(ask(&authorization("dev:c"), Some(REALM)).unwrap().as_deref(), Some("dev"));
    }

    #[test]
    fn nobody_else_does() {
        let no_basic = [("authorization", "Basic %%%".to_owned())];
        let lower_case = [("authorization", format!("basic {}", STANDARD.encode("dev:c")))];
        let wrong = ["dev:d", "dev:", "dev", ":c", "c:dev", "nobody:c", "", "dev:c "].map(authorization);
        let all = wrong.iter().map(|headers| &headers[..]).chain([&no_basic[..], &lower_case[..], &[]]);
        for headers in all {
            let refusal = ask(headers, Some(REALM)).unwrap_err();
            assert_eq!(refusal.status(), 401, "{headers:?}");
            assert_eq!(refusal.headers()[WWW_AUTHENTICATE], "Basic realm=\"mesos-master-readonly\"");
            assert_eq!(refusal.body(), "401 Unauthorized.");
        }
    }

    #[test]
    fn an_open_realm_asks_nobody_who_he_is() {
        assert_eq!(ask(&authorization("dev:c"), None).unwrap(), None);
        assert_eq!(ask(&[], Some("mesos-master-readwrite")).unwrap(), None);
    }

    #[test]
    fn a_browsers_own_question_is_not_put_to_scripts() {
        let refusal = ask(&[("sec-fetch-dest", "empty".to_owned())], Some(REALM)).unwrap_err();
        assert!(refusal.headers()[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Session "));
    }

    #[test]
    fn a_guard_who_knows_nobody_is_a_mistake() {
        let error = Gate::new(&[(REALM, "authenticate_http_readonly", true)], None, "credentials").unwrap_err();
        assert!(error.to_string().starts_with("--authenticate_http_readonly needs --credentials"), "{error}");
        assert!(Gate::new(&[(REALM, "authenticate_http_readonly", false)], None, "credentials").unwrap().is_open());
    }
}
