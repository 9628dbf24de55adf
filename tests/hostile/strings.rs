//! B15: strings that are no strings, in every field that is one; and the byte order mark, which is data.
//! Each test has a broker of its own, see `guard`.

use e2e_tests::packets::{auth, disconnect_v5};
use e2e_tests::wire::{packet, prop, string};
use e2e_tests::{Connect, Props, Publish, Version, Will, unique};

use crate::guard::Guard;

const MALFORMED: u8 = 0x81;

/// Ill-formed UTF-8, encoded surrogates, U+0000.
const BAD: [&[u8]; 9] = [
    b"a\xff",
    b"a\x80b",
    b"\xc0\x80",
    b"\xe0\x80\xaf",
    b"\xed\xa0\x80",
    b"\xed\xb0\x80",
    b"\xf4\x90\x80\x80",
    b"a\xe2\x82",
    b"a\0b",
];

fn connects(version: Version, bad: &[u8]) -> Vec<(&'static str, Connect)> {
    let plain = Connect::new(version, unique("c"));
    vec![
        ("client id", Connect::new(version, bad)),
        ("will topic", plain.clone().will(Will::new(bad, "m"))),
        ("user name", plain.user(bad)),
    ]
}

fn v5_connects(bad: &[u8]) -> Vec<(&'static str, Connect)> {
    let plain = Connect::v5(unique("c"));
    let will = |props: Props| plain.clone().will(Will::new("t", "m").props(props));
    let with = |props: Props| plain.clone().props(props);
    vec![
        ("authentication method", with(Props::new().text(prop::AUTH_METHOD, bad))),
        ("user property name", with(Props::new().user(bad, "v"))),
        ("user property value", with(Props::new().user("n", bad))),
        ("will content type", will(Props::new().text(prop::CONTENT_TYPE, bad))),
        ("will response topic", will(Props::new().text(prop::RESPONSE_TOPIC, bad))),
        ("will user property", will(Props::new().user(bad, bad))),
    ]
}

/// SUBSCRIBE (`first` 0x82) or UNSUBSCRIBE (0xA2) of one filter of any bytes.
fn filters(version: Version, first: u8, bad: &[u8]) -> Vec<u8> {
    let props: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    let options: &[u8] = if first == 0x82 { &[0] } else { &[] };
    packet(first, &[&[0, 1], props, &string(bad), options].concat())
}

fn v5_packets(bad: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let publish = |props: Props| Publish::v5("t", "x").props(props).bytes();
    vec![
        ("topic", Publish::v5(bad, "x").bytes()),
        ("content type", publish(Props::new().text(prop::CONTENT_TYPE, bad))),
        ("response topic", publish(Props::new().text(prop::RESPONSE_TOPIC, bad))),
        ("user property name", publish(Props::new().user(bad, "v"))),
        ("user property value", publish(Props::new().user("n", bad))),
        ("filter", filters(Version::V5, 0x82, bad)),
        ("filter of UNSUBSCRIBE", filters(Version::V5, 0xA2, bad)),
        ("reason string of DISCONNECT", disconnect_v5(0, &Props::new().text(prop::REASON_STRING, bad))),
        ("method of AUTH", auth(0x18, &Props::new().text(prop::AUTH_METHOD, bad))),
    ]
}

#[test]
fn b15_bad_strings_in_connect_are_malformed() {
    let guard = Guard::new();
    for bad in BAD {
        for (field, connect) in connects(Version::V5, bad).into_iter().chain(v5_connects(bad)) {
            guard.no_entry(Version::V5, &connect.bytes(), &[MALFORMED], &format!("{field} {bad:02x?}"));
        }
        for (field, connect) in connects(Version::V3_1_1, bad) {
            guard.no_entry(Version::V3_1_1, &connect.bytes(), &[], &format!("{field} {bad:02x?}"));
        }
    }
}

#[test]
fn b15_bad_strings_in_later_packets_are_malformed() {
    let guard = Guard::new();
    for bad in BAD {
        for (field, bytes) in v5_packets(bad) {
            guard.v5_ends_with(&bytes, &[MALFORMED], &format!("{field} {bad:02x?}"));
        }
        guard.v3_ends(&Publish::v3(bad, "x").bytes(), &format!("topic {bad:02x?}"));
        guard.v3_ends(&filters(Version::V3_1_1, 0x82, bad), &format!("filter {bad:02x?}"));
        guard.v3_ends(&filters(Version::V3_1_1, 0xA2, bad), &format!("filter of UNSUBSCRIBE {bad:02x?}"));
    }
}

#[test]
fn b15_a_string_longer_than_its_packet_is_malformed() {
    let guard = Guard::new();
    for length in [6u16, 100, 65_535] {
        let long = [&length.to_be_bytes()[..], b"topic"].concat();
        guard.v5_ends_with(&packet(0x30, &long), &[MALFORMED], &format!("topic of {length}"));
        guard.v3_ends(&packet(0x30, &long), &format!("topic of {length}"));
        guard.v5_ends_with(
            &packet(0x82, &[&[0, 1, 0][..], &long].concat()),
            &[MALFORMED],
            &format!("filter of {length}"),
        );
        guard.v3_ends(&packet(0x82, &[&[0, 1][..], &long].concat()), &format!("filter of {length}"));
    }
}

#[test]
fn b15_a_byte_order_mark_is_kept() {
    let guard = Guard::new();
    let topic = "\u{FEFF}b15/\u{FEFF}";
    let (mut v5, mut v3) = (guard.v5(), guard.v3());
    v5.subscribe(topic, 1);
    v3.subscribe("\u{FEFF}b15/+", 1);
    let props = Props::new().text(prop::CONTENT_TYPE, "\u{FEFF}").user("\u{FEFF}n", "v\u{FEFF}");
    guard.v5().publish_packet(Publish::v5(topic, "\u{FEFF}").props(props), 1);
    let got = v5.receive();
    assert_eq!((got.topic.as_str(), got.text().as_str()), (topic, "\u{FEFF}"));
    assert_eq!(got.props.text(prop::CONTENT_TYPE).as_deref(), Some("\u{FEFF}"));
    assert_eq!(got.props.user(), [("\u{FEFF}n".to_owned(), "v\u{FEFF}".to_owned())]);
    assert_eq!(v3.receive().topic, topic);
}
