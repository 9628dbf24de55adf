//! Keys that are fetched: a JWKS by HTTP, again from time to time, and soon where a token names a key that is not there; where it is, its
//! issuer may say each time. What cannot be fetched leaves what was there. One task a node; logins ask it and wait a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use http::header::ACCEPT;
use http::{Request, Uri};
use http_body_util::Full;
use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::json;
use super::keys::Keys;
use crate::access::file::BadFile;
use crate::access::http::Server;
use crate::config::{JwtSettings, is_this_machine};

/// How long all of a fetch may take, and how long a login waits for one.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nothing is fetched after a fetch, whatever tokens name.
const REST: Duration = Duration::from_secs(5);
/// When it is tried again at the latest if it failed.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Bytes of a JWKS at most.
const BYTES_MAX: usize = 256 << 10;

/// What is behind an issuer to say what it is (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// A JWKS somewhere else.
#[derive(Debug)]
pub(crate) struct Remote {
    /// Who has it, or says where it is.
    server: Server,
    /// Who says that, where somebody does.
    issuer: Option<String>,
    refresh: Duration,
    current: RwLock<Arc<Keys>>,
    stale: AtomicBool,
    /// Whether nothing is fetched for a while.
    rests: AtomicBool,
    asked: Notify,
    /// Counts the fetches that are over.
    fetches: watch::Sender<u64>,
}

impl Remote {
    /// One that has fetched nothing yet; `None` where nothing is to be fetched.
    ///
    /// # Errors
    /// The file with the authorities cannot be used.
    pub(super) fn open(settings: &JwtSettings) -> Result<Option<Self>, BadFile> {
        // The check of the settings has read it before.
        let discovery = settings.issuer_url.as_deref().map(discovery_of);
        let url = discovery.as_ref().or(settings.jwks_url.as_ref());
        let Some(url) = url.and_then(|url| url.parse().ok()) else { return Ok(None) };
        Ok(Some(Self {
            issuer: settings.issuer_url.clone(),
            server: Server::open(url, settings.jwks_ca.as_deref(), BYTES_MAX)?,
            refresh: settings.jwks_refresh,
            current: RwLock::default(),
            stale: AtomicBool::new(false),
            rests: AtomicBool::new(false),
            asked: Notify::new(),
            fetches: watch::Sender::new(0),
        }))
    }

    /// The keys that were fetched last.
    pub(super) fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.current.read())
    }

    /// Whether the last fetch failed.
    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Has the keys fetched and waits for them, unless that was done just now.
    pub(super) async fn look_again(&self) {
        // First: what is fetched from here on counts.
        let mut fetches = self.fetches.subscribe();
        if !self.rests.load(Ordering::Acquire) {
            self.asked.notify_one();
            // Whatever came of it: the keys are looked at again.
            let _over = timeout(FETCH_TIMEOUT, fetches.changed()).await;
        }
    }

    /// Fetches keys until it is dropped; `changed` wakes whoever has to look again.
    pub(in crate::access) async fn run(&self, changed: impl Fn()) {
        loop {
            if self.fetch_once().await {
                changed();
            }
            self.rests.store(true, Ordering::Release);
            self.fetches.send_modify(|count| *count = count.wrapping_add(1));
            let next = if self.is_stale() { self.refresh.min(RETRY_MAX) } else { self.refresh };
            sleep(REST.min(next)).await;
            self.rests.store(false, Ordering::Release);
            tokio::select! {
                () = self.asked.notified() => {}
                () = sleep(next.saturating_sub(REST)) => {}
            }
        }
    }

    /// Says whether other keys are in force now.
    async fn fetch_once(&self) -> bool {
        let fetched = timeout(FETCH_TIMEOUT, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_elapsed| Err(anyhow::anyhow!("nothing came in time")));
        let was_stale = self.stale.swap(fetched.is_err(), Ordering::Relaxed);
        match fetched {
            Ok(keys) => {
                let other = *self.current() != keys;
                if other || was_stale {
                    info!(target: "quelea::access", url = %self.server.url, keys = keys.len(), "keys of tokens fetched");
                }
                *self.current.write() = Arc::new(keys);
                other
            }
            Err(error) => {
                let error = format!("{error:#}");
                warn!(target: "quelea::access", url = %self.server.url, error, "keys of tokens not fetched, what was fetched before stays in force");
                false
            }
        }
    }

    async fn fetch(&self) -> anyhow::Result<Keys> {
        let found = match &self.issuer {
            None => None,
            Some(issuer) => {
                let request = Request::get("/").header(ACCEPT, "application/json");
                let answer = self.server.ask(request.body(Full::default())?).await?;
                let place =
                    place_of_keys(&answer, issuer, self.server.is_secure()).map_err(anyhow::Error::msg)?;
                Some(self.server.at(place))
            }
        };
        let request = Request::get("/").header(ACCEPT, "application/jwk-set+json, application/json");
        let server = found.as_ref().unwrap_or(&self.server);
        let answer = server.ask(request.body(Full::default())?).await;
        let answer = answer.with_context(|| format!("the keys at {}", server.url))?;
        Keys::parse_set(&answer).map_err(anyhow::Error::msg)
    }
}

/// Where an issuer says what it is.
fn discovery_of(issuer: &str) -> String {
    format!("{}{DISCOVERY}", issuer.strip_suffix('/').unwrap_or(issuer))
}

/// Where an issuer says that its keys are. It has to be the issuer that was asked, to the letter (section 4.3), and keys of one that has to
/// show who it is are with one that has to as well.
///
/// # Errors
/// It says no such thing.
fn place_of_keys(answer: &[u8], issuer: &str, is_secure: bool) -> Result<Uri, String> {
    let said =
        json::object(answer).ok_or("what it says of itself is no JSON in which each name is there once")?;
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    match text("issuer") {
        Some(named) if named == issuer => {}
        Some(named) => return Err(format!("it says that it is {named:.256?}, and not auth.jwt.issuer_url")),
        None => return Err("it does not say which issuer it is".into()),
    }
    let place: Uri =
        text("jwks_uri").and_then(|place| place.parse().ok()).ok_or("its \"jwks_uri\" is no URL")?;
    let host = place.host().filter(|host| !host.is_empty());
    let has_user = place.authority().is_some_and(|authority| authority.as_str().contains('@'));
    let is_safe = match (place.scheme_str(), host) {
        (Some("https"), Some(_)) => true,
        (Some("http"), Some(host)) => !is_secure && is_this_machine(host),
        _ => false,
    };
    if is_safe && !has_user { Ok(place) } else { Err("its \"jwks_uri\" is none of https".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://issuer.example/realm";

    #[test]
    fn an_issuer_is_asked_below_its_own_path() {
        for (issuer, asked) in [
            (ISSUER, "https://issuer.example/realm/.well-known/openid-configuration"),
            (
                "https://issuer.example/realm/",
                "https://issuer.example/realm/.well-known/openid-configuration",
            ),
            ("https://issuer.example", "https://issuer.example/.well-known/openid-configuration"),
        ] {
            assert_eq!(discovery_of(issuer), asked);
        }
    }

    #[test]
    fn an_issuer_has_to_be_the_one_that_was_asked_and_have_its_keys_somewhere_safe() {
        let said = |issuer: &str, keys: &str, is_secure| {
            let text = format!(r#"{{"issuer":{issuer},"jwks_uri":{keys},"more":{{}}}}"#);
            place_of_keys(text.as_bytes(), ISSUER, is_secure).map(|place| place.to_string())
        };
        let ours = format!("{ISSUER:?}");
        let elsewhere = "https://keys.example:8443/set?v=1";
        assert_eq!(said(&ours, &format!("{elsewhere:?}"), true).as_deref(), Ok(elsewhere));
        let here = "\"http://localhost:1/keys\"";
        assert!(said(&ours, here, false).is_ok() && said(&ours, here, true).is_err());
        for (issuer, keys) in [
            ("\"https://issuer.example/realm/\"", elsewhere),
            ("\"https://issuer.example\"", elsewhere),
            ("\"HTTPS://issuer.example/realm\"", elsewhere),
            ("null", elsewhere),
            (&ours, "http://keys.example/"),
            (&ours, "https://me@keys.example/"),
            (&ours, "file:///etc/passwd"),
            (&ours, "/keys"),
            (&ours, ""),
        ] {
            for is_secure in [false, true] {
                let found = said(issuer, &format!("{keys:?}"), is_secure);
                assert!(found.is_err(), "{issuer} {keys}: {found:?}");
            }
        }
        for bad in ["", "[]", "{}", r#"{"issuer":"a","issuer":"b"}"#] {
            assert!(place_of_keys(bad.as_bytes(), ISSUER, true).is_err(), "{bad}");
        }
    }
}
