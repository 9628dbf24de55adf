//! All routes of a shard at once, for a route view that is built anew. Called by its leader; changes nothing.

use topic_index::Filter;

use super::Shard;
use crate::command::{Members, RouteChange};

impl Shard {
    /// The routes as they are now, in the order of their filters: what all [`crate::Effect::Route`] so far come
    /// to.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteChange> {
        let plain = self.index.iter().map(|(filter, slot)| {
            let filter = Filter::Plain(filter);
            RouteChange { filter, qos: slot.qos(), members: Members::default() }
        });
        let shared = self.groups.iter().map(|(group, filter, slot)| {
            let filter = Filter::Shared { group: group.into(), filter };
            slot.route(&filter)
        });
        let mut routes: Vec<RouteChange> = plain.chain(shared).collect();
        routes.sort_unstable_by(|a, b| a.filter.cmp(&b.filter));
        routes
    }
}
