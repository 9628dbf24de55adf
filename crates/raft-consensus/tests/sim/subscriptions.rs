//! The index of a shard, from which its routes are told, is the union of its sessions' subscriptions.

use std::collections::BTreeMap;

use session_store::Shard;
use session_store::command::Members;
use topic_index::Filter;

use crate::history::Promise;
use crate::run::{CLIENTS, assert_kept};

/// Holds the routes of a shard against those that its sessions come to.
pub(crate) fn check(shard: &Shard) -> Result<(), String> {
    let mut routes: BTreeMap<Filter, (Option<mqtt_codec::QoS>, Members)> = BTreeMap::new();
    for session in CLIENTS.iter().filter_map(|client| shard.session(client)) {
        let connected = u32::from(session.connection().is_some());
        for (filter, subscribed) in session.subscriptions() {
            let (qos, members) = routes.entry(filter.clone()).or_default();
            *qos = (*qos).max(Some(subscribed.qos));
            if let Filter::Shared { .. } = filter {
                members.all += 1;
                members.connected += connected;
            }
        }
    }
    let told = shard.routes().into_iter().map(|route| (route.filter, (route.qos, route.members)));
    let told: BTreeMap<_, _> = told.collect();
    if told == routes { Ok(()) } else { Err(format!("routes {told:?} of subscriptions {routes:?}")) }
}

#[test]
fn the_index_is_the_union_of_the_subscriptions() {
    assert_kept(Promise::Subscriptions);
}
