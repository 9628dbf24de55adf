//! A page of a queue whose messages have left memory, as whoever sends them reads it back. Never called by a
//! transition.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use super::key::Key;
use super::pages;
use crate::ids::SessionKey;
use crate::message::MessageRef;
use crate::outbound::Outgoing;
use crate::record::{Record, RecordError, required, unseal};

/// A queued item whose message is in the store, as its connection asks for it. Which page it is in differs between
/// replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredAt {
    /// Whose queue it is in.
    pub session: SessionKey,
    /// Its number among all that were ever in that queue.
    pub serial: u64,
}

/// Where the message of such an item is.
#[derive(Debug)]
pub enum Found {
    /// Nobody needs it any more: it is acknowledged, or the session goes on without the connection that asks.
    Gone,
    /// In memory, with what is behind it: of another replica, it may be in the store.
    Here(StoredPage),
    /// In the store, in the page that begins with this number.
    Page(u64),
}

/// A page of a queue in memory again, some 64 KiB, or one larger message.
#[derive(Debug)]
pub struct StoredPage {
    pub(crate) session: SessionKey,
    /// The numbers of its items: from the first up to and without the second.
    pub(crate) serials: Range<u64>,
    pub(crate) items: VecDeque<(u64, Outgoing)>,
}

impl StoredPage {
    /// Reads the page that has an item and begins with `start`; `read` gives records of the shard's last checkpoint.
    ///
    /// # Errors
    /// The first error of `read`; [`RecordError`] for a page that does not have the item, or makes no sense.
    pub fn read<E: From<RecordError>>(
        at: &StoredAt,
        start: u64,
        mut read: impl FnMut(&[u8]) -> Result<Bytes, E>,
    ) -> Result<Self, E> {
        let record = read(&Key::Page(at.session, start).encode())?;
        let mut bodies: BTreeMap<u64, MessageRef> = BTreeMap::new();
        let mut items = VecDeque::new();
        // Those of shared groups never leave memory.
        let (end, found) = pages::read(start, record)?;
        for item in found.into_iter().filter(|item| item.group.is_none()) {
            let message = match item.content {
                pages::Content::Message(message) => message,
                pages::Content::Body(number) => match bodies.get(&number) {
                    Some(message) => MessageRef::clone(message),
                    None => {
                        let message = body(read(&Key::Body(number).encode())?)?;
                        bodies.entry(number).or_insert(message).clone()
                    }
                },
            };
            let (qos, retain, subscription_ids) = (item.qos, item.retain, item.subscription_ids);
            items.push_back((item.serial, Outgoing { message, qos, retain, subscription_ids, group: None }));
        }
        required(items.iter().find(|(serial, _)| *serial == at.serial), "item of a page")?;
        Ok(Self { session: at.session, serials: start..end, items })
    }

    /// A page of messages that are in memory.
    pub(super) fn of(session: SessionKey, items: VecDeque<(u64, Outgoing)>) -> Self {
        let (start, end) =
            (items.front().map_or(0, |first| first.0), items.back().map_or(0, |last| last.0 + 1));
        Self { session, serials: start..end, items }
    }

    /// Whether an item lies in it.
    #[must_use]
    pub fn is_of(&self, at: &StoredAt) -> bool {
        self.session == at.session && self.serials.contains(&at.serial)
    }

    /// Whether everything was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What to send of an item. Items are taken in their order: those before it are dropped.
    pub fn take(&mut self, at: &StoredAt) -> Option<Outgoing> {
        let before = self.items.partition_point(|(serial, _)| *serial < at.serial);
        drop(self.items.drain(..before));
        let (_, outgoing) = self.items.pop_front_if(|(serial, _)| *serial == at.serial)?;
        Some(outgoing)
    }
}

/// Reads a shared body.
pub(super) fn body(record: Bytes) -> Result<MessageRef, RecordError> {
    MessageRef::from_wire(unseal("body", record)?)
}
