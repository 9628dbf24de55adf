//! A worker thread's memory of what topics match. Bounded by topics and by targets; an entry of an older
//! version of the route view is never used.

use std::rc::Rc;

use hashbrown::HashMap;

use super::Matched;

/// Topics remembered at most.
const TOPICS_MAX: usize = 8_192;
/// Targets remembered at most, over all topics.
const TARGETS_MAX: usize = 262_144;

/// What topics match, as one worker thread last saw it.
#[derive(Debug, Default)]
pub(crate) struct TopicCache {
    entries: HashMap<Box<[u8]>, Rc<Matched>>,
    targets: usize,
    version: u64,
}

impl TopicCache {
    /// The entry of a topic, if it is of this version.
    pub(super) fn get(&mut self, topic: &[u8], version: u64) -> Option<Rc<Matched>> {
        if self.version != version {
            self.clear(version);
            return None;
        }
        self.entries.get(topic).cloned()
    }

    /// Remembers what a topic matched.
    pub(super) fn insert(&mut self, topic: &[u8], matched: &Rc<Matched>) {
        if matched.version != self.version {
            return;
        }
        let targets = 1 + matched.len();
        if self.entries.len() >= TOPICS_MAX || self.targets + targets > TARGETS_MAX {
            self.clear(self.version);
        }
        self.targets += targets;
        self.entries.insert(topic.into(), Rc::clone(matched));
    }

    /// How many topics are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn clear(&mut self, version: u64) {
        self.entries.clear();
        self.targets = 0;
        self.version = version;
    }
}
