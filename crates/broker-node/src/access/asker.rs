//! A server that is asked about logins, whatever about them: so many requests at once, a bounded number that waits, answers that are
//! remembered. Used by `hook` and `introspection`, which know what is asked; what goes wrong lets nobody in, and is told.

use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::cache::{Cache, Key};
use super::hook::Said;
use super::http::Server;
use super::jwt::now_s;
use super::queue::{Busy, Queue};

/// How often it is told at most that something went wrong.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// What an answer is that says nothing which is understood.
pub(super) const UNUSABLE: &str = "the answer cannot be used";

/// How an answer was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The server gave it.
    Server,
    /// It was remembered.
    Memory,
    /// There is none, so that nobody is let in.
    Failed,
}

/// How long and how much.
#[derive(Debug)]
pub(super) struct Bounds {
    /// How long a login waits, all in all.
    pub(super) timeout: Duration,
    /// Requests at once.
    pub(super) requests_max: u16,
    /// How long it is remembered that one is let in.
    pub(super) cache_allowed: Duration,
    /// How long it is remembered that one is not.
    pub(super) cache_denied: Duration,
}

/// The server, and who waits for it.
#[derive(Debug)]
pub(super) struct Asker {
    /// Where it is.
    pub(super) server: Server,
    /// What lets nobody in where it gives no answer.
    name: &'static str,
    bounds: Bounds,
    waiting: Queue,
    /// Requests at once.
    turns: Semaphore,
    cache: Cache,
    /// When it was told last that something went wrong.
    told: Mutex<Option<Instant>>,
}

impl Asker {
    /// One that has asked nothing yet.
    pub(super) fn new(name: &'static str, server: Server, bounds: Bounds) -> Self {
        Self {
            server,
            name,
            waiting: Queue::default(),
            turns: Semaphore::new(usize::from(bounds.requests_max)),
            cache: Cache::new(),
            told: Mutex::new(None),
            bounds,
        }
    }

    /// What an answer to this question is remembered by.
    pub(super) fn key_of(&self, question: &[u8]) -> Key {
        self.cache.key_of(question)
    }

    /// What is said, for somebody from an address, and where that is from. `question` asks the server, and gives the answer and its
    /// bytes.
    ///
    /// # Errors
    /// Too many others wait, in all or from this address.
    pub(super) async fn ask(
        &self,
        key: Key,
        address: Option<IpAddr>,
        question: impl AsyncFnOnce(&Server) -> anyhow::Result<(Said, usize)>,
    ) -> Result<(Said, Asked), Busy> {
        if let Some(said) = self.cache.find(&key, Instant::now()) {
            return Ok((said, Asked::Memory));
        }
        let _place = self.waiting.enter(address)?;
        let asked = async {
            let _turn = self.turns.acquire().await?;
            question(&self.server).await
        };
        let asked = timeout(self.bounds.timeout, asked).await;
        match asked.unwrap_or_else(|_elapsed| Err(anyhow::anyhow!("nothing came in time"))) {
            Ok((said, bytes)) => {
                self.cache.keep(key, &said, bytes, (Instant::now(), self.lifetime(&said)));
                Ok((said, Asked::Server))
            }
            Err(why) => {
                self.tell(&why);
                Ok((Said::Deny, Asked::Failed))
            }
        }
    }

    /// How long an answer is remembered.
    fn lifetime(&self, said: &Said) -> Duration {
        match said {
            Said::Allow(grant) => {
                let left = grant.until_ms().map(Duration::from_millis);
                let left = left.map(|until| until.saturating_sub(Duration::from_secs_f64(now_s())));
                left.unwrap_or(Duration::MAX).min(self.bounds.cache_allowed)
            }
            Said::Deny | Said::Ignore => self.bounds.cache_denied,
        }
    }

    fn tell(&self, why: &anyhow::Error) {
        let now = Instant::now();
        let mut told = self.told.lock();
        if told.is_some_and(|last| now.duration_since(last) < TELL_EVERY) {
            return;
        }
        *told = Some(now);
        let (name, error) = (self.name, format!("{why:#}"));
        warn!(target: "quelea::access", url = %self.server.url, error, "nobody is let in {name}: it gives no answer that can be used");
    }
}
