//! Publishes that arrive at a shard: matched against its sessions, queued, stored as retained.
//! Called by `Shard::apply`; never reads a clock.

use mqtt_codec::QoS;

use super::Shard;
use super::out::Out;
use crate::command::{GroupPick, Publish, PublishItem, Published, Push, Receive, Release, Reply};
use crate::effect::Effect;
use crate::ids::{ClientId, ConnectionId, SessionKey};
use crate::matching::{Copied, GroupRef, Merged, Subscribed, merge};
use crate::message::MessageRef;
use crate::outbound::{Enqueued, Outgoing};
use crate::outbox::{OutboxItem, OutboxKind};
use crate::retained::Stored;

/// Sessions that a command queued something for, in the order in which they came up.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) keys: Vec<SessionKey>,
    /// QoS 0 messages, which are in no queue, by connection.
    pub(super) qos0: Vec<(ConnectionId, Push)>,
}

/// One delivery to one session.
struct Delivery<'a> {
    message: &'a MessageRef,
    copy: &'a Copied,
    group: Option<&'a GroupRef>,
}

impl Shard {
    /// Takes over publishes in their order and answers once for all.
    pub(super) fn publish(&mut self, publish: &Publish, out: &mut Out<'_>) {
        let results = self.publish_items(&publish.publisher, &publish.items, out);
        out.answer(publish.reply_to, Reply::Published(results));
    }

    /// Takes over publishes in their order; says for each number what became of it.
    pub(super) fn publish_items(
        &mut self,
        publisher: &ClientId,
        items: &[PublishItem],
        out: &mut Out<'_>,
    ) -> Vec<(u64, Published)> {
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            let result = self.publish_item(item, publisher, out);
            results.push((item.number, result));
        }
        self.flush_touched(out);
        results
    }

    /// Passes messages that are not logged on to the connected clients of sessions, and to those alone. Called
    /// by the leader beside the log: nothing that replicas share is changed. What is to be logged by
    /// [`PublishItem::is_logged`] is left out. A message must not overtake one of its publisher that still waits
    /// for the log (`[MQTT-4.6.0-6]`): the caller sees to that.
    pub fn pass_on(&mut self, publish: &Publish, effects: &mut Vec<Effect>) {
        let mut out = Out::new(effects);
        for item in publish.items.iter().filter(|item| !item.is_logged()) {
            if item.sessions {
                self.deliver_to_matching(&item.message, &publish.publisher, &mut out);
            }
            for pick in &item.groups {
                if !self.deliver_to_group(&item.message, pick, &mut out) {
                    self.queue_counters.dropped_no_member += 1;
                }
            }
        }
        self.flush_touched(&mut out);
    }

    fn publish_item(&mut self, item: &PublishItem, publisher: &ClientId, out: &mut Out<'_>) -> Published {
        let mut result = Published::Taken;
        if item.store_retained && self.store_retained(&item.message) == Stored::Refused {
            result = Published::RetainedQuota;
        }
        if item.sessions {
            self.deliver_to_matching(&item.message, publisher, out);
        }
        for pick in &item.groups {
            if !self.deliver_to_group(&item.message, pick, out) {
                self.redispatch(pick.group.clone(), item.message.clone(), out);
            }
        }
        result
    }

    /// A member of the group is to be picked again, by whoever sends the outbox.
    pub(super) fn redispatch(&mut self, group: GroupRef, message: MessageRef, out: &mut Out<'_>) {
        let (publisher, kind) = (ClientId::new(""), OutboxKind::Redispatch(group));
        self.add_to_outbox(OutboxItem::new(publisher, message, kind), out);
    }

    fn store_retained(&mut self, message: &MessageRef) -> Stored {
        let limits = &self.limits;
        let stored = self.retained.store(message, limits.retained_messages_max, limits.retained_bytes_max);
        match stored {
            Stored::Stored => self.counters.retained_stored += 1,
            Stored::Removed => self.counters.retained_removed += 1,
            Stored::Refused => self.counters.retained_refused += 1,
        }
        stored
    }

    fn deliver_to_matching(&mut self, message: &MessageRef, publisher: &ClientId, out: &mut Out<'_>) {
        let mut matches = std::mem::take(&mut self.matches);
        self.index.for_each_match(message.body.topic(), |slot| {
            slot.for_each(|key, subscribed| matches.push((key, *subscribed)));
        });
        merge(&mut matches, |merged: Merged<SessionKey>| {
            let own = self.sessions.get(&merged.key).is_some_and(|session| session.client == *publisher);
            if let Some(copy) = merged.copy_for(own) {
                self.deliver(merged.key, &Delivery { message, copy, group: None }, out);
            }
        });
        self.matches = matches;
    }

    /// Gives the message to one member of a group: the one that `choice` names among those whose client
    /// is connected, else among all. `false` when there is none.
    fn deliver_to_group(&mut self, message: &MessageRef, pick: &GroupPick, out: &mut Out<'_>) -> bool {
        let Some(slot) = self.groups.get(&pick.group.group, &pick.group.filter) else { return false };
        let only_connected = slot.members().connected > 0;
        let mut members: Vec<(SessionKey, Subscribed)> = Vec::with_capacity(slot.len());
        slot.for_each(|key, subscribed| {
            let connected = self.sessions.get(&key).is_some_and(|session| session.connection.is_some());
            if connected || !only_connected {
                members.push((key, *subscribed));
            }
        });
        members.sort_unstable_by_key(|(key, _)| *key);
        let count = members.len() as u64;
        let index = pick.choice.checked_rem(count).and_then(|index| usize::try_from(index).ok());
        let Some((key, subscribed)) = index.and_then(|index| members.get(index)) else { return false };
        let copy = subscribed.copy();
        self.deliver(*key, &Delivery { message, copy: &copy, group: Some(&pick.group) }, out);
        true
    }

    fn deliver(&mut self, key: SessionKey, delivery: &Delivery<'_>, out: &mut Out<'_>) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let message = delivery.message;
        // Only what was published as retained stands for the retained message of its topic.
        if message.retain {
            session.scans.saw(message.body.topic());
        }
        let qos = message.qos.min(delivery.copy.qos);
        let item = Outgoing {
            message: message.clone(),
            qos,
            retain: message.retain && delivery.copy.retain_as_published,
            subscription_ids: delivery.copy.ids.clone(),
            group: delivery.group.cloned(),
        };
        if qos == QoS::AtMostOnce {
            match session.connection {
                Some(connection) => {
                    self.touched
                        .qos0
                        .push((connection, Push::Publish { packet_id: None, position: 0, dup: false, item }));
                }
                None => self.queue_counters.dropped_offline_qos0 += 1,
            }
            return;
        }
        match session.outbound.enqueue(item, &self.limits.queue, &mut self.queue_counters) {
            Enqueued::Queued | Enqueued::Dropped => self.touched.keys.push(key),
            Enqueued::Disconnect => {
                if let Some(connection) = session.connection {
                    out.reply(connection, Reply::QueueFull);
                }
            }
        }
    }

    /// Sends what was queued, as far as the clients' windows allow.
    pub(super) fn flush_touched(&mut self, out: &mut Out<'_>) {
        let mut qos0 = std::mem::take(&mut self.touched.qos0);
        for (connection, push) in qos0.drain(..) {
            out.send(connection, push);
        }
        self.touched.qos0 = qos0;
        let mut keys = std::mem::take(&mut self.touched.keys);
        if keys.len() > 1 {
            keys.sort_unstable();
            keys.dedup();
        }
        for key in keys.drain(..) {
            self.pump(key, out);
        }
        self.touched.keys = keys;
    }

    /// Takes over a QoS 2 message of a persistent session's client: its id and the message together, so
    /// that a repeat is answered and never passed on (`[MQTT-4.3.3-8]`, `[MQTT-4.3.3-10]`).
    pub(super) fn receive(&mut self, receive: Receive, out: &mut Out<'_>) {
        let Some(key) = self.current(&receive.client, receive.epoch) else { return };
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let (connection, new) = (session.connection, session.inbound.receive(receive.packet_id));
        if new {
            let Receive { client: publisher, message, .. } = receive;
            self.add_to_outbox(OutboxItem::new(publisher, message, OutboxKind::Publish), out);
        }
        out.answer(connection, Reply::Received(receive.packet_id));
    }

    /// PUBREL of a persistent session's client (`[MQTT-4.3.3-11]`).
    pub(super) fn release(&mut self, release: &Release, out: &mut Out<'_>) {
        let Some(key) = self.current(&release.client, release.epoch) else { return };
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let found = session.inbound.release(release.packet_id);
        out.answer(session.connection, Reply::Released(release.packet_id, found));
    }
}
