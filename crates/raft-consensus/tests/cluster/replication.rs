//! Entries reach everybody, and only a majority acknowledges.

use std::time::Duration;

use raft_consensus::group::Timing;
use raft_consensus::network::Faults;
use tokio::time::sleep;

use crate::cluster::{Cluster, NODES, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_everywhere_and_still_there_after_a_restart_of_all() {
    let mut cluster = Cluster::start(Timing::ZONES).await;
    cluster.keeps_all_over_a_restart().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_acknowledges_nothing_and_is_told_that_it_was_in_vain() {
    let cluster = Cluster::start(Timing::LAN).await;
    cluster.insist(0..10).await;
    let old = cluster.leader().await;
    cluster.network.isolate(old, NODES);
    let refused = cluster.leadership(old).refused;
    cluster.propose(old, 1_000..1_010).await;
    cluster.insist(2_000..2_010).await;
    let new = cluster.leader().await;
    assert_ne!(new, old);
    assert!(!cluster.acknowledged().iter().any(|number| (1_000..1_010).contains(number)));
    cluster.network.heal();
    eventually("word of the refusal", || async { (cluster.leadership(old).refused > refused).then_some(()) })
        .await;
    cluster.agrees().await;
    assert!(!cluster.numbers(new).await.iter().any(|number| (1_000..1_010).contains(number)));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_lead_says_so_at_once() {
    let cluster = Cluster::start(Timing::ZONES).await;
    let leader = cluster.leader().await;
    let other = NODES.into_iter().find(|node| *node != leader).unwrap();
    cluster.propose(other, 0..1).await;
    eventually("a refusal", || async { (cluster.leadership(other).refused > 0).then_some(()) }).await;
    assert!(cluster.acknowledged().is_empty());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_network_costs_time_and_no_number() {
    let cluster = Cluster::start(Timing::LAN).await;
    cluster.network.set_faults(Faults {
        loss_permille: 20,
        duplicate_permille: 50,
        delay: Some(Duration::ZERO..Duration::from_millis(8)),
    });
    // What is lost is drawn: it goes on until something was.
    let mut round = 0;
    while round < 10 || (cluster.network.lost() == 0 && round < 1_000) {
        cluster.insist(round * 50..(round + 1) * 50).await;
        sleep(Duration::from_millis(20)).await;
        round += 1;
    }
    assert!(cluster.network.lost() > 0);
    cluster.network.set_faults(Faults::default());
    cluster.agrees().await;
    cluster.stop().await;
}
