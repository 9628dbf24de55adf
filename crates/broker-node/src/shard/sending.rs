//! Which shards' outboxes this node sends. A look-up of retained messages has to hear of each outbox from whoever sends it: what
//! an earlier leader sent is on its way until the present one says that it has arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use session_store::ShardId;

/// Of each shard how often this node has begun or ceased to send its outbox: odd while it does. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Sending(Arc<[AtomicU64]>);

/// The outboxes that were sent when it was looked, and since when.
#[derive(Debug)]
pub(super) struct Sent(Vec<(ShardId, u64)>);

/// For as long as an outbox is sent.
#[derive(Debug)]
pub(super) struct Turn {
    of: Sending,
    shard: u16,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.turn(self.shard);
    }
}

impl Sending {
    /// Of so many shards, none of whose outboxes is sent yet.
    pub(super) fn new(shards: u16) -> Self {
        Self((0..shards).map(|_| AtomicU64::new(0)).collect())
    }

    /// A shard's outbox is sent until what is returned is dropped. All that may have been sent of it before has to count as on its
    /// way by now.
    pub(super) fn begin(&self, shard: u16) -> Turn {
        self.turn(shard);
        Turn { of: self.clone(), shard }
    }

    fn turn(&self, shard: u16) {
        if let Some(turns) = self.0.get(usize::from(shard)) {
            turns.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// What is sent now.
    pub(super) fn now(&self) -> Sent {
        let turns =
            (0..).zip(self.0.iter()).map(|(shard, turns)| (ShardId(shard), turns.load(Ordering::Acquire)));
        Sent(turns.filter(|(_, turns)| turns % 2 == 1).collect())
    }

    /// Those that were sent all the time since then.
    pub(super) fn since(&self, then: &Sent) -> Vec<ShardId> {
        let now = self.now();
        then.0.iter().filter(|sent| now.0.contains(sent)).map(|(shard, _)| *shard).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sent_all_the_time_counts() {
        let sending = Sending::new(4);
        let [_first, second, third] = [0, 1, 2].map(|shard| sending.begin(shard));
        let then = sending.now();
        assert_eq!(sending.since(&then), [ShardId(0), ShardId(1), ShardId(2)]);
        // One ceases, one does and begins again, and one begins.
        drop((second, third));
        let _others = [2, 3].map(|shard| sending.begin(shard));
        assert_eq!(sending.since(&then), [ShardId(0)]);
        assert_eq!(sending.since(&sending.now()), [ShardId(0), ShardId(2), ShardId(3)]);
    }
}
