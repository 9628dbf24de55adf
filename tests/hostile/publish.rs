//! B22 to B28 and B32 to B34: publishes that name nothing, too much, or what they may not.
//! Each test has a broker of its own, see `guard`.

use e2e_tests::client::Read;
use e2e_tests::packets::{ack, subscribe};
use e2e_tests::wire::{kind, packet, prop, string};
use e2e_tests::{BOUND, Connect, Props, Publish, RawClient, Version, unique};

use crate::guard::Guard;

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const TOPIC_NAME: u8 = 0x90;
const PACKET_ID_IN_USE: u8 = 0x91;
const RECEIVE_MAXIMUM: u8 = 0x93;
const TOPIC_ALIAS: u8 = 0x94;

fn alias(number: u16) -> Props {
    Props::new().two(prop::TOPIC_ALIAS, number)
}

#[test]
fn b22_a_topic_that_names_nothing() {
    let guard = Guard::new();
    for qos in 0..3 {
        guard.v5_ends_with(
            &Publish::v5("", "x").qos(qos, 1).bytes(),
            &[PROTOCOL_ERROR],
            "empty without alias",
        );
        guard.v3_ends(&Publish::v3("", "x").qos(qos, 1).bytes(), "empty");
    }
    guard.v5_ends_with(&packet(0x30, &[]), &[MALFORMED], "no body");
    guard.v3_ends(&packet(0x30, &[]), "no body");
}

#[test]
fn b22_a_topic_with_wildcards_or_nul() {
    let guard = Guard::new();
    for topic in ["+", "#", "a/+", "a/#", "a+b", "#a", "$SYS/#"] {
        for qos in 0..3 {
            let codes = [MALFORMED, PROTOCOL_ERROR, TOPIC_NAME];
            guard.v5_ends_with(&Publish::v5(topic, "x").qos(qos, 1).bytes(), &codes, topic);
            guard.v3_ends(&Publish::v3(topic, "x").qos(qos, 1).bytes(), topic);
        }
    }
    guard.v5_ends_with(&Publish::v5("a\0b", "x").bytes(), &[MALFORMED], "U+0000");
    guard.v3_ends(&Publish::v3("a\0b", "x").bytes(), "U+0000");
}

#[test]
fn b23_aliases_out_of_range() {
    let guard = Guard::new();
    let (_, connack) = RawClient::connect_ack(guard.addr(), &Connect::v5(unique("c")));
    let maximum = connack.props.number(prop::TOPIC_ALIAS_MAXIMUM).unwrap_or(0) as u16;
    for number in [0, maximum + 1, u16::MAX] {
        let publish = Publish::v5("t", "x").props(alias(number)).bytes();
        guard.v5_ends_with(&publish, &[TOPIC_ALIAS], &format!("alias {number}"));
    }
    let mut reader = guard.v3();
    reader.subscribe("b23", 0);
    guard.v5().publish_packet(Publish::v5("b23", "x").props(alias(maximum)), 1);
    assert_eq!(reader.receive().text(), "x");
}

#[test]
fn b23_an_unknown_alias_is_a_protocol_error() {
    let guard = Guard::new();
    guard.v5_ends_with(&Publish::v5("", "x").props(alias(1)).bytes(), &[PROTOCOL_ERROR], "never set");
    let connect = Connect::v5(unique("c")).clean(false).props(Props::new().four(prop::SESSION_EXPIRY, 60));
    let mut client = RawClient::connect(guard.addr(), &connect);
    client.publish_packet(Publish::v5("b23", "x").props(alias(1)), 1);
    client.publish_packet(Publish::v5("", "x").props(alias(1)), 1);
    client.drop_connection();
    let mut client = RawClient::connect(guard.addr(), &connect);
    client.send(&Publish::v5("", "x").props(alias(1)).bytes());
    assert_eq!(
        client.expect_refusal(&[PROTOCOL_ERROR]),
        Some(PROTOCOL_ERROR),
        "an alias ends with its connection"
    );
    RawClient::connect(guard.addr(), &connect.clean(true).props(Props::new())).disconnect();
}

#[test]
fn b24_qos_3_and_dup_at_qos_0_are_malformed() {
    let guard = Guard::new();
    guard.v5_ends_with(&Publish::v5("t", "x").qos(3, 1).bytes(), &[MALFORMED], "QoS 3");
    guard.v3_ends(&Publish::v3("t", "x").qos(3, 1).bytes(), "QoS 3");
    guard.v5_ends_with(&Publish::v5("t", "x").dup().bytes(), &[MALFORMED], "DUP at QoS 0");
    guard.v3_ends(&Publish::v3("t", "x").dup().bytes(), "DUP at QoS 0");
}

#[test]
fn b25_a_packet_id_of_zero() {
    let guard = Guard::new();
    let codes = [MALFORMED, PROTOCOL_ERROR];
    let none = Props::new();
    for version in [Version::V5, Version::V3_1_1] {
        let mut all = vec![
            Publish::new(version, "t", "x").qos(1, 0).bytes(),
            Publish::new(version, "t", "x").qos(2, 0).bytes(),
            subscribe(version, 0, &[("f", 0)], &none),
            e2e_tests::packets::unsubscribe(version, 0, &["f"], &none),
        ];
        all.extend([kind::PUBACK, kind::PUBREC, kind::PUBREL, kind::PUBCOMP].map(|k| ack(k, 0)));
        for bytes in all {
            match version {
                Version::V5 => guard.v5_ends_with(&bytes, &codes, &format!("{bytes:02x?}")),
                _ => guard.v3_ends(&bytes, &format!("{bytes:02x?}")),
            }
        }
    }
}

#[test]
fn b26_the_id_of_an_open_qos_2_exchange_is_taken_as_a_repeat() {
    let guard = Guard::new();
    let mut reader = guard.v3();
    reader.subscribe("b26", 2);
    for version in [Version::V5, Version::V3_1_1] {
        let mut client = guard.client(version);
        for payload in ["first", "second", "third"] {
            client.send(&Publish::new(version, "b26", payload).qos(2, 7).bytes());
            let pubrec = client.expect_ack(kind::PUBREC);
            assert!(pubrec.packet_id == 7 && pubrec.code() < 0x80, "{pubrec:?}");
        }
        client.send(&ack(kind::PUBREL, 7));
        assert_eq!(client.expect_ack(kind::PUBCOMP).code(), 0);
        assert_eq!(reader.receive().text(), "first");
        client.publish("b26", "mark", 1);
        assert_eq!(reader.receive().text(), "mark", "no second delivery");
    }
}

#[test]
fn b26_one_id_in_subscribe_and_publish_at_once() {
    let guard = Guard::new();
    for version in [Version::V5, Version::V3_1_1] {
        let mut client = guard.client(version);
        let both = [
            subscribe(version, 7, &[("b26/+", 0)], &Props::new()),
            Publish::new(version, "elsewhere", "x").qos(1, 7).bytes(),
            e2e_tests::packets::unsubscribe(version, 7, &["b26/+"], &Props::new()),
        ];
        client.send(&both.concat());
        assert_eq!(client.expect_among(kind::SUBACK).ack(version).packet_id, 7);
        let puback = client.expect_among(kind::PUBACK).ack(version);
        assert!([0, 0x10, PACKET_ID_IN_USE].contains(&puback.code()), "{puback:?}");
        assert_eq!(client.expect_among(kind::UNSUBACK).ack(version).packet_id, 7);
    }
}

#[test]
fn b27_a_thousand_repeats_of_a_qos_2_publish_are_one_message() {
    let guard = Guard::new();
    let mut reader = guard.v3();
    reader.subscribe("b27", 2);
    for version in [Version::V5, Version::V3_1_1] {
        let publish = Publish::new(version, "b27", vec![b'x'; 50_000]).qos(2, 7);
        let mut client = guard.client(version);
        let rss = if guard.is_external() { 0 } else { guard.broker().rss_kib() };
        client.send(&publish.bytes());
        client.expect(kind::PUBREC);
        for _ in 0..1_000 {
            client.send(&publish.clone().dup().bytes());
            assert_eq!(client.expect_ack(kind::PUBREC).packet_id, 7);
        }
        client.send(&ack(kind::PUBREL, 7));
        client.expect(kind::PUBCOMP);
        assert_eq!(reader.receive().payload.len(), 50_000);
        client.publish("b27", "mark", 1);
        assert_eq!(reader.receive().text(), "mark");
        if !guard.is_external() {
            assert!(guard.broker().rss_kib() < rss + 16 * 1024, "50 MB passed, far less stayed");
        }
    }
}

#[test]
fn b28_more_in_flight_than_the_receive_maximum() {
    let guard = Guard::with_config("[mqtt]\nreceive_maximum = 10\n");
    let (mut client, connack) = RawClient::connect_ack(guard.addr(), &Connect::v5(unique("c")));
    let maximum = connack.props.number(prop::RECEIVE_MAXIMUM).unwrap_or(65_535) as u16;
    assert!(guard.is_external() || maximum == 10);
    let open = |version: Version, id: u16| Publish::new(version, "b28", "x").qos(2, id).bytes();
    for id in 1..=maximum {
        client.send(&open(Version::V5, id));
        assert_eq!(client.expect_ack(kind::PUBREC).packet_id, id);
    }
    client.ping();
    client.send(&open(Version::V5, maximum + 1));
    assert_eq!(client.expect_refusal(&[RECEIVE_MAXIMUM]), Some(RECEIVE_MAXIMUM));
}

#[test]
fn b28_open_exchanges_of_3_1_1_are_bounded_too() {
    let guard = Guard::new();
    let rss = if guard.is_external() { 0 } else { guard.broker().rss_kib() };
    let mut client = guard.v3();
    for id in 1..=20_000 {
        client.send(&Publish::v3("b28", [b'x'; 1_000]).qos(2, id).bytes());
        match client.read(BOUND) {
            Read::Packet(packet) => {
                assert_eq!((packet.first, packet.body), (0x50, id.to_be_bytes().to_vec()))
            }
            Read::Closed => break,
            Read::Nothing => panic!("neither answered nor closed at {id}"),
        }
    }
    if !guard.is_external() {
        assert!(guard.broker().rss_kib() < rss + 12 * 1024, "20 MB of payload passed and did not stay");
    }
}

#[test]
fn b32_subscription_identifiers_where_they_may_not_be() {
    let guard = Guard::new();
    let id = |number: usize| Props::new().var(prop::SUBSCRIPTION_ID, number);
    for number in [1, 300, 268_435_455] {
        let publish = Publish::v5("t", "x").props(id(number)).bytes();
        guard.v5_ends_with(&publish, &[PROTOCOL_ERROR], "PUBLISH of a client");
    }
    guard.v5_ends_with(&subscribe(Version::V5, 1, &[("f", 0)], &id(0)), &[PROTOCOL_ERROR], "identifier 0");
    let mut client = guard.v5();
    client.subscribe_with(&[("b32", 0)], &id(268_435_455));
    client.publish("b32", "x", 1);
    assert_eq!(client.receive().props.numbers(prop::SUBSCRIPTION_ID), [268_435_455]);
}

#[test]
fn b33_a_response_topic_that_is_no_topic() {
    let guard = Guard::new();
    for topic in ["", "+", "#", "a/+", "a/#"] {
        let response = Props::new().text(prop::RESPONSE_TOPIC, topic);
        let publish = Publish::v5("t", "x").props(response.clone()).bytes();
        guard.v5_ends_with(&publish, &[PROTOCOL_ERROR], &format!("response topic {topic:?}"));
        let will = Connect::v5(unique("c")).will(e2e_tests::Will::new("t", "m").props(response));
        guard.no_entry(
            Version::V5,
            &will.bytes(),
            &[PROTOCOL_ERROR],
            &format!("will response topic {topic:?}"),
        );
    }
}

#[test]
fn b34_a_payload_that_is_not_the_text_it_says_is_forwarded() {
    let guard = Guard::new();
    let mut reader = guard.v5();
    reader.subscribe("b34", 1);
    let props = Props::new().byte(prop::PAYLOAD_FORMAT, 1);
    guard.v5().publish_packet(Publish::v5("b34", b"\xff\xfe\0").props(props), 1);
    let got = reader.receive();
    assert_eq!(
        (got.payload.as_slice(), got.props.number(prop::PAYLOAD_FORMAT)),
        (&b"\xff\xfe\0"[..], Some(1))
    );
    let strange = [string("b34"), vec![2, prop::PAYLOAD_FORMAT, 1], b"\xc0\x80".to_vec()].concat();
    guard.v5().send(&packet(0x30, &strange));
    assert_eq!(reader.receive().payload, b"\xc0\x80");
}
