//! Requests that a log without space holds back: who waits for them too long is sent away. A task of the node; it never
//! refuses a request, since a client would not repeat it.

use std::time::Duration;

use mqtt_codec::ReasonCode;
use raft_consensus::wal::Room;
use tokio::time::timeout;
use tracing::{info, warn};

use super::Shards;

/// How long a request may wait for a log that has no space, before its connection is ended; up to twice that.
pub(crate) const HELD_MAX: Duration = Duration::from_secs(30);

impl Shards {
    /// Whether the log takes nothing more until there is space.
    pub(crate) fn is_full(&self) -> bool {
        *self.inner.room.borrow() == Room::Full
    }

    /// Ends connections that have waited too long for a log that has no space; runs until the node stops.
    pub(crate) async fn end_held(self) {
        let mut room = self.inner.room.clone();
        while room.wait_for(|room| *room == Room::Full).await.is_ok() {
            warn!(target: "quelea", "no space for the log: publishes of QoS 1 and 2 wait until there is");
            let mut asked_before = self.asked();
            while timeout(HELD_MAX, room.wait_for(|room| *room == Room::Ok)).await.is_err() {
                for (home, before) in self.inner.homes.iter().zip(&asked_before) {
                    home.link.end_asked_before(*before, ReasonCode::QuotaExceeded);
                }
                asked_before = self.asked();
            }
            info!(target: "quelea", "there is space for the log again");
        }
    }

    /// The number of each shard's next request.
    fn asked(&self) -> Vec<u64> {
        self.inner.homes.iter().map(|home| home.link.next()).collect()
    }
}
