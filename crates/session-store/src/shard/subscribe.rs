//! SUBSCRIBE and UNSUBSCRIBE of persistent sessions, and the routes that change by them.
//! Called by `Shard::apply`; never reads a clock.

use topic_index::Filter;

use super::Shard;
use super::out::Out;
use super::slot::FilterSlot;
use crate::command::{Members, Reply, RouteChange, Subscribe, SubscribeTo, Unsubscribe};
use crate::ids::SessionKey;

impl Shard {
    /// Adds or replaces subscriptions (`[MQTT-3.8.4-3]`); answers in the order of the packet.
    pub(super) fn subscribe(&mut self, subscribe: Subscribe, out: &mut Out<'_>) {
        let Some(key) = self.current(&subscribe.client, subscribe.epoch) else { return };
        let mut granted = Vec::with_capacity(subscribe.filters.len());
        for (place, to) in subscribe.filters {
            granted.push((place, self.subscribe_to(key, to, out)));
        }
        let connection = self.sessions.get(&key).and_then(|session| session.connection);
        out.answer(connection, Reply::Subscribed(subscribe.packet_id, granted));
        self.start_scans(key, out);
    }

    /// Whether the subscription is new; `None` where the limit is reached.
    fn subscribe_to(&mut self, key: SessionKey, to: SubscribeTo, out: &mut Out<'_>) -> Option<bool> {
        let limit = self.limits.subscriptions_max;
        let session = self.sessions.get_mut(&key)?;
        let new = !session.subscriptions.contains_key(&to.filter);
        if new && session.subscriptions.len() >= limit {
            return None;
        }
        session.subscriptions.insert(to.filter.clone(), to.subscribed);
        session.subscriptions_changed.0 = true;
        let connected = session.connection.is_some();
        if let (true, Filter::Plain(plain)) = (to.retained.applies(new), &to.filter) {
            session.scans.add(plain.clone(), to.subscribed);
        }
        self.change_route(&to.filter, out, |slot| slot.insert(key, to.subscribed, connected));
        Some(new)
    }

    /// Removes subscriptions (`[MQTT-3.10.4-1]`); what is queued stays (`[MQTT-3.10.4-3]`).
    pub(super) fn unsubscribe(&mut self, unsubscribe: Unsubscribe, out: &mut Out<'_>) {
        let Some(key) = self.current(&unsubscribe.client, unsubscribe.epoch) else { return };
        let mut done = Vec::with_capacity(unsubscribe.filters.len());
        for (place, filter) in unsubscribe.filters {
            let Some(session) = self.sessions.get_mut(&key) else { break };
            let existed = session.subscriptions.remove(&filter).is_some();
            session.subscriptions_changed.0 |= existed;
            let connected = session.connection.is_some();
            session.scans.remove(filter.plain());
            if existed {
                self.unindex(&filter, key, connected, out);
            }
            done.push((place, existed));
        }
        let connection = self.sessions.get(&key).and_then(|session| session.connection);
        out.answer(connection, Reply::Unsubscribed(unsubscribe.packet_id, done));
    }

    pub(super) fn unindex(&mut self, filter: &Filter, key: SessionKey, connected: bool, out: &mut Out<'_>) {
        self.change_route(filter, out, |slot| slot.remove(key, connected));
    }

    /// Changes a filter's subscribers and announces the route if it is another one now.
    fn change_route(&mut self, filter: &Filter, out: &mut Out<'_>, change: impl FnOnce(&mut FilterSlot)) {
        let changed = |slot: &mut FilterSlot| {
            let before = (slot.qos(), slot.members());
            change(slot);
            (before, (slot.qos(), slot.members()))
        };
        let (before, after) = match filter {
            Filter::Plain(plain) => {
                let ((before, _), (after, _)) = self.index.update(plain, changed);
                ((before, Members::default()), (after, Members::default()))
            }
            Filter::Shared { group, filter } => {
                let (before, after) = self.groups.update(group, filter, changed);
                self.shared_subscriptions += after.1.all as usize;
                self.shared_subscriptions -= before.1.all as usize;
                (before, after)
            }
        };
        if before != after {
            let (qos, members) = after;
            out.route(RouteChange { filter: filter.clone(), qos, members });
        }
    }
}
