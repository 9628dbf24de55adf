//! What of one message goes to which shard. Made by `Gathering`, so that connections and relays send the
//! same; never sends anything itself.

use session_store::MessageRef;
use session_store::command::{GroupPick, PublishItem};

/// What one shard gets of a message.
#[derive(Debug)]
pub(super) struct ShardPart {
    /// The shard.
    pub(super) shard: u16,
    /// Whether its ordinary subscriptions are matched.
    pub(super) sessions: bool,
    /// Whether it stores the message as retained.
    pub(super) store_retained: bool,
    /// Groups of which a member there was picked.
    pub(super) groups: Vec<GroupPick>,
    /// Whether the message's acknowledgement waits for the shard's answer.
    pub(super) awaited: bool,
}

impl ShardPart {
    fn empty(shard: u16) -> Self {
        Self { shard, sessions: false, store_retained: false, groups: Vec::new(), awaited: false }
    }

    /// What a shard gets of a message that one of its members was picked for.
    pub(super) fn picked(shard: u16, pick: GroupPick) -> Self {
        Self { groups: vec![pick], awaited: true, ..Self::empty(shard) }
    }

    /// The part as the shard takes it; `number` comes back with its answer.
    pub(super) fn into_item(self, number: u64, message: MessageRef) -> PublishItem {
        let Self { sessions, store_retained, groups, awaited, .. } = self;
        PublishItem { number: if awaited { number } else { 0 }, message, sessions, store_retained, groups }
    }
}

/// The parts of one message, at most one for each shard.
#[derive(Debug, Default)]
pub(super) struct Parts(pub(super) Vec<ShardPart>);

impl Parts {
    /// Adds something to the part of a shard; `awaited` where the acknowledgement waits for it.
    pub(super) fn add(&mut self, shard: u16, awaited: bool, change: impl FnOnce(&mut ShardPart)) {
        let index = self.0.iter().position(|part| part.shard == shard).unwrap_or_else(|| {
            self.0.push(ShardPart::empty(shard));
            self.0.len() - 1
        });
        if let Some(part) = self.0.get_mut(index) {
            part.awaited |= awaited;
            change(part);
        }
    }
}
