//! The route view: filters of transient sessions and routes of shards in one index, so that a topic is
//! matched once. Changed under the write lock of its owner; knows nothing of locks itself.

use std::sync::Arc;

use hashbrown::HashMap;
use mqtt_codec::QoS;
use session_store::ConnectionId;
use session_store::command::RouteChange;
use session_store::matching::{GroupName, GroupRef, Subscribed, SubscriberSet, merge};
use topic_index::{Filter, FilterIndex, SharedIndex, Slot};

use super::groups::{GroupSlot, GroupView};
use super::{LocalTarget, Matched};
use crate::inbox::Inbox;

/// The subscribers of one filter.
#[derive(Debug, Default)]
struct FilterSlot {
    locals: SubscriberSet<ConnectionId, (Arc<Inbox>, Subscribed)>,
    shards: Vec<(u16, QoS)>,
}

impl Slot for FilterSlot {
    fn is_empty(&self) -> bool {
        self.locals.is_empty() && self.shards.is_empty()
    }
}

/// The route view.
#[derive(Debug, Default)]
pub(super) struct View {
    plain: FilterIndex<FilterSlot>,
    shared: SharedIndex<GroupSlot>,
    /// Subscriptions of transient sessions, ordinary and shared.
    subscriptions: (usize, usize),
    /// Shards that get every message.
    everywhere: u16,
}

impl View {
    /// So many shards get every message.
    pub(super) fn reach_all(&mut self, shards: u16) {
        self.everywhere = shards;
    }

    /// Adds or replaces a transient session's subscription.
    pub(super) fn subscribe(&mut self, filter: &Filter, inbox: &Arc<Inbox>, subscribed: Subscribed) {
        match filter {
            Filter::Plain(plain) => {
                let value = (Arc::clone(inbox), subscribed);
                let old = self.plain.update(plain, |slot| slot.locals.insert(inbox.id(), value));
                self.subscriptions.0 += usize::from(old.is_none());
            }
            Filter::Shared { group, filter } => {
                let new = self
                    .shared
                    .update(group, filter, |slot| slot.named(group, filter).insert(inbox, subscribed));
                self.subscriptions.1 += usize::from(new);
            }
        }
    }

    /// Removes a transient session's subscription.
    pub(super) fn unsubscribe(&mut self, filter: &Filter, id: ConnectionId) {
        match filter {
            Filter::Plain(plain) => {
                let old = self.plain.update(plain, |slot| slot.locals.remove(id));
                self.subscriptions.0 -= usize::from(old.is_some());
            }
            Filter::Shared { group, filter } => {
                let removed = self.shared.update(group, filter, |slot| slot.remove(id));
                self.subscriptions.1 -= usize::from(removed);
            }
        }
    }

    /// Subscriptions of transient sessions: ordinary ones, and shared ones.
    pub(super) fn subscriptions(&self) -> (usize, usize) {
        self.subscriptions
    }

    /// Takes over what a shard says of one of its filters.
    pub(super) fn change_route(&mut self, shard: u16, change: &RouteChange) {
        match &change.filter {
            Filter::Plain(plain) => self.plain.update(plain, |slot| {
                slot.shards.retain(|(number, _)| *number != shard);
                slot.shards.extend(change.qos.map(|qos| (shard, qos)));
            }),
            Filter::Shared { group, filter } => {
                self.shared.update(group, filter, |slot| slot.named(group, filter).set_shard(shard, change));
            }
        }
    }

    /// Everything that a topic matches.
    pub(super) fn matched(&self, topic: &[u8], version: u64) -> Matched {
        let everywhere = (0..self.everywhere).map(|shard| (shard, QoS::ExactlyOnce)).collect();
        let mut matched = Matched { version, shards: everywhere, ..Matched::default() };
        let mut subscriptions: Vec<(ConnectionId, Subscribed)> = Vec::new();
        let mut inboxes: HashMap<ConnectionId, &Arc<Inbox>> = HashMap::new();
        self.plain.for_each_match(topic, |slot| {
            slot.locals.for_each(|id, (inbox, subscribed)| {
                subscriptions.push((id, *subscribed));
                inboxes.insert(id, inbox);
            });
            for (shard, qos) in &slot.shards {
                match matched.shards.iter_mut().find(|(number, _)| number == shard) {
                    Some(found) => found.1 = found.1.max(*qos),
                    None => matched.shards.push((*shard, *qos)),
                }
            }
        });
        matched.locals.reserve(inboxes.len());
        merge(&mut subscriptions, |merged| {
            if let Some(inbox) = inboxes.get(&merged.key) {
                let inbox = Arc::clone(inbox);
                matched.locals.push(LocalTarget { inbox, copy: merged.copy, own: merged.own });
            }
        });
        self.shared.for_each_match(topic, |_, slot| matched.groups.extend(slot.view()));
        matched
    }

    /// The group of that name.
    pub(super) fn group(&self, name: &GroupRef) -> Option<Arc<GroupView>> {
        let GroupName { group, filter } = &**name;
        self.shared.get(group, filter).and_then(GroupSlot::view)
    }
}
