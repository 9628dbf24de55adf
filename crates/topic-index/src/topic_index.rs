//! Topics matched by a filter: one value for each topic, as retained messages are kept.
//! Called by retained publishes (insert, remove) and by SUBSCRIBE (scan, a page at a time).
//! It never expires anything and never recurses.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::filter::{PlainFilter, matches};

/// Topics with one value each, matched by filters.
#[derive(Debug)]
pub struct TopicIndex<V> {
    values: BTreeMap<Box<[u8]>, V>,
}

impl<V> Default for TopicIndex<V> {
    fn default() -> Self {
        Self { values: BTreeMap::new() }
    }
}

impl<V> TopicIndex<V> {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of `topic` and returns the one it had.
    pub fn insert(&mut self, topic: &[u8], value: V) -> Option<V> {
        self.values.insert(topic.into(), value)
    }

    /// Takes the value of `topic` away.
    pub fn remove(&mut self, topic: &[u8]) -> Option<V> {
        self.values.remove(topic)
    }

    /// The value of exactly this topic.
    #[must_use]
    pub fn get(&self, topic: &[u8]) -> Option<&V> {
        self.values.get(topic)
    }

    /// The number of topics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no topic.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Calls `found` with at most `limit` topics that match `filter`, in a fixed order, beginning behind the
    /// topic `after`, and says whether there are more. To go on, call again with the last topic that was
    /// found; it need not be there any more, and topics added meanwhile are found if they lie behind it.
    pub fn scan<'a>(
        &'a self,
        filter: &PlainFilter,
        after: Option<&[u8]>,
        limit: usize,
        mut found: impl FnMut(&[u8], &'a V),
    ) -> bool {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut left = limit;
        for (topic, value) in self.values.range::<[u8], _>((start, Bound::Unbounded)) {
            if !matches(filter, topic) {
                continue;
            }
            if left == 0 {
                return true;
            }
            left -= 1;
            found(topic, value);
        }
        false
    }
}
