//! A replica that lags beyond the log gets the state itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft_consensus::group::Timing;
use raft_consensus::network::Channel;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_for_a_moment_needs_no_snapshot() {
    let mut cluster = Cluster::start(Timing::ZONES).await;
    let away = cluster.goes_away().await;
    for first in (100..1_000).step_by(100) {
        cluster.insist(first..first + 100).await;
        cluster.checkpoints().await;
    }
    cluster.start_node(away).await;
    cluster.agrees().await;
    assert_eq!(cluster.installs(away).await, 0);
    assert_eq!(cluster.network.used(Channel::Snapshot), (0, 0));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_beyond_the_log_gets_a_snapshot_and_keeps_it_over_a_restart() {
    let mut cluster = Cluster::start(Timing::ZONES).await;
    let away = cluster.left_behind().await;
    cluster.start_node(away).await;
    cluster.agrees().await;
    assert_eq!(cluster.installs(away).await, 1);
    let (calls, streams) = cluster.network.used(Channel::Snapshot);
    assert!(calls == 0 && streams > 0, "{calls} calls, {streams} streams");
    cluster.insist(150..250).await;
    cluster.agrees().await;
    cluster.checkpoint(away).await;
    cluster.stop_node(away).await;
    cluster.start_node(away).await;
    cluster.agrees().await;
    assert_eq!(cluster.installs(away).await, 0, "what it has is enough");
    for directory in cluster.directories.values() {
        let left = std::fs::read_dir(directory.path().join("snap/1")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "a snapshot's file serves once");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_damaged_is_never_installed_and_sent_again() {
    let mut cluster = Cluster::start(Timing::ZONES).await;
    let away = cluster.left_behind().await;
    let damage = Arc::clone(&cluster.damage);
    for what in [&damage.flips, &damage.losses, &damage.files, &damage.ends] {
        what.store(2, Ordering::Relaxed);
    }
    cluster.start_node(away).await;
    cluster.agrees().await;
    assert_eq!(damage.left(), 0, "it was sent again until it was whole");
    let (_, streams) = cluster.network.used(Channel::Snapshot);
    // One stream may have met with several of them.
    assert!(streams > 4, "{streams} streams");
    assert_eq!(cluster.installs(away).await, 1);
    cluster.stop().await;
}
