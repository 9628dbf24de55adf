//! A shard made of the records of its checkpoint: tables as they were, and all that follows from them made anew.
//! Called at the start of a node and when a snapshot came. Records that do not fit together are an error. Messages in
//! queues stay in the store, however many there are.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use mqtt_codec::PacketId;
use topic_index::Filter;

use super::forms::{self, Head};
use super::key::Key;
use super::pages::{self, PageItem};
use super::stored;
use crate::ids::{ClientId, Millis, SessionKey};
use crate::inbound::Inbound;
use crate::kept::{Kept, Page};
use crate::limits::ShardLimits;
use crate::message::MessageRef;
use crate::outbound::{Body, Content, Outbound};
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
    pages: BTreeMap<SessionKey, Vec<Outline>>,
    bodies: BTreeMap<u64, Measure>,
    outbox: BTreeMap<u64, OutboxItem>,
}

/// What decisions need of a message.
#[derive(Clone, Copy)]
struct Measure {
    size: usize,
    expires_at: Option<Millis>,
}

impl Measure {
    fn of(message: &MessageRef) -> Self {
        Self { size: message.size(), expires_at: message.expires_at }
    }
}

/// A page without its messages, but for those of shared groups.
struct Outline {
    start: u64,
    end: u64,
    items: Vec<(u64, Content, Option<u64>)>,
}

impl Outline {
    /// Reads a page. The content of an item with a shared body, which is named beside it, is still to come.
    fn read(start: u64, record: Bytes) -> Result<Self, RecordError> {
        let (end, items) = pages::read(start, record)?;
        let one = |item: PageItem| {
            let PageItem { serial, qos, retain, content, subscription_ids, group } = item;
            let (body, shared) = match content {
                pages::Content::Message(message) => (Body::of(message, group.is_some()), None),
                pages::Content::Body(number) => (Body::Gone, Some(number)),
            };
            let subscription_ids = subscription_ids.filter(|_| group.is_some());
            (serial, Content { qos, retain, body, subscription_ids, group }, shared)
        };
        Ok(Self { start, end, items: items.into_iter().map(one).collect() })
    }
}

impl Parts {
    /// What is handed back when a session ends is in memory: messages of shared groups.
    fn bring_messages_of_groups<E: From<RecordError>>(
        &mut self,
        mut again: impl FnMut(&[u8]) -> Result<Bytes, E>,
    ) -> Result<(), E> {
        let mut messages: BTreeMap<u64, MessageRef> = BTreeMap::new();
        let items = self.pages.values_mut().flatten().flat_map(|page| &mut page.items);
        for (_, content, shared) in items.filter(|(_, content, _)| content.group.is_some()) {
            let Some(number) = *shared else { continue };
            let message = match messages.get(&number) {
                Some(message) => message,
                None => {
                    let message = stored::body(again(&Key::Body(number).encode())?)?;
                    messages.entry(number).or_insert(message)
                }
            };
            content.body = Body::Here(MessageRef::clone(message));
        }
        Ok(())
    }
}

impl Shard {
    /// The shard whose records these are, in any order. It is equal to the one they were taken from, and takes
    /// only further changes from now on.
    ///
    /// `limits` are those of a shard whose records have none. `again` gives a record a second time, where a message
    /// that queues share has to be in memory.
    ///
    /// # Errors
    /// The first error of `records` or `again`; [`RecordError`] for records that are not all those of a shard with
    /// this number.
    pub fn restore<E: From<RecordError>>(
        me: ShardNumber,
        limits: ShardLimits,
        records: impl IntoIterator<Item = Result<(Bytes, Bytes), E>>,
        again: impl FnMut(&[u8]) -> Result<Bytes, E>,
    ) -> Result<Self, E> {
        let mut shard = Self::new(me, limits);
        let mut parts = Parts::default();
        for record in records {
            let (key, value) = record?;
            shard.read(Key::decode(&key)?, value, &mut parts)?;
        }
        parts.bring_messages_of_groups(again)?;
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
            Key::Page(key, start) => {
                parts.pages.entry(key).or_default().push(Outline::read(start, value)?);
            }
            Key::Body(number) => {
                parts.bodies.insert(number, Measure::of(&stored::body(value)?));
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
        self.overtaken.extend(client.waiting.is_some().then(|| id.clone()));
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
        // Positions begin with 1, and one more must be there for what comes next.
        if first == 0 || first.checked_add(items.len() as u64 + 1).is_none() {
            return Err(RecordError::Invalid { field: "outbox" });
        }
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
        let mut outlines = parts.pages.remove(&key).unwrap_or_default();
        let pages = self.keep_pages(&mut outlines, &parts.bodies)?;
        let queue = required(wire.queue, "session.queue")?;
        let contents = outlines.into_iter().flat_map(|page| page.items);
        let outbound = Outbound::from_wire(&queue, contents.map(|(serial, content, _)| (serial, content)))?;
        let kept = Kept { pages, end: outbound.next_serial() };
        let client = ClientId::from_wire(wire.client)?;
        let connection = self.clients.get(&client).and_then(|client| client.connection);
        let maximum = u16::try_from(wire.receive_maximum);
        for (filter, subscribed) in &subscriptions {
            let slot = |slot: &mut super::super::slot::FilterSlot| {
                slot.insert(key, *subscribed, connection.is_some());
            };
            match filter {
                Filter::Plain(plain) => self.index.update(plain, slot),
                Filter::Shared { group, filter } => {
                    self.groups.update(group, filter, slot);
                    self.shared_subscriptions += 1;
                }
            }
        }
        let received: Vec<PacketId> = all_from_wire(wire.received)?;
        let mut session = Session {
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
            counted: Local::default(),
        };
        self.counted.count(&mut session);
        self.with_session.insert(session.client.clone());
        self.sessions.insert_written(key, session);
        Ok(())
    }

    /// The pages of one queue, in their order, and what is known of them. Their contents are complete then.
    fn keep_pages(
        &mut self,
        outlines: &mut [Outline],
        bodies: &BTreeMap<u64, Measure>,
    ) -> Result<VecDeque<Page>, RecordError> {
        outlines.sort_unstable_by_key(|page| page.start);
        let mut pages = VecDeque::new();
        for Outline { start, end, items } in outlines {
            let mut page = Page { start: *start, end: *end, bytes: 0, away: true, bodies: Vec::new() };
            for (_, content, shared) in items {
                if let Some(number) = *shared {
                    let Measure { size, expires_at } = *required(bodies.get(&number), "body")?;
                    self.keeper.bodies.refer_stored(number);
                    page.bodies.push(number);
                    if content.group.is_none() {
                        content.body = Body::Stored { size, expires_at };
                    }
                }
                page.bytes += pages::size(content.body.size());
            }
            pages.push_back(page);
        }
        Ok(pages)
    }
}
