//! Sections 1.5 and 2: strings, fixed header flags, packet identifiers.
//! Run against the shared broker.

use e2e_tests::wire::{kind, packet, string};
use e2e_tests::{Connect, Publish, Will, unique};

use crate::support::{
    broker, client, closed_after_connect, closed_at_connect, nothing_but_the_mark, persistent, puback,
    pubcomp, pubrec, pubrel, subscribe_raw, unsubscribe_raw, watcher,
};

/// The bytes of a CONNECT for each of its string fields, with `text` in it.
fn connects_with(text: &[u8]) -> [(Vec<u8>, &'static str); 3] {
    let connect = Connect::v3(unique("s"));
    [
        (Connect::v3(text).bytes(), "client id"),
        (connect.clone().will(Will::new(text, "w")).bytes(), "will topic"),
        (connect.user(text).bytes(), "user name"),
    ]
}

/// The bytes of each later packet that has a string field, with `text` in it.
fn packets_with(text: &[u8]) -> [(Vec<u8>, &'static str); 3] {
    [
        (Publish::v3(text, "p").bytes(), "topic name"),
        (subscribe_raw(1, text, 0), "filter of SUBSCRIBE"),
        (unsubscribe_raw(1, text), "filter of UNSUBSCRIBE"),
    ]
}

fn every_string_field_closes(texts: &[&[u8]]) {
    let (_broker, addr) = broker();
    for text in texts {
        for (bytes, field) in connects_with(text) {
            closed_at_connect(&addr, &bytes, &format!("{field} {text:02x?}"));
        }
        for (bytes, field) in packets_with(text) {
            closed_after_connect(&addr, &bytes, &format!("{field} {text:02x?}"));
        }
    }
}

#[test]
fn mqtt3_1_5_3_1_ill_formed_utf8_closes() {
    every_string_field_closes(&[
        b"a\xff",
        b"a\x80",
        b"a\xc3",
        b"a\xc0\xaf",
        b"a\xed\xa0\x80",
        b"a\xed\xbf\xbf",
        b"a\xf4\x90\x80\x80",
        b"a\xe2\x82",
    ]);
}

#[test]
fn mqtt3_1_5_3_2_nul_closes() {
    every_string_field_closes(&[b"a\0b", b"\0"]);
}

#[test]
fn mqtt3_1_5_3_3_a_bom_is_data() {
    let (_broker, addr) = broker();
    let plain = unique("bom");
    let topic = format!("\u{FEFF}{plain}");
    let (mut with, mut without) = (watcher(&addr, &topic), watcher(&addr, &plain));
    client(&addr).publish(&topic, "\u{FEFF}x", 1);
    let got = with.receive();
    assert_eq!((got.topic, got.payload), (topic, b"\xEF\xBB\xBFx".to_vec()));
    nothing_but_the_mark(&addr, &mut without, &plain);
}

#[test]
fn mqtt3_2_2_2_1_the_brokers_flags_are_the_listed_ones() {
    let (_broker, addr) = broker();
    let mut client = e2e_tests::RawClient::open(&addr);
    client.speak(e2e_tests::Version::V3_1_1);
    let topic = unique("flags");
    let mut expect = |bytes: &[u8], first: u8| {
        client.send(bytes);
        let e2e_tests::client::Read::Packet(packet) = client.read(e2e_tests::BOUND) else {
            panic!("no answer {first:02x}")
        };
        assert_eq!(packet.first, first, "{packet:02x?}");
    };
    expect(&Connect::v3(unique("c")).bytes(), 0x20);
    expect(&subscribe_raw(1, topic.as_bytes(), 2), 0x90);
    expect(&packet(0xC0, &[]), 0xD0);
    expect(&Publish::v3("other", "").qos(1, 2).bytes(), 0x40);
    expect(&Publish::v3("other", "").qos(2, 3).bytes(), 0x50);
    expect(&pubrel(3), 0x70);
    expect(&Publish::v3(&topic, "0").bytes(), 0x30);
    expect(&unsubscribe_raw(4, topic.as_bytes()), 0xB0);
}

#[test]
fn mqtt3_2_2_2_1_pubrel_has_flags_0010() {
    let (_broker, addr) = broker();
    let topic = unique("flags");
    let mut reader = watcher(&addr, &topic);
    client(&addr).publish(&topic, "x", 2);
    let publish = reader.expect_publish();
    reader.send(&pubrec(publish.packet_id));
    assert_eq!(reader.expect(kind::PUBREL).first, 0x62);
    reader.send(&pubcomp(publish.packet_id));
}

#[test]
fn mqtt3_2_2_2_2_invalid_flags_close() {
    let (_broker, addr) = broker();
    let filter = [string("f"), vec![0]].concat();
    let bodies: [(u8, u8, Vec<u8>); 8] = [
        (kind::PUBACK, 0, vec![0, 1]),
        (kind::PUBREC, 0, vec![0, 1]),
        (kind::PUBREL, 2, vec![0, 1]),
        (kind::PUBCOMP, 0, vec![0, 1]),
        (kind::SUBSCRIBE, 2, [vec![0, 1], filter].concat()),
        (kind::UNSUBSCRIBE, 2, [vec![0, 1], string("f")].concat()),
        (kind::PINGREQ, 0, vec![]),
        (kind::DISCONNECT, 0, vec![]),
    ];
    for (packet_kind, right, body) in bodies {
        for flags in (0..16).filter(|flags| *flags != right) {
            let first = packet_kind << 4 | flags;
            closed_after_connect(&addr, &packet(first, &body), &format!("first byte {first:02x}"));
        }
    }
    for flags in 1..16 {
        let mut connect = Connect::v3(unique("c")).bytes();
        connect[0] |= flags;
        closed_at_connect(&addr, &connect, &format!("CONNECT with flags {flags}"));
    }
}

#[test]
fn mqtt3_2_3_1_1_packet_id_zero_closes() {
    let (_broker, addr) = broker();
    for qos in [1, 2] {
        closed_after_connect(&addr, &Publish::v3("t", "").qos(qos, 0).bytes(), "PUBLISH");
    }
    closed_after_connect(&addr, &subscribe_raw(0, b"t", 0), "SUBSCRIBE");
    closed_after_connect(&addr, &unsubscribe_raw(0, b"t"), "UNSUBSCRIBE");
}

#[test]
fn mqtt3_2_3_1_1_the_brokers_publish_has_a_packet_id() {
    let (_broker, addr) = broker();
    let topic = unique("id");
    let mut reader = watcher(&addr, &topic);
    for qos in [1, 2] {
        client(&addr).publish(&topic, "x", qos);
        assert_ne!(reader.receive().packet_id, 0);
    }
}

#[test]
fn mqtt3_2_3_1_2_a_packet_id_in_use_is_taken_as_a_repeat() {
    let (_broker, addr) = broker();
    let topic = unique("inuse");
    let mut reader = watcher(&addr, &topic);
    let mut publisher = client(&addr);
    for payload in ["first", "second"] {
        publisher.send(&Publish::v3(&topic, payload).qos(2, 9).bytes());
        assert_eq!(publisher.expect_ack(kind::PUBREC).packet_id, 9);
    }
    publisher.send(&pubrel(9));
    assert_eq!(publisher.expect_ack(kind::PUBCOMP).packet_id, 9);
    assert_eq!(reader.receive().text(), "first");
    nothing_but_the_mark(&addr, &mut reader, &topic);
}

#[test]
fn mqtt3_2_3_1_3_a_packet_id_is_free_after_its_ack() {
    let (_broker, addr) = broker();
    let topic = unique("free");
    let mut reader = watcher(&addr, &topic);
    let mut publisher = client(&addr);
    publisher.send(&subscribe_raw(9, b"elsewhere", 0));
    publisher.expect(kind::SUBACK);
    publisher.send(&unsubscribe_raw(9, b"elsewhere"));
    publisher.expect(kind::UNSUBACK);
    for round in ["a", "b"] {
        publisher.send(&Publish::v3(&topic, format!("{round}1")).qos(1, 9).bytes());
        assert_eq!(publisher.expect_ack(kind::PUBACK).packet_id, 9);
        publisher.send(&Publish::v3(&topic, format!("{round}2")).qos(2, 9).bytes());
        publisher.expect_ack(kind::PUBREC);
        publisher.send(&pubrel(9));
        publisher.expect_ack(kind::PUBCOMP);
    }
    let got: Vec<String> = (0..4).map(|_| reader.receive().text()).collect();
    assert_eq!(got, ["a1", "a2", "b1", "b2"]);
}

#[test]
fn mqtt3_2_3_1_4_the_brokers_packet_ids_are_unused_ones_and_stay_in_resends() {
    let (_broker, addr) = broker();
    let (topic, id) = (unique("ids"), unique("c"));
    let mut reader = e2e_tests::RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 2);
    let mut publisher = client(&addr);
    (0..20u8).for_each(|n| publisher.publish(&topic, [n], 1 + n % 2));
    let mut sent: Vec<(u16, Vec<u8>)> =
        (0..20).map(|_| reader.expect_publish()).map(|p| (p.packet_id, p.payload)).collect();
    let mut ids: Vec<u16> = sent.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20, "each in flight with an id of its own");
    reader.drop_connection();

    let mut reader = e2e_tests::RawClient::connect(&addr, &persistent(&id));
    let again: Vec<(u16, Vec<u8>)> =
        (0..20).map(|_| reader.receive()).map(|p| (p.packet_id, p.payload)).collect();
    assert_eq!(again, sent, "resent with the same ids");
    sent.clear();
    reader.disconnect();
    crate::support::forget(&addr, &id);
}

#[test]
fn mqtt3_2_3_1_5_qos_0_has_no_packet_id() {
    let (_broker, addr) = broker();
    let topic = unique("q0");
    let mut reader = watcher(&addr, &topic);
    client(&addr).publish(&topic, "payload", 0);
    let packet = reader.expect(kind::PUBLISH);
    assert_eq!(packet.body, [string(&topic), b"payload".to_vec()].concat(), "topic, then payload");
}

#[test]
fn mqtt3_2_3_1_6_acks_repeat_the_packet_id() {
    let (_broker, addr) = broker();
    let topic = unique("acks");
    let mut reader = watcher(&addr, &topic);
    let mut publisher = client(&addr);
    for id in [1, 255, 256, 0x1234, 65535] {
        publisher.send(&Publish::v3(&topic, "1").qos(1, id).bytes());
        assert_eq!(publisher.expect(kind::PUBACK).body, id.to_be_bytes());
        publisher.send(&Publish::v3(&topic, "2").qos(2, id).bytes());
        assert_eq!(publisher.expect(kind::PUBREC).body, id.to_be_bytes());
        publisher.send(&pubrel(id));
        assert_eq!(publisher.expect(kind::PUBCOMP).body, id.to_be_bytes());
        let one = reader.expect_publish();
        reader.send(&puback(one.packet_id));
        let two = reader.expect_publish();
        reader.send(&pubrec(two.packet_id));
        assert_eq!(reader.expect(kind::PUBREL).body, two.packet_id.to_be_bytes());
        reader.send(&pubcomp(two.packet_id));
    }
}

#[test]
fn mqtt3_2_3_1_7_suback_and_unsuback_repeat_the_packet_id() {
    let (_broker, addr) = broker();
    let mut client = client(&addr);
    for id in [1u16, 255, 256, 0x1234, 65535] {
        client.send(&subscribe_raw(id, b"f", 0));
        assert_eq!(client.expect(kind::SUBACK).body[..2], id.to_be_bytes());
        client.send(&unsubscribe_raw(id, b"f"));
        assert_eq!(client.expect(kind::UNSUBACK).body, id.to_be_bytes());
    }
}
