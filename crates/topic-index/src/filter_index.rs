//! Filters matched by a topic: one slot for each filter, found for a publish.
//! Called by the routing of publishes (match) and by SUBSCRIBE and UNSUBSCRIBE (update).
//! It never knows what a slot holds, and keeps nothing of a filter whose slot is empty.

use std::collections::BTreeMap;

use crate::filter::{PlainFilter, matches};

/// What a [`FilterIndex`] or a [`SharedIndex`](crate::SharedIndex) keeps for one filter.
pub trait Slot: Default {
    /// Whether nothing is left in it, so that its filter can be forgotten.
    fn is_empty(&self) -> bool;
}

/// Topic filters with one slot each, matched by topics.
#[derive(Debug)]
pub struct FilterIndex<S> {
    slots: BTreeMap<PlainFilter, S>,
}

impl<S> Default for FilterIndex<S> {
    fn default() -> Self {
        Self { slots: BTreeMap::new() }
    }
}

impl<S: Slot> FilterIndex<S> {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `change` with the slot of `filter`, an empty one if there was none; a slot that is empty
    /// afterwards is forgotten with all that only it needed.
    pub fn update<R>(&mut self, filter: &PlainFilter, change: impl FnOnce(&mut S) -> R) -> R {
        let slot = self.slots.entry(filter.clone()).or_default();
        let result = change(slot);
        if slot.is_empty() {
            self.slots.remove(filter);
        }
        result
    }

    /// The slot of exactly this filter.
    #[must_use]
    pub fn get(&self, filter: &PlainFilter) -> Option<&S> {
        self.slots.get(filter)
    }

    /// Calls `found` once with the slot of each filter that matches `topic`, in an order that depends on
    /// the set of filters alone.
    pub fn for_each_match<'a>(&'a self, topic: &[u8], mut found: impl FnMut(&'a S)) {
        self.slots.iter().filter(|(filter, _)| matches(filter, topic)).for_each(|(_, slot)| found(slot));
    }

    /// All filters with their slots, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (PlainFilter, &S)> {
        self.slots.iter().map(|(filter, slot)| (filter.clone(), slot))
    }

    /// The number of filters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
