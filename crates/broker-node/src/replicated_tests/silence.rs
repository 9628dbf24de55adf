//! A node without a lease: what its clients publish waits, and nobody is told otherwise.

use std::time::Duration;

use mqtt_codec::{Connect, QoS};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::client::{Client, PATIENCE, persistent};
use super::cluster::data_root;
use super::{LONG, QUIET, payloads};
use crate::lease::Lease;
use crate::testing::{TestNode, settings};

/// A node with a lease that the test takes away.
struct Silenced {
    node: TestNode,
    lease: Lease,
    _data: TempDir,
}

impl Silenced {
    async fn start() -> Self {
        let data = tempfile::tempdir_in(data_root()).unwrap();
        let mut lease = None;
        let told = |cluster: &_| lease.insert(Lease::told(cluster)).clone();
        let node = TestNode::alone_under(data.path(), (settings(), Vec::new()), told).await;
        let lease = lease.unwrap();
        lease.tell(true);
        Self { node, lease, _data: data }
    }

    async fn transient(&self, id: &str) -> Client {
        let connect = Connect { clean_start: true, session_expiry_s: None, ..persistent(id) };
        Client::connect_with(&self.node.address, connect).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_an_acknowledgement_waits_for_a_lease_and_qos_0_does_not() {
    let silenced = Silenced::start().await;
    let mut transient = silenced.transient("transient").await;
    let mut kept = Client::connect(&silenced.node.address, "kept").await;
    transient.subscribe("t").await;
    kept.subscribe("t").await;
    let mut first = silenced.transient("p-1").await;
    let mut second = silenced.transient("p-2").await;
    let mut third = silenced.transient("p-3").await;
    let mut fourth = silenced.transient("p-4").await;
    silenced.lease.tell(false);
    let publishing = [
        tokio::spawn(async move { first.publish("t", 1, QoS::AtLeastOnce).await }),
        tokio::spawn(async move { second.retain("t", 2).await }),
        tokio::spawn(async move { third.publish("t", 3, QoS::ExactlyOnce).await }),
    ];
    assert!(fourth.publish("t", 4, QoS::AtMostOnce).await);
    assert_eq!(payloads(&transient.receive(1, LONG).await), [4]);
    assert!(transient.receive(1, QUIET).await.is_empty(), "nothing else comes");
    assert!(publishing.iter().all(|publishing| !publishing.is_finished()), "and nothing is acknowledged");
    silenced.lease.tell(true);
    for publishing in publishing {
        assert!(publishing.await.unwrap());
    }
    // Of the persistent session nothing was received yet.
    for (subscriber, count) in [(&mut transient, 3), (&mut kept, 4)] {
        let mut got = payloads(&subscriber.receive(count, LONG).await);
        got.retain(|payload| *payload != 4);
        got.sort_unstable();
        assert_eq!(got, [1, 2, 3]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_lease_ends_with_its_connection() {
    let silenced = Silenced::start().await;
    let mut subscriber = silenced.transient("s").await;
    subscriber.subscribe("t").await;
    let mut publisher = silenced.transient("p").await;
    silenced.lease.tell(false);
    for (number, qos) in (0..).zip([QoS::AtLeastOnce, QoS::ExactlyOnce]) {
        publisher.send_publish("t", number, qos).await;
    }
    drop(publisher);
    let begun = Instant::now();
    while silenced.node.totals().clients_ended == 0 {
        assert!(begun.elapsed() < PATIENCE, "the connection goes on");
        sleep(Duration::from_millis(10)).await;
    }
    silenced.lease.tell(true);
    let mut other = silenced.transient("o").await;
    assert!(other.publish("t", 9, QoS::AtLeastOnce).await);
    assert_eq!(payloads(&subscriber.receive(1, LONG).await), [9]);
}
