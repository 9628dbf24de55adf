//! What has to happen now and then for the other properties to say anything: each of it in one run of ten.

use crate::history::Sometimes;
use crate::run::{all, seeds};

/// Everything that is to be seen.
const ALL: [Sometimes; 12] = [
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
    Sometimes::MinorityRefused,
    Sometimes::QuotaZero,
];

#[test]
fn every_kind_of_trouble_was_seen() {
    let in_runs = |what| all().iter().filter(|(_, outcome)| outcome.sometimes.contains_key(&what)).count();
    let seen = ALL.map(|what| (what, in_runs(what)));
    println!("{seen:?}");
    // A few seeds need not have everything.
    let runs = seeds().count();
    if runs < 100 {
        return;
    }
    for (what, times) in seen {
        assert!(times * 10 >= runs, "{what:?} in {times} runs of {runs}: {seen:?}");
    }
}
