//! A shard made of the records of its checkpoint: tables as they were, and all that follows from them made anew.
//! Called at the start of a node and when a snapshot came. Records that do not fit together are an error.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use mqtt_codec::PacketId;
use topic_index::Filter;

use super::forms::{self, Head};
use super::key::Key;
use super::pages;
use crate::ids::{ClientId, SessionKey};
use crate::inbound::Inbound;
use crate::kept::Kept;
use crate::limits::ShardLimits;
use crate::message::MessageRef;
use crate::outbound::{Content, Outbound};
use crate::outbox::{Outbox, OutboxItem};
use crate::record::{Record, RecordError, all_from_wire, required, unseal, wire};
use crate::scan::Scans;
use crate::session::Session;
use crate::shard::{Client, Shard, ShardNumber, Timer};
use crate::stream::Stream;
use crate::tracked::Local;

/// Records that others must be there for.
#[derive(Default)]
struct Parts {
    head: Option<Head>,
    sessions: Vec<(SessionKey, wire::Session)>,
    subscriptions: BTreeMap<SessionKey, wire::Subscriptions>,
    pages: BTreeMap<SessionKey, Vec<(u64, Bytes)>>,
    bodies: BTreeMap<u64, MessageRef>,
    outbox: BTreeMap<u64, OutboxItem>,
}

impl Shard {
    /// The shard whose records these are, in any order. It is equal to the one they were taken from, and takes
    /// only further changes from now on.
    ///
    /// `limits` are those of a shard whose records have none.
    ///
    /// # Errors
    /// The first error of `records`; [`RecordError`] for records that are not all those of a shard with this
    /// number.
    pub fn restore<E: From<RecordError>>(
        me: ShardNumber,
        limits: ShardLimits,
        records: impl IntoIterator<Item = Result<(Bytes, Bytes), E>>,
    ) -> Result<Self, E> {
        let mut shard = Self::new(me, limits);
        let mut parts = Parts::default();
        for record in records {
            let (key, value) = record?;
            shard.read(Key::decode(&key)?, value, &mut parts)?;
        }
        shard.put_together(parts)?;
        Ok(shard)
    }

    /// Reads one record, as far as it needs no other.
    fn read(&mut self, key: Key, value: Bytes, parts: &mut Parts) -> Result<(), RecordError> {
        match key {
            Key::Head => parts.head = Some(Head::from_wire(unseal("head of a shard", value)?)?),
            Key::Client(id) => {
                let client = Client::from_wire(unseal("client", value)?)?;
                self.restore_client(id, client);
            }
            Key::Session(key) => parts.sessions.push((key, unseal("session", value)?)),
            Key::Subscriptions(key) => {
                parts.subscriptions.insert(key, unseal("subscriptions", value)?);
            }
            Key::Page(key, start) => parts.pages.entry(key).or_default().push((start, value)),
            Key::Body(number) => {
                parts.bodies.insert(number, MessageRef::from_wire(unseal("body", value)?)?);
            }
            Key::Retained(topic) => {
                let message = MessageRef::from_wire(unseal("retained message", value)?)?;
                if message.body.topic() != &*topic {
                    return Err(RecordError::Invalid { field: "topic of a retained message" });
                }
                self.retained.put_written(&message);
            }
            Key::Outbox(position) => {
                parts.outbox.insert(position, OutboxItem::from_wire(unseal("outbox", value)?)?);
            }
            Key::Stream(source) => {
                self.streams.insert(source, Stream::from_wire(unseal("stream", value)?)?);
            }
        }
        Ok(())
    }

    fn restore_client(&mut self, id: ClientId, client: Client) {
        let timers = [(Timer::Will, client.will_due), (Timer::Expiry, client.expiry_due)];
        for (timer, at) in timers {
            self.due.extend(at.map(|at| (at, timer, id.clone())));
        }
        self.hosted.extend(client.connection.map(|connection| (connection.host, id.clone())));
        self.clients.insert_written(id, client);
    }

    fn put_together(&mut self, mut parts: Parts) -> Result<(), RecordError> {
        let head = required(parts.head.take(), "head of a shard")?;
        if (head.number, head.of) != (self.me.number.0, self.me.of) {
            return Err(RecordError::Invalid { field: "number of the shard" });
        }
        self.now = head.now;
        self.next_session = head.next_session;
        self.generation = head.generation;
        self.apply_level = head.apply_level;
        self.limits = head.limits.unwrap_or(self.limits);
        self.lowest_live = head.lowest_live;
        self.dying = head.dying;
        self.restore_outbox(head.outbox_first, std::mem::take(&mut parts.outbox))?;
        for (key, session) in std::mem::take(&mut parts.sessions) {
            self.restore_session(key, session, &mut parts)?;
        }
        if !parts.pages.is_empty() || !parts.subscriptions.is_empty() {
            return Err(RecordError::Missing { field: "session" });
        }
        self.validate().map_err(|_| RecordError::Invalid { field: "shard" })
    }

    fn restore_outbox(&mut self, first: u64, items: BTreeMap<u64, OutboxItem>) -> Result<(), RecordError> {
        let dense = items.keys().copied().eq((first..).take(items.len()));
        if !dense {
            return Err(RecordError::Missing { field: "item of the outbox" });
        }
        self.outbox = Outbox::restored(first, items.into_values().collect());
        self.keeper.outbox = (self.outbox.first(), self.outbox.last() + 1);
        Ok(())
    }

    fn restore_session(
        &mut self,
        key: SessionKey,
        wire: wire::Session,
        parts: &mut Parts,
    ) -> Result<(), RecordError> {
        let subscriptions = parts.subscriptions.remove(&key).unwrap_or_default();
        let subscriptions = forms::read_subscriptions(subscriptions)?;
        let (mut kept, mut contents) = self.read_pages(parts.pages.remove(&key), &parts.bodies)?;
        let queue = required(wire.queue, "session.queue")?;
        let outbound = Outbound::from_wire(&queue, &mut contents)?;
        kept.end = outbound.next_serial();
        let client = ClientId::from_wire(wire.client)?;
        let connection = self.clients.get(&client).and_then(|client| client.connection);
        let maximum = u16::try_from(wire.receive_maximum);
        for (filter, subscribed) in &subscriptions {
            let slot = |slot: &mut super::super::slot::FilterSlot| {
                slot.insert(key, *subscribed, connection.is_some());
            };
            match filter {
                Filter::Plain(plain) => self.index.update(plain, slot),
                Filter::Shared { group, filter } => self.groups.update(group, filter, slot),
            }
        }
        let received: Vec<PacketId> = all_from_wire(wire.received)?;
        let session = Session {
            client,
            connection,
            receive_maximum: maximum.map_err(|_| RecordError::Invalid { field: "receive_maximum" })?,
            expiry_s: wire.expiry_s,
            subscriptions,
            outbound,
            inbound: Inbound::restored(received),
            scans: Scans::from_wire(required(wire.scans, "session.scans")?)?,
            subscriptions_changed: Local(false),
            kept: Local(kept),
        };
        self.sessions.insert_written(key, session);
        Ok(())
    }

    /// The pages of one queue and what they hold, by serial number.
    fn read_pages(
        &mut self,
        records: Option<Vec<(u64, Bytes)>>,
        bodies: &BTreeMap<u64, MessageRef>,
    ) -> Result<(Kept, BTreeMap<u64, Content>), RecordError> {
        let mut records = records.unwrap_or_default();
        records.sort_unstable_by_key(|(start, _)| *start);
        let mut contents = BTreeMap::new();
        let mut kept = VecDeque::new();
        for (start, record) in records {
            let keeper = &mut self.keeper;
            let (page, items) = pages::read(start, record, |number| {
                let message = bodies.get(&number)?;
                keeper.bodies.refer_read(number, message);
                Some(message.clone())
            })?;
            contents.extend(items);
            kept.push_back(page);
        }
        Ok((Kept { pages: kept, end: 0 }, contents))
    }
}
