//! Queues as pages: what was queued since the last checkpoint becomes a page, small pages become one, and a page
//! whose items are all done is removed. Called for each touched session; reads the queue and never changes it.
//!
//! A page is joined with the one before it while that is no larger and in memory, so that each item is written again a few
//! times at most, however little a checkpoint adds, and a queue has few small pages.

use bytes::Bytes;

use super::key::Key;
use crate::ids::SessionKey;
use crate::kept::{Bodies, Kept, Page};
use crate::matching::{GroupRef, SubscriptionIds};
use crate::message::MessageRef;
use crate::outbound::{Outbound, Shape};
use crate::record::{Record, RecordError, required, seal, unseal, wire};
use crate::store::Changes;
use mqtt_codec::QoS;

/// Bytes of a page, about; a larger message has one of its own. Few in tests, so that queues have many pages.
pub(super) const PAGE_BYTES: usize = if cfg!(test) { 4 * 1024 } else { 64 * 1024 };

/// Bytes of an item beside its message, about.
const ITEM_BYTES: usize = 24;

/// Writes pages into the changes of a checkpoint.
pub(super) struct PageWriter<'a> {
    bodies: &'a mut Bodies,
    changes: &'a mut Changes,
}

impl<'a> PageWriter<'a> {
    pub(super) fn new(bodies: &'a mut Bodies, changes: &'a mut Changes) -> Self {
        Self { bodies, changes }
    }

    /// The session is gone.
    pub(super) fn remove_all(&mut self, key: SessionKey, kept: &Kept) {
        for page in &kept.pages {
            self.remove(key, page);
        }
    }

    fn remove(&mut self, key: SessionKey, page: &Page) {
        self.changes.remove(Key::Page(key, page.start).encode());
        self.release(page);
    }

    fn release(&mut self, page: &Page) {
        for number in &page.bodies {
            if self.bodies.release(*number) {
                self.changes.remove(Key::Body(*number).encode());
            }
        }
    }

    /// Brings the pages of a queue up to date.
    pub(super) fn write(&mut self, key: SessionKey, queue: &Outbound, kept: &mut Kept) {
        let first = queue.first_serial();
        // Not only at the front: what is dropped to make room lies behind what is in flight.
        kept.pages.retain(|page| {
            let needed = queue.has_any(page.start..page.end);
            if !needed {
                self.remove(key, page);
            }
            needed
        });
        let mut start = kept.end.max(first);
        kept.end = queue.next_serial();
        let mut bytes: usize = queue.contents_from(start).map(|(_, message, _)| size(message.size())).sum();
        if bytes == 0 {
            return;
        }
        let mut joined = Vec::new();
        while let Some(page) = kept
            .pages
            .pop_back_if(|page| !page.away && page.bytes <= bytes && page.bytes + bytes <= PAGE_BYTES)
        {
            bytes += page.bytes;
            start = page.start.max(first);
            self.changes.remove(Key::Page(key, page.start).encode());
            joined.push(page);
        }
        self.write_from(key, queue, start, kept);
        // Now, so that a body that is spoken of again stays.
        joined.iter().for_each(|page| self.release(page));
    }

    fn write_from(&mut self, key: SessionKey, queue: &Outbound, start: u64, kept: &mut Kept) {
        let mut page = Page { start, end: start, bytes: 0, away: false, bodies: Vec::new() };
        let mut items = Vec::new();
        for (serial, message, shape) in queue.contents_from(start) {
            if page.bytes > 0 && page.bytes + size(message.size()) > PAGE_BYTES {
                let next = Page { start: serial, end: serial, bytes: 0, away: false, bodies: Vec::new() };
                let full = std::mem::replace(&mut page, next);
                kept.pages.push_back(self.finish(key, full, std::mem::take(&mut items)));
            }
            let content = match self.bodies.refer(message) {
                Some((number, new)) => {
                    if new {
                        self.changes.put(Key::Body(number).encode(), seal(&message.to_wire()));
                    }
                    page.bodies.push(number);
                    wire::queue_item::Content::Body(number)
                }
                None => wire::queue_item::Content::Message(message.to_wire()),
            };
            page.bytes += size(message.size());
            items.push(item(serial - page.start, content, shape));
            page.end = serial + 1;
        }
        kept.pages.push_back(self.finish(key, page, items));
    }

    fn finish(&mut self, key: SessionKey, page: Page, items: Vec<wire::QueueItem>) -> Page {
        let record = seal(&wire::QueuePage { end: page.end, items });
        self.changes.put(Key::Page(key, page.start).encode(), record);
        page
    }
}

/// Bytes of an item with a message of `bytes`, about.
pub(super) fn size(bytes: usize) -> usize {
    bytes + ITEM_BYTES
}

fn item(offset: u64, content: wire::queue_item::Content, shape: Shape<'_>) -> wire::QueueItem {
    wire::QueueItem {
        offset,
        qos: shape.qos().to_wire(),
        retain: shape.retain(),
        content: Some(content),
        subscription_ids: shape.subscription_ids().to_vec(),
        group: shape.group().map(Record::to_wire).unwrap_or_default(),
    }
}

/// What of an item is in a page, or beside it.
pub(super) enum Content {
    Message(MessageRef),
    /// The number of a shared body.
    Body(u64),
}

/// An item of a page.
pub(super) struct PageItem {
    pub(super) serial: u64,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) content: Content,
    pub(super) subscription_ids: SubscriptionIds,
    pub(super) group: Option<GroupRef>,
}

/// Reads a page: the serial number before which it ends, and its items.
pub(super) fn read(start: u64, record: Bytes) -> Result<(u64, Vec<PageItem>), RecordError> {
    let wire::QueuePage { end, items } = unseal("queue page", record)?;
    let mut last = None;
    let one = |item: wire::QueueItem| {
        let serial = start.saturating_add(item.offset);
        if serial >= end || last.replace(serial).is_some_and(|last| last >= serial) {
            return Err(RecordError::Invalid { field: "item.offset" });
        }
        let content = match required(item.content, "item.content")? {
            wire::queue_item::Content::Message(message) => Content::Message(MessageRef::from_wire(message)?),
            wire::queue_item::Content::Body(number) => Content::Body(number),
        };
        let ids = item.subscription_ids;
        Ok(PageItem {
            serial,
            qos: QoS::from_wire(item.qos)?,
            retain: item.retain,
            content,
            subscription_ids: (!ids.is_empty()).then(|| ids.into()),
            group: if item.group.is_empty() { None } else { Some(Record::from_wire(item.group)?) },
        })
    };
    Ok((end, items.into_iter().map(one).collect::<Result<_, _>>()?))
}
