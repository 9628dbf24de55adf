//! B4 to B7: fixed headers, remaining lengths, bodies shorter or longer than their fields.
//! Each test has a broker of its own, see `guard`.

use e2e_tests::packets::{ack, ack_v5, disconnect_v5, pingreq, subscribe, unsubscribe};
use e2e_tests::wire::{kind, packet, prop, string, varint};
use e2e_tests::{Connect, Props, Publish, RawClient, Version, unique};

use crate::guard::Guard;

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const TOO_LARGE: u8 = 0x95;

#[test]
fn b04_a_remaining_length_of_five_bytes_is_malformed() {
    let guard = Guard::new();
    for last in [0x01, 0x7F, 0x00, 0x80, 0xFF] {
        let length = [0xFF, 0xFF, 0xFF, 0xFF, last];
        for first in [0x30, 0x32, 0xC0, 0xE0, 0x82] {
            let bytes = [&[first], &length[..]].concat();
            guard.v5_ends_with(&bytes, &[MALFORMED], &format!("{bytes:02x?}"));
            guard.v3_ends(&bytes, &format!("{bytes:02x?}"));
        }
        let connect = [&[0x10], &length[..], &Connect::v5(unique("c")).bytes()[2..]].concat();
        guard.no_entry(Version::V5, &connect, &[MALFORMED], "CONNECT");
    }
}

#[test]
fn b04_a_remaining_length_in_more_bytes_than_needed_is_malformed() {
    let guard = Guard::new();
    for length in [&[0x80, 0x00][..], &[0x80, 0x80, 0x00], &[0x80, 0x80, 0x80, 0x00]] {
        let ping = [&[0xC0], length].concat();
        guard.v5_ends_with(&ping, &[MALFORMED], &format!("{ping:02x?}"));
        guard.v3_ends(&ping, &format!("{ping:02x?}"));
    }
    let good = Connect::v5(unique("c")).bytes();
    let connect = [&[0x10, good[1] | 0x80, 0x00], &good[2..]].concat();
    guard.no_entry(Version::V5, &connect, &[MALFORMED], "CONNECT");
}

#[test]
fn b05_a_packet_above_the_maximum_is_refused_before_its_body() {
    let guard = Guard::new();
    for length in [1_048_577, 2_000_000, 268_435_455] {
        for first in [0x30, 0x32, 0x34, 0x82] {
            let announced = [vec![first], varint(length)].concat();
            guard.v5_ends_with(&announced, &[TOO_LARGE], &format!("{announced:02x?}"));
            guard.v3_ends(&announced, &format!("{announced:02x?}"));
        }
        let connect = [vec![0x10], varint(length), string("MQTT"), vec![5, 2]].concat();
        guard.no_entry(Version::V5, &connect, &[TOO_LARGE, MALFORMED], "CONNECT");
    }
}

#[test]
fn b05_a_packet_of_exactly_the_maximum_is_taken() {
    let guard = Guard::with_config("[mqtt]\nmax_packet_size = \"4 KiB\"\n");
    let mut reader = guard.v3();
    reader.subscribe("b05", 1);
    let mut client = guard.v3();
    let head = Publish::v3("b05", "").qos(1, 1).bytes().len() + 1;
    let fits = vec![b'x'; 4096 - head];
    client.publish("b05", &fits, 1);
    assert_eq!(reader.receive().payload, fits);
    let too_large = Publish::v3("b05", vec![b'x'; 4097 - head]).qos(1, 1).bytes();
    guard.v3_ends(&too_large, "one byte more");
    let too_large = Publish::v5("b05", vec![b'x'; 4096 - head]).qos(1, 1).bytes();
    guard.v5_ends_with(&too_large, &[TOO_LARGE], "one byte more");
}

/// Good 5.0 packets of which no shorter body is good too.
fn exact_v5() -> Vec<Vec<u8>> {
    let user = Props::new().user("name", "value");
    vec![
        Publish::v5("topic", "").qos(1, 9).props(user.clone().two(prop::TOPIC_ALIAS, 1)).bytes(),
        subscribe(Version::V5, 9, &[("filter", 1)], &user),
        unsubscribe(Version::V5, 9, &["filter"], &user),
    ]
}

/// Good 3.1.1 packets of which no shorter body is good too.
fn exact_v3() -> Vec<Vec<u8>> {
    let none = Props::new();
    let mut all = vec![
        Publish::v3("topic", "").qos(1, 9).bytes(),
        subscribe(Version::V3_1_1, 9, &[("filter", 1)], &none),
        unsubscribe(Version::V3_1_1, 9, &["filter"], &none),
    ];
    all.extend([kind::PUBACK, kind::PUBREC, kind::PUBREL, kind::PUBCOMP].map(|k| ack(k, 9)));
    all
}

#[test]
fn b06_a_body_shorter_than_its_fields_is_malformed() {
    let guard = Guard::new();
    for good in exact_v5() {
        for length in 0..good.len() - 2 {
            let cut = packet(good[0], &good[2..2 + length]);
            guard.v5_ends_with(&cut, &[MALFORMED, PROTOCOL_ERROR], &format!("{cut:02x?}"));
        }
    }
    for good in exact_v3() {
        for length in 0..good.len() - 2 {
            let cut = packet(good[0], &good[2..2 + length]);
            guard.v3_ends(&cut, &format!("{cut:02x?}"));
        }
    }
    for ack_kind in [kind::PUBACK, kind::PUBREC, kind::PUBREL, kind::PUBCOMP] {
        let good = ack_v5(ack_kind, 9, 0, &Props::new().user("name", "value"));
        for length in (0..good.len() - 2).filter(|length| *length != 2 && *length != 3) {
            let cut = packet(good[0], &good[2..2 + length]);
            guard.v5_ends_with(&cut, &[MALFORMED, PROTOCOL_ERROR], &format!("{cut:02x?}"));
        }
    }
}

#[test]
fn b06_a_body_longer_than_its_fields_is_malformed() {
    let guard = Guard::new();
    let longer = |good: &[u8]| packet(good[0], &[&good[2..], b"\0"].concat());
    let acks = [kind::PUBACK, kind::PUBREC, kind::PUBREL, kind::PUBCOMP];
    let v5_acks = acks.map(|k| ack_v5(k, 9, 0, &Props::new()));
    let mut v5 = exact_v5().split_off(1);
    v5.extend(v5_acks);
    v5.extend([pingreq(), disconnect_v5(0, &Props::new())]);
    for good in v5 {
        let bytes = longer(&good);
        guard.v5_ends_with(&bytes, &[MALFORMED, PROTOCOL_ERROR], &format!("{bytes:02x?}"));
    }
    for good in exact_v3().split_off(1).into_iter().chain([pingreq()]) {
        let bytes = longer(&good);
        guard.v3_ends(&bytes, &format!("{bytes:02x?}"));
    }
    for version in [Version::V5, Version::V3_1_1] {
        let connect = longer(&Connect::new(version, unique("c")).bytes());
        let codes: &[u8] = if version == Version::V5 { &[MALFORMED] } else { &[] };
        guard.no_entry(version, &connect, codes, "CONNECT with a byte too many");
    }
}

/// A session's worth of packets: CONNECT, SUBSCRIBE, and publishes of all sizes to itself.
fn stream(version: Version) -> (Vec<u8>, Vec<Vec<u8>>) {
    let payloads: Vec<Vec<u8>> = [0, 1, 100, 127, 128, 300, 16_383].iter().map(|n| vec![b'p'; *n]).collect();
    let mut bytes = Connect::new(version, unique("c")).bytes();
    bytes.extend(subscribe(version, 1, &[("b06", 0)], &Props::new()));
    payloads.iter().for_each(|payload| bytes.extend(Publish::new(version, "b06", payload).bytes()));
    (bytes, payloads)
}

/// Expects the answers to [`stream`].
fn expect_stream(client: &mut RawClient, payloads: &[Vec<u8>]) {
    client.expect(kind::CONNACK);
    client.expect(kind::SUBACK);
    for payload in payloads {
        assert_eq!(client.expect_publish().payload, *payload);
    }
}

#[test]
fn b06_packets_may_come_byte_by_byte_or_all_at_once() {
    let guard = Guard::new();
    for version in [Version::V5, Version::V3_1_1] {
        for piece in [1, 2, 3, 5, 127, 4096, usize::MAX] {
            let (bytes, payloads) = stream(version);
            let mut client = RawClient::open(guard.addr());
            client.speak(version);
            bytes.chunks(piece.min(bytes.len())).for_each(|chunk| client.send(chunk));
            expect_stream(&mut client, &payloads);
        }
    }
}

#[test]
fn b06_a_packet_may_be_split_at_every_byte() {
    let guard = Guard::new();
    let mut reader = guard.v3();
    reader.subscribe("b06/split", 1);
    let mut client = guard.v5();
    let props = Props::new().user("name", "value").text(prop::CONTENT_TYPE, "text");
    let publish = Publish::v5("b06/split", "payload").qos(1, 5).props(props).bytes();
    for at in 1..publish.len() {
        client.send(&publish[..at]);
        client.send(&publish[at..]);
        client.expect(kind::PUBACK);
        assert_eq!(reader.receive().text(), "payload", "split after {at} bytes");
    }
}

#[test]
fn b06_ten_thousand_packets_may_come_in_one_segment() {
    let guard = Guard::new();
    let mut client = guard.v5();
    client.send(&[pingreq(), Publish::v5("b06", "x").bytes()].concat().repeat(5_000));
    (0..5_000).for_each(|_| drop(client.expect(kind::PINGRESP)));
    client.expect_nothing();
}

#[test]
fn b07_wrong_flags_are_malformed_on_every_type() {
    let guard = Guard::new();
    let subscribe_body = |props: &[u8]| [&[0, 1], props, &string("f"), &[0]].concat();
    let unsubscribe_body = |props: &[u8]| [&[0, 1], props, &string("f")].concat();
    let props_v5: &[u8] = &[0];
    for (packet_kind, right, v5, v3) in [
        (kind::PUBACK, 0, vec![0, 1], vec![0, 1]),
        (kind::PUBREC, 0, vec![0, 1], vec![0, 1]),
        (kind::PUBREL, 2, vec![0, 1], vec![0, 1]),
        (kind::PUBCOMP, 0, vec![0, 1], vec![0, 1]),
        (kind::SUBSCRIBE, 2, subscribe_body(props_v5), subscribe_body(&[])),
        (kind::UNSUBSCRIBE, 2, unsubscribe_body(props_v5), unsubscribe_body(&[])),
        (kind::PINGREQ, 0, vec![], vec![]),
        (kind::DISCONNECT, 0, vec![], vec![]),
        (kind::AUTH, 0, vec![], vec![]),
    ] {
        for flags in (0..16).filter(|flags| *flags != right) {
            let first = packet_kind << 4 | flags;
            guard.v5_ends_with(&packet(first, &v5), &[MALFORMED], &format!("first byte {first:02x}"));
            guard.v3_ends(&packet(first, &v3), &format!("first byte {first:02x}"));
        }
    }
    for flags in 0..16 {
        guard.v5_ends_with(&packet(flags, &[]), &[MALFORMED, PROTOCOL_ERROR], "type 0");
        guard.v3_ends(&packet(flags, &[]), "type 0");
    }
}

#[test]
fn b07_wrong_flags_on_connect_are_malformed() {
    let guard = Guard::new();
    for version in [Version::V5, Version::V3_1_1] {
        for flags in 1..16 {
            let mut connect = Connect::new(version, unique("c")).bytes();
            connect[0] |= flags;
            let codes: &[u8] = if version == Version::V5 { &[MALFORMED] } else { &[] };
            guard.no_entry(version, &connect, codes, &format!("flags {flags}"));
        }
    }
}
