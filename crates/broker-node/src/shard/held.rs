//! Requests that a log without space holds back: who waits for them too long is sent away. A task of the node; it never
//! refuses a request, since a client would not repeat it.

use std::time::Duration;

use mqtt_codec::ReasonCode;
use raft_consensus::wal::Room;
use tokio::time::timeout;
use tracing::{info, warn};

use super::Shards;
use super::parked::Request;

/// How long a request may wait for a log that has no space, before its connection is ended; up to twice that.
pub(crate) const HELD_MAX: Duration = Duration::from_secs(30);

impl Shards {
    /// Whether the log takes nothing more until there is space, but for what takes something out of a shard.
    pub(crate) fn is_full(&self) -> bool {
        *self.inner.room.borrow() != Room::Ok
    }

    /// Waits until there is space in the log.
    pub(crate) async fn has_space(&self) {
        let mut room = self.inner.room.clone();
        let _stopping = room.wait_for(|room| *room == Room::Ok).await.is_err();
    }

    /// Puts what waits for space into the log of a shard when there is some; runs until the node stops.
    pub(super) async fn unpark(self, shard: u16) {
        let Some(home) = self.home(shard) else { return };
        loop {
            home.parked.filled().await;
            self.has_space().await;
            let Some(Request { command, asker, ticket, .. }) = home.parked.take() else { continue };
            // Whoever started the group hears of its end.
            let _ended = self.put(shard, command, asker).await;
            drop(ticket);
        }
    }

    /// Ends connections that have waited too long for a log that has no space; runs until the node stops.
    pub(crate) async fn end_held(self) {
        let mut room = self.inner.room.clone();
        while room.wait_for(|room| *room != Room::Ok).await.is_ok() {
            warn!(target: "quelea", "no space for the log: publishes of QoS 1 and 2 wait until there is");
            let mut asked_before = self.asked();
            while timeout(HELD_MAX, room.wait_for(|room| *room == Room::Ok)).await.is_err() {
                for (home, before) in self.inner.homes.iter().zip(&asked_before) {
                    let (asked, parked) = *before;
                    home.link.end_asked_before(asked, ReasonCode::QuotaExceeded);
                    home.parked.end_first(parked, ReasonCode::QuotaExceeded);
                }
                asked_before = self.asked();
            }
            info!(target: "quelea", "there is space for the log again");
        }
    }

    /// The number of each shard's next request, and how many have waited for space so far.
    fn asked(&self) -> Vec<(u64, u64)> {
        self.inner.homes.iter().map(|home| (home.link.next(), home.parked.seen())).collect()
    }
}
