//! Section 3.14: DISCONNECT from both sides, and the rules of 4.13 for what ends a connection.

use e2e_tests::packets::{self, Connect, Publish, Will};
use e2e_tests::wire::{Props, Version, kind, packet, prop};
use e2e_tests::{RawClient, unique};

use crate::common::{MALFORMED, World, expiry, persistent, topic};

/// Reason codes of DISCONNECT, section 3.14.2.1: from the server.
const FROM_SERVER: [u8; 27] = [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
    0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1,
];
/// From the client.
const FROM_CLIENT: [u8; 14] =
    [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];

/// What a connected client may send to be disconnected.
fn offences() -> Vec<Vec<u8>> {
    vec![
        Connect::v5(unique("c")).bytes(),
        Publish::v5("t", "p").qos(3, 1).bytes(),
        Publish::v5("t", "p").qos(1, 0).bytes(),
        Publish::v5("t/#", "p").bytes(),
        Publish::v5("", "p").bytes(),
        Publish::v5("t", "p").props(Props::new().two(prop::TOPIC_ALIAS, 0)).bytes(),
        Publish::v5("t", "p").props(Props::new().raw(&[0x7E])).bytes(),
        packets::subscribe(Version::V5, 1, &[], &Props::new()),
        packets::subscribe(Version::V5, 1, &[("t", 0xFF)], &Props::new()),
        packets::subscribe(Version::V5, 1, &[("$share/g/t", 0x04)], &Props::new()),
        packets::unsubscribe(Version::V5, 1, &[], &Props::new()),
        packets::auth(0x18, &Props::new()),
        packet(kind::CONNACK << 4, &[0, 0, 0]),
        packet(kind::SUBACK << 4, &[0, 1, 0, 0]),
        packet(kind::UNSUBACK << 4, &[0, 1, 0, 0]),
        packet(kind::PINGRESP << 4, &[]),
        packet(kind::PINGREQ << 4, &[0]),
        packet(0, &[]),
        vec![kind::PUBLISH << 4, 0xFF, 0xFF, 0xFF, 0x7F],
        vec![kind::PUBLISH << 4, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
    ]
}

#[test]
fn mqtt5_3_14_0_1_no_disconnect_before_a_good_connack() {
    let world = World::new();
    for first in [
        Connect::v5(unique("c")).bytes_with_flags(0x03),
        Connect::v5(b"\xC3\x28").bytes(),
        Connect::v5(unique("c")).props(Props::new().text(prop::AUTH_METHOD, "NO-SUCH")).bytes(),
        Connect::v5(unique("c")).bytes_named(b"MQTT", 99, 2),
        vec![kind::CONNECT << 4, 0xFF, 0xFF, 0xFF, 0x7F],
        Publish::v5("t", "p").bytes(),
        packets::disconnect(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let mut client = RawClient::open(&world.addr());
        client.send(&first);
        let before = client.expect_closed();
        assert!(before.iter().all(|packet| packet.kind() == kind::CONNACK), "{before:02x?} to {first:02x?}");
    }
}

#[test]
fn mqtt5_3_14_1_1_reserved_disconnect_bits_are_checked() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    for wrong in [1, 2, 4, 8, 15] {
        let mut client = world.connect(&Connect::v5(unique("c")).will(Will::new(&topic, "will")));
        client.send(&[kind::DISCONNECT << 4 | wrong, 0]);
        client.expect_refusal(&[0x81]);
        assert_eq!(subscriber.expect_publish().text(), "will", "it was no DISCONNECT");
    }
}

#[test]
fn mqtt5_3_14_2_1_disconnect_codes_of_the_server() {
    let world = World::new();
    for offence in offences() {
        let mut client = world.client();
        client.send(&offence);
        for packet in client.expect_closed() {
            assert_eq!(packet.kind(), kind::DISCONNECT, "{packet:02x?} to {offence:02x?}");
            let reason = packet.reasoned().reason;
            assert!(FROM_SERVER.contains(&reason) && reason >= 0x80, "{reason:#04x} to {offence:02x?}");
        }
    }
}

#[test]
fn mqtt5_3_14_2_1_disconnect_codes_of_the_client() {
    let world = World::new();
    for code in FROM_CLIENT {
        let mut client = world.client();
        client.send(&packets::disconnect_v5(code, &Props::new()));
        assert_eq!(client.expect_closed(), [], "a DISCONNECT is not answered");
    }
    for code in [0x01, 0x10, 0x8D, 0x8E, 0x9C, 0xFF] {
        world.refused(&packets::disconnect_v5(code, &Props::new()), MALFORMED);
    }
}

#[test]
fn mqtt5_3_14_2_1_a_disconnect_of_a_wrong_form_is_refused() {
    let world = World::new();
    for body in [&[0, 0, 1][..], &[0, 5, 1], &[0, 3, 0x21, 0, 1], &[0, 5, 0x11, 0, 0, 0]] {
        world.refused(&packet(kind::DISCONNECT << 4, body), MALFORMED);
    }
    // An expiry may not be raised from 0.
    world.refused(&packets::disconnect_v5(0, &expiry(10)), MALFORMED);
}

#[test]
fn mqtt5_3_14_2_2_the_servers_disconnect_has_no_session_expiry() {
    let world = World::new();
    for offence in offences() {
        let mut client = world.connect(&persistent(&unique("c")));
        client.send(&offence);
        for packet in client.expect_closed() {
            assert!(!packet.reasoned().props.has(prop::SESSION_EXPIRY));
        }
    }
}

#[test]
fn mqtt5_3_14_4_1_nothing_comes_after_a_disconnect() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    // From the client: what follows its DISCONNECT is not processed, nor answered.
    let mut client = world.client();
    let after = [Publish::v5(&topic, "no").bytes(), packets::pingreq()].concat();
    client.send(&[packets::disconnect(), after].concat());
    assert_eq!(client.expect_closed(), []);
    subscriber.expect_nothing();
    // From the server: its DISCONNECT is the last packet.
    for offence in offences() {
        let mut client = world.client();
        client.send(&[offence, packets::pingreq()].concat());
        let before = client.expect_closed();
        let end = before.iter().position(|packet| packet.kind() == kind::DISCONNECT);
        assert!(end.is_none_or(|at| at + 1 == before.len()), "{before:02x?}");
    }
}

#[test]
fn mqtt5_3_14_4_2_after_a_disconnect_the_connection_is_closed() {
    let world = World::new();
    world.client().disconnect();
    let id = unique("c");
    let mut first = world.connect(&Connect::v5(&id));
    let _second = world.connect(&Connect::v5(&id));
    let before = first.expect_closed();
    assert_eq!(before.last().map(|packet| packet.kind()), Some(kind::DISCONNECT));
}

#[test]
fn mqtt5_4_13_1_1_every_offence_ends_the_connection() {
    let world = World::new();
    for offence in offences() {
        world.refused(&offence, &FROM_SERVER);
    }
}

#[test]
fn mqtt5_4_13_1_1_offences_have_their_reason_code() {
    let world = World::new();
    let subscribe = |filters: &[(&str, u8)]| packets::subscribe(Version::V5, 1, filters, &Props::new());
    for (offence, codes) in [
        (Connect::v5(unique("c")).bytes(), &[0x82][..]),
        (Publish::v5("t", "p").qos(3, 1).bytes(), &[0x81]),
        (Publish::v5("t", "p").dup().bytes(), &[0x81, 0x82]),
        (Publish::v5("t", "p").props(Props::new().two(prop::TOPIC_ALIAS, 0)).bytes(), &[0x94]),
        (subscribe(&[]), &[0x82]),
        (subscribe(&[("$share/g/t", 0x04)]), &[0x82]),
        (vec![kind::PUBLISH << 4, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], &[0x81]),
        (vec![kind::PUBLISH << 4, 0xFF, 0xFF, 0xFF, 0x7F], &[0x95]),
        (packet(kind::PINGRESP << 4, &[]), &[0x82]),
        (packet(kind::SUBACK << 4, &[0, 1, 0, 0]), &[0x82]),
        (packets::auth(0x18, &Props::new()), &[0x82]),
        (packet(kind::PINGREQ << 4 | 1, &[]), &[0x81]),
    ] {
        // The standard lets a server close in silence; this one says why.
        let said = world.refused(&offence, codes);
        assert!(said.is_some(), "no DISCONNECT to {offence:02x?}");
    }
}

#[test]
fn mqtt5_4_13_2_1_a_code_of_failure_closes_the_connection() {
    let world = World::new();
    // CONNACK, and DISCONNECT from either side; that nothing may be sent instead makes no difference.
    let connect = Connect::v5(unique("c")).props(Props::new().text(prop::AUTH_METHOD, "NO-SUCH"));
    world.refused_first(&connect.bytes(), &[0x8C, 0x87]);
    world.refused(&packets::disconnect_v5(0x80, &Props::new()), &[]);
    world.refused(&packets::subscribe(Version::V5, 1, &[], &Props::new()), MALFORMED);
}

#[test]
fn mqtt5_4_13_2_1_a_failure_in_other_acks_does_not_close() {
    let world = World::new();
    let topic = topic();
    let mut client = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    for qos in [1, 2] {
        publisher.publish(&topic, "p", qos);
        let id = client.expect_publish().packet_id;
        let ack_kind = if qos == 1 { kind::PUBACK } else { kind::PUBREC };
        client.send(&packets::ack_v5(ack_kind, id, 0x87, &Props::new()));
        client.ping();
    }
    client.send(&packets::ack(kind::PUBREL, 300));
    assert_eq!(client.expect_ack(kind::PUBCOMP).code(), 0x92);
    client.ping();
}
