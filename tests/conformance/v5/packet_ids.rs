//! Section 2.2.1: packet identifiers.

use std::collections::BTreeSet;

use e2e_tests::packets::{self, Publish};
use e2e_tests::wire::{Props, Version, kind};

use crate::common::{MALFORMED, World, topic};

#[test]
fn mqtt5_2_2_1_2_a_qos_0_publish_has_no_packet_id() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    // Were an id read or written, two bytes of the payload would be lost or gained.
    for payload in [&[0, 7, 0, 1, 2][..], &[], &[9]] {
        publisher.publish(&topic, payload, 0);
        let got = subscriber.expect_publish();
        assert_eq!((got.qos, got.payload.as_slice()), (0, payload));
    }
}

#[test]
fn mqtt5_2_2_1_3_packet_id_zero_is_refused() {
    let world = World::new();
    for bytes in [
        Publish::v5("t", "p").qos(1, 0).bytes(),
        Publish::v5("t", "p").qos(2, 0).bytes(),
        packets::subscribe(Version::V5, 0, &[("t", 0)], &Props::new()),
        packets::unsubscribe(Version::V5, 0, &["t"], &Props::new()),
    ] {
        world.refused(&bytes, MALFORMED);
    }
}

#[test]
fn mqtt5_2_2_1_3_a_packet_id_in_use_makes_no_second_message() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    let mut publisher = world.client();
    publisher.send(&Publish::v5(&topic, "first").qos(2, 9).bytes());
    assert!(publisher.expect_ack(kind::PUBREC).code() < 0x80);
    publisher.send(&Publish::v5(&topic, "second").qos(2, 9).bytes());
    let again = publisher.expect_ack(kind::PUBREC);
    assert!(again.code() < 0x80 || again.code() == 0x91, "a repeat, or packet id in use: {again:?}");
    publisher.publish(&topic, "end", 0);
    assert_eq!(subscriber.expect_publish().text(), "first");
    assert_eq!(subscriber.expect_publish().text(), "end");
}

#[test]
fn mqtt5_2_2_1_4_the_servers_own_packet_ids_are_free_and_not_zero() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    let mut in_use = BTreeSet::new();
    for number in 0..40 {
        publisher.publish(&topic, "p", 1 + number % 2);
        let got = subscriber.expect_publish();
        assert!(got.packet_id != 0 && in_use.insert(got.packet_id), "id {} is in use", got.packet_id);
    }
}

#[test]
fn mqtt5_2_2_1_5_acks_of_a_publish_repeat_its_packet_id() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    for id in [1, 0x00FF, 0x0100, 0x1234, 0xFFFF] {
        publisher.send(&Publish::v5(&topic, "1").qos(1, id).bytes());
        assert_eq!(publisher.expect_ack(kind::PUBACK).packet_id, id);
        publisher.send(&Publish::v5(&topic, "2").qos(2, id).bytes());
        assert_eq!(publisher.expect_ack(kind::PUBREC).packet_id, id);
        publisher.send(&packets::ack(kind::PUBREL, id));
        assert_eq!(publisher.expect_ack(kind::PUBCOMP).packet_id, id);
        // `receive` checks that the PUBREL repeats the id of the PUBLISH.
        assert_eq!(subscriber.receive().qos, 1);
        assert_eq!(subscriber.receive().qos, 2);
    }
}

#[test]
fn mqtt5_2_2_1_6_suback_and_unsuback_repeat_the_packet_id() {
    let world = World::new();
    let topic = topic();
    let mut client = world.client();
    for id in [1, 0x00FF, 0x0100, 0xFFFF] {
        client.send(&packets::subscribe(Version::V5, id, &[(&topic, 1)], &Props::new()));
        assert_eq!(client.expect_ack(kind::SUBACK).packet_id, id);
        client.send(&packets::unsubscribe(Version::V5, id, &[&topic], &Props::new()));
        assert_eq!(client.expect_ack(kind::UNSUBACK).packet_id, id);
    }
}
