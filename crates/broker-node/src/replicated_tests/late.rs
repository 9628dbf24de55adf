//! QoS 0 that was held up between nodes, and comes behind what its publisher sent on a newer connection elsewhere.

use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{Connect, QoS, SharedPublish, Text};
use session_store::command::{Publish, PublishItem};
use session_store::word::{Frame, FramePart, Word};
use session_store::{ClientId, Epoch, Message};

use super::client::{Client, persistent};
use super::cluster::Cluster;
use super::{LONG, payloads};
use crate::testing::{TestNode, first_run};

/// Who leads, and has the subscribers; where the publisher was, and where it goes.
const HERE: u32 = 2;
const BEFORE: u32 = 1;
const THEN: u32 = 3;
/// The payload of the last message.
const LAST: u64 = 99;

/// What the publisher sent on a connection, on its way to sessions, or to a host.
fn sent(epoch: u64, payload: u64) -> Publish {
    let payload = Bytes::copy_from_slice(&payload.to_be_bytes());
    let body = SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &payload);
    let message = Arc::new(Message { body, qos: QoS::AtMostOnce, retain: false, expires_at: None });
    let items =
        vec![PublishItem { number: 0, message, sessions: true, store_retained: false, groups: Vec::new() }];
    Publish { reply_to: None, publisher: ClientId::new("p"), epoch: Some(Epoch(epoch)), items }
}

/// A frame with it, as the only one of its stream.
fn frame(node: u32, publish: Publish) -> Word {
    let parts = vec![FramePart { outbox: None, publish }];
    let (source, target) = (first_run(node), first_run(HERE));
    Word::Frame(Arc::new(Frame { source, target, number: 1, predecessor: 0, done_below: 0, parts }))
}

async fn subscribed(cluster: &Cluster, connect: Connect) -> Client {
    let mut client = Client::connect_with(cluster.address(HERE), connect).await;
    client.subscribe("t").await;
    client
}

/// What it got up to a last message of QoS 1: nothing of QoS 0 has to come.
async fn got(cluster: &Cluster, mut subscriber: Client) -> Vec<u64> {
    let mut marker = cluster.client(HERE, "marker").await;
    assert!(marker.publish("t", LAST, QoS::AtLeastOnce).await);
    let mut got = Vec::new();
    while !got.contains(&LAST) {
        let next = subscriber.receive(1, LONG).await;
        assert!(!next.is_empty(), "only {got:?} came");
        got.extend(payloads(&next));
    }
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_dropped_on_its_way_to_a_persistent_session() {
    let cluster = Cluster::start().await;
    cluster.lead_all(HERE).await;
    let subscriber = subscribed(&cluster, persistent("s")).await;
    let home = cluster.home_of("s");
    for (node, epoch, payload) in [(BEFORE, 5, 1), (THEN, 9, 2), (BEFORE, 5, 3), (THEN, 9, 4)] {
        cluster.nodes[&node].shards.passes_on(HERE, home, sent(epoch, payload));
    }
    let got = got(&cluster, subscriber).await;
    assert!(got.is_sorted() && !got.contains(&3), "{got:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_dropped_on_its_way_to_a_transient_session() {
    let cluster = Cluster::start().await;
    let transient = Connect { clean_start: true, session_expiry_s: None, ..persistent("s") };
    let subscriber = subscribed(&cluster, transient).await;
    let streams = cluster.nodes[&HERE].shards.others().unwrap().streams.clone();
    streams.hear(frame(THEN, sent(9, 1)));
    streams.hear(frame(BEFORE, sent(5, 2)));
    assert_eq!(got(&cluster, subscriber).await, [1, LAST]);
}

/// The publisher has come to the very node that its earlier messages go to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_dropped_where_its_publisher_is_by_now() {
    let cluster = Cluster::start().await;
    let transient = |name| Connect { clean_start: true, session_expiry_s: None, ..persistent(name) };
    let subscriber = subscribed(&cluster, transient("s")).await;
    let publisher = Client::connect_with(cluster.address(HERE), transient("p")).await;
    let streams = cluster.nodes[&HERE].shards.others().unwrap().streams.clone();
    streams.hear(frame(BEFORE, sent(5, 1)));
    publisher.disconnect().await;
    streams.hear(frame(THEN, sent(6, 2)));
    assert_eq!(got(&cluster, subscriber).await, [LAST]);
}

/// A name that comes again has a higher epoch, though nothing of its session was kept: no connection counts as older than one that
/// is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_comes_again_is_not_late() {
    let cluster = Cluster::start().await;
    cluster.lead_all(HERE).await;
    let transient = || Connect { clean_start: true, session_expiry_s: None, ..persistent("p") };
    let subscriber = subscribed(&cluster, persistent("s")).await;
    let connects = [
        (BEFORE, persistent("p")),
        (THEN, persistent("p")),
        (HERE, transient()),
        (BEFORE, transient()),
        (THEN, transient()),
    ];
    for (payload, (node, connect)) in (0..).zip(connects) {
        let mut publisher = Client::connect_with(cluster.address(node), connect).await;
        assert!(publisher.publish("t", payload, QoS::AtMostOnce).await);
        assert!(publisher.publish("t", payload + 10, QoS::AtLeastOnce).await);
        publisher.disconnect().await;
    }
    let got = got(&cluster, subscriber).await;
    assert!((10..15).all(|payload| got.contains(&payload)), "{got:?}");
    let late = |node: &TestNode| node.totals().dropped_late;
    assert_eq!(cluster.nodes.values().map(late).sum::<u64>(), 0);
}
