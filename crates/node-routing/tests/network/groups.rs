//! Groups over sockets: what holds over the network in memory holds here.

use std::time::Duration;

use raft_consensus::group::Timing;

use crate::cluster::{Cluster, NODES, eventually};
use crate::sockets::Sockets;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_everywhere_and_still_there_after_a_restart_of_all_elsewhere() {
    let mut cluster = Cluster::start_over(Sockets::direct(), Timing::ZONES).await;
    cluster.keeps_all_over_a_restart().await;
    let received: u64 = NODES.iter().map(|node| cluster.network.counters(*node).peer_received).sum();
    assert!(received > 0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_is_replaced_reported_as_gone_and_comes_back_elsewhere() {
    let mut cluster = Cluster::start_over(Sockets::direct(), Timing::ZONES).await;
    for round in 0..2_u64 {
        let first = round * 1_000;
        cluster.insist(first..first + 300).await;
        let leader = cluster.leader().await;
        let other = NODES.into_iter().find(|node| *node != leader).unwrap();
        let mut gone = cluster.network.gone.remove(&other).unwrap();
        while gone.try_recv().is_ok() {}
        cluster.stop_node(leader).await;
        assert_ne!(cluster.leader().await, leader);
        cluster.insist(first + 300..first + 400).await;
        let said = tokio::time::timeout(crate::cluster::WITHIN, gone.recv()).await;
        assert_eq!(said.unwrap().unwrap().node, leader);
        cluster.network.gone.insert(other, gone);
        cluster.start_node(leader).await;
        cluster.agrees().await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_beyond_the_log_gets_a_snapshot() {
    let mut cluster = Cluster::start_over(Sockets::direct(), Timing::ZONES).await;
    let away = cluster.left_behind().await;
    cluster.start_node(away).await;
    cluster.agrees().await;
    assert_eq!(cluster.installs(away).await, 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_was_lost_is_fetched() {
    let mut cluster = Cluster::start_over(Sockets::direct(), Timing::ZONES).await;
    let away = cluster.left_behind().await;
    cluster.start_node(away).await;
    cluster.agrees().await;
    cluster.checkpoint(away).await;
    cluster.stop_node(away).await;
    std::fs::remove_dir_all(cluster.directories[&away].path().join("sessions")).unwrap();
    cluster.start_node(away).await;
    cluster.insist(150..200).await;
    cluster.agrees().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_behind_a_silent_network_is_replaced_acknowledges_nothing_and_follows_afterwards() {
    let cluster = Cluster::start_over(Sockets::proxied(3), Timing::ZONES).await;
    cluster.insist(0..50).await;
    let old = cluster.leader().await;
    cluster.network.around(old, |faults| faults.silent = true);
    cluster.propose(old, 1_000..1_010).await;
    cluster.insist(2_000..2_050).await;
    let new = cluster.leader().await;
    assert_ne!(new, old);
    assert!(!cluster.acknowledged().iter().any(|number| (1_000..1_010).contains(number)));
    cluster.network.around(old, |faults| faults.silent = false);
    cluster.agrees().await;
    eventually("a leader that follows", || async {
        (cluster.leadership(old).leader == Some(cluster.leader().await)).then_some(())
    })
    .await;
    cluster.insist(3_000..3_050).await;
    cluster.agrees().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_slow_torn_and_cut_cost_time_and_no_number() {
    let cluster = Cluster::start_over(Sockets::proxied(11), Timing::ZONES).await;
    for proxy in cluster.network.proxies() {
        proxy.change(|faults| faults.delay = Some(Duration::ZERO..Duration::from_millis(3)));
    }
    for round in 0..6_u64 {
        let (first, proxies) = (round * 50, cluster.network.proxies().count());
        let cut = cluster.network.proxies().nth(usize::try_from(round).unwrap() % proxies).unwrap();
        cluster.insist(first..first + 50).await;
        cut.cut();
    }
    let broken: u64 = NODES.iter().map(|node| cluster.network.counters(*node).peer_connections_broken).sum();
    assert!(broken > 0);
    cluster.insist(300..320).await;
    for proxy in cluster.network.proxies() {
        proxy.change(|faults| faults.delay = None);
    }
    cluster.agrees().await;
    cluster.stop().await;
}
