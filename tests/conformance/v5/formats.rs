//! Chapters 1 and 2: strings, variable byte integers, flags, property lengths.

use e2e_tests::packets::{self, Connect, Publish, Will};
use e2e_tests::wire::{Props, Version, kind, packet, prop, string};
use e2e_tests::{RawClient, unique};

use crate::common::{BAD_UTF8, MALFORMED, World, topic};

/// CONNECTs with this string in each of their string fields.
fn connects_with(text: &[u8]) -> Vec<Vec<u8>> {
    let id = || unique("s");
    let with = |props: Props| Connect::v5(id()).props(props).bytes();
    vec![
        Connect::v5(text).bytes(),
        Connect::v5(id()).user(text).bytes(),
        Connect::v5(id()).will(Will::new(text, "w")).bytes(),
        Connect::v5(id())
            .will(Will::new("w", "w").props(Props::new().text(prop::CONTENT_TYPE, text)))
            .bytes(),
        Connect::v5(id())
            .will(Will::new("w", "w").props(Props::new().text(prop::RESPONSE_TOPIC, text)))
            .bytes(),
        Connect::v5(id()).will(Will::new("w", "w").props(Props::new().user(text, "v"))).bytes(),
        with(Props::new().user(text, "v")),
        with(Props::new().user("n", text)),
        with(Props::new().text(prop::AUTH_METHOD, text)),
    ]
}

/// Packets of a connected client with this string in each of their string fields.
fn packets_with(text: &[u8]) -> Vec<Vec<u8>> {
    let publish = |props: Props| Publish::v5("t", "p").props(props).bytes();
    let filter_body = |options: &[u8]| [&[0, 1, 0][..], &string(text), options].concat();
    let reason = Props::new().text(prop::REASON_STRING, text);
    vec![
        Publish::v5(text, "p").bytes(),
        publish(Props::new().text(prop::CONTENT_TYPE, text)),
        publish(Props::new().text(prop::RESPONSE_TOPIC, text)),
        publish(Props::new().user(text, "v")),
        publish(Props::new().user("n", text)),
        packet(kind::SUBSCRIBE << 4 | 2, &filter_body(&[0])),
        packet(kind::UNSUBSCRIBE << 4 | 2, &filter_body(&[])),
        packets::subscribe(Version::V5, 1, &[("t", 0)], &Props::new().user("n", text)),
        packets::ack_v5(kind::PUBACK, 1, 0, &reason),
        packets::ack_v5(kind::PUBREL, 1, 0, &reason),
        packets::disconnect_v5(0x04, &reason),
    ]
}

#[track_caller]
fn everywhere_refused(world: &World, text: &[u8]) {
    for bytes in connects_with(text) {
        world.refused_first(&bytes, &[0x81, 0x82, 0x85, 0x86, 0x8C, 0x90]);
    }
    for bytes in packets_with(text) {
        world.refused(&bytes, &[0x81, 0x82, 0x8F, 0x90]);
    }
}

#[test]
fn mqtt5_1_5_4_1_a_string_that_is_no_utf8_is_malformed() {
    let world = World::new();
    for bad in BAD_UTF8 {
        everywhere_refused(&world, bad);
    }
}

#[test]
fn mqtt5_1_5_4_2_a_string_with_a_null_character_is_malformed() {
    let world = World::new();
    everywhere_refused(&world, b"a\0b");
    everywhere_refused(&world, b"\0");
}

#[test]
fn mqtt5_1_5_4_3_a_byte_order_mark_is_data() {
    let world = World::new();
    let plain = topic();
    let marked = format!("\u{FEFF}{plain}");
    let mut with_mark = world.subscriber(&marked, 0);
    let mut without = world.subscriber(&plain, 0);
    let mut publisher = world.client();
    let props = Props::new().text(prop::CONTENT_TYPE, "\u{FEFF}type").user("\u{FEFF}n", "v\u{FEFF}");
    publisher.send(&Publish::v5(&marked, "marked").props(props).bytes());
    publisher.publish(&plain, "plain", 0);
    let got = with_mark.expect_publish();
    assert_eq!((got.topic.as_str(), got.text().as_str()), (marked.as_str(), "marked"));
    assert_eq!(got.props.text(prop::CONTENT_TYPE).unwrap(), "\u{FEFF}type");
    assert_eq!(got.props.user(), [("\u{FEFF}n".to_owned(), "v\u{FEFF}".to_owned())]);
    assert_eq!(without.expect_publish().text(), "plain");
}

#[test]
fn mqtt5_1_5_5_1_a_variable_byte_integer_in_more_bytes_than_needed_is_malformed() {
    let world = World::new();
    world.refused(&[kind::PINGREQ << 4, 0x80, 0x00], MALFORMED);
    let padded_property_length = [&[0, 1, 0x80, 0x00][..], &string("t"), &[0]].concat();
    world.refused(&packet(kind::SUBSCRIBE << 4 | 2, &padded_property_length), MALFORMED);
    let padded_id = Props::new().raw(&[prop::SUBSCRIPTION_ID, 0x85, 0x00]);
    world.refused(&packets::subscribe(Version::V5, 1, &[("t", 0)], &padded_id), MALFORMED);
    let five_bytes = Props::new().raw(&[prop::SUBSCRIPTION_ID, 0x80, 0x80, 0x80, 0x80, 0x01]);
    world.refused(&packets::subscribe(Version::V5, 1, &[("t", 0)], &five_bytes), MALFORMED);
}

#[test]
fn mqtt5_1_5_5_1_lengths_from_the_server_are_minimal() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    let mut publisher = world.client();
    // Around each step of the encoding; the parser of these tests refuses a longer form than needed.
    for length in [0, 90, 127, 128, 16_340, 16_383, 16_384, 70_000] {
        publisher.publish(&topic, vec![b'x'; length], 0);
        assert_eq!(subscriber.expect_publish().payload.len(), length);
    }
}

#[test]
fn mqtt5_1_5_7_1_both_halves_of_a_user_property_are_strings() {
    let world = World::new();
    for bad in BAD_UTF8.into_iter().chain([&b"a\0"[..]]) {
        for props in [Props::new().user(bad, "v"), Props::new().user("n", bad)] {
            world.refused(&Publish::v5("t", "p").props(props.clone()).bytes(), MALFORMED);
            world.refused_first(&Connect::v5(unique("s")).props(props).bytes(), MALFORMED);
        }
    }
}

#[test]
fn mqtt5_2_1_3_1_wrong_reserved_flags_are_malformed() {
    let world = World::new();
    for flags in [0x01, 0x02, 0x04, 0x08] {
        let mut connect = Connect::v5(unique("s")).bytes();
        connect[0] |= flags;
        world.refused_first(&connect, MALFORMED);
    }
    for (ack_kind, right) in [(kind::PUBACK, 0), (kind::PUBREC, 0), (kind::PUBREL, 2), (kind::PUBCOMP, 0)] {
        for wrong in (0..16).filter(|flags| *flags != right) {
            world.refused(&packet(ack_kind << 4 | wrong, &[0, 1]), MALFORMED);
        }
    }
    for wrong in (0..16).filter(|flags| *flags != 2) {
        world.refused(&packet(kind::SUBSCRIBE << 4 | wrong, &[0, 1, 0, 0, 1, b't', 0]), MALFORMED);
        world.refused(&packet(kind::UNSUBSCRIBE << 4 | wrong, &[0, 1, 0, 0, 1, b't']), MALFORMED);
    }
    for wrong in 1..16 {
        world.refused(&packet(kind::PINGREQ << 4 | wrong, &[]), MALFORMED);
        world.refused(&packet(kind::DISCONNECT << 4 | wrong, &[]), MALFORMED);
        world.refused(&packet(kind::AUTH << 4 | wrong, &[]), MALFORMED);
    }
}

#[test]
fn mqtt5_2_2_2_1_no_properties_is_a_property_length_of_zero() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    world.client().publish(&topic, "p", 0);
    let got = subscriber.expect(kind::PUBLISH);
    assert_eq!(got.body, [&string(&topic)[..], &[0], b"p"].concat(), "topic, property length 0, payload");
    let without_length = [&[0, 1][..], &string("t"), &[0]].concat();
    // The length of the filter is then read as the property length.
    world.refused(&packet(kind::SUBSCRIBE << 4 | 2, &without_length), &[0x81, 0x82, 0x8F]);
    let mut connect = string("MQTT");
    connect.extend([5, 2, 0, 60]);
    connect.extend(string("noprops"));
    world.refused_first(&packet(kind::CONNECT << 4, &connect), &[0x81, 0x82]);
}

#[test]
fn mqtt5_2_2_2_1_acks_may_leave_out_reason_and_properties() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    for form in 0..3 {
        publisher.publish(&topic, "p", 2);
        let publish = subscriber.expect_publish();
        let ack = |client: &mut RawClient, ack_kind| match form {
            0 => client.send(&packets::ack(ack_kind, publish.packet_id)),
            1 => client.send(&packet(ack_kind << 4, &[&publish.packet_id.to_be_bytes()[..], &[0]].concat())),
            _ => client.send(&packets::ack_v5(ack_kind, publish.packet_id, 0, &Props::new())),
        };
        ack(&mut subscriber, kind::PUBREC);
        assert_eq!(subscriber.expect_ack(kind::PUBREL).packet_id, publish.packet_id);
        ack(&mut subscriber, kind::PUBCOMP);
        subscriber.ping();
    }
}
