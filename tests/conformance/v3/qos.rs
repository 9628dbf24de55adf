//! Section 4.3: the exchanges of QoS 0, 1 and 2, both ways.
//! Run against the shared broker.

use e2e_tests::wire::kind;
use e2e_tests::{Publish, RawClient, unique};

use crate::support::{
    broker, client, forget, nothing_but_the_mark, persistent, puback, pubcomp, pubrec, pubrel, watcher,
};

#[test]
fn mqtt3_4_3_1_1_qos_0_is_sent_with_qos_0_and_dup_0() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut reader = client(&addr);
    reader.subscribe(&topic, 0);
    for qos in 0..3 {
        client(&addr).publish(&topic, "x", qos);
        assert_eq!(reader.expect(kind::PUBLISH).first, 0x30);
    }
}

#[test]
fn mqtt3_4_3_2_1_qos_1_is_unacked_until_puback() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("c"), unique("t"));
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 1);
    client(&addr).publish(&topic, "one", 1);
    client(&addr).publish(&topic, "two", 1);
    let (one, two) = (reader.expect(kind::PUBLISH), reader.expect_publish());
    assert_eq!(one.first, 0x32, "QoS 1, DUP 0");
    reader.send(&puback(two.packet_id));
    reader.ping();
    reader.drop_connection();
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    let again = reader.receive();
    assert_eq!((again.text().as_str(), again.dup), ("one", true), "only what was not acked");
    reader.expect_nothing();
    reader.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_4_3_2_2_after_puback_the_same_id_is_a_new_message() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut reader = watcher(&addr, &topic);
    let mut publisher = client(&addr);
    for payload in ["one", "two", "three"] {
        publisher.send(&Publish::v3(&topic, payload).qos(1, 8).dup().bytes());
        assert_eq!(publisher.expect_ack(kind::PUBACK).packet_id, 8);
        assert_eq!(reader.receive().text(), payload, "whatever DUP says");
    }
}

#[test]
fn mqtt3_4_3_3_1_the_broker_sends_qos_2_by_its_four_steps() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("c"), unique("t"));
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 2);
    client(&addr).publish(&topic, "x", 2);
    let publish = reader.expect(kind::PUBLISH);
    assert_eq!(publish.first, 0x34, "QoS 2, DUP 0");
    reader.drop_connection();

    let mut reader = RawClient::connect(&addr, &persistent(&id));
    let again = reader.expect_publish();
    assert!(again.dup, "unacked until PUBREC");
    reader.send(&pubrec(again.packet_id));
    assert_eq!(reader.expect_ack(kind::PUBREL).packet_id, again.packet_id);
    reader.drop_connection();

    let mut reader = RawClient::connect(&addr, &persistent(&id));
    assert_eq!(reader.expect_ack(kind::PUBREL).packet_id, again.packet_id, "no PUBLISH after PUBREL");
    reader.send(&pubcomp(again.packet_id));
    reader.ping();
    reader.drop_connection();
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.expect_nothing();
    reader.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_4_3_3_2_a_repeated_qos_2_publish_is_delivered_once() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("c"), unique("t"));
    let mut reader = watcher(&addr, &topic);
    let mut publisher = RawClient::connect(&addr, &persistent(&id));
    let publish = Publish::v3(&topic, "once").qos(2, 3);
    publisher.send(&publish.bytes());
    publisher.expect(kind::PUBREC);
    for _ in 0..3 {
        publisher.send(&publish.clone().dup().bytes());
        assert_eq!(publisher.expect_ack(kind::PUBREC).packet_id, 3);
    }
    publisher.drop_connection();
    let mut publisher = RawClient::connect(&addr, &persistent(&id));
    publisher.send(&publish.dup().bytes());
    publisher.expect(kind::PUBREC);
    for _ in 0..2 {
        publisher.send(&pubrel(3));
        assert_eq!(publisher.expect_ack(kind::PUBCOMP).packet_id, 3, "also for an id that is unknown by now");
    }
    assert_eq!(reader.receive().text(), "once");
    publisher.send(&Publish::v3(&topic, "new").qos(2, 3).bytes());
    publisher.expect(kind::PUBREC);
    publisher.send(&pubrel(3));
    publisher.expect(kind::PUBCOMP);
    assert_eq!(reader.receive().text(), "new", "after PUBCOMP the id is free");
    nothing_but_the_mark(&addr, &mut reader, &topic);
    publisher.disconnect();
    forget(&addr, &id);
}
