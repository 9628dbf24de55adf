//! What of one message goes where: transient members of shared groups get theirs at once, shards get one
//! part each. Used by connections and by relays, so that both send the same.

use mqtt_codec::QoS;
use session_store::command::{GroupPick, PublishItem};
use session_store::matching::GroupRef;
use session_store::{ClientId, MessageRef};

use super::{Fanout, GroupView, Matched, Picked};
use crate::inbox::{Dropped, Run};

/// What one shard gets of a message.
#[derive(Debug)]
pub(crate) struct ShardPart {
    /// The shard.
    pub(crate) shard: u16,
    sessions: bool,
    store_retained: bool,
    groups: Vec<GroupPick>,
}

impl ShardPart {
    fn empty(shard: u16) -> Self {
        Self { shard, sessions: false, store_retained: false, groups: Vec::new() }
    }

    /// The part as the shard takes it; `number` comes back with its answer.
    pub(crate) fn into_item(self, number: u64, message: MessageRef) -> PublishItem {
        let Self { sessions, store_retained, groups, .. } = self;
        PublishItem { number, message, sessions, store_retained, groups }
    }
}

/// The parts of a message for shards, and what could not be delivered here.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// At most one for each shard.
    pub(crate) shards: Vec<ShardPart>,
    /// What mailboxes had no room for.
    pub(crate) dropped: Dropped,
}

impl Parts {
    fn of(&mut self, shard: u16) -> Option<&mut ShardPart> {
        if !self.shards.iter().any(|part| part.shard == shard) {
            self.shards.push(ShardPart::empty(shard));
        }
        self.shards.iter_mut().find(|part| part.shard == shard)
    }
}

impl Fanout {
    /// Everything but the transient subscribers, which [`Matched::deliver`] serves. `topic_home` is the
    /// shard that stores the message as retained, where it is to be.
    pub(crate) fn parts(
        &self,
        matched: &Matched,
        message: &MessageRef,
        publisher: &ClientId,
        topic_home: Option<u16>,
    ) -> Parts {
        let mut parts = Parts::default();
        for (shard, _) in &matched.shards {
            if let Some(part) = parts.of(*shard) {
                part.sessions = true;
            }
        }
        if let Some(part) = topic_home.and_then(|shard| parts.of(shard)) {
            part.store_retained = true;
        }
        for group in &matched.groups {
            self.pick_into(group, message, publisher, &mut parts);
        }
        parts
    }

    fn pick_into(&self, group: &GroupView, message: &MessageRef, publisher: &ClientId, parts: &mut Parts) {
        let mut picked = self.pick(group, publisher, message.body.topic());
        // A member that has ended since the view was made takes nothing: another is picked.
        for turn in 0..=group.places() {
            match picked {
                None => return,
                Some(Picked::Shard(shard, pick)) => {
                    if let Some(part) = parts.of(shard) {
                        part.groups.push(pick);
                    }
                    return;
                }
                Some(Picked::Local(member)) => {
                    let messages = std::slice::from_ref(message);
                    let group = (message.qos.min(member.copy.qos) > QoS::AtMostOnce).then(|| group.name());
                    let dropped = member.inbox.deliver(&Run { messages, copy: &member.copy, group });
                    if !dropped.closed {
                        parts.dropped.add(dropped);
                        return;
                    }
                }
            }
            picked = group.at(turn);
        }
    }

    /// Picks another member of a group for a message whose member is gone. `None` when nobody is left.
    pub(crate) fn redispatch(
        &self,
        name: &GroupRef,
        message: &MessageRef,
        publisher: &ClientId,
    ) -> Option<Parts> {
        let group = self.group(name)?;
        let mut parts = Parts::default();
        self.pick_into(&group, message, publisher, &mut parts);
        Some(parts)
    }
}
