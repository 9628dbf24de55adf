//! Checkpoints of a shard: which records changed since the last one, and a shard made of its records. Called
//! between two entries of the log by whoever writes checkpoints; decides nothing that replicas share.
//!
//! A record is written again only if what it stands for was touched. What came and went in between is never
//! written: a message that was queued and acknowledged, a client that came and left.

mod forms;
mod key;
mod pages;
mod paging;
mod restore;
mod stored;

use std::collections::BTreeSet;

pub use self::stored::{Found, StoredAt, StoredPage};

use self::forms::Head;
use self::key::Key;
use self::pages::PageWriter;
use super::Shard;
use crate::ids::SessionKey;
use crate::kept::{Bodies, Kept};
use crate::record::{Record, seal, seal_as};
use crate::store::Changes;
use crate::stream::Source;

/// What a store has of a shard, and what of it is to be written or removed, as far as the shard's own tables do
/// not know that.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    bodies: Bodies,
    /// Queues of sessions that ended, with pages.
    ended: Vec<(SessionKey, Kept)>,
    /// Sources that were heard of, or whose stream is gone.
    streams: BTreeSet<Source>,
    /// The positions of the outbox's items that are written: from the first up to and without the second.
    outbox: (u64, u64),
    /// The positions of items that changed since.
    items: BTreeSet<u64>,
    /// Sessions of absent clients that the last changes are of, and those of the changes before.
    written: BTreeSet<SessionKey>,
    rested: BTreeSet<SessionKey>,
}

impl Keeper {
    /// A session is gone, and with it its queue.
    pub(super) fn ended(&mut self, key: SessionKey, kept: Kept) {
        if !kept.pages.is_empty() {
            self.ended.push((key, kept));
        }
    }

    /// An item of the outbox has changed.
    pub(super) fn touch_item(&mut self, position: u64) {
        self.items.insert(position);
    }

    /// A request of this source came, or its stream is gone.
    pub(super) fn touch_stream(&mut self, source: Source) {
        self.streams.insert(source);
    }
}

impl Shard {
    /// The records that changed since the last call, or since the shard was restored; all of them for a shard
    /// that is new. They count as written from now on: if they cannot be, the shard must be restored from what
    /// was. Costs as much as was touched.
    pub fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        self.take_sessions(&mut changes);
        self.take_clients(&mut changes);
        self.retained.take(|topic, message| {
            let key = Key::Retained(topic.into()).encode();
            match message {
                Some(message) => changes.put(key, seal(&message.to_wire())),
                None => changes.remove(key),
            }
        });
        self.take_outbox(&mut changes);
        for source in std::mem::take(&mut self.keeper.streams) {
            let key = Key::Stream(source).encode();
            match self.streams.get(&source) {
                Some(stream) => changes.put(key, seal(&stream.to_wire())),
                None => changes.remove(key),
            }
        }
        changes.put(Key::Head.encode(), seal(&Head::of(self).to_wire()));
        changes
    }

    fn take_sessions(&mut self, changes: &mut Changes) {
        let mut pages = PageWriter::new(&mut self.keeper.bodies, changes);
        for (key, kept) in self.keeper.ended.drain(..) {
            pages.remove_all(key, &kept);
        }
        let written = &mut self.keeper.written;
        let mut gone = Vec::new();
        let mut touched = Vec::new();
        self.sessions.take(
            |key| gone.push(*key),
            |key, session| {
                self.counted.count(session);
                pages.write(*key, &session.outbound, &mut session.kept.0);
                if session.connection.is_none() && !session.kept.0.pages.is_empty() {
                    written.insert(*key);
                }
                let changed = std::mem::take(&mut session.subscriptions_changed.0);
                let subscriptions = changed.then(|| forms::subscriptions(session));
                touched.push((*key, seal(&session.to_wire()), subscriptions));
            },
        );
        for key in gone {
            changes.remove(Key::Session(key).encode());
            changes.remove(Key::Subscriptions(key).encode());
        }
        for (key, session, subscriptions) in touched {
            changes.put(Key::Session(key).encode(), session);
            if let Some(subscriptions) = subscriptions {
                changes.put(Key::Subscriptions(key).encode(), seal(&subscriptions));
            }
        }
    }

    fn take_clients(&mut self, changes: &mut Changes) {
        let mut gone = Vec::new();
        let mut touched = Vec::new();
        self.clients.take(
            |id| gone.push(Key::Client(id.clone()).encode()),
            |id, client| touched.push((Key::Client(id.clone()).encode(), seal(&client.to_wire()))),
        );
        gone.into_iter().for_each(|key| changes.remove(key));
        touched.into_iter().for_each(|(key, value)| changes.put(key, value));
    }

    fn take_outbox(&mut self, changes: &mut Changes) {
        let (first, end) = self.keeper.outbox;
        let now = (self.outbox.first(), self.outbox.last() + 1);
        for position in first..end.min(now.0) {
            changes.remove(Key::Outbox(position).encode());
        }
        let changed = std::mem::take(&mut self.keeper.items).into_iter().filter(|position| *position < end);
        let changed = changed.filter_map(|position| Some((position, self.outbox.get(position)?)));
        for (position, item) in changed.chain(self.outbox.from(end.max(now.0))) {
            changes.put(Key::Outbox(position).encode(), seal_as(item.version(), &item.to_wire()));
        }
        self.keeper.outbox = now;
    }
}

#[cfg(test)]
mod tests;
