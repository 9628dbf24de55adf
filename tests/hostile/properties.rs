//! B16 to B21: properties of 5.0 that are malformed, doubled, out of range, too many, or out of place.
//! Each test has a broker of its own, see `guard`.

use std::time::{Duration, Instant};

use e2e_tests::packets::{ack_v5, auth, disconnect_v5, subscribe, unsubscribe};
use e2e_tests::wire::{kind, packet, prop, string};
use e2e_tests::{BOUND, Connect, Props, Publish, RawClient, Version, Will, unique};

use crate::guard::Guard;

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const BAD_AUTH_METHOD: u8 = 0x8C;
const TOO_LARGE: u8 = 0x95;
const QUOTA: u8 = 0x97;

/// Every packet a 5.0 client may send after CONNECT, with this property list.
fn packets_with(props: &Props) -> Vec<Vec<u8>> {
    vec![
        Publish::v5("t", "x").props(props.clone()).bytes(),
        Publish::v5("t", "x").qos(1, 1).props(props.clone()).bytes(),
        subscribe(Version::V5, 1, &[("f", 0)], props),
        unsubscribe(Version::V5, 1, &["f"], props),
        ack_v5(kind::PUBACK, 1, 0, props),
        ack_v5(kind::PUBREC, 1, 0, props),
        ack_v5(kind::PUBREL, 1, 0, props),
        ack_v5(kind::PUBCOMP, 1, 0, props),
        disconnect_v5(0, props),
    ]
}

/// CONNECTs with this property list, in their own and in their will's place.
fn connects_with(props: &Props) -> [Connect; 2] {
    let plain = Connect::v5(unique("c"));
    [plain.clone().props(props.clone()), plain.will(Will::new("t", "m").props(props.clone()))]
}

/// A PUBLISH whose property length field is these bytes, with `rest` after it.
fn publish_with_length(length: &[u8], rest: &[u8]) -> Vec<u8> {
    packet(0x30, &[&string("t"), length, rest].concat())
}

#[test]
fn b16_a_property_length_beyond_the_packet_is_malformed() {
    let guard = Guard::new();
    for length in [&[1][..], &[127], &[0xFF, 0x7F], &[0xFF, 0xFF, 0xFF, 0x7F]] {
        guard.v5_ends_with(&publish_with_length(length, &[]), &[MALFORMED], &format!("length {length:02x?}"));
        let connect = packet(0x10, &[&string("MQTT"), &[5, 2, 0, 60][..], length].concat());
        guard.no_entry(Version::V5, &connect, &[MALFORMED], &format!("length {length:02x?}"));
    }
}

#[test]
fn b16_a_property_length_of_five_bytes_is_malformed() {
    let guard = Guard::new();
    for length in [
        &[0x80, 0x80, 0x80, 0x80, 0x00][..],
        &[0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
        &[0x80, 0x80, 0x80, 0x80, 0x80],
    ] {
        guard.v5_ends_with(
            &publish_with_length(length, &[0; 9]),
            &[MALFORMED],
            &format!("length {length:02x?}"),
        );
    }
    let subscription_id = Props::new().raw(&[prop::SUBSCRIPTION_ID, 0x80, 0x80, 0x80, 0x80, 0x01]);
    let bytes = subscribe(Version::V5, 1, &[("f", 0)], &subscription_id);
    guard.v5_ends_with(&bytes, &[MALFORMED], "a subscription identifier of five bytes");
}

#[test]
fn b16_a_property_cut_by_the_property_length_is_malformed() {
    let guard = Guard::new();
    for cut in [
        &[prop::MESSAGE_EXPIRY, 0, 0][..],
        &[prop::USER_PROPERTY, 0, 1, b'n'],
        &[prop::CONTENT_TYPE, 0, 9, b'x'],
    ] {
        let bytes = Publish::v5("t", "a payload behind it").props(Props::new().raw(cut)).bytes();
        guard.v5_ends_with(&bytes, &[MALFORMED], &format!("{cut:02x?}"));
    }
}

#[test]
fn b16_an_unknown_property_is_malformed() {
    let guard = Guard::new();
    for id in [0x00, 0x04, 0x0A, 0x0C, 0x14, 0x20, 0x2B, 0x7F, 0x80, 0xFF] {
        let unknown = Props::new().raw(&[id, 0]);
        for bytes in packets_with(&unknown) {
            guard.v5_ends_with(&bytes, &[MALFORMED, PROTOCOL_ERROR], &format!("{bytes:02x?}"));
        }
        for connect in connects_with(&unknown) {
            guard.no_entry(
                Version::V5,
                &connect.bytes(),
                &[MALFORMED, PROTOCOL_ERROR],
                &format!("property {id:02x}"),
            );
        }
    }
}

#[test]
fn b16_a_property_of_another_packet_is_malformed() {
    let guard = Guard::new();
    let assigned = Props::new().text(prop::ASSIGNED_CLIENT_ID, "x");
    for bytes in packets_with(&assigned) {
        guard.v5_ends_with(&bytes, &[MALFORMED, PROTOCOL_ERROR], &format!("{bytes:02x?}"));
    }
    let foreign = [
        assigned,
        Props::new().two(prop::SERVER_KEEP_ALIVE, 9),
        Props::new().byte(prop::MAXIMUM_QOS, 1),
        Props::new().text(prop::REASON_STRING, "x"),
        Props::new().two(prop::TOPIC_ALIAS, 1),
    ];
    for props in foreign {
        for connect in connects_with(&props) {
            guard.no_entry(
                Version::V5,
                &connect.bytes(),
                &[MALFORMED, PROTOCOL_ERROR],
                &format!("{props:02x?}"),
            );
        }
    }
    let in_the_will =
        Connect::v5(unique("c")).will(Will::new("t", "m").props(Props::new().four(prop::SESSION_EXPIRY, 1)));
    guard.no_entry(
        Version::V5,
        &in_the_will.bytes(),
        &[MALFORMED, PROTOCOL_ERROR],
        "session expiry of a will",
    );
}

fn single_use_of_connect() -> Vec<Props> {
    vec![
        Props::new().four(prop::SESSION_EXPIRY, 0),
        Props::new().two(prop::RECEIVE_MAXIMUM, 9),
        Props::new().four(prop::MAXIMUM_PACKET_SIZE, 9_000),
        Props::new().two(prop::TOPIC_ALIAS_MAXIMUM, 9),
        Props::new().byte(prop::REQUEST_RESPONSE_INFO, 1),
        Props::new().byte(prop::REQUEST_PROBLEM_INFO, 1),
        Props::new().text(prop::AUTH_METHOD, "m"),
    ]
}

fn single_use_of_publish() -> Vec<Props> {
    vec![
        Props::new().byte(prop::PAYLOAD_FORMAT, 0),
        Props::new().four(prop::MESSAGE_EXPIRY, 9),
        Props::new().text(prop::CONTENT_TYPE, "c"),
        Props::new().text(prop::RESPONSE_TOPIC, "r"),
        Props::new().text(prop::CORRELATION_DATA, "d"),
    ]
}

fn doubled(props: &Props) -> Props {
    let encoded = props.encode();
    Props::new().raw(&encoded[1..]).raw(&encoded[1..])
}

#[test]
fn b17_single_use_properties_twice_in_connect() {
    let guard = Guard::new();
    let mut wills = single_use_of_publish();
    wills.push(Props::new().four(prop::WILL_DELAY, 0));
    for props in single_use_of_connect() {
        let connect = Connect::v5(unique("c")).props(doubled(&props));
        guard.no_entry(Version::V5, &connect.bytes(), &[PROTOCOL_ERROR], &format!("{props:02x?}"));
    }
    let data =
        Props::new().text(prop::AUTH_METHOD, "m").text(prop::AUTH_DATA, "d").text(prop::AUTH_DATA, "d");
    guard.no_entry(Version::V5, &Connect::v5(unique("c")).props(data).bytes(), &[PROTOCOL_ERROR], "data");
    for props in wills {
        let connect = Connect::v5(unique("c")).will(Will::new("t", "m").props(doubled(&props)));
        guard.no_entry(Version::V5, &connect.bytes(), &[PROTOCOL_ERROR], &format!("will {props:02x?}"));
    }
}

#[test]
fn b17_single_use_properties_twice_in_later_packets() {
    let guard = Guard::new();
    let mut of_publish = single_use_of_publish();
    of_publish.push(Props::new().two(prop::TOPIC_ALIAS, 1));
    for props in of_publish {
        let publish = Publish::v5("t", "x").props(doubled(&props)).bytes();
        guard.v5_ends_with(&publish, &[PROTOCOL_ERROR], &format!("{props:02x?}"));
    }
    let id = doubled(&Props::new().var(prop::SUBSCRIPTION_ID, 7));
    guard.v5_ends_with(
        &subscribe(Version::V5, 1, &[("f", 0)], &id),
        &[PROTOCOL_ERROR],
        "subscription identifier",
    );
    let reason = doubled(&Props::new().text(prop::REASON_STRING, "r"));
    for ack_kind in [kind::PUBACK, kind::PUBREC, kind::PUBREL, kind::PUBCOMP] {
        guard.v5_ends_with(&ack_v5(ack_kind, 1, 0, &reason), &[PROTOCOL_ERROR], "reason string of an ack");
    }
    for props in [reason, doubled(&Props::new().four(prop::SESSION_EXPIRY, 0))] {
        guard.v5_ends_with(&disconnect_v5(0, &props), &[PROTOCOL_ERROR], "DISCONNECT");
    }
}

#[test]
fn b18_values_out_of_range() {
    let guard = Guard::new();
    for props in [
        Props::new().two(prop::RECEIVE_MAXIMUM, 0),
        Props::new().four(prop::MAXIMUM_PACKET_SIZE, 0),
        Props::new().byte(prop::REQUEST_PROBLEM_INFO, 2),
        Props::new().byte(prop::REQUEST_RESPONSE_INFO, 2),
        Props::new().byte(prop::REQUEST_RESPONSE_INFO, 255),
    ] {
        let connect = Connect::v5(unique("c")).props(props.clone());
        guard.no_entry(Version::V5, &connect.bytes(), &[PROTOCOL_ERROR], &format!("{props:02x?}"));
    }
    let format = Props::new().byte(prop::PAYLOAD_FORMAT, 2);
    let codes = [MALFORMED, PROTOCOL_ERROR];
    guard.v5_ends_with(&Publish::v5("t", "x").props(format.clone()).bytes(), &codes, "payload format 2");
    let will = Connect::v5(unique("c")).will(Will::new("t", "m").props(format));
    guard.no_entry(Version::V5, &will.bytes(), &codes, "payload format 2 of a will");
}

fn many_user_properties(count: usize) -> Props {
    (0..count).fold(Props::new(), |props, _| props.user("n", "v"))
}

#[test]
fn b19_user_properties_are_limited_in_number_and_size() {
    let guard = Guard::new();
    let mut client = guard.v5();
    client.publish_packet(Publish::v5("t", "x").props(many_user_properties(64)), 1);
    let codes = [MALFORMED, PROTOCOL_ERROR, TOO_LARGE, QUOTA];
    let large = Props::new().user("name", "v".repeat(20_000));
    for props in [many_user_properties(60_000), many_user_properties(65), large] {
        for connect in connects_with(&props) {
            guard.no_entry(Version::V5, &connect.bytes(), &codes, "user properties in CONNECT");
        }
        for bytes in packets_with(&props) {
            guard.v5_ends_with(&bytes, &codes, &format!("user properties in type {}", bytes[0] >> 4));
        }
    }
}

#[test]
fn b19_the_time_for_user_properties_is_linear() {
    let guard =
        Guard::with_config("[mqtt]\nuser_properties_max = 65535\nuser_properties_bytes_max = \"1 MiB\"\n");
    if guard.is_external() {
        return;
    }
    let cost = |each: usize, packets: usize| {
        let publish = Publish::v5("t", "x").qos(1, 1).props(many_user_properties(each)).bytes();
        let before = guard.broker().cpu();
        let mut client = guard.v5();
        for _ in 0..packets {
            client.send(&publish);
            client.expect(kind::PUBACK);
        }
        guard.broker().cpu().checked_sub(before).unwrap()
    };
    let (few, many) = (cost(6_000, 300), cost(60_000, 30));
    // The same number of properties in a tenth of the packets: linear is about the same, quadratic ten times as much.
    assert!(
        many < few * 4 + Duration::from_millis(200),
        "{few:?} in packets of 6,000, {many:?} in packets of 60,000"
    );
}

#[test]
fn b20_authentication_data_without_method_and_unknown_methods() {
    let guard = Guard::new();
    let data = Connect::v5(unique("c")).props(Props::new().text(prop::AUTH_DATA, "d"));
    guard.no_entry(Version::V5, &data.bytes(), &[PROTOCOL_ERROR], "data without method");
    for method in ["GS2-KRB5", "", "x"] {
        let connect = Connect::v5(unique("c")).props(Props::new().text(prop::AUTH_METHOD, method));
        let mut client = RawClient::open(guard.addr());
        assert_eq!(client.handshake(&connect).reason, BAD_AUTH_METHOD, "method {method:?}");
        assert!(client.expect_closed().is_empty());
    }
}

#[test]
fn b21_auth_out_of_turn_is_a_protocol_error() {
    let guard = Guard::new();
    let method = Props::new().text(prop::AUTH_METHOD, "m");
    for (bytes, what) in [
        (packet(0xF0, &[]), "AUTH without anything"),
        (auth(0x18, &method), "continue"),
        (auth(0x19, &method), "re-authenticate"),
        (auth(0x19, &Props::new()), "re-authenticate without method"),
        (auth(0x00, &method), "success"),
    ] {
        guard.v5_ends_with(&bytes, &[PROTOCOL_ERROR], what);
    }
    guard.v5_ends_with(&auth(0x55, &method), &[MALFORMED, PROTOCOL_ERROR], "an unknown reason code");
    guard.v3_ends(&packet(0xF0, &[]), "type 15 is reserved in 3.1.1");
}

#[test]
fn b21_an_auth_before_the_connack_is_refused() {
    let guard = Guard::new();
    let started = Instant::now();
    let method = Props::new().text(prop::AUTH_METHOD, "m");
    let connect = Connect::v5(unique("c")).props(method.clone()).bytes();
    let both = [connect, auth(0x18, &method)].concat();
    guard.no_entry(Version::V5, &both, &[BAD_AUTH_METHOD], "AUTH behind a refused CONNECT");
    assert!(started.elapsed() < BOUND);
}
