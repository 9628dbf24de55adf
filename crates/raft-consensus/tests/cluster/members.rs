//! Who votes, where the leader that changes it does not live to see the end.

use std::collections::BTreeSet;
use std::time::Duration;

use raft_consensus::group::Timing;
use raft_consensus::members::ChangeError;
use tokio::time::timeout;

use crate::cluster::{Cluster, NODES, eventually};

/// Nodes that are to vote and are not there yet.
const NEW: [u64; 2] = [4, 5];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_votes_whose_leader_died_is_seen_and_ended() {
    let mut cluster = Cluster::start(Timing::LAN).await;
    cluster.insist(0..10).await;
    let first = cluster.leader().await;
    let group = cluster.nodes[&first].group.clone();
    for new in NEW {
        group.add_learner(new).await.unwrap();
    }
    let half_new = BTreeSet::from([first, NEW[0], NEW[1]]);
    let change = timeout(Duration::from_secs(1), group.set_voters(half_new)).await;
    assert!(change.is_err(), "nobody of those that are to vote is there: {change:?}");
    let others: Vec<u64> = NODES.into_iter().filter(|node| *node != first).collect();
    eventually("the change in the logs of those that vote", || async {
        let last = |node: &u64| cluster.log(*node).last().map(|(index, _)| index);
        (others.iter().map(last).collect::<BTreeSet<_>>() == BTreeSet::from([last(&first)])).then_some(())
    })
    .await;
    drop(group);
    cluster.stop_node(first).await;
    for new in NEW {
        cluster.directories.insert(new, tempfile::tempdir().unwrap());
        cluster.start_node(new).await;
    }

    let second = cluster.leader().await;
    let group = cluster.nodes[&second].group.clone();
    eventually("the change, half done", || async {
        let members = group.members().await.unwrap();
        (members.changing && members.voters.len() == 5).then_some(())
    })
    .await;
    let wanted = BTreeSet::from([second, NEW[0], NEW[1]]);
    group.set_voters(wanted.clone()).await.unwrap();
    let members = group.members().await.unwrap();
    assert_eq!((members.voters, members.changing), (wanted, false));
    drop(group);
    cluster.insist(10..20).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_has_given_its_vote_away_changes_nothing_any_more() {
    let cluster = Cluster::start(Timing::LAN).await;
    cluster.insist(0..10).await;
    let first = cluster.leader().await;
    let group = cluster.nodes[&first].group.clone();
    let others: BTreeSet<u64> = NODES.into_iter().filter(|node| *node != first).collect();
    group.set_voters(others.clone()).await.unwrap();
    let back = group.add_learner(first).await;
    assert!(matches!(back, Err(ChangeError::Refused { .. })), "{back:?}");
    let back = group.set_voters(BTreeSet::from([first])).await;
    assert!(matches!(back, Err(ChangeError::Refused { .. })), "{back:?}");
    // The others go on, and may take it back.
    let second = eventually("another leader", || async {
        let leads = |node: &&u64| cluster.nodes[node].group.leadership().now().leader == Some(**node);
        others.iter().find(leads).copied()
    })
    .await;
    eventually("the first one among the members", || async {
        cluster.nodes[&second].group.add_learner(first).await.ok()
    })
    .await;
    drop(group);
    cluster.stop().await;
}
