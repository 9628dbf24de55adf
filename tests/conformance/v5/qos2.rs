//! Section 4.3.3 with the server as sender of QoS 2.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e_tests::packets::{self, Publish};
use e2e_tests::parse::ReceivedPublish;
use e2e_tests::wire::{Props, kind, prop};
use e2e_tests::{RawClient, Version, pause, unique};

use crate::common::{World, persistent, topic};

/// A persistent subscriber with an unanswered QoS 2 message, that message, its topic and the client id.
fn unanswered(world: &World, props: Props) -> (RawClient, ReceivedPublish, String, String) {
    let (id, topic) = (unique("c"), topic());
    let mut client = world.connect(&persistent(&id));
    client.subscribe(&topic, 2);
    world.client().publish_packet(Publish::v5(&topic, "exactly once").props(props), 2);
    let publish = client.expect_publish();
    (client, publish, topic, id)
}

#[test]
fn mqtt5_4_3_3_1_each_new_message_has_a_fresh_packet_id() {
    let world = World::new();
    let topic = topic();
    let mut client = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    let mut open = BTreeSet::new();
    for number in 0..20 {
        publisher.publish(&topic, "p", 2);
        let publish = client.expect_publish();
        assert!(open.insert(publish.packet_id), "id {} is in use", publish.packet_id);
        if number % 3 == 0 {
            open.remove(&publish.packet_id);
            client.answer(&publish);
        }
    }
}

#[test]
fn mqtt5_4_3_3_2_the_first_try_is_qos_2_with_dup_0() {
    let world = World::new();
    let topic = topic();
    let mut client = world.subscriber(&topic, 2);
    world.client().publish(&topic, "p", 2);
    assert_eq!(client.expect(kind::PUBLISH).first, 0x34, "QoS 2, DUP 0, RETAIN 0");
}

#[test]
fn mqtt5_4_3_3_3_a_message_is_unacknowledged_until_pubrec() {
    let world = World::new();
    let (client, before, _topic, id) = unanswered(&world, Props::new());
    client.drop_connection();
    let mut client = world.connect(&persistent(&id));
    let again = client.expect_publish();
    assert_eq!((again.packet_id, again.qos, again.dup), (before.packet_id, 2, true));
    assert_eq!(again.text(), "exactly once");
    client.answer(&again);
    client.ping();
    client.drop_connection();
    world.connect(&persistent(&id)).expect_nothing();
}

#[test]
fn mqtt5_4_3_3_4_pubrec_is_answered_by_pubrel_with_the_same_id() {
    let world = World::new();
    for code in [0x00, 0x10] {
        let (mut client, publish, ..) = unanswered(&world, Props::new());
        client.send(&packets::ack_v5(kind::PUBREC, publish.packet_id, code, &Props::new()));
        let pubrel = client.expect(kind::PUBREL);
        assert_eq!(pubrel.first, 0x62);
        assert_eq!(pubrel.ack(Version::V5).packet_id, publish.packet_id);
    }
}

#[test]
fn mqtt5_4_3_3_4_pubrec_of_failure_is_not_answered_by_pubrel() {
    let world = World::new();
    let (mut client, publish, topic, id) = unanswered(&world, Props::new());
    client.send(&packets::ack_v5(kind::PUBREC, publish.packet_id, 0x83, &Props::new()));
    client.expect_nothing();
    world.client().publish(&topic, "the next", 2);
    assert_eq!(client.receive().text(), "the next");
    client.ping();
    client.drop_connection();
    world.connect(&persistent(&id)).expect_nothing();
}

#[test]
fn mqtt5_4_3_3_5_pubrel_is_unacknowledged_until_pubcomp() {
    let world = World::new();
    let (mut client, publish, _topic, id) = unanswered(&world, Props::new());
    client.send(&packets::ack(kind::PUBREC, publish.packet_id));
    client.expect(kind::PUBREL);
    for _ in 0..2 {
        client.drop_connection();
        client = world.connect(&persistent(&id));
        assert_eq!(client.expect_ack(kind::PUBREL).packet_id, publish.packet_id, "PUBREL is sent again");
    }
    client.send(&packets::ack(kind::PUBCOMP, publish.packet_id));
    client.ping();
    client.drop_connection();
    world.connect(&persistent(&id)).expect_nothing();
}

#[test]
fn mqtt5_4_3_3_6_after_pubrel_the_publish_is_not_sent_again() {
    let world = World::new();
    let (mut client, publish, _topic, id) = unanswered(&world, Props::new());
    client.send(&packets::ack(kind::PUBREC, publish.packet_id));
    client.expect(kind::PUBREL);
    client.drop_connection();
    let mut client = world.connect(&persistent(&id));
    client.expect(kind::PUBREL);
    client.expect_nothing();
    // A PUBREC that comes again is answered by PUBREL again, not by the message.
    client.send(&packets::ack(kind::PUBREC, publish.packet_id));
    assert_eq!(client.expect_ack(kind::PUBREL).packet_id, publish.packet_id);
    client.expect_nothing();
}

#[test]
fn mqtt5_4_3_3_7_what_was_sent_does_not_expire() {
    let world = World::new();
    let (client, before, _topic, id) = unanswered(&world, Props::new().four(prop::MESSAGE_EXPIRY, 6));
    client.drop_connection();
    pause(Duration::from_millis(7500));
    let mut client = world.connect(&persistent(&id));
    let again = client.receive();
    assert_eq!((again.packet_id, again.dup), (before.packet_id, true));
    client.ping();
}

#[test]
fn mqtt5_4_4_0_2_an_ack_of_failure_counts_as_acknowledged() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut client = world.connect(&persistent(&id));
    client.subscribe(&topic, 2);
    let mut publisher = world.client();
    publisher.publish(&topic, "one", 1);
    publisher.publish(&topic, "two", 2);
    let (one, two) = (client.expect_publish(), client.expect_publish());
    client.send(&packets::ack_v5(kind::PUBACK, one.packet_id, 0x80, &Props::new()));
    client.send(&packets::ack_v5(kind::PUBREC, two.packet_id, 0x80, &Props::new()));
    client.ping();
    client.drop_connection();
    let mut client = world.connect(&persistent(&id));
    client.expect_nothing();
    publisher.publish(&topic, "three", 1);
    assert_eq!(client.receive().text(), "three");
}
