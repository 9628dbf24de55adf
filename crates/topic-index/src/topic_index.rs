//! Topics matched by a filter: one value for each topic, as retained messages are kept.
//! Called by retained publishes (insert, remove) and by SUBSCRIBE (scan, a page at a time).
//! It never expires anything and never recurses.

mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::fmt;
use std::ops::Bound;

use smallvec::SmallVec;

use self::pattern::{Pattern, SEPARATOR, Verdict};
use crate::filter::PlainFilter;

/// How many topics a scan steps over before it searches from the top of the tree: about what a search costs.
const PASSED_MAX: usize = 8;

/// Bytes of a topic or of where to look next that cost a scan another step: they are compared and copied.
const STEP_BYTES: usize = 1_024;

/// A topic with [`SEPARATOR`] for `/`.
type Key = SmallVec<[u8; 128]>;

/// Where a scan goes on: behind all that its pages have looked at, whether it matched or not.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(Box<[u8]>);

impl Cursor {
    /// The cursor with these bytes; any bytes are a place in the order of topics.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// At this topic, which will be looked at.
    #[must_use]
    pub fn at(topic: &[u8]) -> Self {
        Self(key(topic).as_slice().into())
    }

    /// What it is written as.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How much one page of a scan may be.
#[derive(Clone, Copy, Debug)]
pub struct PageBounds {
    /// Topics found, at most.
    pub topics: usize,
    /// Steps, at most: a step is a topic looked at, be it found or passed over. Each 1,024 bytes of the topic,
    /// and of the filter where it says how to go on, count as one more; with these the last topic of a page may
    /// go beyond the bound.
    pub steps: usize,
}

impl PageBounds {
    /// All in one page: for an index that is known to be small.
    pub const ALL: Self = Self { topics: usize::MAX, steps: usize::MAX };
}

/// What a page of a scan came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageEnd {
    /// Where the next page begins; `None` when there is nothing more to find. With a cursor there may be more,
    /// and a page may have found nothing and yet not be the last.
    pub next: Option<Cursor>,
    /// Steps taken.
    pub steps: usize,
}

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

    /// Calls `found` with topics that match `filter`, in the order of the index, beginning at `from`, and stops
    /// at the first of the `bounds` that it reaches. To go on, call again with the cursor that was returned.
    /// Topics may come and go between pages: each one that matches and was there all along is found once.
    /// Bounds of 0 make no progress.
    ///
    /// The cost is a search for the beginning of the page, and then that of the steps; whole branches that
    /// cannot match are passed over in one search.
    pub fn scan<'a>(
        &'a self,
        filter: &PlainFilter,
        from: Option<&Cursor>,
        bounds: PageBounds,
        mut found: impl FnMut(&[u8], &'a V),
    ) -> PageEnd {
        let pattern = Pattern::new(filter);
        // No topic below the target is left to find.
        let mut target = Vec::new();
        pattern.first(&mut target);
        if let Some(Cursor(from)) = from.filter(|from| *from.0 > *target) {
            target.clear();
            target.extend_from_slice(from);
        }
        let mut range = self.behind(&target);
        let (mut steps, mut topics, mut passed) = (0, 0, 0);
        let mut topic = Vec::new();
        let next = loop {
            if steps >= bounds.steps {
                break Some(Cursor(target.into()));
            }
            let Some((key, value)) = range.next() else { break None };
            steps += 1 + key.len() / STEP_BYTES;
            if **key < *target {
                passed += 1;
                if passed >= PASSED_MAX {
                    passed = 0;
                    range = self.behind(&target);
                }
                continue;
            }
            passed = 0;
            let verdict = pattern.judge(key, &mut target);
            steps += target.len() / STEP_BYTES;
            match verdict {
                Verdict::End => break None,
                Verdict::Seek => {}
                Verdict::Match if topics >= bounds.topics => break Some(Cursor(key.clone())),
                Verdict::Match => {
                    topics += 1;
                    topic.clear();
                    topic.extend(key.iter().map(|byte| if *byte == SEPARATOR { b'/' } else { *byte }));
                    found(&topic, value);
                    // The lowest key behind this one.
                    target.extend_from_slice(key);
                    target.push(SEPARATOR);
                }
            }
        };
        PageEnd { next, steps }
    }

    /// The entries at or behind `target`.
    fn behind<'a>(&'a self, target: &[u8]) -> Range<'a, Box<[u8]>, V> {
        self.values.range::<[u8], _>((Bound::Included(target), Bound::Unbounded))
    }
}

fn key(topic: &[u8]) -> Key {
    topic.iter().map(|byte| if *byte == b'/' { SEPARATOR } else { *byte }).collect()
}
