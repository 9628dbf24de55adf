//! What has to happen now and then for the other properties to say anything.

use std::collections::BTreeMap;

use crate::history::Sometimes;
use crate::run::{all, seeds};

#[test]
fn every_kind_of_trouble_was_seen() {
    let mut seen: BTreeMap<Sometimes, u64> = BTreeMap::new();
    for (what, times) in all().iter().flat_map(|(_, outcome)| &outcome.sometimes) {
        *seen.entry(*what).or_default() += times;
    }
    println!("{seen:?}");
    // A few seeds need not have everything.
    if seeds().count() < 100 {
        return;
    }
    for what in [
        Sometimes::Acknowledged,
        Sometimes::Redelivered,
        Sometimes::LeaderChangeDuringQos2,
        Sometimes::Takeover,
        Sometimes::StaleAck,
        Sometimes::HostDied,
        Sometimes::TornTailCut,
        Sometimes::SnapshotInstalled,
        Sometimes::AllLostPower,
        Sometimes::Partition,
    ] {
        assert!(seen.contains_key(&what), "{what:?} never happened: {seen:?}");
    }
}
