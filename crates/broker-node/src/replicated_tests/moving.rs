//! What clients are in the middle of while leaderships move from node to node: take-overs, scans of retained messages,
//! messages of shared groups, ends that change how long a session lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mqtt_codec::{QoS, ReasonCode};

use super::client::{Client, PATIENCE};
use super::cluster::{Cluster, NODES};
use super::{LONG, QUIET, payloads};

/// Retained messages: some pages of each shard.
const KEPT: u64 = 500;
/// Messages for a shared group.
const SHARED: u64 = 200;

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
async fn take_part(mut member: Client, came: Arc<AtomicUsize>, all: usize) -> Vec<u64> {
    let (mut got, begun) = (Vec::new(), Instant::now());
    while came.load(Ordering::Acquire) < all && begun.elapsed() < PATIENCE {
        let more = payloads(&member.receive(1, Duration::from_millis(100)).await);
        came.fetch_add(more.len(), Ordering::AcqRel);
        got.extend(more);
    }
    got.extend(payloads(&member.receive(1, QUIET).await));
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_group_gets_each_message_once_however_often_the_leaders_change() {
    let cluster = Cluster::start().await;
    let (came, all) = (Arc::new(AtomicUsize::new(0)), usize::try_from(SHARED).unwrap());
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
    let taking = members.into_iter().map(|member| tokio::spawn(take_part(member, Arc::clone(&came), all)));
    let taking: Vec<_> = taking.collect();
    let mut publisher = cluster.client(3, "pub").await;
    let publishing = async {
        for number in 0..SHARED {
            assert!(publisher.publish("t", number, QoS::AtLeastOnce).await);
        }
    };
    cluster.while_moving(publishing).await;
    let mut got = Vec::new();
    for took in taking {
        let took = took.await.unwrap();
        assert!(!took.is_empty(), "each takes its turn");
        got.extend(took);
    }
    got.sort_unstable();
    assert_eq!(got, (0..SHARED).collect::<Vec<u64>>());
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
