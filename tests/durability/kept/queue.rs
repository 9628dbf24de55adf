//! Queues of absent clients: order, content, expiry.

use std::time::Duration;

use e2e_tests::wire::{Props, Version, prop};
use e2e_tests::{Publish, pause, unique};

use super::{VERSIONS, World, persistent};

#[test]
fn queued_messages_come_in_the_order_in_which_they_were_published() {
    let Some(mut world) = World::start() else { return };
    for version in VERSIONS {
        let id = unique("c");
        world.absent(&persistent(version, &id), "t/#", 2);
        let mut publisher = world.client();
        // By one publisher, and QoS 2 of a transient session goes the same way as QoS 1: one order for both.
        for number in 0..200_u8 {
            publisher.publish(&format!("t/{}", number % 3), [number], 1 + number % 2);
        }
        world.kill_and_restart();
        let mut connect = persistent(version, &id);
        connect.props = connect.props.two(prop::RECEIVE_MAXIMUM, 7);
        let mut client = world.resume(&connect);
        for number in 0..200_u8 {
            let publish = client.receive();
            let expected = (number, 1 + number % 2, false, format!("t/{}", number % 3));
            assert_eq!((publish.payload[0], publish.qos, publish.dup, publish.topic), expected);
        }
        client.expect_nothing();
    }
}

#[test]
fn what_was_delivered_and_acknowledged_does_not_come_again() {
    let Some(mut world) = World::start() else { return };
    for version in VERSIONS {
        let id = unique("c");
        let mut client = world.subscribed(&persistent(version, &id), "t", 2);
        let mut publisher = world.client();
        for number in 0..4_u8 {
            publisher.publish("t", [number], 1 + number % 2);
            client.receive();
        }
        // DISCONNECT is taken after everything before it: its end is committed before the socket is closed.
        client.disconnect();
        world.kill_and_restart();
        let mut client = world.resume(&persistent(version, &id));
        client.expect_nothing();
        world.publish([("next", 2)]);
        let next = client.receive();
        assert_eq!((next.text(), next.packet_id, next.dup), ("next".to_owned(), 5, false));
    }
}

#[test]
fn a_queued_message_has_its_properties() {
    let Some(mut world) = World::start() else { return };
    let connect = persistent(Version::V5, "c");
    world.absent(&connect, "t", 1);
    let props = Props::new()
        .byte(prop::PAYLOAD_FORMAT, 1)
        .text(prop::CONTENT_TYPE, "text/plain")
        .text(prop::RESPONSE_TOPIC, "answers")
        .text(prop::CORRELATION_DATA, [0, 1, 2])
        .user("a", "1")
        .user("a", "2");
    world.client().publish_packet(Publish::v5("t", "한글").props(props), 1);
    world.kill_and_restart();
    let publish = world.resume(&connect).receive();
    assert_eq!(publish.text(), "한글");
    assert_eq!(publish.props.number(prop::PAYLOAD_FORMAT), Some(1));
    assert_eq!(publish.props.text(prop::CONTENT_TYPE).as_deref(), Some("text/plain"));
    assert_eq!(publish.props.text(prop::RESPONSE_TOPIC).as_deref(), Some("answers"));
    assert_eq!(publish.props.bytes(prop::CORRELATION_DATA), Some(vec![0, 1, 2]));
    let user = [("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
    assert_eq!(publish.props.user(), user);
}

#[test]
fn a_large_message_is_kept_whole() {
    let Some(mut world) = World::start() else { return };
    let connect = persistent(Version::V3_1_1, "c");
    world.absent(&connect, "t", 2);
    let payload: Vec<u8> = (0..900_000_u32).map(|number| (number % 251) as u8).collect();
    world.publish([(&payload, 2)]);
    world.kill_and_restart();
    assert!(world.resume(&connect).receive().payload == payload);
}

#[test]
fn g11_messages_expire_while_the_node_is_down() {
    let Some(mut world) = World::start() else { return };
    let connect = persistent(Version::V5, "c");
    world.absent(&connect, "t", 1);
    let mut publisher = world.client();
    for (text, seconds) in [("soon", 1), ("late", 1000), ("soon too", 1)] {
        let props = Props::new().four(prop::MESSAGE_EXPIRY, seconds);
        publisher.publish_packet(Publish::v5("t", text).props(props), 1);
    }
    publisher.publish("t", "never", 1);
    world.0.kill();
    pause(Duration::from_millis(2_100));
    world.0.restart(&[]);
    let mut client = world.resume(&connect);
    let late = client.receive();
    assert_eq!(late.text(), "late");
    let left = late.props.number(prop::MESSAGE_EXPIRY).unwrap();
    assert!(left <= 998, "the time that it has waited is taken off: {left}");
    let never = client.receive();
    assert_eq!((never.text(), never.props.number(prop::MESSAGE_EXPIRY)), ("never".to_owned(), None));
    client.expect_nothing();
}
