//! Keys that are fetched: a JWKS by HTTP, again from time to time, and soon where a token names a key that is not there. What cannot
//! be fetched leaves what was there. One task a node; logins ask it and wait a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Request;
use http::header::ACCEPT;
use http_body_util::Full;
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::keys::Keys;
use crate::access::file::BadFile;
use crate::access::http::Server;
use crate::config::JwtSettings;

/// How long all of a fetch may take, and how long a login waits for one.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nothing is fetched after a fetch, whatever tokens name.
const REST: Duration = Duration::from_secs(5);
/// When it is tried again at the latest if it failed.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Bytes of a JWKS at most.
const BYTES_MAX: usize = 256 << 10;

/// A JWKS somewhere else.
#[derive(Debug)]
pub(crate) struct Remote {
    server: Server,
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
        let Some(url) = settings.jwks_url.as_ref().and_then(|url| url.parse().ok()) else { return Ok(None) };
        Ok(Some(Self {
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
        let request = Request::get("/").header(ACCEPT, "application/jwk-set+json, application/json");
        let answer = self.server.ask(request.body(Full::default())?).await?;
        Keys::parse_set(&answer).map_err(anyhow::Error::msg)
    }
}
