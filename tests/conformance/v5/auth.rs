//! Sections 3.15 and 4.12: AUTH and enhanced authentication, of which a broker without authentication knows no method.

use e2e_tests::packets::{self, Connect, Publish, Will};
use e2e_tests::parse::ConnAck;
use e2e_tests::wire::{Props, kind, packet, prop};
use e2e_tests::{RawClient, unique};

use crate::common::{MALFORMED, World, persistent, topic};

fn method(name: &str) -> Props {
    Props::new().text(prop::AUTH_METHOD, name)
}

/// The CONNACK to a CONNECT with a method nobody knows, on a connection that must then end.
fn refused_for_its_method(world: &World, connect: &Connect) -> Option<ConnAck> {
    let mut client = RawClient::open(&world.addr());
    client.send(&connect.bytes());
    let mut before = client.expect_closed();
    assert!(before.len() <= 1 && before.iter().all(|packet| packet.kind() == kind::CONNACK), "{before:02x?}");
    before.pop().map(|packet| packet.connack(connect.version))
}

#[test]
fn mqtt5_4_12_0_1_an_unknown_method_is_refused() {
    let world = World::new();
    for (name, data) in [("SCRAM-SHA-1", Some(&b"n,,n=user,r=nonce"[..])), ("", None), ("한국", None)] {
        let props = data.map_or_else(|| method(name), |data| method(name).text(prop::AUTH_DATA, data));
        let connack = refused_for_its_method(&world, &Connect::v5(unique("c")).props(props));
        assert!(connack.is_none_or(|connack| [0x8C, 0x87].contains(&connack.reason)));
    }
}

#[test]
fn mqtt5_4_12_0_2_an_unknown_method_gets_no_challenge() {
    let world = World::new();
    // A challenge would be an AUTH with 0x18 before CONNACK: the helper fails on any.
    refused_for_its_method(&world, &Connect::v5(unique("c")).props(method("SCRAM-SHA-256")));
}

#[test]
fn mqtt5_4_12_0_3_an_answer_without_a_challenge_is_refused() {
    let world = World::new();
    for code in [0x18, 0x00, 0x19] {
        world.refused(&packets::auth(code, &method("M").text(prop::AUTH_DATA, "x")), MALFORMED);
    }
}

#[test]
fn mqtt5_4_12_0_4_a_rejection_carries_a_code_of_failure_and_closes() {
    let world = World::new();
    let connack = refused_for_its_method(&world, &Connect::v5(unique("c")).props(method("M")));
    assert!(connack.is_none_or(|connack| connack.reason >= 0x80 && !connack.session_present));
}

#[test]
fn mqtt5_4_12_0_5_a_method_in_connack_is_the_one_of_connect() {
    let world = World::new();
    if let Some(connack) = refused_for_its_method(&world, &Connect::v5(unique("c")).props(method("MINE"))) {
        let named = connack.props.text(prop::AUTH_METHOD);
        assert!(named.is_none_or(|named| named == "MINE"));
    }
    // A second method in CONNECT, or data without a method, is no authentication at all.
    world.refused_first(
        &Connect::v5(unique("c")).props(method("A").text(prop::AUTH_METHOD, "B")).bytes(),
        MALFORMED,
    );
    let data_alone = Connect::v5(unique("c")).props(Props::new().text(prop::AUTH_DATA, "x"));
    world.refused_first(&data_alone.bytes(), MALFORMED);
}

#[test]
fn mqtt5_4_12_0_6_without_a_method_there_is_no_auth_and_no_method() {
    let world = World::new();
    for connect in [Connect::v5(unique("c")), Connect::v5(unique("c")).user("u").password("p")] {
        // The first packet is CONNACK, checked by the handshake.
        let (mut client, connack) = world.connect_ack(&connect);
        assert!(!connack.props.has(prop::AUTH_METHOD) && !connack.props.has(prop::AUTH_DATA));
        client.expect_nothing();
        client.ping();
    }
}

#[test]
fn mqtt5_4_12_0_7_auth_without_a_method_in_connect_is_a_protocol_error() {
    let world = World::new();
    for bytes in [
        packets::auth(0x18, &method("M")),
        packets::auth(0x19, &method("M")),
        packets::auth(0x00, &Props::new()),
        packet(kind::AUTH << 4, &[]),
    ] {
        world.refused(&bytes, MALFORMED);
    }
}

#[test]
fn mqtt5_4_12_1_1_reauthentication_of_a_connection_without_a_method_is_refused() {
    let world = World::new();
    world.refused(&packets::auth(0x19, &method("ANY").text(prop::AUTH_DATA, "x")), &[0x82]);
}

#[test]
fn mqtt5_4_12_1_2_a_failed_reauthentication_closes_and_keeps_the_session() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut subscriber = world.subscriber(&topic, 0);
    let mut client = world.connect(&persistent(&id).will(Will::new(&topic, "will")));
    client.send(&[packets::auth(0x19, &method("M")), Publish::v5(&topic, "no").bytes()].concat());
    client.expect_refusal(&[0x82, 0x87, 0x8C]);
    assert_eq!(subscriber.expect_publish().text(), "will", "and nothing after the AUTH was processed");
    assert!(world.connect_ack(&persistent(&id)).1.session_present);
}

#[test]
fn mqtt5_3_1_2_30_with_a_method_nothing_is_processed_before_connack() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    let mut client = RawClient::open(&world.addr());
    let connect = Connect::v5(unique("c")).props(method("M")).bytes();
    client.send(&[connect, Publish::v5(&topic, "no").bytes(), packets::pingreq()].concat());
    let before = client.expect_closed();
    assert!(before.iter().all(|packet| packet.kind() == kind::CONNACK), "{before:02x?}");
    subscriber.expect_nothing();
}

#[test]
fn mqtt5_3_15_1_1_auth_flags_are_0000() {
    let world = World::new();
    for wrong in 1..16 {
        let mut bytes = packets::auth(0x19, &method("M"));
        bytes[0] |= wrong;
        world.refused(&bytes, MALFORMED);
    }
}

#[test]
fn mqtt5_3_15_2_1_auth_codes_are_those_of_the_table() {
    let world = World::new();
    for code in [0x01, 0x17, 0x1A, 0x80, 0x8C, 0xFF] {
        world.refused(&packets::auth(code, &method("M")), MALFORMED);
    }
}
