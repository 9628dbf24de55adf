//! Nodes that fall silent without a word, and nodes that are left alone: who is taken over, who is not answered, and how they
//! come back without anybody's help.

use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::wire::kind;
use e2e_tests::{Connect, Publish, RawClient, Version, pause};

use crate::nodes::{Nodes, Number, PATIENCE};
use crate::stubborn::{Publisher, drain, session, subscribe};

/// Longer than a lease and an election take, were there one.
const LONG: Duration = Duration::from_secs(8);

/// Waits until the log of a node says something so often.
fn until_logged(nodes: &Nodes, number: Number, what: &str, times: usize) {
    let deadline = Instant::now() + PATIENCE;
    while nodes.up[&number].log().matches(what).count() < times {
        assert!(
            Instant::now() < deadline,
            "node {number} has not said {what:?} {times} times:\n{}",
            nodes.up[&number].log()
        );
        pause(Duration::from_millis(50));
    }
}

/// A node stands still for so long that the others take it for dead. Its client is taken over elsewhere, and what that
/// connection sends afterwards is not acknowledged; the node itself comes back as another run, by itself.
#[test]
fn a_node_that_stood_still_acknowledges_nothing_and_comes_back_by_itself() {
    let nodes = Nodes::started();
    nodes.until_replicated();
    let others = [nodes.mqtt(1), nodes.mqtt(3)];
    subscribe("sub", "t/#", &[nodes.mqtt(1)]);
    let mut old = session("sub", &[nodes.mqtt(2)]);
    nodes.signal(2, "STOP");
    let late = Publish::new(Version::V5, "t/late", b"late").qos(1, 9);
    old.send(&late.bytes());
    let mut publisher = Publisher::new("pub", others.to_vec());
    publisher.publish("t/meanwhile", b"meanwhile", 1);
    let got = drain("sub", 1, &others);
    assert!(got.contains(&b"meanwhile".to_vec()), "{got:?}");
    pause(LONG);
    nodes.signal(2, "CONT");
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the connection is still there");
        match old.read(Duration::from_secs(1)) {
            Read::Packet(packet) => assert_ne!(packet.kind(), kind::PUBACK, "it was taken over long ago"),
            Read::Closed => break,
            Read::Nothing => {}
        }
    }
    until_logged(&nodes, 2, "quelea: ready", 2);
    publisher.publish("t/after", b"after", 2);
    // It listens on another port by now; its log says where.
    let got = drain("sub", 1, &others);
    assert!(got.contains(&b"after".to_vec()), "{got:?}");
}

/// With two of three nodes gone nobody is let in and nothing is acknowledged; with one of them back everything is.
#[test]
fn a_node_that_is_left_alone_says_nothing_until_another_is_back() {
    let mut nodes = Nodes::started();
    nodes.until_replicated();
    subscribe("sub", "t/#", &[nodes.mqtt(3)]);
    let mut client = session("alone", &[nodes.mqtt(3)]);
    nodes.kill(1);
    nodes.kill(2);
    // Its lease runs out by itself, and then it says nothing more; before that nothing has a majority any more.
    client.send(&Publish::new(Version::V5, "t/alone", b"alone").qos(1, 7).bytes());
    let deadline = Instant::now() + LONG;
    while Instant::now() < deadline {
        match client.read(Duration::from_millis(500)) {
            Read::Packet(packet) => assert_ne!(packet.kind(), kind::PUBACK, "there is no majority"),
            Read::Closed => break,
            Read::Nothing => {}
        }
    }
    let mut other = RawClient::open(&nodes.mqtt(3));
    other.speak(Version::V5);
    other.send(&Connect::v5("other").bytes());
    if let Read::Packet(packet) = other.read(LONG) {
        assert!(packet.kind() != kind::CONNACK || packet.connack(Version::V5).reason >= 0x80, "{packet:?}");
    }
    nodes.start(&[1], Duration::ZERO);
    let mut publisher = Publisher::new("pub", vec![nodes.mqtt(3), nodes.mqtt(1)]);
    publisher.publish("t/again", b"again", 2);
    // What was not acknowledged may come, or not.
    let mut got = Vec::new();
    while !got.contains(&b"again".to_vec()) {
        got.extend(drain("sub", 1, &[nodes.mqtt(1)]));
    }
}
