//! The settings that may change while the node runs. On SIGHUP the configuration is read again, from where it came at start;
//! what cannot be used changes nothing at all.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use rustix::process::{Signal as Number, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::config::{ConfigError, Settings, Source, changes};
use crate::logging;

/// The keys whose values are others now, or why nothing is.
pub(crate) type Reloaded = Result<BTreeSet<String>, String>;

/// The configuration as it was last read and could be used.
#[derive(Debug)]
pub(crate) struct Live {
    now: RwLock<Arc<Settings>>,
    stale: AtomicBool,
    /// Who wants to hear what becomes of the next time that it is read.
    asking: Mutex<Vec<oneshot::Sender<Reloaded>>>,
}

impl Live {
    /// As it was at start.
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self { now: RwLock::new(settings), stale: AtomicBool::new(false), asking: Mutex::default() }
    }

    /// What is in force. Only the keys that can change while the node runs may be read here.
    pub(crate) fn now(&self) -> Arc<Settings> {
        Arc::clone(&self.now.read())
    }

    /// Whether the configuration could not be used when it was read last.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Has everything read again that is on SIGHUP, by one that this process sends to itself: certificates, users and rules are
    /// read by those who have them, who tell the log.
    ///
    /// # Errors
    /// The configuration cannot be used, or keys differ that cannot change while the node runs.
    pub(crate) async fn reload_now(&self) -> Reloaded {
        let (tell, told) = oneshot::channel();
        // Before the signal: who is read about next is told.
        self.asking.lock().push(tell);
        kill_process(getpid(), Number::HUP).map_err(|error| format!("no signal can be sent: {error}"))?;
        told.await.unwrap_or_else(|_stops| Err("the node stops".to_owned()))
    }

    /// Reads it again, and has in force what it says: all of it or nothing. Gives the keys that have changed.
    ///
    /// # Errors
    /// It cannot be used, or keys differ that cannot change while the node runs.
    fn reload(&self, source: &Source) -> anyhow::Result<BTreeSet<String>> {
        let read = self.read(source);
        self.stale.store(read.is_err(), Ordering::Relaxed);
        let (new, keys) = read?;
        logging::set_level(&new.log)?;
        *self.now.write() = Arc::new(new);
        Ok(keys)
    }

    fn read(&self, source: &Source) -> Result<(Settings, BTreeSet<String>), ConfigError> {
        let new = source.load()?;
        let keys = changes(&self.now(), &new)?;
        Ok((new, keys))
    }

    /// Reads it again on each SIGHUP that comes from now on, until it is dropped.
    ///
    /// # Errors
    /// Signals cannot be heard.
    pub(crate) fn watch(self: Arc<Self>, source: Source) -> io::Result<impl Future<Output = ()>> {
        // Here and not once it is polled: whoever sees that the node is ready may send one.
        let hangup = signal(SignalKind::hangup())?;
        Ok(self.reload_at_each(hangup, Arc::new(source)))
    }

    async fn reload_at_each(self: Arc<Self>, mut hangup: Signal, source: Arc<Source>) {
        while hangup.recv().await.is_some() {
            let asking = std::mem::take(&mut *self.asking.lock());
            let (live, source) = (Arc::clone(&self), Arc::clone(&source));
            // Off the runtime's threads, as files may be slow.
            let Ok(reloaded) = spawn_blocking(move || live.reload(&source)).await else { return };
            let reloaded = reloaded.map_err(|error| error.to_string());
            match &reloaded {
                Ok(keys) => {
                    let changed = keys.iter().cloned().collect::<Vec<_>>().join(", ");
                    info!(target: "quelea", changed, "the configuration is reloaded");
                }
                Err(error) => {
                    warn!(target: "quelea", %error, "the configuration is not reloaded, what was read before stays in force");
                }
            }
            // Whoever has gone is told nothing.
            asking.into_iter().for_each(|one| drop(one.send(reloaded.clone())));
        }
    }
}
