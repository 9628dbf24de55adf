//! Queues as pages: what was queued since the last checkpoint becomes a page, small pages become one, and a page
//! whose items are all done is removed. Called for each touched session; reads the queue and never changes it.
//!
//! A page is joined with the one before it while that is no larger, so that each item is written again a few
//! times at most, however little a checkpoint adds, and a queue has few small pages.

use bytes::Bytes;

use super::key::Key;
use crate::ids::SessionKey;
use crate::kept::{Bodies, Kept, Page};
use crate::message::MessageRef;
use crate::outbound::{Content, Outbound, Shape};
use crate::record::{Record, RecordError, required, seal, wire};
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
        while let Some(page) = kept.pages.pop_front_if(|page| page.end <= first) {
            self.remove(key, &page);
        }
        let mut start = kept.end.max(first);
        kept.end = queue.next_serial();
        let mut bytes: usize = queue.contents_from(start).map(|(_, message, _)| size(message)).sum();
        if bytes == 0 {
            return;
        }
        let mut joined = Vec::new();
        while let Some(page) =
            kept.pages.pop_back_if(|page| page.bytes <= bytes && page.bytes + bytes <= PAGE_BYTES)
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
        let mut page = Page { start, end: start, bytes: 0, bodies: Vec::new() };
        let mut items = Vec::new();
        for (serial, message, shape) in queue.contents_from(start) {
            if page.bytes > 0 && page.bytes + size(message) > PAGE_BYTES {
                let next = Page { start: serial, end: serial, bytes: 0, bodies: Vec::new() };
                let full = std::mem::replace(&mut page, next);
                kept.pages.push_back(self.finish(key, full, std::mem::take(&mut items)));
            }
            let content = match self.bodies.refer(message) {
                Some((number, new)) => {
                    if new {
                        self.changes.put(Key::Body(number).encode(), seal(&message.to_wire()));
                    }
                    page.bodies.push(number);
                    page.bytes += ITEM_BYTES;
                    wire::queue_item::Content::Body(number)
                }
                None => {
                    page.bytes += size(message);
                    wire::queue_item::Content::Message(message.to_wire())
                }
            };
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

fn size(message: &MessageRef) -> usize {
    message.size() + ITEM_BYTES
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

/// Reads a page back: what it holds, and for each item its serial number and content. `body` finds a shared
/// body by its number.
pub(super) fn read(
    start: u64,
    record: Bytes,
    mut body: impl FnMut(u64) -> Option<MessageRef>,
) -> Result<(Page, Vec<(u64, Content)>), RecordError> {
    let wire::QueuePage { end, items } = crate::record::unseal("queue page", record)?;
    let mut page = Page { start, end, bytes: 0, bodies: Vec::new() };
    let mut contents = Vec::new();
    for item in items {
        let message = match required(item.content, "item.content")? {
            wire::queue_item::Content::Message(message) => {
                let message = MessageRef::from_wire(message)?;
                page.bytes += size(&message);
                message
            }
            wire::queue_item::Content::Body(number) => {
                page.bodies.push(number);
                page.bytes += ITEM_BYTES;
                required(body(number), "body")?
            }
        };
        let serial = start.saturating_add(item.offset);
        if serial >= end {
            return Err(RecordError::Invalid { field: "item.offset" });
        }
        let ids = item.subscription_ids;
        let group = if item.group.is_empty() { None } else { Some(Record::from_wire(item.group)?) };
        let content = Content {
            qos: QoS::from_wire(item.qos)?,
            retain: item.retain,
            message,
            subscription_ids: (!ids.is_empty()).then(|| ids.into()),
            group,
        };
        contents.push((serial, content));
    }
    Ok((page, contents))
}
