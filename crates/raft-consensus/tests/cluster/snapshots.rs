//! A replica that lags beyond the log gets the state itself.

use std::sync::atomic::Ordering;

use raft_consensus::group::Timing;
use raft_consensus::network::Channel;
use raft_consensus::types::NodeId;

use crate::cluster::{Cluster, GROUP, NODES, eventually};

/// A node that was away while the others let go of the log that it needs.
async fn left_behind(cluster: &mut Cluster) -> NodeId {
    let leader = cluster.leader().await;
    let away = NODES.into_iter().find(|node| *node != leader).unwrap();
    cluster.insist(0..100).await;
    cluster.agrees().await;
    cluster.stop_node(away).await;
    cluster.insist(100..1_000).await;
    for node in NODES.into_iter().filter(|node| *node != away) {
        let last = cluster.nodes[&node].storage.log(GROUP).unwrap().last().unwrap().0;
        cluster.checkpoint(node).await;
        let log = cluster.nodes[&node].storage.log(GROUP).unwrap();
        eventually("a log that was let go", || async {
            log.purged().is_some_and(|(index, _)| index + 10 >= last).then_some(())
        })
        .await;
    }
    away
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
    cluster.insist(1_000..1_100).await;
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
async fn a_snapshot_that_was_damaged_on_its_way_is_never_installed() {
    let mut cluster = Cluster::start(Timing::ZONES).await;
    let away = left_behind(&mut cluster).await;
    cluster.damage.store(5, Ordering::Relaxed);
    cluster.start_node(away).await;
    cluster.agrees().await;
    assert_eq!(cluster.damage.load(Ordering::Relaxed), 0, "it was sent again until it was whole");
    assert_eq!(cluster.installs(away).await, 1);
    cluster.stop().await;
}
