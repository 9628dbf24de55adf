//! Shared subscriptions matched by a topic: one slot for each group and filter (section 4.8.2 of MQTT 5).
//! Called by the routing of publishes and by SUBSCRIBE and UNSUBSCRIBE.
//! It never mixes with plain filters and never picks the member that gets a message.

use std::collections::BTreeMap;

use crate::filter::PlainFilter;
use crate::filter_index::{FilterIndex, Slot};

/// Groups with their filters and one slot for each pair, matched by topics. Two filters of one group name
/// are two groups, as in the standard.
#[derive(Debug)]
pub struct SharedIndex<G> {
    filters: FilterIndex<Groups<G>>,
    len: usize,
}

impl<G: Slot> Default for SharedIndex<G> {
    fn default() -> Self {
        Self { filters: FilterIndex::default(), len: 0 }
    }
}

impl<G: Slot> SharedIndex<G> {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `change` with the slot of `group` on `filter`, an empty one if there was none; a slot that is
    /// empty afterwards is forgotten with all that only it needed.
    pub fn update<R>(&mut self, group: &str, filter: &PlainFilter, change: impl FnOnce(&mut G) -> R) -> R {
        let len = &mut self.len;
        self.filters.update(filter, |groups| {
            let before = groups.len();
            let result = groups.update(group, change);
            *len = *len + groups.len() - before;
            result
        })
    }

    /// The slot of exactly this group and filter.
    #[must_use]
    pub fn get(&self, group: &str, filter: &PlainFilter) -> Option<&G> {
        self.filters.get(filter)?.get(group)
    }

    /// Calls `found` once with the name and the slot of each group whose filter matches `topic`, in an order
    /// that depends on the set of groups and filters alone.
    pub fn for_each_match<'a>(&'a self, topic: &[u8], mut found: impl FnMut(&'a str, &'a G)) {
        self.filters.for_each_match(topic, |groups| {
            groups.iter().for_each(|(group, slot)| found(group, slot));
        });
    }

    /// All groups with their filters and slots, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, PlainFilter, &G)> {
        self.filters
            .iter()
            .flat_map(|(filter, groups)| groups.iter().map(move |(name, slot)| (name, filter.clone(), slot)))
    }

    /// The number of pairs of group and filter.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The groups of one filter. Nearly always there is one, which then needs no map.
#[derive(Debug, Default)]
enum Groups<G> {
    #[default]
    None,
    One(Box<str>, G),
    Many(BTreeMap<Box<str>, G>),
}

impl<G: Slot> Slot for Groups<G> {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<G> Groups<G> {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(..) => 1,
            Self::Many(map) => map.len(),
        }
    }

    fn get(&self, group: &str) -> Option<&G> {
        match self {
            Self::One(name, slot) if &**name == group => Some(slot),
            Self::None | Self::One(..) => None,
            Self::Many(map) => map.get(group),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &G)> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(name, slot) => (Some((&**name, slot)), None),
            Self::Many(map) => (None, Some(map)),
        };
        one.into_iter().chain(many.into_iter().flatten().map(|(name, slot)| (&**name, slot)))
    }
}

impl<G: Slot> Groups<G> {
    fn update<R>(&mut self, group: &str, change: impl FnOnce(&mut G) -> R) -> R {
        match self {
            Self::One(name, slot) if &**name == group => {
                let result = change(slot);
                if slot.is_empty() {
                    *self = Self::None;
                }
                result
            }
            Self::Many(map) => {
                let result = Self::update_map(map, group, change);
                if map.len() <= 1 {
                    *self = map.pop_first().map_or(Self::None, |(name, slot)| Self::One(name, slot));
                }
                result
            }
            Self::None | Self::One(..) => {
                let mut slot = G::default();
                let result = change(&mut slot);
                if !slot.is_empty() {
                    self.add(group.into(), slot);
                }
                result
            }
        }
    }

    fn update_map<R>(map: &mut BTreeMap<Box<str>, G>, group: &str, change: impl FnOnce(&mut G) -> R) -> R {
        let Some(slot) = map.get_mut(group) else {
            let mut slot = G::default();
            let result = change(&mut slot);
            if !slot.is_empty() {
                map.insert(group.into(), slot);
            }
            return result;
        };
        let result = change(slot);
        if slot.is_empty() {
            map.remove(group);
        }
        result
    }

    /// Adds a group that is not among them.
    fn add(&mut self, group: Box<str>, slot: G) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(group, slot),
            Self::One(name, one) => Self::Many(BTreeMap::from([(name, one), (group, slot)])),
            Self::Many(mut map) => {
                map.insert(group, slot);
                Self::Many(map)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::SharedIndex;
    use crate::filter::{Filter, PlainFilter, matches};

    fn plain(text: &str) -> PlainFilter {
        Filter::parse(text, 8).expect(text).plain().clone()
    }

    proptest! {
        /// Few names and filters, so that filters go from no group to many and back.
        #[test]
        fn it_is_a_map_of_groups_and_filters(
            steps in proptest::collection::vec(("[a-d]", "(a|b|\\+)(/(a|b|\\+|#))?", 0..3_u32), 1..80),
            topic in "(a|b)(/(a|b))?",
        ) {
            let mut index = SharedIndex::<Vec<u32>>::new();
            let mut expected = BTreeMap::<(String, PlainFilter), Vec<u32>>::new();
            for (group, filter, value) in steps {
                let filter = plain(&filter);
                let change = |slot: &mut Vec<u32>| if value == 0 { slot.clear() } else { slot.push(value) };
                index.update(&group, &filter, change);
                let key = (group.clone(), filter.clone());
                change(expected.entry(key.clone()).or_default());
                expected.retain(|_, slot| !slot.is_empty());
                prop_assert_eq!(index.get(&group, &filter), expected.get(&key));
                prop_assert_eq!((index.len(), index.is_empty()), (expected.len(), expected.is_empty()));
            }
            let mut found = Vec::new();
            index.for_each_match(topic.as_bytes(), |group, slot| found.push((group.to_owned(), slot.clone())));
            found.sort();
            let mut wanted: Vec<_> = expected
                .iter()
                .filter(|((_, filter), _)| matches(filter, topic.as_bytes()))
                .map(|((group, _), slot)| (group.clone(), slot.clone()))
                .collect();
            wanted.sort();
            prop_assert_eq!(found, wanted);
            let listed: BTreeMap<_, _> =
                index.iter().map(|(group, filter, slot)| ((group.to_owned(), filter), slot.clone())).collect();
            prop_assert_eq!(listed, expected);
        }
    }
}
