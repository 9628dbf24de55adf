//! What clients are in the middle of while leaderships move from node to node: take-overs, scans of retained messages,
//! messages of shared groups, ends that change how long a session lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mqtt_codec::{Connect, QoS, ReasonCode};

use super::client::{Client, PATIENCE, persistent};
use super::cluster::{Cluster, NODES};
use super::{LONG, QUIET, payloads};

/// Retained messages: some pages of each shard.
const KEPT: u64 = 500;
/// Messages for a shared group.
const SHARED: u64 = 300;
/// Clients that publish them.
const PUBLISHERS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_from_node_to_node_takes_its_session_along() {
    let cluster = Cluster::start().await;
    let mut publisher = cluster.client(1, "p").await;
    let mut here = cluster.client(3, "c").await;
    here.subscribe("t").await;
    let wanders = async {
        for (round, node) in (0..12).zip(NODES.into_iter().cycle()) {
            let mut next = cluster.client(node, "c").await;
            assert!(next.session_present, "{round}");
            assert_eq!(here.end().await, Some(ReasonCode::SessionTakenOver), "{round}");
            assert!(publisher.publish("t", round, QoS::ExactlyOnce).await);
            assert_eq!(payloads(&next.receive(1, LONG).await), [round]);
            here = next;
        }
    };
    cluster.while_moving(wanders).await;
    cluster.until_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_take_over_that_waits_when_the_leader_dies_is_not_forgotten() {
    let mut cluster = Cluster::start().await;
    cluster.lead_all(1).await;
    let mut old = cluster.client(2, "c").await;
    old.subscribe("t").await;
    let address = cluster.address(3).to_owned();
    let connecting = tokio::spawn(async move { Client::connect(&address, "c").await });
    cluster.kill(1).await;
    let mut new = connecting.await.unwrap();
    assert_eq!((old.end().await, new.session_present), (Some(ReasonCode::SessionTakenOver), true));
    let mut publisher = cluster.client(2, "p").await;
    assert!(publisher.publish("t", 7, QoS::ExactlyOnce).await);
    assert_eq!(payloads(&new.receive(1, LONG).await), [7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained_messages_come_once_each_however_often_the_leaders_change() {
    let cluster = Cluster::start().await;
    let parts = 5;
    let keeping = (0..parts).zip(NODES.into_iter().cycle()).map(|(part, node)| {
        let address = cluster.address(node).to_owned();
        tokio::spawn(async move {
            let mut client = Client::connect(&address, &format!("p-{part}")).await;
            for number in (0..KEPT).filter(|number| number % parts == part) {
                assert!(client.retain(&format!("kept/{number}"), number).await);
            }
        })
    });
    for kept in keeping.collect::<Vec<_>>() {
        kept.await.unwrap();
    }
    let mut subscriber = cluster.client(2, "sub").await;
    let scan = async {
        subscriber.subscribe("kept/#").await;
        let mut got = subscriber.receive(usize::try_from(KEPT).unwrap(), LONG).await;
        got.extend(subscriber.receive(1, QUIET).await);
        got
    };
    let got = cluster.while_moving(scan).await;
    assert!(got.iter().all(|(_, dup)| !dup));
    let mut numbers = payloads(&got);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..KEPT).collect::<Vec<u64>>());
}

/// Receives until so many came to all members together, or what is missing does not come any more.
pub(super) async fn take_part(mut member: Client, came: Arc<AtomicUsize>, all: usize) -> Vec<u64> {
    let (mut got, begun) = (Vec::new(), Instant::now());
    while came.load(Ordering::Acquire) < all && begun.elapsed() < PATIENCE {
        let more = payloads(&member.receive(1, Duration::from_millis(100)).await);
        came.fetch_add(more.len(), Ordering::AcqRel);
        got.extend(more);
    }
    got.extend(payloads(&member.receive(1, QUIET).await));
    got
}

/// Publishes [`SHARED`] messages from two clients on each node while leaderships move, and gives what each member of a
/// group got.
async fn publish_to_group(cluster: &Cluster, members: Vec<Client>, qos: QoS) -> Vec<Vec<u64>> {
    let (came, all) = (Arc::new(AtomicUsize::new(0)), usize::try_from(SHARED).unwrap());
    let taking = members.into_iter().map(|member| tokio::spawn(take_part(member, Arc::clone(&came), all)));
    let taking: Vec<_> = taking.collect();
    let publishing = (0..PUBLISHERS).map(|part| {
        let address = cluster.address(NODES[part % NODES.len()]).to_owned();
        tokio::spawn(async move {
            let mut publisher = Client::connect(&address, &format!("pub-{part}")).await;
            for number in (0..SHARED).skip(part).step_by(PUBLISHERS) {
                assert!(publisher.publish("t", number, qos).await);
            }
        })
    });
    let publishing: Vec<_> = publishing.collect();
    let published = async {
        for published in publishing {
            published.await.unwrap();
        }
    };
    cluster.while_moving(published).await;
    let mut got = Vec::new();
    for took in taking {
        got.push(took.await.unwrap());
    }
    got
}

fn all_of(got: Vec<Vec<u64>>) -> Vec<u64> {
    let mut all: Vec<u64> = got.into_iter().flatten().collect();
    all.sort_unstable();
    all
}

/// At QoS 1 hosts send to the group, at QoS 2 outboxes of shards do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_group_gets_each_message_once_however_often_the_leaders_change() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let cluster = Cluster::start().await;
        let mut members = Vec::new();
        for node in [1, 2] {
            for number in 0..2 {
                let mut member = cluster.client(node, &format!("member-{node}-{number}")).await;
                member.subscribe("$share/g/t").await;
                members.push(member);
            }
        }
        // Each node knows of all members.
        cluster.until_equal().await;
        let got = publish_to_group(&cluster, members, qos).await;
        assert!(got.iter().all(|took| !took.is_empty()), "each takes its turn");
        assert_eq!(all_of(got), (0..SHARED).collect::<Vec<u64>>(), "{qos:?}");
        cluster.until_equal().await;
    }
}

/// Whoever leads picks among the members on its own node; under another leader they are the ones who get it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_members_get_what_they_were_picked_for_whoever_leads_then() {
    let cluster = Cluster::start().await;
    let mut members = Vec::new();
    for node in NODES {
        let name = format!("member-{node}");
        let connect = Connect { clean_start: true, session_expiry_s: None, ..persistent(&name) };
        let mut member = Client::connect_with(cluster.address(node), connect).await;
        member.subscribe("$share/g/t").await;
        members.push(member);
    }
    let got = publish_to_group(&cluster, members, QoS::ExactlyOnce).await;
    assert_eq!(all_of(got), (0..SHARED).collect::<Vec<u64>>());
    cluster.until_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_decides_how_long_its_session_lives_whoever_leads() {
    let cluster = Cluster::start().await;
    let leaves = async {
        for (round, node) in (0..8).zip(NODES.into_iter().cycle()) {
            let name = format!("c-{round}");
            let client = cluster.client(node, &name).await;
            assert!(!client.session_present, "{round}");
            client.disconnect_with(Some(7_200)).await;
            let client = cluster.client(node % 3 + 1, &name).await;
            assert!(client.session_present, "{round}: it wanted to be kept");
            client.disconnect_with(Some(0)).await;
            let client = cluster.client(node, &name).await;
            assert!(!client.session_present, "{round}: it wanted to be forgotten");
        }
    };
    cluster.while_moving(leaves).await;
    cluster.until_equal().await;
}
