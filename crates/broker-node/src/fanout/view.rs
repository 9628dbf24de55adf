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

/// How many subscribers of a filter were granted each QoS.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Granted([u32; 3]);

impl Granted {
    /// One more was granted this, or one fewer.
    pub(super) fn count(&mut self, qos: QoS, more: bool) {
        if let Some(count) = self.0.get_mut(qos as usize) {
            *count = if more { *count + 1 } else { *count - 1 };
        }
    }

    /// The highest; `None` where nobody is.
    pub(super) fn highest(&self) -> Option<QoS> {
        let all = [QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::AtMostOnce];
        all.into_iter().find(|qos| self.0.get(*qos as usize).is_some_and(|count| *count > 0))
    }
}

/// The subscribers of one filter.
#[derive(Debug, Default)]
struct FilterSlot {
    locals: SubscriberSet<ConnectionId, (Arc<Inbox>, Subscribed)>,
    granted: Granted,
    shards: Vec<(u16, QoS)>,
}

impl FilterSlot {
    /// Adds or replaces a transient subscriber; says whether it is new.
    fn insert(&mut self, inbox: &Arc<Inbox>, subscribed: Subscribed) -> bool {
        self.granted.count(subscribed.qos, true);
        let old = self.locals.insert(inbox.id(), (Arc::clone(inbox), subscribed));
        old.iter().for_each(|(_, old)| self.granted.count(old.qos, false));
        old.is_none()
    }

    /// Removes a transient subscriber; says whether it was there.
    fn remove(&mut self, id: ConnectionId) -> bool {
        let old = self.locals.remove(id);
        old.iter().for_each(|(_, old)| self.granted.count(old.qos, false));
        old.is_some()
    }
}

/// What became of the transient subscribers of a filter: the highest QoS that they are granted before and now.
pub(super) type Highest = (Option<QoS>, Option<QoS>);

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
}

impl View {
    /// Adds or replaces a transient session's subscription.
    pub(super) fn subscribe(
        &mut self,
        filter: &Filter,
        inbox: &Arc<Inbox>,
        subscribed: Subscribed,
    ) -> Highest {
        match filter {
            Filter::Plain(plain) => {
                let (new, highest) = self.plain.update(plain, |slot| {
                    let before = slot.granted.highest();
                    (slot.insert(inbox, subscribed), (before, slot.granted.highest()))
                });
                self.subscriptions.0 += usize::from(new);
                highest
            }
            Filter::Shared { group, filter } => {
                let (new, highest) = self.shared.update(group, filter, |slot| {
                    let before = slot.granted().highest();
                    let new = slot.named(group, filter).insert(inbox, subscribed);
                    (new, (before, slot.granted().highest()))
                });
                self.subscriptions.1 += usize::from(new);
                highest
            }
        }
    }

    /// Removes a transient session's subscription.
    pub(super) fn unsubscribe(&mut self, filter: &Filter, id: ConnectionId) -> Highest {
        match filter {
            Filter::Plain(plain) => {
                let (removed, highest) = self.plain.update(plain, |slot| {
                    let before = slot.granted.highest();
                    (slot.remove(id), (before, slot.granted.highest()))
                });
                self.subscriptions.0 -= usize::from(removed);
                highest
            }
            Filter::Shared { group, filter } => {
                let (removed, highest) = self.shared.update(group, filter, |slot| {
                    let before = slot.granted().highest();
                    (slot.remove(id), (before, slot.granted().highest()))
                });
                self.subscriptions.1 -= usize::from(removed);
                highest
            }
        }
    }

    /// Subscriptions of transient sessions: ordinary ones, and shared ones.
    pub(super) fn subscriptions(&self) -> (usize, usize) {
        self.subscriptions
    }

    /// Takes over what a shard says of one of its filters; says whether its highest QoS is another one now.
    pub(super) fn change_route(&mut self, shard: u16, change: &RouteChange) -> bool {
        match &change.filter {
            Filter::Plain(plain) => self.plain.update(plain, |slot| {
                let known = slot.shards.iter().find(|(number, _)| *number == shard).map(|(_, qos)| *qos);
                slot.shards.retain(|(number, _)| *number != shard);
                slot.shards.extend(change.qos.map(|qos| (shard, qos)));
                known != change.qos
            }),
            Filter::Shared { group, filter } => {
                self.shared.update(group, filter, |slot| slot.named(group, filter).set_shard(shard, change))
            }
        }
    }

    /// Everything that a topic matches.
    pub(super) fn matched(&self, topic: &[u8], version: u64) -> Matched {
        let mut matched = Matched { version, ..Matched::default() };
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
