//! Section 3.3.1 and the topic name of 3.3.2: flags, acks by QoS, topic names.

use e2e_tests::packets::{self, Publish};
use e2e_tests::wire::{Props, kind, packet, string};
use e2e_tests::{RawClient, unique};

use crate::common::{BAD_UTF8, MALFORMED, World, persistent, topic};

#[test]
fn mqtt5_3_3_1_1_dup_is_set_when_the_server_sends_again() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut client = world.connect(&persistent(&id));
    client.subscribe(&topic, 2);
    let mut publisher = world.client();
    for qos in [1, 2] {
        publisher.publish(&topic, "p", qos);
        assert!(!client.expect_publish().dup, "the first delivery has DUP 0");
    }
    client.drop_connection();
    let mut client = world.connect(&persistent(&id));
    for qos in [1, 2] {
        let again = client.receive();
        assert!(again.dup && again.qos == qos, "the second has DUP 1: {again:?}");
    }
}

#[test]
fn mqtt5_3_3_1_1_a_repeat_by_the_client_is_taken() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    // The server has never seen the first try: the repeat is the message.
    publisher.publish_packet(Publish::v5(&topic, "one").dup(), 1);
    publisher.publish_packet(Publish::v5(&topic, "two").dup(), 2);
    assert_eq!([subscriber.receive().text(), subscriber.receive().text()], ["one", "two"]);
}

#[test]
fn mqtt5_3_3_1_2_dup_at_qos_0_is_malformed() {
    let world = World::new();
    world.refused(&Publish::v5("t", "p").dup().bytes(), MALFORMED);
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    world.client().publish(&topic, "p", 2);
    let got = subscriber.expect_publish();
    assert_eq!((got.qos, got.dup), (0, false));
}

#[test]
fn mqtt5_3_3_1_3_dup_is_not_passed_on() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    for qos in [1, 2] {
        publisher.publish_packet(Publish::v5(&topic, "p").dup(), qos);
        let got = subscriber.receive();
        assert_eq!((got.qos, got.dup), (qos, false));
    }
}

#[test]
fn mqtt5_3_3_1_4_qos_3_is_malformed() {
    let world = World::new();
    world.refused(&Publish::v5("t", "p").qos(3, 1).bytes(), MALFORMED);
    world.refused(&Publish::v5("t", "p").qos(3, 1).retain().dup().bytes(), MALFORMED);
}

#[test]
fn mqtt5_3_3_2_1_the_topic_name_comes_first_and_is_utf8() {
    let world = World::new();
    for bad in BAD_UTF8.into_iter().chain([&b"t\0"[..]]) {
        world.refused(&Publish::v5(bad, "p").bytes(), &[0x81, 0x82, 0x90]);
    }
    // A topic longer than the packet, and none at all.
    world.refused(&packet(kind::PUBLISH << 4, &[0, 9, b't', 0]), MALFORMED);
    world.refused(&packet(kind::PUBLISH << 4, &[0]), MALFORMED);
    world.refused(&packet(kind::PUBLISH << 4, &[]), MALFORMED);
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    world.client().publish(&topic, "p", 0);
    assert!(subscriber.expect(kind::PUBLISH).body.starts_with(&string(&topic)));
}

#[test]
fn mqtt5_3_3_2_2_a_topic_name_has_no_wildcard() {
    let world = World::new();
    for bad in ["#", "+", "a/#", "a/+/b", "a+", "#b", "a/b#"] {
        for qos in 0..3 {
            world.refused(&Publish::v5(bad, "p").qos(qos, 1).bytes(), &[0x81, 0x82, 0x90]);
        }
    }
}

#[test]
fn mqtt5_3_3_2_2_a_topic_name_is_not_empty_without_an_alias() {
    let world = World::new();
    world.refused(&Publish::v5("", "p").bytes(), &[0x81, 0x82, 0x90]);
}

#[test]
fn mqtt5_3_3_2_3_the_topic_sent_on_is_the_one_published_and_matches_the_filter() {
    let world = World::new();
    let base = topic();
    let mut all = world.subscriber(&format!("{base}/#"), 0);
    let mut one = world.subscriber(&format!("{base}/+/x"), 0);
    let mut publisher = world.client();
    let name = |rest: &str| format!("{base}{rest}");
    for rest in ["", "/", "/a", "/a/x", "/한국/x", "/a/b/c"] {
        publisher.publish(&name(rest), "p", 0);
        assert_eq!(all.expect_publish().topic, name(rest));
    }
    assert_eq!(one.expect_publish().topic, name("/a/x"));
    assert_eq!(one.expect_publish().topic, name("/한국/x"));
    one.expect_nothing();
}

#[test]
fn mqtt5_3_3_4_1_publish_is_answered_as_its_qos_demands() {
    let world = World::new();
    let topic = topic();
    let _subscriber = world.subscriber(&topic, 0);
    for target in [topic.as_str(), "nobody/listens/here"] {
        let mut client = world.client();
        client.send(&Publish::v5(target, "0").bytes());
        client.expect_nothing();
        client.send(&Publish::v5(target, "1").qos(1, 1).bytes());
        assert!([0x00, 0x10].contains(&client.expect_ack(kind::PUBACK).code()));
        client.send(&Publish::v5(target, "2").qos(2, 2).bytes());
        assert!([0x00, 0x10].contains(&client.expect_ack(kind::PUBREC).code()));
        client.expect_nothing();
    }
}

#[test]
fn mqtt5_4_3_1_1_qos_0_goes_out_as_qos_0_without_dup() {
    let world = World::new();
    let topic = topic();
    let mut subscribers: Vec<RawClient> = (0..3).map(|qos| world.subscriber(&topic, qos)).collect();
    world.client().publish(&topic, "p", 0);
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.expect(kind::PUBLISH).first, 0x30, "QoS 0, DUP 0, RETAIN 0");
        subscriber.send(&packets::pingreq());
        subscriber.expect(kind::PINGRESP);
    }
}

#[test]
fn mqtt5_4_5_0_1_a_message_is_added_to_every_matching_session() {
    let world = World::new();
    let base = topic();
    let (away, name) = (unique("away"), format!("{base}/a/b"));
    let filters = [name.clone(), format!("{base}/#"), format!("{base}/+/b"), format!("{base}/a/+")];
    let mut here: Vec<RawClient> = filters.iter().map(|filter| world.subscriber(filter, 2)).collect();
    let mut not_here = world.subscriber(&format!("{base}/b/#"), 2);
    world.absent(&away, &filters[1], 2);
    let mut publisher = world.client();
    publisher.subscribe(&name, 1);
    for qos in [1, 2] {
        publisher.publish(&name, "p", qos);
        assert_eq!(publisher.expect_among(kind::PUBLISH).publish(e2e_tests::Version::V5).qos, 1);
        for client in &mut here {
            assert_eq!(client.receive().qos, qos);
        }
    }
    not_here.expect_nothing();
    let mut back = world.connect(&persistent(&away));
    assert_eq!([back.receive().qos, back.receive().qos], [1, 2]);
}

#[test]
fn mqtt5_3_3_4_6_a_subscription_identifier_from_a_client_is_a_protocol_error() {
    let world = World::new();
    let props = Props::new().var(0x0B, 1);
    world.refused(&Publish::v5("t", "p").props(props).bytes(), MALFORMED);
}
