//! B1 to B3 and B8 to B14: what comes instead of a proper CONNECT.
//! Each test has a broker of its own, see `guard`.

use std::time::{Duration, Instant};

use e2e_tests::packets::{ack, auth, disconnect, pingreq, subscribe, unsubscribe};
use e2e_tests::wire::{kind, packet, prop, string, varint};
use e2e_tests::{BOUND, Connect, Props, Publish, RawClient, Version, Will, pause, unique};

use crate::guard::Guard;

const UNACCEPTABLE: u8 = 0x01;
const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const UNSUPPORTED: u8 = 0x84;
const CLIENT_ID: u8 = 0x85;
const TOO_LARGE: u8 = 0x95;

/// A packet of every type but CONNECT, in a form that is otherwise right.
fn every_other_packet() -> Vec<Vec<u8>> {
    let none = Props::new();
    vec![
        packet(0x00, &[]),
        packet(0x20, &[0, 0]),
        packet(0x20, &[0, 0, 0]),
        Publish::v3("t", "x").bytes(),
        Publish::v5("t", "x").qos(1, 1).bytes(),
        ack(kind::PUBACK, 1),
        ack(kind::PUBREC, 1),
        ack(kind::PUBREL, 1),
        ack(kind::PUBCOMP, 1),
        subscribe(Version::V3_1_1, 1, &[("t", 0)], &none),
        packet(0x90, &[0, 1, 0]),
        unsubscribe(Version::V3_1_1, 1, &["t"], &none),
        packet(0xB0, &[0, 1]),
        pingreq(),
        packet(0xD0, &[]),
        disconnect(),
        auth(0x18, &Props::new().text(prop::AUTH_METHOD, "m")),
    ]
}

#[test]
fn b01_another_first_packet_is_answered_by_nothing() {
    let guard = Guard::new();
    for first in every_other_packet() {
        guard.no_entry(Version::V5, &first, &[], &format!("{first:02x?}"));
        let with_connect = [first, Connect::v5(unique("c")).bytes()].concat();
        guard.no_entry(Version::V5, &with_connect, &[], &format!("{with_connect:02x?}"));
    }
}

#[test]
fn b01_a_first_packet_of_any_type_that_announces_256_mib_is_closed() {
    let guard = Guard::new();
    for packet_kind in (0..16u8).filter(|k| *k != kind::CONNECT) {
        let flags =
            if matches!(packet_kind, kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE) { 2 } else { 0 };
        let announced = [vec![packet_kind << 4 | flags], varint(268_435_455)].concat();
        guard.no_entry(Version::V5, &announced, &[], &format!("{announced:02x?}"));
    }
}

#[test]
fn b02_a_second_connect_ends_the_connection_and_fires_the_will() {
    let guard = Guard::new();
    let mut reader = guard.v3();
    reader.subscribe("b02/+", 1);
    for version in [Version::V5, Version::V3_1_1] {
        let connect = Connect::new(version, unique("c")).will(Will::new("b02/will", "fired").qos(1));
        let mut client = RawClient::connect(guard.addr(), &connect);
        client.send(&Connect::new(version, unique("other")).bytes());
        let code = client.expect_refusal(&[PROTOCOL_ERROR]);
        assert_eq!(code.is_some(), version == Version::V5);
        assert_eq!(reader.receive().text(), "fired");
    }
}

#[test]
fn b03_silence_is_closed_at_the_connect_timeout() {
    let guard = Guard::with_config("[limits]\nconnect_timeout = \"2s\"\n");
    let connected = Instant::now();
    let mut silent = RawClient::open(guard.addr());
    let mut half = RawClient::open(guard.addr());
    half.send(&Connect::v5(unique("c")).bytes()[..9]);
    assert!(silent.expect_closed().is_empty() && half.expect_closed().is_empty());
    assert!(connected.elapsed() >= Duration::from_millis(1500), "not long before the timeout");
}

#[test]
fn b03_a_byte_a_second_does_not_stretch_the_connect_timeout() {
    let guard = Guard::with_config("[limits]\nconnect_timeout = \"2s\"\n");
    let mut slow = RawClient::open(guard.addr());
    let connect = Connect::v5("i".repeat(200)).bytes();
    let connected = Instant::now();
    let closed = connect.iter().any(|byte| {
        slow.send(&[*byte]);
        matches!(slow.read(Duration::from_millis(300)), e2e_tests::client::Read::Closed)
    });
    assert!(closed && connected.elapsed() < BOUND, "closed by a total deadline, not one for each read");
}

#[test]
fn b08_other_protocol_names_are_not_served() {
    let guard = Guard::new();
    let long = vec![b'M'; 65_535];
    for name in [&b"mqtt"[..], b"", b"MQTTT", b"MQT", b"mqisdp", b"\xff\xfe\0\0", &long] {
        for version in [Version::V5, Version::V3_1_1] {
            let connect = Connect::new(version, unique("c"));
            let level = if version == Version::V5 { 5 } else { 4 };
            let bytes = connect.bytes_named(name, level, connect.flags());
            guard.no_entry(
                version,
                &bytes,
                &[UNSUPPORTED, UNACCEPTABLE, MALFORMED],
                &format!("name {name:02x?}"),
            );
        }
    }
}

#[test]
fn b09_bridges_that_set_the_top_bit_of_the_level_are_told_so() {
    let guard = Guard::new();
    for (name, level) in [("MQIsdp", 0x83), ("MQTT", 0x84)] {
        let mut bridge = guard.open_v3();
        bridge.send(&Connect::v3(unique("c")).bytes_named(name.as_bytes(), level, 2));
        assert_eq!(bridge.expect(kind::CONNACK).body, [0, UNACCEPTABLE], "so that it tries again without");
        assert!(bridge.expect_closed().is_empty());
    }
}

#[test]
fn b09_other_levels_are_refused() {
    let guard = Guard::new();
    for (name, levels) in [("MQIsdp", [0, 2, 4, 5, 255]), ("MQTT", [0, 3, 6, 7, 255])] {
        for level in levels {
            let connect = Connect::v3(unique("c")).bytes_named(name.as_bytes(), level, 2);
            guard.no_entry(
                Version::V3_1_1,
                &connect,
                &[UNACCEPTABLE, UNSUPPORTED],
                &format!("{name} {level}"),
            );
        }
    }
}

#[test]
fn b10_the_reserved_connect_flag_is_malformed() {
    let guard = Guard::new();
    for version in [Version::V5, Version::V3_1_1] {
        let bytes = Connect::new(version, unique("c")).bytes_with_flags(0x03);
        guard.no_entry(version, &bytes, &v5_only(version, &[MALFORMED]), "reserved flag");
    }
}

/// The codes that a CONNACK may carry: in 3.1.1 none, for it has no code for malformed packets.
fn v5_only(version: Version, codes: &[u8]) -> Vec<u8> {
    if version == Version::V5 { codes.to_vec() } else { Vec::new() }
}

#[test]
fn b11_will_flags_that_contradict_each_other_are_malformed() {
    let guard = Guard::new();
    for version in [Version::V5, Version::V3_1_1] {
        let codes = v5_only(version, &[MALFORMED, PROTOCOL_ERROR]);
        let plain = Connect::new(version, unique("c"));
        for (flags, what) in [
            (0x02 | 0x08, "will QoS 1 without a will"),
            (0x02 | 0x10, "will QoS 2 without a will"),
            (0x02 | 0x18, "will QoS 3 without a will"),
            (0x02 | 0x20, "will retain without a will"),
            (0x02 | 0x04, "a will without its fields"),
        ] {
            guard.no_entry(version, &plain.bytes_with_flags(flags), &codes, what);
        }
        let qos_3 = plain.will(Will::new("t", "m").qos(3));
        guard.no_entry(version, &qos_3.bytes(), &codes, "will QoS 3");
        guard.no_entry(version, &qos_3.bytes_with_flags(0x02), &codes, "will fields without the flag");
    }
}

#[test]
fn b12_a_password_without_user_name_is_for_5_0_alone() {
    let guard = Guard::new();
    RawClient::connect(guard.addr(), &Connect::v5(unique("c")).password("p")).ping();
    guard.no_entry(Version::V3_1_1, &Connect::v3(unique("c")).password("p").bytes(), &[], "3.1.1");
}

#[test]
fn b13_an_empty_client_id_is_assigned_or_refused() {
    let guard = Guard::new();
    let mut assigned = Vec::new();
    for clean in [true, false] {
        let (client, connack) = RawClient::connect_ack(guard.addr(), &Connect::v5("").clean(clean));
        assigned.push(connack.props.text(prop::ASSIGNED_CLIENT_ID).expect("an assigned client id"));
        client.disconnect();
    }
    assert!(assigned[0] != assigned[1] && assigned.iter().all(|id| !id.is_empty()));
    RawClient::v3(guard.addr(), "").ping();
    let mut refused = guard.open_v3();
    assert_eq!(refused.handshake(&Connect::v3("").clean(false)).reason, 2);
    assert!(refused.expect_closed().is_empty());
}

#[test]
fn b14_strange_client_ids_are_names_like_any_other() {
    let guard = Guard::new();
    let ids = [
        "a/b",
        "+",
        "#",
        "a/#",
        "%c%u",
        "%s%n",
        ".*",
        "a|b",
        "$(id)",
        "../../etc",
        "\"};{",
        "\u{1}\u{7f}",
        "\u{202E}x",
    ];
    for id in ids {
        for version in [Version::V5, Version::V3_1_1] {
            let mut client = RawClient::open(guard.addr());
            let reason = client.handshake(&Connect::new(version, id)).reason;
            let refusal = if version == Version::V5 { CLIENT_ID } else { 2 };
            assert!([0, refusal].contains(&reason), "client id {id:?}: {reason:#04x}");
            if reason == 0 {
                client.subscribe("b14", 1);
                client.publish("b14", id, 1);
                assert_eq!(client.receive().text(), id);
            }
        }
    }
    let forged = guard.broker().log().lines().any(|line| line.contains('\u{1}') || line.contains('\u{202E}'));
    assert!(!forged, "control characters of clients do not reach the log");
}

#[test]
fn b14_a_client_id_of_65535_bytes_is_accepted_or_refused() {
    let guard = Guard::new();
    for version in [Version::V5, Version::V3_1_1] {
        let mut client = RawClient::open(guard.addr());
        let reason = client.handshake(&Connect::new(version, vec![b'i'; 65_535])).reason;
        let refusal = if version == Version::V5 { CLIENT_ID } else { 2 };
        assert!([0, refusal].contains(&reason), "{reason:#04x}");
    }
    pause(Duration::from_millis(50));
}

#[test]
fn b14_a_connect_of_long_strings_is_parsed() {
    let guard = Guard::new();
    let long = vec![b'x'; 30_000];
    let connect = Connect::v5(unique("c")).will(Will::new(&long, &long)).user(&long).password(&long);
    RawClient::connect(guard.addr(), &connect).ping();
    let longest = vec![b'x'; 65_535];
    let connect =
        Connect::v5(unique("c")).will(Will::new(&longest, &longest)).user(&longest).password(&longest);
    guard.no_entry(Version::V5, &connect.bytes(), &[TOO_LARGE], "262 KB before anybody knows who it is");
    let short = packet(
        0x10,
        &[string("MQTT"), vec![5, 0xC6, 0, 60, 0], string("c"), vec![0], string(&long)].concat(),
    );
    guard.no_entry(Version::V5, &short, &[MALFORMED], "the will payload is missing");
}
