//! Sections 3.10 to 3.12: UNSUBSCRIBE, UNSUBACK and PINGREQ.
//! Run against the shared broker.

use e2e_tests::packets::pingreq;
use e2e_tests::wire::{kind, packet, string};
use e2e_tests::{RawClient, unique};

use crate::support::{
    broker, client, closed_after_connect, forget, nothing_but_the_mark, persistent, pubcomp, pubrec,
    unsubscribe_raw, watcher,
};

#[test]
fn mqtt3_3_10_1_1_other_flags_than_0010_close() {
    let (_broker, addr) = broker();
    let body = [vec![0, 1], string("f")].concat();
    for flags in (0..16).filter(|flags| *flags != 2) {
        closed_after_connect(&addr, &packet(0xA0 | flags, &body), &format!("flags {flags}"));
    }
}

#[test]
fn mqtt3_3_10_3_1_a_filter_that_is_not_utf8_closes() {
    let (_broker, addr) = broker();
    closed_after_connect(&addr, &unsubscribe_raw(1, b"f\xff"), "filter");
}

#[test]
fn mqtt3_3_10_3_2_an_unsubscribe_without_filters_closes() {
    let (_broker, addr) = broker();
    closed_after_connect(&addr, &packet(0xA2, &[0, 1]), "no filter");
}

#[test]
fn mqtt3_3_10_4_1_the_filter_is_compared_character_by_character() {
    let (_broker, addr) = broker();
    let root = unique("t");
    let mut reader = client(&addr);
    reader.subscribe(&format!("{root}/+"), 1);
    let others = [
        format!("{root}/a"),
        format!("{root}/#"),
        format!("{root}/+/"),
        format!("{}/+", root.to_uppercase()),
    ];
    others.iter().for_each(|filter| drop(reader.unsubscribe(&[filter])));
    client(&addr).publish(&format!("{root}/a"), "still", 1);
    assert_eq!(reader.receive().text(), "still");
    reader.unsubscribe(&[&format!("{root}/+")]);
    client(&addr).publish(&format!("{root}/a"), "gone", 1);
    reader.expect_nothing();
}

#[test]
fn mqtt3_3_10_4_2_nothing_new_comes_after_unsuback() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut reader = watcher(&addr, &topic);
    reader.subscribe("other/topic", 0);
    for qos in 0..3 {
        client(&addr).publish(&topic, "before", qos);
        reader.receive();
    }
    reader.unsubscribe(&[&topic]);
    (0..3).for_each(|qos| client(&addr).publish(&topic, "after", qos));
    reader.expect_nothing();
}

#[test]
fn mqtt3_3_10_4_3_deliveries_already_begun_are_completed() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("c"), unique("t"));
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 2);
    client(&addr).publish(&topic, "one", 1);
    client(&addr).publish(&topic, "two", 2);
    let (one, two) = (reader.expect_publish(), reader.expect_publish());
    reader.unsubscribe(&[&topic]);
    reader.send(&pubrec(two.packet_id));
    assert_eq!(reader.expect_ack(kind::PUBREL).packet_id, two.packet_id);
    reader.send(&pubcomp(two.packet_id));
    reader.drop_connection();
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    let again = reader.receive();
    assert_eq!((again.text().as_str(), again.packet_id, again.dup), ("one", one.packet_id, true));
    reader.expect_nothing();
    reader.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_3_10_4_4_unsuback_repeats_the_packet_id() {
    let (_broker, addr) = broker();
    let mut client = client(&addr);
    client.subscribe("f", 0);
    client.send(&unsubscribe_raw(0xABCD, b"f"));
    let unsuback = client.expect(kind::UNSUBACK);
    assert_eq!((unsuback.first, unsuback.body), (0xB0, vec![0xAB, 0xCD]));
}

#[test]
fn mqtt3_3_10_4_5_unsuback_comes_even_if_nothing_was_deleted() {
    let (_broker, addr) = broker();
    let mut client = client(&addr);
    client.send(&unsubscribe_raw(3, b"never/subscribed"));
    assert_eq!(client.expect(kind::UNSUBACK).body, [0, 3]);
}

#[test]
fn mqtt3_3_10_4_6_several_filters_act_in_sequence_with_one_unsuback() {
    let (_broker, addr) = broker();
    let root = unique("t");
    let names: Vec<String> = ["a", "b", "c"].iter().map(|level| format!("{root}/{level}")).collect();
    let mut reader = client(&addr);
    names.iter().for_each(|name| drop(reader.subscribe(name, 1)));
    reader.unsubscribe(&[&names[0], "never/subscribed", &names[2]]);
    reader.expect_nothing();
    names.iter().for_each(|name| client(&addr).publish(name, name, 1));
    assert_eq!(reader.receive().text(), names[1]);
    reader.expect_nothing();
}

#[test]
fn mqtt3_3_12_4_1_pingreq_is_answered_by_pingresp() {
    let (_broker, addr) = broker();
    let mut client = client(&addr);
    for _ in 0..3 {
        client.send(&pingreq());
        let answer = client.expect(kind::PINGRESP);
        assert_eq!((answer.first, answer.body.len()), (0xD0, 0));
    }
    nothing_but_the_mark(&addr, &mut watcher(&addr, "ping/mark"), "ping/mark");
}
