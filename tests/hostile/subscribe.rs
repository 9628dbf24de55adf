//! B35 to B39 and B41: subscriptions to nothing, to everything, and to what is the broker's.
//! Each test has a broker of its own, see `guard`.

use std::time::Duration;

use e2e_tests::client::Read;
use e2e_tests::packets::{ack, subscribe};
use e2e_tests::wire::{kind, packet, prop};
use e2e_tests::{BOUND, Connect, Props, Publish, RawClient, Version, Will, unique};

use crate::guard::Guard;

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const NOT_AUTHORIZED: u8 = 0x87;
const BAD_FILTER: u8 = 0x8F;

#[test]
fn b35_no_filter_at_all() {
    let guard = Guard::new();
    for first in [0x82, 0xA2] {
        guard.v5_ends_with(&packet(first, &[0, 1, 0]), &[PROTOCOL_ERROR], "no filter");
        guard.v3_ends(&packet(first, &[0, 1]), "no filter");
    }
}

/// Expects each of these filters refused in the SUBACK, between two that are granted, and the client served on.
fn filters_are_refused(guard: &Guard, filters: &[&str]) {
    for (version, refusal) in [(Version::V5, BAD_FILTER), (Version::V3_1_1, 0x80)] {
        let mut client = guard.client(version);
        for filter in filters {
            let shown: String = filter.chars().take(20).collect();
            let ack = client.subscribe_with(&[("good/1", 1), (filter, 1), ("good/2", 2)], &Props::new());
            assert_eq!(ack.codes, [1, refusal, 2], "filter {shown:?} in {version:?}");
        }
        client.publish("good/2", "on", 1);
        assert_eq!(client.receive().text(), "on");
    }
}

#[test]
fn b36_filters_that_are_no_filters() {
    let guard = Guard::new();
    filters_are_refused(&guard, &["a#", "#/a", "a+", "", "+a", "a/b#", "a/#/b", "a/+b/c", "##", "++", "#+"]);
}

#[test]
fn b36_a_filter_of_65535_slashes() {
    let guard = Guard::new();
    let (slashes, plusses) = ("/".repeat(65_535), "+/".repeat(32_767));
    filters_are_refused(&guard, &[&slashes, &plusses, &format!("{}#", "a/".repeat(200))]);
    let levels_max = vec!["+"; 128].join("/");
    let mut client = guard.v5();
    client.subscribe(&levels_max, 1);
    client.publish(&vec!["x"; 128].join("/"), "deep", 1);
    assert_eq!(client.receive().text(), "deep");
}

#[test]
fn b36_a_topic_of_65535_slashes() {
    let guard = Guard::new();
    let mut reader = guard.v5();
    reader.subscribe("#", 0);
    let slashes = "/".repeat(65_535);
    for version in [Version::V5, Version::V3_1_1] {
        let mut client = guard.client(version);
        client.send(&Publish::new(version, &slashes, "x").qos(1, 1).bytes());
        match client.read(BOUND) {
            Read::Packet(packet) if packet.kind() == kind::PUBACK => {}
            Read::Packet(packet) => assert_eq!(packet.reasoned().reason, 0x90),
            Read::Closed => {}
            Read::Nothing => panic!("no answer"),
        }
    }
    guard.v5().publish("b36", "mark", 1);
    while reader.receive().text() != "mark" {}
}

#[test]
fn b37_options_that_do_not_exist() {
    let guard = Guard::new();
    let with = |options: u8, filter: &str| subscribe(Version::V5, 1, &[(filter, options)], &Props::new());
    for options in [0x40, 0x80, 0xC0, 0xC2] {
        guard.v5_ends_with(&with(options, "f"), &[MALFORMED], &format!("options {options:02x}"));
    }
    guard.v5_ends_with(&with(0x03, "f"), &[PROTOCOL_ERROR], "QoS 3");
    guard.v5_ends_with(&with(0x30, "f"), &[PROTOCOL_ERROR], "retain handling 3");
    guard.v5_ends_with(&with(0x04, "$share/g/f"), &[PROTOCOL_ERROR], "no local on a shared subscription");
    for options in [3, 4, 8, 0x10, 0x40, 0x80, 0xFF] {
        let bytes = subscribe(Version::V3_1_1, 1, &[("f", options)], &Props::new());
        guard.v3_ends(&bytes, &format!("requested QoS byte {options:02x}"));
    }
}

#[test]
fn b38_shared_filters_that_are_incomplete() {
    let guard = Guard::new();
    let bad = [
        "$share/",
        "$share//t",
        "$share/a+/t",
        "$share/a#/t",
        "$share/+/t",
        "$share/g",
        "$share/g/",
        "$share/g/a#",
    ];
    filters_are_refused(&guard, &bad);
    let mut client = guard.v5();
    client.send(&subscribe(Version::V5, 9, &[("$share/g/b38", 1)], &Props::new()));
    assert_eq!(client.expect_ack(kind::SUBACK).codes, [1]);
    client.publish("b38", "shared", 1);
    assert_eq!(client.receive().text(), "shared");
}

#[test]
fn b39_a_client_does_not_publish_where_the_broker_does() {
    let guard = Guard::new();
    let mut reader = guard.v3();
    reader.subscribe("$SYS/broker/version/+", 1);
    reader.subscribe("$SYS/mine", 1);
    for topic in ["$SYS/broker/version/x", "$SYS/mine", "$share/g/t", "$share/g"] {
        for retain in [false, true] {
            let publish = |version: Version, qos: u8| {
                let publish = Publish::new(version, topic, "x").qos(qos, 3);
                if retain { publish.retain().bytes() } else { publish.bytes() }
            };
            let mut v5 = guard.v5();
            v5.send(&publish(Version::V5, 0));
            v5.ping();
            v5.send(&publish(Version::V5, 1));
            assert_eq!(v5.expect_ack(kind::PUBACK).code(), NOT_AUTHORIZED, "{topic}");
            v5.send(&publish(Version::V5, 2));
            assert_eq!(v5.expect_ack(kind::PUBREC).code(), NOT_AUTHORIZED, "{topic}");
            let mut v3 = guard.v3();
            v3.send(&[publish(Version::V3_1_1, 0), publish(Version::V3_1_1, 1)].concat());
            assert_eq!(v3.expect(kind::PUBACK).body, [0, 3], "{topic}: acked and dropped");
            v3.ping();
        }
    }
    reader.ping();
    reader.expect_nothing();
    reader.subscribe("$SYS/mine", 1);
    reader.expect_nothing();
}

#[test]
fn b39_a_will_does_not_go_where_the_broker_publishes() {
    let guard = Guard::new();
    let mut reader = guard.v3();
    reader.subscribe("$SYS/mine", 1);
    for topic in ["$SYS/mine", "$share/g/t"] {
        let will = Will::new(topic, "x").retain();
        let mut v5 = RawClient::open(guard.addr());
        assert_eq!(v5.handshake(&Connect::v5(unique("c")).will(will.clone())).reason, NOT_AUTHORIZED);
        v5.expect_closed();
        // In 3.1.1 it may be refused, or let in without its will.
        let mut v3 = guard.open_v3();
        v3.send(&Connect::v3(unique("c")).will(will).bytes());
        if let Read::Packet(connack) = v3.read(BOUND) {
            assert!([0, 5].contains(&connack.body[1]), "{topic}: {connack:?}");
        }
        v3.drop_connection();
    }
    guard.v5().ping();
    reader.expect_nothing();
}

#[test]
fn b39_what_a_bridge_says_of_itself_is_taken_and_goes_nowhere() {
    let guard = Guard::new();
    let mut reader = guard.v3();
    reader.subscribe("$SYS/broker/connection/#", 1);
    let topic = "$SYS/broker/connection/b39/state";
    let will = || Will::new(topic, "0").retain().qos(1);
    let v5 = |connect: Connect| {
        let mut client = RawClient::open(guard.addr());
        assert_eq!(client.handshake(&connect.will(will())).reason, 0);
        client
    };
    let outlives = Props::new().four(prop::SESSION_EXPIRY, 1);
    for connect in [Connect::v5(unique("c")), Connect::v5(unique("c")).props(outlives)] {
        let mut client = v5(connect);
        client.send(&Publish::v5(topic, "1").retain().bytes());
        client.send(&Publish::v5(topic, "1").qos(1, 3).retain().bytes());
        assert_eq!(client.expect_ack(kind::PUBACK).code(), 0);
        client.send(&Publish::v5(topic, "1").qos(2, 4).retain().bytes());
        assert_eq!(client.expect_ack(kind::PUBREC).code(), 0);
        client.send(&ack(kind::PUBREL, 4));
        assert_eq!(client.expect_ack(kind::PUBCOMP).code(), 0);
        client.drop_connection();
    }
    let mut v3 = guard.open_v3();
    assert_eq!(v3.handshake(&Connect::v3(unique("c")).will(will())).reason, 0);
    v3.drop_connection();
    guard.v5().ping();
    reader.expect_nothing();
    reader.subscribe("$SYS/broker/connection/#", 1);
    reader.expect_nothing();
}

#[test]
fn b39_a_leading_wildcard_never_shows_the_brokers_topics() {
    let guard = Guard::new();
    for filter in ["#", "+/#", "+/broker/#", "$share/g/#", "+/broker/clients/connected"] {
        let mut reader = guard.v5();
        reader.subscribe(filter, 1);
        let _one_more = guard.v5();
        reader.publish("b39/broker", "mark", 1);
        while let Read::Packet(packet) = reader.read(Duration::from_millis(500)) {
            let publish = packet.publish(Version::V5);
            assert!(!publish.topic.starts_with('$'), "{filter} got {}", publish.topic);
            reader.answer(&publish);
        }
    }
}

/// Every filter of `depth` levels that are `a` or `+`, with a last level of their own below.
fn overlapping(depth: u32) -> Vec<String> {
    let level = |bits: u32, at: u32| if bits >> at & 1 == 1 { "+/" } else { "a/" };
    (0..1 << depth).map(|bits| (0..depth).map(|at| level(bits, at)).collect::<String>() + "z").collect()
}

#[test]
fn b41_overlapping_filters_of_one_client_are_one_message() {
    let guard = Guard::new();
    let mut reader = guard.v3();
    subscribe_all(&mut reader, &overlapping(10));
    let topic = "a/".repeat(10) + "z";
    guard.v5().publish(&topic, "once", 1);
    assert_eq!(reader.receive().text(), "once");
    reader.ping();
    reader.expect_nothing();
}

fn subscribe_all(client: &mut RawClient, filters: &[String]) {
    for some in filters.chunks(500) {
        let some: Vec<(&str, u8)> = some.iter().map(|filter| (filter.as_str(), 0)).collect();
        assert!(client.subscribe_with(&some, &Props::new()).codes.iter().all(|code| *code == 0));
    }
}

#[test]
fn b41_the_cost_of_a_match_is_bounded_by_the_stored_filters() {
    let guard = Guard::new();
    if guard.is_external() {
        return;
    }
    let cost = |depth: u32, publishes: u32| {
        let mut reader = guard.v3();
        subscribe_all(&mut reader, &overlapping(depth));
        let mut publisher = guard.v3();
        let before = guard.broker().cpu();
        let way = "a/".repeat(depth as usize);
        let all: Vec<u8> =
            (0..publishes).flat_map(|n| Publish::v3(format!("{way}{n}"), "").bytes()).collect();
        publisher.send(&all);
        publisher.ping();
        guard.broker().cpu().checked_sub(before).unwrap()
    };
    // 256 filters by 16,000 topics and 4,096 filters by 1,000 topics visit equally many nodes when none is visited
    // twice. Visiting by the number of ways through them would cost the second many times as much.
    let (few, many) = (cost(8, 16_000), cost(12, 1_000));
    assert!(many < few * 8 + Duration::from_millis(300), "256 filters: {few:?}, 4,096 filters: {many:?}");
}
