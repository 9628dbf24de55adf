//! What a store has of a shard's queues: pages of items, and the bodies that several queues share. A replica's
//! own affair: where pages end depends on when they were written, and no transition looks here.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use hashbrown::HashMap;

use crate::message::{Message, MessageRef};

/// A page of a queue: items with the serial numbers from `start` up to and without `end`.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// What it takes in memory, about: shared bodies count in full.
    pub(crate) bytes: usize,
    /// Whether its messages have left memory.
    pub(crate) away: bool,
    /// The bodies that it speaks of, each as often as it does.
    pub(crate) bodies: Vec<u64>,
}

/// The pages of one queue, in order and apart.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) pages: VecDeque<Page>,
    /// Items below this serial number are in the pages, or were done before they could be.
    pub(crate) end: u64,
}

impl Kept {
    /// Where the page begins that has the item of this serial number; where none has, at the item itself.
    pub(crate) fn page_of(&self, serial: u64) -> u64 {
        let page = self.pages.get(self.pages.partition_point(|page| page.end <= serial));
        page.map_or(serial, |page| page.start)
    }
}

/// Messages of this size and more are written once for all queues of the shard.
pub(crate) const SHARED_BYTES_MIN: usize = 512;

#[derive(Debug)]
struct Body {
    /// Keeps the address its own, not the message. None where the message was never in memory.
    message: Weak<Message>,
    /// How often pages speak of it.
    count: u64,
}

/// The shared bodies that a store has.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    by_number: HashMap<u64, Body>,
    by_address: HashMap<usize, u64>,
    next: u64,
}

impl Bodies {
    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// A page speaks of this message. Its number, and whether it is to be written; `None` where it is better
    /// written into the page: it is small, or nobody else has it.
    pub(crate) fn refer(&mut self, message: &MessageRef) -> Option<(u64, bool)> {
        if message.size() < SHARED_BYTES_MIN {
            return None;
        }
        let address = Arc::as_ptr(message).addr();
        if let Some(number) = self.by_address.get(&address) {
            let body = self.by_number.get_mut(number)?;
            body.count += 1;
            return Some((*number, false));
        }
        if Arc::strong_count(message) == 1 {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.by_address.insert(address, number);
        self.by_number.insert(number, Body { message: Arc::downgrade(message), count: 1 });
        Some((number, true))
    }

    /// A page that speaks of it is in the store, and the message is not in memory.
    pub(crate) fn refer_stored(&mut self, number: u64) {
        self.by_number.entry(number).or_insert(Body { message: Weak::new(), count: 0 }).count += 1;
        self.next = self.next.max(number.saturating_add(1));
    }

    /// A page that spoke of it is gone; `true` if no page does any more.
    pub(crate) fn release(&mut self, number: u64) -> bool {
        let Some(body) = self.by_number.get_mut(&number) else { return false };
        body.count -= 1;
        if body.count > 0 {
            return false;
        }
        self.by_address.remove(&body.message.as_ptr().addr());
        self.by_number.remove(&number);
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mqtt_codec::{QoS, SharedPublish, Text};

    use super::*;

    fn message(bytes: usize) -> MessageRef {
        let body = SharedPublish::new(&Text::from_static("t"), &Bytes::new(), &vec![1; bytes].into());
        Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: false, expires_at: None })
    }

    #[test]
    fn a_body_is_written_once_and_ends_with_the_last_page_that_speaks_of_it() {
        let mut bodies = Bodies::default();
        let (small, alone, shared) = (message(100), message(1_000), message(1_000));
        let other = Arc::clone(&shared);
        assert_eq!(bodies.refer(&small), None);
        assert_eq!(bodies.refer(&alone), None);
        assert_eq!(bodies.refer(&shared), Some((0, true)));
        assert_eq!(bodies.refer(&other), Some((0, false)));
        assert!(!bodies.release(0));
        drop((shared, other));
        let later: Vec<_> = (0..100).map(|_| message(1_000)).map(|m| (Arc::clone(&m), m)).collect();
        for (message, _) in &later {
            assert!(bodies.refer(message).is_some_and(|(number, new)| number > 0 && new));
        }
        assert!(bodies.release(0));
        assert!(!bodies.release(0), "it is gone already");
    }
}
