//! Another leader, by an election or because the leader wants it.

use std::time::Duration;

use raft_consensus::group::Timing;
use tokio::time::sleep;

use crate::cluster::{Cluster, NODES, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(Timing::LAN).await;
    for round in 0..3_u64 {
        let first = round * 1_000;
        // In the middle of it.
        let begun = eventually("a first answer", || async {
            cluster.acknowledged().iter().any(|number| *number >= first).then_some(())
        });
        tokio::select! {
            () = cluster.insist(first..first + 500) => {}
            () = begun => {}
        }
        let leader = cluster.leader().await;
        cluster.stop_node(leader).await;
        assert_ne!(cluster.leader().await, leader);
        cluster.insist(first + 500..first + 600).await;
        cluster.start_node(leader).await;
        cluster.agrees().await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_where_the_leader_sends_it() {
    let cluster = Cluster::start(Timing::ZONES).await;
    cluster.insist(0..100).await;
    for _ in 0..3 {
        let leader = cluster.leader().await;
        let heir = NODES.into_iter().find(|node| *node != leader).unwrap();
        let term = cluster.leadership(leader).term;
        cluster.agrees().await;
        cluster.nodes[&leader].group.hand_over(heir).await.unwrap();
        eventually("the heir as leader", || async {
            let now = cluster.leadership(heir);
            (now.leader == Some(heir) && now.term > term).then_some(())
        })
        .await;
        // A transfer that nobody answered would leave it to the election timeout, and to chance who wins.
        assert_eq!(cluster.leadership(heir).term, term + 1);
    }
    cluster.insist(100..200).await;
    cluster.agrees().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_asks_first_and_raises_no_term() {
    let cluster = Cluster::start(Timing::LAN).await;
    cluster.insist(0..10).await;
    let leader = cluster.leader().await;
    let cut = NODES.into_iter().find(|node| *node != leader).unwrap();
    cluster.network.isolate(cut, NODES);
    let term = cluster.leadership(cut).term;
    // Time for several elections, each of which would raise the term.
    sleep(Duration::from_secs(3)).await;
    assert_eq!(cluster.leadership(cut).term, term);
    cluster.network.heal();
    cluster.insist(10..20).await;
    cluster.agrees().await;
    cluster.stop().await;
}
