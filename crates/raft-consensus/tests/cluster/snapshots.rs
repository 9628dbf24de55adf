//! A replica that lags beyond the log gets the state itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft_consensus::group::Timing;
use raft_consensus::network::Channel;
use raft_consensus::types::NodeId;

use crate::cluster::{Cluster, NODES, eventually};

/// Bytes that a number takes more in the log, so that some make it long.
const PADDING: usize = 200 << 10;

/// Stops a node that does not lead, and says which.
async fn goes_away(cluster: &mut Cluster) -> NodeId {
    let leader = cluster.leader().await;
    let away = NODES.into_iter().find(|node| *node != leader).unwrap();
    cluster.insist(0..100).await;
    cluster.agrees().await;
    cluster.stop_node(away).await;
    away
}

/// A checkpoint of each node that runs.
async fn checkpoints(cluster: &mut Cluster) {
    let running: Vec<NodeId> = cluster.nodes.keys().copied().collect();
    for node in running {
        cluster.checkpoint(node).await;
    }
}

/// A node that was away while the others let go of the log that it needs.
async fn left_behind(cluster: &mut Cluster) -> NodeId {
    let away = goes_away(cluster).await;
    let needed = cluster.log(cluster.leader().await).last().unwrap().0;
    cluster.insist_padded(100..150, PADDING).await;
    cluster.agrees().await;
    checkpoints(cluster).await;
    eventually("logs that were let go", || async {
        let gone = |node: &NodeId| cluster.log(*node).purged().is_some_and(|(index, _)| index > needed);
        cluster.nodes.keys().all(gone).then_some(())
    })
    .await;
    away
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_for_a_moment_needs_no_snapshot() {
    let mut cluster = Cluster::start(Timing::ZONES).await;
    let away = goes_away(&mut cluster).await;
    for first in (100..1_000).step_by(100) {
        cluster.insist(first..first + 100).await;
        checkpoints(&mut cluster).await;
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
    let away = left_behind(&mut cluster).await;
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
    let away = left_behind(&mut cluster).await;
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
