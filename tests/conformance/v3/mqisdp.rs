//! MQTT 3.1 (`MQIsdp`, level 3): what its clients still in the field rely on.
//! Run against the shared broker.

use e2e_tests::wire::kind;
use e2e_tests::{Connect, Publish, RawClient, Version, Will, unique};

use crate::support::{broker, client, nothing_but_the_mark, pubrel, refused, watcher};

/// A clean 3.1 client.
fn v3_1(addr: &str) -> RawClient {
    RawClient::connect(addr, &Connect::new(Version::V3_1, unique("old")))
}

#[test]
fn mqisdp_is_accepted_with_a_plain_connack() {
    let (_broker, addr) = broker();
    let mut old = RawClient::open(&addr);
    old.send(&Connect::new(Version::V3_1, unique("old")).bytes());
    assert_eq!(old.expect(kind::CONNACK).body, [0, 0]);
}

#[test]
fn mqisdp_exchanges_every_qos_with_3_1_1() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let (mut old, mut new) = (v3_1(&addr), watcher(&addr, &topic));
    old.subscribe(&topic, 2);
    for qos in 0..3 {
        old.publish(&topic, "from 3.1", qos);
        new.publish(&topic, "from 3.1.1", qos);
        for reader in [&mut old, &mut new] {
            let mut got = [reader.receive().text(), reader.receive().text()];
            got.sort();
            assert_eq!(got, ["from 3.1", "from 3.1.1"]);
        }
    }
    old.unsubscribe(&[&topic]);
    old.ping();
    old.disconnect();
}

#[test]
fn mqisdp_sessions_are_kept_and_queues_delivered() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("old"), unique("t"));
    let connect = Connect::new(Version::V3_1, &id);
    let mut old = RawClient::connect(&addr, &connect.clone().clean(false));
    old.subscribe(&topic, 1);
    old.disconnect();
    client(&addr).publish(&topic, "queued", 1);
    let (mut old, connack) = RawClient::connect_ack(&addr, &connect.clone().clean(false));
    assert_eq!(connack.flags, 0, "3.1 has no session present flag");
    assert_eq!(old.receive().text(), "queued");
    old.disconnect();
    RawClient::connect(&addr, &connect).disconnect();
}

#[test]
fn mqisdp_repeats_on_a_live_connection_are_taken() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut reader = watcher(&addr, &topic);
    let mut old = v3_1(&addr);
    for dup in [false, true, true] {
        let publish = Publish::new(Version::V3_1, &topic, "once").qos(2, 4);
        old.send(&if dup { publish.dup() } else { publish }.bytes());
        old.expect(kind::PUBREC);
    }
    old.send(&pubrel(4));
    old.expect(kind::PUBCOMP);
    assert_eq!(reader.receive().text(), "once");
    nothing_but_the_mark(&addr, &mut reader, &topic);
}

#[test]
fn mqisdp_wills_are_published() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut reader = watcher(&addr, &topic);
    let connect = Connect::new(Version::V3_1, unique("old")).will(Will::new(&topic, "old will").qos(1));
    RawClient::connect(&addr, &connect).drop_connection();
    assert_eq!(reader.receive().text(), "old will");
}

#[test]
fn mqisdp_with_another_level_gets_return_code_1() {
    let (_broker, addr) = broker();
    for level in [0, 2, 4, 5, 6, 0x83, 0x84] {
        refused(&addr, &Connect::v3(unique("old")).bytes_named(b"MQIsdp", level, 2), 1);
    }
}
