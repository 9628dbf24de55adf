//! What goes over which connection, and how much at once: that nothing of it is openraft's default.

use std::time::Duration;

use raft_consensus::group::Timing;
use raft_consensus::log_store::READ_BYTES_MAX;
use raft_consensus::network::Channel;

use crate::cluster::{Cluster, NODES};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_go_by_streams_and_heartbeats_and_votes_by_calls_of_their_own() {
    let cluster = Cluster::start(Timing::ZONES).await;
    cluster.insist(0..500).await;
    cluster.agrees().await;
    let (calls, streams) = cluster.network.used(Channel::Replication);
    assert_eq!(calls, 0, "an append that is a call waits for the one before");
    assert!(streams > 0);
    let (calls, streams) = cluster.network.used(Channel::Control);
    assert!(calls > 0 && streams == 0, "{calls} calls, {streams} streams");
    assert_eq!(cluster.network.used(Channel::Snapshot), (0, 0));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_is_sent_its_entries_in_pieces() {
    const PADDING: usize = 200 << 10;
    let mut cluster = Cluster::start(Timing::ZONES).await;
    let leader = cluster.leader().await;
    let away = NODES.into_iter().find(|node| *node != leader).unwrap();
    cluster.stop_node(away).await;
    cluster.insist_padded(0..40, PADDING).await;
    cluster.network.forget_largest();
    cluster.start_node(away).await;
    cluster.agrees().await;
    let largest = cluster.network.largest(Channel::Replication);
    assert!(largest > READ_BYTES_MAX / 2, "{largest} bytes: it should have been sent several at once");
    assert!(largest <= READ_BYTES_MAX + 2 * PADDING, "{largest} bytes at once");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_is_tried_again_with_pauses() {
    let mut cluster = Cluster::start(Timing::ZONES).await;
    let leader = cluster.leader().await;
    let gone = NODES.into_iter().find(|node| *node != leader).unwrap();
    cluster.stop_node(gone).await;
    cluster.insist(0..50).await;
    let tried = || cluster.network.used(Channel::Replication).1;
    let before = tried();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(tried() - before < 100, "{} times in two seconds", tried() - before);
    cluster.stop().await;
}
