//! What has to happen now and then for the other properties to say anything: each of it in one run of ten.

use crate::history::Sometimes;
use crate::run::{all, seeds};

/// Everything that is to be seen.
const ALL: [Sometimes; 22] = [
    Sometimes::Acknowledged,
    Sometimes::AllLostPower,
    Sometimes::CheckpointsLost,
    Sometimes::ClockJumped,
    Sometimes::DiskFull,
    Sometimes::ExpiredInQueue,
    Sometimes::HostDied,
    Sometimes::LeaderChangeDuringQos2,
    Sometimes::MinorityHeld,
    Sometimes::MinorityRefused,
    Sometimes::Partition,
    Sometimes::QuotaZero,
    Sometimes::Redelivered,
    Sometimes::RetainedScanned,
    Sometimes::SessionExpired,
    Sometimes::SharedRedispatch,
    Sometimes::SnapshotInstalled,
    Sometimes::StaleAck,
    Sometimes::Takeover,
    Sometimes::TornTailCut,
    Sometimes::WillAfterHostDeath,
    Sometimes::WillCancelled,
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
