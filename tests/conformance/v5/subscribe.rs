//! Sections 3.8 and 3.9: SUBSCRIBE and SUBACK.

use e2e_tests::packets::{self, Publish};
use e2e_tests::wire::{Props, Version, kind, packet, string};

use crate::common::{BAD_UTF8, MALFORMED, World, topic, until_end};

/// Reason codes of SUBACK, section 3.9.3.
const CODES: [u8; 12] = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
const NO_LOCAL: u8 = 0x04;

fn subscribe(filters: &[(&str, u8)]) -> Vec<u8> {
    packets::subscribe(Version::V5, 1, filters, &Props::new())
}

#[test]
fn mqtt5_3_8_1_1_subscribe_flags_are_0010() {
    let world = World::new();
    let right = subscribe(&[("t", 0)]);
    for wrong in (0..16).filter(|flags| *flags != 2) {
        let mut bytes = right.clone();
        bytes[0] = kind::SUBSCRIBE << 4 | wrong;
        world.refused(&bytes, MALFORMED);
    }
}

#[test]
fn mqtt5_3_8_3_1_filters_are_utf8() {
    let world = World::new();
    for bad in BAD_UTF8 {
        let body = [&[0, 1, 0][..], &string(bad), &[0]].concat();
        world.refused(&packet(kind::SUBSCRIBE << 4 | 2, &body), &[0x81, 0x82, 0x8F]);
    }
}

#[test]
fn mqtt5_3_8_3_2_a_subscribe_without_a_filter_is_refused() {
    let world = World::new();
    world.refused(&subscribe(&[]), MALFORMED);
    // A filter without its options byte.
    let body = [&[0, 1, 0][..], &string("t")].concat();
    world.refused(&packet(kind::SUBSCRIBE << 4 | 2, &body), MALFORMED);
    world.refused(&packet(kind::SUBSCRIBE << 4 | 2, &[0, 1]), MALFORMED);
}

#[test]
fn mqtt5_3_8_3_3_no_local_keeps_ones_own_messages_away() {
    let world = World::new();
    let topic = topic();
    let mut client = world.subscriber(&topic, NO_LOCAL | 1);
    let mut other = world.client();
    for qos in 0..3 {
        client.publish(&topic, "own", qos);
    }
    other.publish(&topic, "of another", 1);
    assert_eq!(client.receive().text(), "of another");
    client.expect_nothing();
    client.subscribe(&topic, 1);
    client.publish(&topic, "own, now wanted", 1);
    assert_eq!(client.receive().text(), "own, now wanted");
}

#[test]
fn mqtt5_3_8_3_3_no_local_counts_for_each_subscription() {
    let world = World::new();
    let base = topic();
    let mut client = world.subscriber(&format!("{base}/a"), NO_LOCAL | 2);
    client.subscribe(&format!("{base}/+"), 1);
    client.publish(&format!("{base}/a"), "by the other filter", 2);
    client.publish(&format!("{base}/b"), "end", 1);
    let got = until_end(&mut client);
    assert_eq!(got.len(), 1);
    assert_eq!((got[0].text().as_str(), got[0].qos), ("by the other filter", 1));
}

#[test]
fn mqtt5_3_8_3_4_no_local_on_a_shared_subscription_is_a_protocol_error() {
    let world = World::new();
    world.refused(&subscribe(&[("$share/g/t", NO_LOCAL)]), &[0x82]);
    world.refused(&subscribe(&[("fine", 0), ("$share/g/t", NO_LOCAL | 1)]), &[0x82]);
}

#[test]
fn mqtt5_3_8_3_5_reserved_option_bits_are_malformed() {
    let world = World::new();
    for options in [0x40, 0x80, 0xC0, 0x41, 0x82] {
        world.refused(&subscribe(&[("t", options)]), MALFORMED);
    }
    // QoS 3 and Retain Handling 3 are no values either.
    for options in [0x03, 0x30, 0x33] {
        world.refused(&subscribe(&[("t", options)]), MALFORMED);
    }
}

#[test]
fn mqtt5_3_8_4_1_subscribe_is_answered_by_suback() {
    let world = World::new();
    let mut client = world.client();
    client.send(&subscribe(&[(&topic(), 1)]));
    let suback = client.expect_ack(kind::SUBACK);
    assert_eq!(suback.codes, [1]);
}

#[test]
fn mqtt5_3_8_4_2_suback_repeats_the_packet_id() {
    let world = World::new();
    let (one, two) = (topic(), topic());
    let mut client = world.client();
    // Two at once: answered each by its own, in order.
    let first = packets::subscribe(Version::V5, 40_000, &[(&one, 0)], &Props::new());
    let second = packets::subscribe(Version::V5, 3, &[(&two, 0)], &Props::new());
    client.send(&[first, second].concat());
    assert_eq!(client.expect_ack(kind::SUBACK).packet_id, 40_000);
    assert_eq!(client.expect_ack(kind::SUBACK).packet_id, 3);
}

#[test]
fn mqtt5_3_8_4_3_an_identical_filter_replaces_the_subscription() {
    let world = World::new();
    let topic = topic();
    let mut client = world.client();
    let mut publisher = world.client();
    for qos in [0, 2, 1, 0] {
        client.subscribe(&topic, qos);
        publisher.publish(&topic, "p", 2);
        publisher.publish(&topic, "end", 0);
        let got = until_end(&mut client);
        assert_eq!(got.iter().map(|p| p.qos).collect::<Vec<_>>(), [qos], "one subscription, of the last QoS");
    }
    client.unsubscribe(&[&topic]);
    publisher.publish(&topic, "p", 0);
    client.expect_nothing();
}

#[test]
fn mqtt5_3_8_4_5_several_filters_act_as_several_subscribes() {
    let world = World::new();
    let (one, two, three) = (topic(), topic(), topic());
    let mut client = world.client();
    let suback = client.subscribe_with(&[(&one, 0), (&two, 1), (&three, 2), (&one, 1)], &Props::new());
    assert_eq!(suback.codes, [0, 1, 2, 1]);
    let mut publisher = world.client();
    for (topic, qos) in [(&one, 1), (&two, 1), (&three, 2)] {
        publisher.publish(topic, "p", 2);
        let got = client.receive();
        assert_eq!((&got.topic, got.qos), (topic, qos));
    }
}

#[test]
fn mqtt5_3_8_4_6_one_code_for_each_filter() {
    let world = World::new();
    let mut client = world.client();
    for count in [1, 2, 30] {
        let names: Vec<String> = (0..count).map(|_| topic()).collect();
        let filters: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        assert_eq!(client.subscribe_with(&filters, &Props::new()).codes, vec![1; count]);
    }
}

#[test]
fn mqtt5_3_8_4_7_each_code_is_the_granted_qos_or_a_failure() {
    let world = World::new();
    let topic = topic();
    let mut client = world.client();
    let filters = [(topic.as_str(), 1), ("bad#", 1), ("$share/g", 2), ("fine/#", 2)];
    client.send(&packets::subscribe(Version::V5, 7, &filters, &Props::new()));
    // A filter that is none may also end the connection: then there is no SUBACK.
    if let Some(answer) = client.expect_suback_or_end() {
        assert_eq!(answer.codes.len(), 4);
        assert!(answer.codes[0] <= 1 && answer.codes[3] <= 2);
        assert!(answer.codes[1] >= 0x80 && answer.codes[2] >= 0x80, "{answer:?}");
        world.client().publish(&topic, "the good ones hold", 0);
        assert_eq!(client.receive().text(), "the good ones hold");
    }
}

#[test]
fn mqtt5_3_8_4_8_delivery_has_the_lower_of_published_and_granted_qos() {
    let world = World::new();
    for granted in 0..3 {
        let topic = topic();
        let mut client = world.subscriber(&topic, granted);
        let mut publisher = world.client();
        for published in 0..3 {
            publisher.publish(&topic, "p", published);
            assert_eq!(client.receive().qos, published.min(granted));
        }
        publisher.publish_packet(Publish::v5(&topic, "r"), 1);
        assert_eq!(client.receive().qos, granted.min(1));
    }
}

#[test]
fn mqtt5_3_9_3_1_codes_are_in_the_order_of_the_filters() {
    let world = World::new();
    let names: Vec<String> = (0..9).map(|_| topic()).collect();
    let filters: Vec<(&str, u8)> =
        names.iter().zip([2, 0, 1].into_iter().cycle()).map(|(n, q)| (n.as_str(), q)).collect();
    let suback = world.client().subscribe_with(&filters, &Props::new());
    assert_eq!(suback.codes, [2, 0, 1, 2, 0, 1, 2, 0, 1]);
}

#[test]
fn mqtt5_3_9_3_2_codes_are_those_of_the_table() {
    let world = World::new();
    for filter in ["a/b", "#", "+", "$SYS/#", "a#", "$share/g/x", "$share/g", "$share//x", "", "a/#/b"] {
        let mut client = world.client();
        client.send(&subscribe(&[(filter, 2)]));
        if let Some(suback) = client.expect_suback_or_end() {
            assert!(suback.codes.iter().all(|code| CODES.contains(code)), "{filter}: {suback:?}");
        }
    }
}
