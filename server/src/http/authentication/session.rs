//! The web page's sessions: who logged in by its form is known by a cookie. Servers remember nothing: what is in the cookie is
//! signed with the principal's secret, so it is good at each server that knows the same, and no longer when the secret changes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac, digest::common::Key};
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{COOKIE, SET_COOKIE},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Credentials;
use crate::http::answer;

const NAME: &str = "mezzo_session";
/// How long a session lasts.
const LASTS: Duration = Duration::from_secs(12 * 60 * 60);

/// What the page's form sends.
#[derive(Deserialize)]
pub struct LogIn {
    /// Who wants in.
    pub principal: String,
    /// What it must know.
    pub secret: String,
}

/// Answers a form that was sent: 204 with a cookie, or 403.
pub fn opened<B: From<Bytes>>(credentials: &Credentials, form: &LogIn) -> Response<B> {
    if !credentials.know(&form.principal, &form.secret) {
        return answer::text(StatusCode::FORBIDDEN, "There is no such principal, or its secret is another one.");
    }
    let until = (SystemTime::now() + LASTS).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    with_cookie(&written(&form.principal, &form.secret, until), LASTS.as_secs())
}

/// Ends the session: the browser forgets its cookie.
pub fn log_out<B: From<Bytes>>() -> Response<B> {
    with_cookie("", 0)
}

/// No script sees it, and no page of another site can send it.
fn with_cookie<B: From<Bytes>>(value: &str, seconds: u64) -> Response<B> {
    let mut response = answer::empty(StatusCode::NO_CONTENT);
    let cookie = format!("{NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict");
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// Who has a session.
pub fn principal_of(headers: &HeaderMap, credentials: &Credentials) -> Option<String> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // A host's cookies are those of all its ports: another cluster may have set one of the same name.
    cookies
        .filter_map(|cookie| cookie.trim().strip_prefix(NAME)?.strip_prefix('='))
        .find_map(|value| read(value, credentials, now))
}

/// `principal.until.signature`
fn written(principal: &str, secret: &str, until: u64) -> String {
    let signature = signed(principal, secret, until).finalize().into_bytes();
    format!("{}.{until}.{}", BASE64.encode(principal), BASE64.encode(signature))
}

fn read(value: &str, credentials: &Credentials, now: u64) -> Option<String> {
    let mut parts = value.split('.');
    let (principal, until, signature) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    if parts.next().is_some() || now >= until {
        return None;
    }
    let principal = String::from_utf8(BASE64.decode(principal).ok()?).ok()?;
    let signature = BASE64.decode(signature).ok()?;
    signed(&principal, credentials.secret(&principal)?, until).verify_slice(&signature).ok()?;
    Some(principal)
}

fn signed(principal: &str, secret: &str, until: u64) -> Hmac<Sha256> {
    let secret = Sha256::digest(secret);
    let mut key = Key::<Hmac<Sha256>>::default();
    key[..secret.len()].copy_from_slice(&secret);
    let mut mac = Hmac::<Sha256>::new(&key);
    for part in [NAME.as_bytes(), b"\0", principal.as_bytes(), b"\0", &until.to_be_bytes()] {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(secret: &str) -> Credentials {
        format!(r#"{{"credentials":[{{"principal":"ops","secret":"{secret}"}},{{"principal":"dev","secret":"d"}}]}}"#)
            .parse()
            .unwrap()
    }

    fn cookie(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, text.parse().unwrap())])
    }

    #[test]
    fn who_logs_in_is_known_until_he_logs_out() {
        let known = credentials("s");
        let form = LogIn { principal: "ops".to_owned(), secret: "s".to_owned() };
        let response: Response<Bytes> = opened(&known, &form);
        let set = response.headers()[SET_COOKIE].to_str().unwrap();
        assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
        let pair = set.split(';').next().unwrap();
        assert_eq!(principal_of(&cookie(&format!("a=b; {pair}; c=d")), &known).as_deref(), Some("ops"));
        assert_eq!(principal_of(&cookie(&format!("{NAME}=x.1.y; {pair}")), &known).as_deref(), Some("ops"));
        assert_eq!(principal_of(&cookie(pair), &credentials("another")), None, "the secret has changed");
        assert_eq!(opened::<Bytes>(&known, &LogIn { secret: "t".to_owned(), ..form }).status(), 403);
        assert!(log_out::<Bytes>().headers()[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    }

    #[test]
    fn no_other_cookie_is_taken() {
        let known = credentials("s");
        let good = written("ops", "s", 100);
        assert_eq!(read(&good, &known, 99).as_deref(), Some("ops"));
        assert_eq!(read(&good, &known, 100), None, "it is over");
        let [principal, until, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
        let another = BASE64.encode("dev");
        for forged in [
            String::new(),
            format!("{principal}.{until}"),
            format!("{principal}.200.{signature}"),
            format!("{another}.{until}.{signature}"),
            format!("{principal}.{until}."),
            format!("{principal}.{until}.{signature}.x"),
            format!("{}.{until}.{signature}", BASE64.encode("nobody")),
            written("ops", "", 100),
        ] {
            assert_eq!(read(&forged, &known, 99), None, "{forged}");
        }
    }
}
