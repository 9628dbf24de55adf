//! Keeps telling hosts what a shard's leader decided where there was more than the way there takes at once. One task a shard; it
//! only waits for room.

use std::time::Duration;

use raft_consensus::group::Gone;
use tokio::time::timeout;

use super::delivery::node_of;
use super::{ShardGroup, Shards};

/// So long room on the way to one host is waited for before others are looked at.
const ROOM_TIMEOUT: Duration = Duration::from_millis(100);

/// What waits for room, of one shard.
pub(super) struct Backlog {
    pub(super) number: u16,
    pub(super) shards: Shards,
    pub(super) group: ShardGroup,
}

impl Backlog {
    /// Runs until the shard's group ends.
    pub(super) async fn run(self) {
        let Some(home) = self.shards.home(self.number) else { return };
        loop {
            home.backlog.notified().await;
            if self.go_on().await.is_err() {
                return;
            }
        }
    }

    async fn go_on(&self) -> Result<(), Gone> {
        while let Some(host) = self.group.look_now(|state| state.machine().lagging_host()).await? {
            let _others = timeout(ROOM_TIMEOUT, self.shards.inner.peers.room_to_tell(node_of(host))).await;
            self.group.pass(0, |machine| machine.go_on()).await?;
        }
        Ok(())
    }
}
