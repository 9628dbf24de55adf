//! One publish as it is told to a shard, with the shared groups that take it there, and how it is cut into parts. Made
//! by the broker's fan-out; sends nothing itself.

use mqtt_codec::QoS;

use crate::matching::GroupRef;
use crate::message::MessageRef;

/// One shared group that is to take a message, and the number that decides which member.
#[derive(Clone, Debug)]
pub struct GroupPick {
    /// The group.
    pub group: GroupRef,
    /// Taken modulo the number of members, so that every replica picks the same.
    pub choice: u64,
}

/// One publish for a shard.
#[derive(Clone, Debug)]
pub struct PublishItem {
    /// Number given back with the answer; of an outbox's item its position.
    pub number: u64,
    /// The message.
    pub message: MessageRef,
    /// Whether the shard's ordinary subscriptions are matched.
    pub sessions: bool,
    /// Whether the shard is the home of the topic and the message is retained.
    pub store_retained: bool,
    /// Groups of which a member here was picked.
    pub groups: Vec<GroupPick>,
}

/// Bytes of picks that one item holds at most, but for one pick that is larger by itself, which has 64 KiB at most:
/// with its message they have to fit into a record of a log, however many groups a topic matches.
pub const PICKS_BYTES_MAX: usize = 256 * 1024;

/// Bytes that a pick takes in an entry besides its names, at most.
const PICK_BYTES: usize = 48;

/// Bytes that an item takes in an entry besides its message and its picks, at most.
const ITEM_BYTES: usize = 80;

impl GroupPick {
    /// Bytes that it takes in an entry, at most.
    #[must_use]
    pub fn size(&self) -> usize {
        self.group.group.len() + self.group.filter.as_str().len() + PICK_BYTES
    }
}

impl PublishItem {
    /// Bytes that it takes in an entry, at most.
    #[must_use]
    pub fn size(&self) -> usize {
        self.message.size() + ITEM_BYTES + self.groups.iter().map(GroupPick::size).sum::<usize>()
    }

    /// Gives `take` the item, or its parts where it has more than [`PICKS_BYTES_MAX`] of picks. What it is to do
    /// besides is in the first part, and the picks are in ascending order of their names: of an outbox's item that is
    /// how a shard knows which of them it has.
    pub fn into_parts(self, mut take: impl FnMut(Self)) {
        let size: usize = self.groups.iter().map(GroupPick::size).sum();
        if size <= PICKS_BYTES_MAX {
            return take(self);
        }
        let mut part = self;
        let mut picks = std::mem::take(&mut part.groups);
        picks.sort_unstable_by(|a, b| a.group.cmp(&b.group));
        let mut bytes = 0;
        for pick in picks {
            bytes += pick.size();
            if bytes > PICKS_BYTES_MAX && !part.groups.is_empty() {
                bytes = pick.size();
                let (number, message) = (part.number, MessageRef::clone(&part.message));
                let next =
                    Self { number, message, sessions: false, store_retained: false, groups: Vec::new() };
                take(std::mem::replace(&mut part, next));
            }
            part.groups.push(pick);
        }
        take(part);
    }

    /// Whether the message goes through the log: one of QoS 0 does not, unless it is retained, since the scans of
    /// sessions take note of those.
    #[must_use]
    pub fn is_logged(&self) -> bool {
        self.message.qos > QoS::AtMostOnce || self.message.retain || self.store_retained
    }
}
