//! Tokens that say nothing by themselves: whoever issued them is asked whether one counts, and what it grants (RFC 7662). Asked by `login`
//! and `methods`; what goes wrong refuses the client. Neither tokens nor the broker's own secret are logged or kept: answers are
//! remembered by a keyed digest of the token.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http_body_util::Full;
use serde_json::Value;
use tracing::debug;
use zeroize::Zeroizing;

use super::asker::{Asked, Asker, Bounds, UNUSABLE};
use super::file::{BadFile, Watched, read_document};
use super::hook::Said;
use super::http::Server;
use super::jwt::{self, BadToken, Grant, TOKEN_BYTES_MAX, json, now_s};
use super::queue::Busy;
use crate::config::{IntrospectionSettings, JwtSettings, SecretText};

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Bytes of the broker's secret at most.
const SECRET_BYTES_MAX: usize = 4 << 10;

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It counts.
    Counts(Arc<Grant>),
    /// It does not.
    No,
    /// Nobody could say.
    Unknown,
}

/// What was asked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Introspected {
    /// Answers that were given.
    pub(crate) answers: u64,
    /// Answers that were remembered.
    pub(crate) remembered: u64,
    /// Questions without an answer that can be used.
    pub(crate) failures: u64,
}

/// The broker's secret, as a file has it.
pub(super) struct Secret(Zeroizing<String>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Who issued the tokens, and what is asked of its answers.
#[derive(Debug)]
pub(super) struct Introspection {
    asker: Asker,
    claims: JwtSettings,
    client_id: String,
    client_secret: SecretText,
    /// The secret, where it is in a file.
    pub(super) secret_file: Option<Watched<Secret>>,
    counts: [AtomicU64; 3],
}

impl Introspection {
    /// One that has asked nothing yet; `None` where nobody is to be asked.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(super) fn open(settings: &IntrospectionSettings) -> Result<Option<Self>, BadFile> {
        // The check of the settings has read it before.
        let Some(url) = settings.url.as_ref().and_then(|url| url.parse().ok()) else { return Ok(None) };
        let secret = settings.client_secret_file.as_deref();
        let secret = secret.map(|path| Watched::open_as(path, read_document, Secret::parse));
        let server = Server::open(url, settings.ca.as_deref(), ANSWER_BYTES_MAX)?;
        let bounds = Bounds {
            timeout: settings.timeout,
            requests_max: settings.requests_max,
            cache_allowed: settings.cache_active,
            cache_denied: settings.cache_inactive,
        };
        Ok(Some(Self {
            asker: Asker::new("by introspection", server, bounds),
            claims: settings.claims(),
            client_id: settings.client_id.clone().unwrap_or_default(),
            client_secret: settings.client_secret.clone(),
            secret_file: secret.transpose()?,
            counts: Default::default(),
        }))
    }

    /// Whether this counts as a token of a client from an address; `No` also where it has not the form of one, for which nobody is asked.
    ///
    /// # Errors
    /// Too many others wait, in all or from this address.
    pub(super) async fn check(
        &self,
        token: &[u8],
        user_name: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Found, Busy> {
        if !is_token(token) {
            return Ok(Found::No);
        }
        let asked = async |server: &Server| {
            let answer = server.ask(self.request(token)?).await?;
            let said = parse(&answer, &self.claims, now_s()).map_err(anyhow::Error::msg);
            Ok((said.context(UNUSABLE)?, answer.len()))
        };
        let (said, asked) = self.asker.ask(self.asker.key_of(token), address, asked).await?;
        self.count(asked);
        Ok(match said {
            _ if asked == Asked::Failed => Found::Unknown,
            Said::Allow(grant) if !grant.is_of_user(user_name) => {
                debug!(target: "quelea::access", why = %BadToken::OtherUser, "a token does not count");
                Found::No
            }
            Said::Allow(grant) => Found::Counts(grant),
            Said::Deny | Said::Ignore => Found::No,
        })
    }

    /// What was asked so far.
    pub(super) fn counts(&self) -> Introspected {
        let [answers, remembered, failures] =
            [0, 1, 2].map(|at: usize| self.counts.get(at).map_or(0, |count| count.load(Ordering::Relaxed)));
        Introspected { answers, remembered, failures }
    }

    fn count(&self, asked: Asked) {
        if let Some(count) = self.counts.get(asked as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Section 2.1; the broker shows who it is as a client does (RFC 6749, section 2.3.1).
    fn request(&self, token: &[u8]) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut body = Zeroizing::new(Vec::with_capacity(64 + 3 * token.len()));
        body.extend_from_slice(b"token=");
        form_encode(token, &mut body);
        body.extend_from_slice(b"&token_type_hint=access_token");
        let mut request = Request::post("/").body(Full::new(Bytes::from_owner(body)))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(AUTHORIZATION, self.authorization()?);
        Ok(request)
    }

    fn authorization(&self) -> anyhow::Result<HeaderValue> {
        let mut pair = Zeroizing::new(Vec::with_capacity(3 * (self.client_id.len() + SECRET_BYTES_MAX)));
        form_encode(self.client_id.as_bytes(), &mut pair);
        pair.push(b':');
        match &self.secret_file {
            Some(file) => form_encode(file.current().0.as_bytes(), &mut pair),
            None => form_encode(self.client_secret.expose().as_bytes(), &mut pair),
        }
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair)));
        let mut value = HeaderValue::from_str(&text)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Secret {
    /// Reads a secret: all but the end of its line.
    ///
    /// # Errors
    /// It is none; nothing of it is quoted.
    fn parse(text: &str) -> Result<Self, String> {
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() || secret.len() > SECRET_BYTES_MAX || secret.contains(char::is_control) {
            return Err(format!("expected a secret in one line, of 1 to {SECRET_BYTES_MAX} bytes"));
        }
        Ok(Self(Zeroizing::new(secret.to_owned())))
    }
}

/// Whether a password has the form of a token (RFC 6750, section 2.1): what has not is shown to nobody.
fn is_token(password: &[u8]) -> bool {
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    (1..=TOKEN_BYTES_MAX).contains(&password.len()) && password.iter().all(known)
}

/// As forms have it (`application/x-www-form-urlencoded`), of any bytes.
fn form_encode(text: &[u8], to: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            to.push(*byte);
        } else {
            to.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// What an answer says at a time, in seconds since 1970 (section 2.2).
///
/// # Errors
/// It is none.
fn parse(answer: &[u8], claims: &JwtSettings, now_s: f64) -> Result<Said, String> {
    let said = json::object(answer).ok_or("it is no JSON in which each name is there once")?;
    match said.get("active").and_then(Value::as_bool) {
        Some(true) => {}
        Some(false) => return Ok(Said::Ignore),
        None => return Err("its \"active\" is neither true nor false".into()),
    }
    match jwt::grant(claims, &said, None, now_s) {
        Ok(grant) => Ok(Said::Allow(Arc::new(grant))),
        Err(why) => {
            debug!(target: "quelea::access", %why, "a token that is active does not count");
            Ok(Said::Ignore)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::noise::Noise;

    const NOW_S: f64 = 1_000.0;

    fn settings() -> IntrospectionSettings {
        IntrospectionSettings {
            url: Some("http://localhost:1/introspect".into()),
            client_id: Some("broker: 1".into()),
            ..IntrospectionSettings::default()
        }
    }

    fn said(settings: &IntrospectionSettings, answer: &str) -> Result<Said, String> {
        parse(answer.as_bytes(), &settings.claims(), NOW_S)
    }

    fn grant(settings: &IntrospectionSettings, answer: &str) -> Arc<Grant> {
        match said(settings, answer) {
            Ok(Said::Allow(grant)) => grant,
            other => panic!("{answer}: {other:?}"),
        }
    }

    #[test]
    fn an_answer_says_whether_a_token_counts_and_what_it_grants() {
        let plain = settings();
        let ann = r#"{"active":true,"username":"ann","exp":2000,"scope":"a b","client_id":"d-1","more":[1]}"#;
        let found = grant(&plain, ann);
        assert_eq!((found.user(), found.until_ms()), ("ann", Some(2_010_000)));
        assert!(found.is_of_token() && !found.is_of("a") && !found.names_client() && found.rules().is_none());
        let mapped = IntrospectionSettings {
            user_claim: "client_id".into(),
            client_id_claim: Some("client_id".into()),
            groups_claim: Some("scope".into()),
            ..settings()
        };
        let found = grant(&mapped, ann);
        assert!(found.user() == "d-1" && found.is_for("d-1") && !found.is_for("c"));
        assert!(found.is_of("a") && found.is_of("b") && !found.is_of("a b"));
        assert_eq!(said(&plain, r#"{"active":false}"#), Ok(Said::Ignore));
        assert_eq!(said(&plain, r#"{"active":false,"username":"ann","exp":2000}"#), Ok(Said::Ignore));
    }

    #[test]
    fn a_token_that_is_active_may_not_count_here() {
        let strict = IntrospectionSettings {
            issuer: Some("https://us".into()),
            audience: vec!["mqtt".into()],
            ..settings()
        };
        let good = r#"{"active":true,"username":"ann","exp":2000,"iss":"https://us","aud":["mqtt"]}"#;
        assert_eq!(grant(&strict, good).user(), "ann");
        for (from, to) in [
            (r#""exp":2000"#, r#""exp":900"#),
            (r#""exp":2000"#, r#""exp":"2000""#),
            (r#""exp":2000"#, r#""iat":900"#),
            (r#""exp":2000"#, r#""exp":2000,"nbf":1900"#),
            (r#""username":"ann""#, r#""sub":"ann""#),
            (r#""username":"ann""#, r#""username":"""#),
            ("https://us", "https://us/"),
            (r#"["mqtt"]"#, r#"["http"]"#),
        ] {
            assert!(good.contains(from), "{from}");
            assert_eq!(said(&strict, &good.replace(from, to)), Ok(Said::Ignore), "{to}");
        }
    }

    #[test]
    fn what_is_not_understood_is_no_answer() {
        for bad in [
            "",
            "true",
            "[]",
            "{}",
            "null",
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":null,"username":"ann","exp":2000}"#,
            r#"{"active":false,"active":true,"username":"ann","exp":2000}"#,
            r#"{"active":true,"username":"ann","exp":2000} {}"#,
            r#"{"error":"invalid_client"}"#,
        ] {
            assert!(said(&settings(), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn damaged_answers_are_read_or_refused() {
        let text = r#"{"active":true,"username":"ann","exp":2000.5,"scope":"a b","aud":["mqtt","é"],"acl":{"all":["a/%u/#"]}}"#;
        let settings = IntrospectionSettings {
            audience: vec!["mqtt".into()],
            groups_claim: Some("scope".into()),
            acl_claim: Some("acl".into()),
            ..settings()
        };
        assert!(!grant(&settings, text).user().is_empty());
        let mut noise = Noise::new();
        let mut refused = 0;
        for _ in 0..1_000 {
            match said(&settings, &noise.damaged(text)) {
                Ok(Said::Allow(grant)) => assert!(!grant.user().is_empty() && grant.until_ms().is_some()),
                Ok(_) => {}
                Err(why) => {
                    assert!(!why.is_empty());
                    refused += 1;
                }
            }
        }
        assert!(refused > 0);
    }

    #[test]
    fn a_request_shows_the_token_and_who_asks_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "a:b c%\n").unwrap();
        let settings = IntrospectionSettings { client_secret_file: Some(file), ..settings() };
        let introspection = Introspection::open(&settings).unwrap().unwrap();
        let request = introspection.request(b"a+b/c=").unwrap();
        assert_eq!(
            request.headers()[AUTHORIZATION],
            format!("Basic {}", STANDARD.encode("broker%3A%201:a%3Ab%20c%25"))
        );
        assert!(request.headers()[AUTHORIZATION].is_sensitive());
        let shown = format!("{introspection:?} {settings:?}");
        assert!(!shown.contains("a:b c%"), "{shown}");
        let mut body = Vec::new();
        form_encode(b"a+b/c=\xff", &mut body);
        assert_eq!(body, b"a%2Bb%2Fc%3D%FF");
    }

    #[test]
    fn what_cannot_be_a_token_is_shown_to_nobody() {
        for good in ["a", "eyJ.x-_~+/=", &"a".repeat(TOKEN_BYTES_MAX)] {
            assert!(is_token(good.as_bytes()), "{good:.20}");
        }
        for bad in ["", "correct horse", "a&b=c", "ä", "a\n", &"a".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(!is_token(bad.as_bytes()), "{bad:.20}");
        }
    }

    #[test]
    fn a_secret_is_one_line_and_is_never_quoted() {
        assert_eq!(&**Secret::parse("s3 cret\r\n").unwrap().0, "s3 cret");
        for bad in ["\n", "s3cret\nother\n", "s3\tcret", &"s".repeat(SECRET_BYTES_MAX + 1)] {
            let error = Secret::parse(bad).unwrap_err();
            assert!(!error.contains("s3"), "{error}");
        }
    }
}
