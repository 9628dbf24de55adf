//! Sections 3.10 and 3.11: UNSUBSCRIBE and UNSUBACK.

use e2e_tests::packets;
use e2e_tests::wire::{Props, Version, kind, packet, string};

use crate::common::{BAD_UTF8, MALFORMED, World, topic};

/// Reason codes of UNSUBACK, section 3.11.3.
const CODES: [u8; 7] = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];

#[test]
fn mqtt5_3_10_1_1_unsubscribe_flags_are_0010() {
    let world = World::new();
    let right = packets::unsubscribe(Version::V5, 1, &["t"], &Props::new());
    for wrong in (0..16).filter(|flags| *flags != 2) {
        let mut bytes = right.clone();
        bytes[0] = kind::UNSUBSCRIBE << 4 | wrong;
        world.refused(&bytes, MALFORMED);
    }
}

#[test]
fn mqtt5_3_10_3_1_filters_are_utf8() {
    let world = World::new();
    for bad in BAD_UTF8 {
        let body = [&[0, 1, 0][..], &string(bad)].concat();
        world.refused(&packet(kind::UNSUBSCRIBE << 4 | 2, &body), &[0x81, 0x82, 0x8F]);
    }
}

#[test]
fn mqtt5_3_10_3_2_an_unsubscribe_without_a_filter_is_refused() {
    let world = World::new();
    world.refused(&packets::unsubscribe(Version::V5, 1, &[], &Props::new()), MALFORMED);
    world.refused(&packet(kind::UNSUBSCRIBE << 4 | 2, &[0, 1]), MALFORMED);
}

#[test]
fn mqtt5_3_10_4_1_only_the_exact_filter_is_deleted() {
    let world = World::new();
    let base = topic();
    let name = |rest: &str| format!("{base}{rest}");
    let mut client = world.subscriber(&name("/+"), 0);
    client.subscribe(&name("/#"), 0);
    let others = [name("/a"), name("/"), name("/#/"), name("/+/"), name(""), name("/+").to_uppercase()];
    let valid: Vec<&str> =
        others.iter().filter(|filter| !filter.contains("#/")).map(String::as_str).collect();
    assert_eq!(client.unsubscribe(&valid).codes, vec![0x11; valid.len()], "no subscription existed");
    assert_eq!(client.unsubscribe(&[&name("/+")]).codes, [0x00]);
    world.client().publish(&name("/a"), "by the other", 0);
    assert_eq!(client.expect_publish().text(), "by the other");
    assert_eq!(client.unsubscribe(&[&name("/#")]).codes, [0x00]);
    world.client().publish(&name("/a"), "by none", 0);
    client.expect_nothing();
}

#[test]
fn mqtt5_3_10_4_2_nothing_new_is_added_afterwards() {
    let world = World::new();
    let topic = topic();
    let mut client = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    assert_eq!(client.unsubscribe(&[&topic]).codes, [0]);
    for qos in 0..3 {
        publisher.publish(&topic, "too late", qos);
    }
    client.expect_nothing();
}

#[test]
fn mqtt5_3_10_4_3_deliveries_that_began_are_completed() {
    let world = World::new();
    let topic = topic();
    let mut client = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    publisher.publish(&topic, "one", 1);
    publisher.publish(&topic, "two", 2);
    let (one, two) = (client.expect_publish(), client.expect_publish());
    assert_eq!(client.unsubscribe(&[&topic]).codes, [0]);
    client.send(&packets::ack(kind::PUBREC, two.packet_id));
    assert_eq!(client.expect_ack(kind::PUBREL).packet_id, two.packet_id);
    client.send(&packets::ack(kind::PUBCOMP, two.packet_id));
    client.send(&packets::ack(kind::PUBACK, one.packet_id));
    client.ping();
    client.expect_nothing();
}

#[test]
fn mqtt5_3_10_4_4_unsubscribe_is_answered_by_unsuback() {
    let world = World::new();
    let mut client = world.client();
    client.send(&packets::unsubscribe(Version::V5, 17, &["t"], &Props::new()));
    let unsuback = client.expect_ack(kind::UNSUBACK);
    assert_eq!((unsuback.packet_id, unsuback.codes.len()), (17, 1));
}

#[test]
fn mqtt5_3_10_4_5_unsuback_comes_even_if_nothing_was_deleted() {
    let world = World::new();
    let mut client = world.client();
    client.send(&packets::unsubscribe(Version::V5, 0xABCD, &["never/subscribed"], &Props::new()));
    let unsuback = client.expect_ack(kind::UNSUBACK);
    assert_eq!((unsuback.packet_id, unsuback.codes), (0xABCD, vec![0x11]));
}

#[test]
fn mqtt5_3_10_4_6_several_filters_act_in_sequence_with_one_unsuback() {
    let world = World::new();
    let (one, two) = (topic(), topic());
    let mut client = world.subscriber(&one, 0);
    client.subscribe(&two, 0);
    let unsuback = client.unsubscribe(&[&one, &one, &two]);
    assert_eq!(unsuback.codes, [0x00, 0x11, 0x00], "the second time there is nothing to delete");
    world.client().publish(&two, "p", 0);
    client.expect_nothing();
}

#[test]
fn mqtt5_3_11_3_1_codes_are_in_the_order_of_the_filters() {
    let world = World::new();
    let (one, two) = (topic(), topic());
    let mut client = world.subscriber(&one, 0);
    client.subscribe(&two, 1);
    assert_eq!(client.unsubscribe(&["no/1", &one, "no/2", &two]).codes, [0x11, 0, 0x11, 0]);
}

#[test]
fn mqtt5_3_11_3_2_codes_are_those_of_the_table() {
    let world = World::new();
    for filter in ["a/b", "#", "$SYS/#", "$share/g/t"] {
        let unsuback = world.client().unsubscribe(&[filter]);
        assert!(unsuback.codes.iter().all(|code| CODES.contains(code)), "{filter}: {unsuback:?}");
    }
    let mut client = world.client();
    // Filters that are none: an answer with a failure code, or the end of the connection.
    client.send(&packets::unsubscribe(Version::V5, 9, &["a#"], &Props::new()));
    match client.read(e2e_tests::BOUND) {
        e2e_tests::client::Read::Packet(answer) if answer.kind() == kind::UNSUBACK => {
            assert!(CODES.contains(&answer.ack(Version::V5).code()));
        }
        e2e_tests::client::Read::Nothing => panic!("neither UNSUBACK nor the end"),
        _ => {}
    }
}
