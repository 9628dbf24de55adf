//! Topics matched by a filter: one value for each topic, as retained messages are kept.
//! Called by retained publishes (insert, remove) and by SUBSCRIBE (scan, a page at a time).
//! It never expires anything and never recurses.

mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound;

use smallvec::SmallVec;

use self::pattern::{Pattern, SEPARATOR, Verdict};
use crate::filter::PlainFilter;

/// How many topics a scan steps over before it searches from the top of the tree: about what a search costs.
const STEPS_MAX: usize = 8;

/// A topic with [`SEPARATOR`] for `/`.
type Key = SmallVec<[u8; 128]>;

/// Topics with one value each, matched by filters.
///
/// The order of topics is that of a walk through the tree of their levels, each level by its bytes: the same
/// on all machines and after any history.
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

    /// Sets the value of `topic`, a topic name as the codec lets it in (without U+0000), and returns the one
    /// it had.
    pub fn insert(&mut self, topic: &[u8], value: V) -> Option<V> {
        let key = key(topic);
        // Most retained publishes replace: they then need no copy of the topic.
        match self.values.get_mut(&*key) {
            Some(old) => Some(std::mem::replace(old, value)),
            None => self.values.insert(key.as_slice().into(), value),
        }
    }

    /// Takes the value of `topic` away.
    pub fn remove(&mut self, topic: &[u8]) -> Option<V> {
        self.values.remove(&*key(topic))
    }

    /// The value of exactly this topic.
    #[must_use]
    pub fn get(&self, topic: &[u8]) -> Option<&V> {
        self.values.get(&*key(topic))
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

    /// Calls `found` with at most `limit` topics that match `filter`, in the order of the index, beginning
    /// behind the topic `after`, and says whether there are more. To go on, call again with the last topic
    /// that was found; it need not be there any more, and topics added meanwhile are found if they lie behind
    /// it.
    ///
    /// The cost is a search for the first topic of the page, and from then on that of the topics found and of
    /// the levels that a `+` stands for; whole branches that cannot match are passed over in one search.
    pub fn scan<'a>(
        &'a self,
        filter: &PlainFilter,
        after: Option<&[u8]>,
        limit: usize,
        mut found: impl FnMut(&[u8], &'a V),
    ) -> bool {
        let pattern = Pattern::new(filter);
        let mut target = Vec::new();
        pattern.first(&mut target);
        let cursor = after.map(key);
        let start = match &cursor {
            Some(cursor) if cursor.as_slice() >= target.as_slice() => Bound::Excluded(cursor.as_slice()),
            _ => Bound::Included(target.as_slice()),
        };
        let mut range = self.values.range::<[u8], _>((start, Bound::Unbounded));
        let mut entry = next(&mut range);
        let mut topic = Vec::new();
        let mut left = limit;
        while let Some((key, value)) = entry {
            entry = match pattern.judge(key, &mut target) {
                Verdict::End => return false,
                Verdict::Seek => self.seek(&mut range, &target),
                Verdict::Match if left == 0 => return true,
                Verdict::Match => {
                    left -= 1;
                    topic.clear();
                    topic.extend(key.iter().map(|byte| if *byte == SEPARATOR { b'/' } else { *byte }));
                    found(&topic, value);
                    next(&mut range)
                }
            };
        }
        false
    }

    /// The first entry at or behind `target`, which is ahead of `range`.
    fn seek<'a>(&'a self, range: &mut Range<'a, Box<[u8]>, V>, target: &[u8]) -> Option<(&'a [u8], &'a V)> {
        for _ in 0..STEPS_MAX {
            let (key, value) = range.next()?;
            if **key >= *target {
                return Some((key, value));
            }
        }
        *range = self.values.range::<[u8], _>((Bound::Included(target), Bound::Unbounded));
        next(range)
    }
}

fn next<'a, V>(range: &mut Range<'a, Box<[u8]>, V>) -> Option<(&'a [u8], &'a V)> {
    range.next().map(|(key, value)| (&**key, value))
}

fn key(topic: &[u8]) -> Key {
    topic.iter().map(|byte| if *byte == b'/' { SEPARATOR } else { *byte }).collect()
}
