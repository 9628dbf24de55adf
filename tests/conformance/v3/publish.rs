//! Sections 3.3.1 to 3.3.5 without retain: DUP, QoS bits, topic names, overlapping subscriptions.
//! Run against the shared broker.

use e2e_tests::wire::{kind, packet, string};
use e2e_tests::{Publish, RawClient, Version, unique};

use crate::support::{broker, client, closed_after_connect, forget, persistent, pubrel, watcher};

#[test]
fn mqtt3_3_3_1_1_a_redelivery_has_dup_1() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("c"), unique("t"));
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 2);
    for qos in [1, 2] {
        client(&addr).publish(&topic, "x", qos);
        assert!(!reader.expect_publish().dup);
        reader.drop_connection();
        reader = RawClient::connect(&addr, &persistent(&id));
        assert!(reader.receive().dup);
    }
    reader.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_3_3_1_2_dup_is_0_at_qos_0() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut reader = watcher(&addr, &topic);
    client(&addr).publish(&topic, "x", 0);
    assert_eq!(reader.expect(kind::PUBLISH).first, 0x30);
}

#[test]
fn mqtt3_3_3_1_2_dup_1_at_qos_0_closes() {
    let (_broker, addr) = broker();
    closed_after_connect(&addr, &Publish::v3("t", "x").dup().bytes(), "DUP at QoS 0");
}

#[test]
fn mqtt3_3_3_1_3_dup_is_not_passed_on() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut reader = watcher(&addr, &topic);
    let mut publisher = client(&addr);
    for (qos, answer) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        publisher.send(&Publish::v3(&topic, "x").qos(qos, 3).dup().bytes());
        publisher.expect(answer);
        if qos == 2 {
            publisher.send(&pubrel(3));
            publisher.expect(kind::PUBCOMP);
        }
        assert!(!reader.receive().dup, "it is the first time that this packet is sent");
    }
}

#[test]
fn mqtt3_3_3_1_4_qos_3_closes() {
    let (_broker, addr) = broker();
    closed_after_connect(&addr, &Publish::v3("t", "x").qos(3, 1).bytes(), "QoS 3");
}

#[test]
fn mqtt3_3_3_2_1_the_topic_name_is_the_first_field() {
    let (_broker, addr) = broker();
    let topic = unique("주제/temp");
    let mut reader = watcher(&addr, &topic);
    client(&addr).publish(&topic, "x", 1);
    let publish = reader.expect(kind::PUBLISH);
    assert!(publish.body.starts_with(&string(&topic)));
    closed_after_connect(&addr, &packet(0x30, &[]), "no topic name");
    closed_after_connect(&addr, &packet(0x30, &[0, 9, b't']), "a topic name longer than the packet");
    closed_after_connect(&addr, &Publish::v3(b"t\xff", "").bytes(), "not UTF-8");
}

#[test]
fn mqtt3_3_3_2_2_a_topic_name_with_wildcards_closes() {
    let (_broker, addr) = broker();
    for name in ["+", "#", "a/+", "a/#", "a+b", "a#", "+/b"] {
        for qos in 0..3 {
            closed_after_connect(&addr, &Publish::v3(name, "x").qos(qos, 1).bytes(), name);
        }
    }
}

#[test]
fn mqtt3_3_3_2_3_the_topic_name_sent_is_the_one_published() {
    let (_broker, addr) = broker();
    let root = unique("t");
    let mut reader = watcher(&addr, &format!("{root}/+/#"));
    for topic in [format!("{root}/a"), format!("{root}/a/b/c"), format!("{root}//")] {
        client(&addr).publish(&topic, "x", 1);
        assert_eq!(reader.receive().topic, topic);
    }
}

#[test]
fn mqtt3_3_3_4_1_publish_is_answered_as_its_qos_demands() {
    let (_broker, addr) = broker();
    let mut client = client(&addr);
    client.send(&Publish::v3("t", "x").bytes());
    client.send(&Publish::v3("t", "x").qos(1, 5).bytes());
    assert_eq!(client.expect(kind::PUBACK).body, [0, 5]);
    client.send(&Publish::v3("t", "x").qos(2, 6).bytes());
    assert_eq!(client.expect(kind::PUBREC).body, [0, 6]);
    client.send(&pubrel(6));
    assert_eq!(client.expect(kind::PUBCOMP).body, [0, 6]);
    client.ping();
    client.expect_nothing();
}

#[test]
fn mqtt3_3_3_5_1_overlapping_subscriptions_get_the_highest_qos() {
    let (_broker, addr) = broker();
    let root = unique("t");
    let mut reader = client(&addr);
    for (filter, qos) in [(format!("{root}/#"), 0), (format!("{root}/+"), 2), (format!("{root}/a"), 1)] {
        reader.subscribe(&filter, qos);
    }
    for qos in 0..3 {
        client(&addr).publish(&format!("{root}/a"), [qos], qos);
        let mut copies = vec![reader.receive()];
        reader.ping();
        while let e2e_tests::client::Read::Packet(packet) = reader.read(e2e_tests::QUIET) {
            let publish = packet.publish(Version::V3_1_1);
            reader.answer(&publish);
            copies.push(publish);
        }
        assert!(copies.iter().all(|copy| copy.payload == [qos] && copy.qos <= qos));
        assert!(copies.iter().any(|copy| copy.qos == qos), "at the highest granted QoS: {copies:?}");
    }
}

#[test]
fn mqtt3_3_3_5_2_a_denied_publish_is_acked_or_closed_and_goes_nowhere() {
    let (_broker, addr) = broker();
    let topic = format!("$SYS/broker/{}", unique("mine"));
    let mut reader = watcher(&addr, &topic);
    for qos in [1, 2] {
        let mut publisher = client(&addr);
        publisher.send(&Publish::v3(&topic, "x").qos(qos, 4).bytes());
        match publisher.read(e2e_tests::BOUND) {
            e2e_tests::client::Read::Packet(packet) => {
                assert_eq!(packet.body, [0, 4], "the normal positive ack")
            }
            e2e_tests::client::Read::Closed => {}
            e2e_tests::client::Read::Nothing => panic!("neither acked nor closed"),
        }
    }
    reader.ping();
    reader.expect_nothing();
}

#[test]
fn mqtt3_3_6_1_1_pubrel_with_other_flags_closes() {
    let (_broker, addr) = broker();
    for flags in (0..16).filter(|flags| *flags != 2) {
        let mut client = client(&addr);
        client.send(&Publish::v3("elsewhere", [flags]).qos(2, 1).bytes());
        client.expect(kind::PUBREC);
        client.send(&packet(0x60 | flags, &[0, 1]));
        assert!(client.expect_closed().is_empty(), "PUBREL with flags {flags}");
    }
}
