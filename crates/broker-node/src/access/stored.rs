//! What lies in the cluster of who may connect: its bans, as far as this node has applied the cluster group's log. Told by
//! whoever follows that, on the thread that applies; asked by `Access`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use raft_consensus::cluster::{Change, Cluster};
use session_store::Millis;
use tokio::sync::Notify;

use super::bans::{Bans, Suspect, Until};

/// What this node knows of it.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    bans: RwLock<Bans>,
    /// Grows with each change, after it.
    version: AtomicU64,
    changed: Notify,
}

impl Stored {
    /// Whatever was known is over: it is as in this state.
    pub(crate) fn begin(&self, state: &Cluster) {
        let mut bans = Bans::default();
        state.bans().for_each(|ban| bans.set(&ban.whom, until(ban.until)));
        *self.bans.write() = bans;
        self.tell();
    }

    /// An entry changed this. What it changed counts for all threads when this returns.
    pub(crate) fn applied(&self, changes: &[Change]) {
        if !changes.iter().any(|change| matches!(change, Change::Banned(_) | Change::Unbanned(_))) {
            return;
        }
        let mut bans = self.bans.write();
        for change in changes {
            match change {
                Change::Banned(ban) => bans.set(&ban.whom, until(ban.until)),
                Change::Unbanned(whom) => bans.lift(whom),
                Change::Routes(_)
                | Change::Gone(_)
                | Change::Buried { .. }
                | Change::Fenced(_)
                | Change::Unfenced(_) => {}
            }
        }
        drop(bans);
        self.tell();
    }

    fn tell(&self) {
        self.version.fetch_add(1, Ordering::Release);
        self.changed.notify_one();
    }

    /// Grows with each change.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Waits for a change that nobody has waited for. One at a time waits.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether somebody is banned now.
    pub(super) fn has_banned(&self, who: Suspect<'_>, now: SystemTime) -> bool {
        self.bans.read().has(who, now)
    }
}

/// A time that this machine cannot say never comes.
fn until(until: Option<Millis>) -> Until {
    UNIX_EPOCH.checked_add(Duration::from_millis(until?.0))
}

#[cfg(test)]
mod tests {
    use raft_consensus::cluster::{Ban, Banned};

    use super::*;

    fn ban(whom: Banned, until: Option<u64>) -> Change {
        Change::Banned(Ban { whom, until: until.map(Millis), why: "".into() })
    }

    fn is_banned(stored: &Stored, who: Suspect<'_>, at_ms: u64) -> bool {
        stored.has_banned(who, UNIX_EPOCH + Duration::from_millis(at_ms))
    }

    #[test]
    fn what_an_entry_changes_counts_at_once_and_is_told() {
        let stored = Stored::default();
        let eve = Suspect { user: Some("eve"), ..Suspect::default() };
        let at = |text: &str| Suspect { address: Some(text.parse().unwrap()), ..Suspect::default() };
        stored.applied(&[]);
        assert_eq!(stored.version(), 0);
        let network = || Banned::Network([10, 1, 0, 0].into(), 16);
        stored.applied(&[
            ban(Banned::User("eve".into()), Some(50)),
            ban(network(), None),
            ban(Banned::Address([192, 0, 2, 7].into()), None),
        ]);
        assert_eq!(stored.version(), 1);
        assert!(is_banned(&stored, eve, 49) && !is_banned(&stored, eve, 50));
        assert!(is_banned(&stored, at("::ffff:10.1.2.3"), 0) && is_banned(&stored, at("192.0.2.7"), 0));
        stored.applied(&[ban(network(), Some(5)), ban(Banned::User("eve".into()), Some(60))]);
        assert!(is_banned(&stored, eve, 50) && !is_banned(&stored, at("10.1.2.3"), 5), "as was said last");
        stored.applied(&[Change::Unbanned(network()), Change::Unbanned(Banned::User("eve".into()))]);
        assert!(!is_banned(&stored, eve, 0) && !is_banned(&stored, at("10.1.2.3"), 0));
        assert!(is_banned(&stored, at("192.0.2.7"), 0));
        stored.begin(&Cluster::default());
        assert!(!is_banned(&stored, at("192.0.2.7"), 0));
        assert_eq!(stored.version(), 4);
    }
}
