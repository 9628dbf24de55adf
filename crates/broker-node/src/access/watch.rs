//! Reads users, keys of tokens and rules again when their files change and at SIGHUP, hears what changes in the cluster, and has all
//! connections look again what they may do. One task a node; a change is in force within a second.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};

use super::Access;
use super::file::Watched;

/// How often the files are looked at; a change counts from the second look on.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// Watches the files until it is dropped; `changed` wakes whoever has to look again.
pub(crate) async fn watch(access: Arc<Access>, changed: impl Fn()) {
    let renewed = || {
        access.version.fetch_add(1, Ordering::Release);
        changed();
    };
    let fetched = async {
        if let Some(remote) = access.tokens.as_ref().and_then(|tokens| tokens.remote.as_ref()) {
            remote.run(&renewed).await;
        }
    };
    let files = async {
        if !access.has_no_files() {
            watch_files(&access, &renewed).await;
        }
    };
    let stored = async {
        loop {
            access.stored.changed().await;
            changed();
        }
    };
    tokio::join!(files, fetched, stored);
}

async fn watch_files(access: &Arc<Access>, renewed: &impl Fn()) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        warn!(target: "quelea::access", "users and rules are not reloaded: no signal handler");
        return;
    };
    loop {
        let forced = tokio::select! {
            _ = hangup.recv() => true,
            () = sleep(WATCH_EVERY) => false,
        };
        let looking = Arc::clone(access);
        // Off the runtime's threads, as files may be slow.
        let looked = spawn_blocking(move || {
            let users = reload(looking.users.as_ref(), "users", forced);
            let tokens = looking.tokens.as_ref();
            let secrets = tokens.and_then(|tokens| tokens.secrets.as_ref());
            let secrets = reload(secrets, "secrets of tokens", forced);
            let keys = reload(tokens.and_then(|tokens| tokens.keys.as_ref()), "keys of tokens", forced);
            let rules = reload(looking.rules.as_ref(), "rules", forced);
            let bans = reload(looking.bans.as_ref(), "bans", forced);
            let headers = looking.hook.as_ref().and_then(|hook| hook.headers.as_ref());
            let secret = looking.introspection.as_ref().and_then(|asked| asked.secret_file.as_ref());
            let _next_time = reload(headers, "headers of the HTTP hook", forced);
            let _next_too = reload(secret, "secret of introspection", forced);
            users || secrets || keys || rules || bans
        });
        if looked.await.unwrap_or(false) {
            renewed();
        }
    }
}

/// Watches one file until it is dropped.
pub(crate) async fn watch_file<T: Send + Sync + 'static>(file: Arc<Watched<T>>, what: &'static str) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        warn!(target: "quelea::access", what, "not reloaded: no signal handler");
        return;
    };
    loop {
        let forced = tokio::select! {
            _ = hangup.recv() => true,
            () = sleep(WATCH_EVERY) => false,
        };
        let looking = Arc::clone(&file);
        // What went wrong is told already.
        let _looked = spawn_blocking(move || reload(Some(&looking), what, forced)).await;
    }
}

/// Reads a file if it has to be; says whether something else is in force now.
fn reload<T>(file: Option<&Watched<T>>, what: &str, forced: bool) -> bool {
    let Some(file) = file.filter(|file| forced || file.has_changed()) else { return false };
    match file.reload() {
        Ok(()) => {
            info!(target: "quelea::access", what, file = %file.path().display(), "reloaded");
            true
        }
        Err(error) => {
            warn!(target: "quelea::access", what, %error, "not reloaded, what was read before stays in force");
            false
        }
    }
}
