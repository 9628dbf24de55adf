//! The will: sections 3.1.2.5 to 3.1.2.7 and 3.14.4.

use e2e_tests::packets::{self, Connect, Publish, Will};
use e2e_tests::wire::{Props, kind};
use e2e_tests::{RawClient, unique};

use crate::common::{World, persistent, topic};

fn with_will(topic: &str) -> Connect {
    Connect::v5(unique("c")).will(Will::new(topic, "will"))
}

#[test]
fn mqtt5_3_1_2_7_the_will_is_stored_and_published_when_the_network_is_lost() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    let client = world.connect(&with_will(&topic));
    subscriber.expect_nothing();
    client.drop_connection();
    let got = subscriber.expect_publish();
    assert_eq!((got.topic, got.payload.as_slice(), got.retain), (topic, &b"will"[..], false));
}

#[test]
fn mqtt5_3_1_2_8_the_will_is_published_however_the_connection_ends_but_by_0x00() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    for last_words in [
        packets::disconnect_v5(0x04, &Props::new()),
        packets::disconnect_v5(0x80, &Props::new()),
        vec![0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        Connect::v5("again").bytes(),
        Publish::v5("t/#", "p").bytes(),
    ] {
        let mut client = world.connect(&with_will(&topic));
        client.send(&last_words);
        client.expect_closed();
        assert_eq!(subscriber.expect_publish().text(), "will", "after {last_words:02x?}");
    }
}

#[test]
fn mqtt5_3_1_2_8_the_will_of_a_connection_that_is_taken_over_is_published() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    let connect = with_will(&topic);
    let mut first = world.connect(&connect);
    let mut second = world.connect(&connect);
    first.expect_closed();
    // Clean start: the old session has ended, and with it the wait for a will delay.
    assert_eq!(subscriber.expect_publish().text(), "will");
    second.ping();
    second.disconnect();
    subscriber.expect_nothing();
}

#[test]
fn mqtt5_3_1_2_8_a_will_without_delay_is_published_at_a_takeover_of_its_session() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut subscriber = world.subscriber(&topic, 0);
    let mut first = world.connect(&persistent(&id).will(Will::new(&topic, "will")));
    let (_second, connack) = world.connect_ack(&persistent(&id));
    assert!(connack.session_present);
    first.expect_closed();
    assert_eq!(subscriber.expect_publish().text(), "will");
}

#[test]
fn mqtt5_3_1_2_10_a_will_is_published_once() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut subscriber = world.subscriber(&topic, 0);
    world.connect(&persistent(&id).will(Will::new(&topic, "once"))).drop_connection();
    assert_eq!(subscriber.expect_publish().text(), "once");
    // The session goes on without a will.
    let (client, connack) = world.connect_ack(&persistent(&id));
    assert!(connack.session_present);
    client.drop_connection();
    subscriber.expect_nothing();
}

#[test]
fn mqtt5_3_1_2_10_another_connect_brings_another_will() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut subscriber = world.subscriber(&topic, 0);
    for text in ["first", "second"] {
        world.connect(&persistent(&id).will(Will::new(&topic, text))).drop_connection();
        assert_eq!(subscriber.expect_publish().text(), text);
    }
}

#[test]
fn mqtt5_3_1_2_14_a_will_without_retain_is_not_retained() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0x08);
    world.connect(&with_will(&topic)).drop_connection();
    assert!(!subscriber.expect_publish().retain);
    world.subscriber(&topic, 0).expect_nothing();
}

#[test]
fn mqtt5_3_1_2_15_a_will_with_retain_is_retained() {
    let world = World::new();
    let topic = topic();
    // Retain as published: the flag is seen as the will had it. Handling 2: only the will itself.
    let mut subscriber = world.subscriber(&topic, 0x28);
    let will = Will::new(&topic, "kept").retain().qos(1);
    world.connect(&Connect::v5(unique("c")).will(will)).drop_connection();
    assert!(subscriber.expect_publish().retain);
    let got = world.subscriber(&topic, 1).expect_publish();
    assert!(got.retain && got.text() == "kept" && got.qos == 1);
    world.client().publish_packet(Publish::v5(&topic, "").retain(), 1);
}

#[test]
fn mqtt5_3_14_4_3_disconnect_0x00_discards_the_will() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    for goodbye in [
        packets::disconnect(),
        packets::disconnect_v5(0x00, &Props::new()),
        vec![kind::DISCONNECT << 4, 1, 0x00],
    ] {
        let mut client: RawClient = world.connect(&with_will(&topic));
        client.send(&goodbye);
        assert_eq!(client.expect_closed(), []);
    }
    subscriber.expect_nothing();
}
