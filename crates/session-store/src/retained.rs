//! The retained messages of one shard's topics (section 3.3.1.3 of MQTT 5.0).
//! Owned by the shard; read page by page, in the order of topics.

use std::collections::BTreeSet;

use topic_index::{Cursor, PageBounds, PageEnd, PlainFilter, TopicIndex};

use crate::ids::Millis;
use crate::message::MessageRef;
use crate::tracked::Local;

/// Bytes of the messages of one page, but for one message that is larger by itself: a page is one entry of a log.
const PAGE_BYTES_MAX: usize = 256 * 1024;

/// What storing a retained message did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It replaced or joined what there was.
    Stored,
    /// Its payload was empty: what there was is gone (`[MQTT-3.3.1-6]`).
    Removed,
    /// A limit is reached; what there was stays.
    Refused,
}

/// Retained messages, the newest of each topic.
#[derive(Debug, Default)]
pub struct Retained {
    topics: TopicIndex<MessageRef>,
    expiries: BTreeSet<(Millis, Box<[u8]>)>,
    bytes: usize,
    /// Topics whose message is another one than was written, or gone.
    touched: Local<BTreeSet<Box<[u8]>>>,
}

impl Retained {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the messages held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Stores a message as its topic's newest, or removes that by an empty payload (`[MQTT-3.3.1-5]`,
    /// `[MQTT-3.3.1-7]`), within `messages_max` messages and `bytes_max` bytes.
    pub fn store(&mut self, message: &MessageRef, messages_max: usize, bytes_max: usize) -> Stored {
        let topic = message.body.topic();
        if message.body.payload().is_empty() {
            self.remove(topic);
            return Stored::Removed;
        }
        let replaced = self.topics.get(topic).map_or(0, |old| old.size());
        let grows = replaced == 0;
        if grows && self.len() >= messages_max || self.bytes - replaced + message.size() > bytes_max {
            return Stored::Refused;
        }
        self.put(message);
        self.touch(topic);
        Stored::Stored
    }

    fn put(&mut self, message: &MessageRef) {
        let topic = message.body.topic();
        if let Some(old) = self.topics.insert(topic, message.clone()) {
            self.forget(&old);
        }
        self.bytes += message.size();
        if let Some(at) = message.expires_at {
            self.expiries.insert((at, topic.into()));
        }
    }

    /// Puts in a message as it was written to a store.
    pub(crate) fn put_written(&mut self, message: &MessageRef) {
        self.put(message);
    }

    fn touch(&mut self, topic: &[u8]) {
        if !self.touched.0.contains(topic) {
            self.touched.0.insert(topic.into());
        }
    }

    /// Calls `write` for each topic that was touched since the last call, with what its message is now.
    pub(crate) fn take(&mut self, mut write: impl FnMut(&[u8], Option<&MessageRef>)) {
        for topic in std::mem::take(&mut self.touched.0) {
            write(&topic, self.topics.get(&topic));
        }
    }

    fn remove(&mut self, topic: &[u8]) {
        if let Some(old) = self.topics.remove(topic) {
            self.forget(&old);
            self.touch(topic);
        }
    }

    fn forget(&mut self, old: &MessageRef) {
        self.bytes -= old.size();
        if let Some(at) = old.expires_at {
            self.expiries.remove(&(at, Box::from(old.body.topic())));
        }
    }

    /// Removes what expired by `now`, at most `limit` messages; says how many.
    pub fn expire(&mut self, now: Millis, limit: usize) -> usize {
        let mut removed = 0;
        while removed < limit {
            let due = self.expiries.first().filter(|(at, _)| *at <= now).cloned();
            let Some((_, topic)) = due else { break };
            self.remove(&topic);
            removed += 1;
        }
        removed
    }

    /// When the next one expires.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Millis> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Appends a page of messages that match to `found`, in the order of topics; expired ones are left out.
    /// Returns where to go on and the steps it took, which bound what one page costs.
    pub fn page(&self, query: &PageQuery<'_>, found: &mut Vec<MessageRef>) -> PageEnd {
        let before = found.len();
        let end = self.topics.scan(query.filter, query.from, query.bounds, |_, message| {
            if !message.expired(query.now) {
                found.push(message.clone());
            }
        });
        let mut bytes = 0;
        let fits = |message: &&MessageRef| {
            bytes += message.size();
            bytes <= PAGE_BYTES_MAX || bytes == message.size()
        };
        let fitting = before + found.iter().skip(before).take_while(fits).count();
        let Some(next) = found.get(fitting).map(|message| Cursor::at(message.body.topic())) else {
            return end;
        };
        found.truncate(fitting);
        PageEnd { next: Some(next), ..end }
    }
}

/// Which page of retained messages is wanted.
#[derive(Clone, Copy, Debug)]
pub struct PageQuery<'a> {
    /// What the topics must match.
    pub filter: &'a PlainFilter,
    /// Where the page before says to go on.
    pub from: Option<&'a Cursor>,
    /// How much it may be, in messages and in topics looked at.
    pub bounds: PageBounds,
    /// The log's time.
    pub now: Millis,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use mqtt_codec::{QoS, SharedPublish, Text};
    use topic_index::Filter;

    use super::*;
    use crate::message::Message;

    #[test]
    fn a_page_ends_where_its_bytes_do_and_goes_on_there() {
        let mut retained = Retained::default();
        for (topic, bytes) in [("a", 200), ("b", 100), ("c", 300), ("d", 1)] {
            let payload = Bytes::from(vec![0; bytes << 10]);
            let body = SharedPublish::new(&Text::new(topic).unwrap(), &Bytes::new(), &payload);
            let message = Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: true, expires_at: None });
            retained.store(&message, 10, usize::MAX);
        }
        let Filter::Plain(filter) = Filter::parse("#", 9).unwrap() else { panic!("not plain") };
        let (mut pages, mut from) = (Vec::new(), None);
        loop {
            let mut found = Vec::new();
            let bounds = PageBounds { topics: 64, steps: 4_096 };
            let query = PageQuery { filter: &filter, from: from.as_ref(), bounds, now: Millis(0) };
            let end = retained.page(&query, &mut found);
            let topics = found.iter().map(|m| String::from_utf8_lossy(m.body.topic()).into_owned());
            pages.push(topics.collect::<String>());
            from = end.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(pages, ["a", "b", "c", "d"], "256 KiB a page, or one message");
    }
}
