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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_alone_takes_a_leader_for_gone_moves_nothing() {
    let cluster = Cluster::start(Timing::ZONES).await;
    cluster.insist(0..10).await;
    let leader = cluster.leader().await;
    let before = cluster.leadership(leader);
    let follower = NODES.into_iter().find(|node| *node != leader).unwrap();
    // Returns when it has given up.
    cluster.nodes[&follower].group.succeed(leader, Timing::LAN).await.unwrap();
    assert_eq!(cluster.leadership(leader), before, "the other one still hears the leader");
    assert_eq!(cluster.leadership(follower).term, before.term);
    cluster.insist(10..20).await;
    cluster.agrees().await;
    cluster.stop().await;
}

/// The leader lives, so that nobody would stand for election otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_a_majority_takes_for_gone_has_a_successor_and_nothing_is_lost() {
    let cluster = Cluster::start(Timing::ZONES).await;
    for round in 0..3_u64 {
        cluster.insist(round * 100..round * 100 + 50).await;
        let leader = cluster.leader().await;
        let term = cluster.leadership(leader).term;
        let others = || NODES.into_iter().filter(|node| *node != leader);
        // They give up after a while, which on a busy machine may be before they are heard.
        let succeeded = eventually("a successor", || async {
            let succeed = others().map(|node| cluster.nodes[&node].group.succeed(leader, Timing::ZONES));
            let ended = futures_util::future::join_all(succeed).await;
            assert!(ended.iter().all(Result::is_ok));
            let now = cluster.leadership(leader);
            (now.term > term && now.leader.is_some_and(|node| node != leader)).then_some(())
        });
        tokio::join!(succeeded, cluster.insist(round * 100 + 50..round * 100 + 100));
    }
    cluster.agrees().await;
    cluster.stop().await;
}
