//! Sections 3.8 and 3.9: SUBSCRIBE and SUBACK.
//! Run against the shared broker.

use e2e_tests::packets::subscribe;
use e2e_tests::wire::{kind, packet, string};
use e2e_tests::{Props, Version, unique};

use crate::support::{
    broker, client, closed_after_connect, nothing_but_the_mark, retain, subscribe_raw, unretain, watcher,
};

#[test]
fn mqtt3_3_8_1_1_other_flags_than_0010_close() {
    let (_broker, addr) = broker();
    let body = [vec![0, 1], string("f"), vec![0]].concat();
    for flags in (0..16).filter(|flags| *flags != 2) {
        closed_after_connect(&addr, &packet(0x80 | flags, &body), &format!("flags {flags}"));
    }
}

#[test]
fn mqtt3_3_8_3_1_a_filter_that_is_not_utf8_closes() {
    let (_broker, addr) = broker();
    closed_after_connect(&addr, &subscribe_raw(1, b"f\xff", 0), "filter");
}

#[test]
fn mqtt3_3_8_3_2_wildcard_filters_are_supported() {
    let (_broker, addr) = broker();
    let root = unique("t");
    let filters = [format!("{root}/+"), format!("{root}/#")];
    for filter in &filters {
        let mut reader = watcher(&addr, filter);
        client(&addr).publish(&format!("{root}/a"), "x", 1);
        assert_eq!(reader.receive().text(), "x");
    }
}

#[test]
fn mqtt3_3_8_3_3_a_subscribe_without_filters_closes() {
    let (_broker, addr) = broker();
    closed_after_connect(&addr, &packet(0x82, &[0, 1]), "no filter");
    closed_after_connect(&addr, &packet(0x82, &[[0, 1].as_slice(), &string("f")].concat()), "no QoS");
}

#[test]
fn mqtt3_3_8_3_4_reserved_bits_or_qos_3_close() {
    let (_broker, addr) = broker();
    for options in [3, 4, 5, 8, 16, 32, 64, 128, 255] {
        closed_after_connect(
            &addr,
            &subscribe_raw(1, b"f", options),
            &format!("requested QoS byte {options}"),
        );
    }
}

#[test]
fn mqtt3_3_8_4_1_subscribe_is_answered_by_suback() {
    let (_broker, addr) = broker();
    let mut client = client(&addr);
    client.send(&subscribe_raw(11, b"f", 1));
    assert_eq!(client.expect(kind::SUBACK).body, [0, 11, 1]);
}

#[test]
fn mqtt3_3_8_4_2_suback_repeats_the_packet_id() {
    let (_broker, addr) = broker();
    let mut client = client(&addr);
    let several = [subscribe_raw(300, b"a", 0), subscribe_raw(2, b"b", 0), subscribe_raw(65_535, b"c", 0)];
    client.send(&several.concat());
    for id in [300u16, 2, 65_535] {
        assert_eq!(client.expect(kind::SUBACK).body[..2], id.to_be_bytes());
    }
}

#[test]
fn mqtt3_3_8_4_3_an_identical_filter_replaces_the_subscription() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    retain(&addr, &topic, "kept");
    let mut reader = watcher(&addr, &topic);
    for qos in [2, 0, 1] {
        if qos != 2 {
            reader.subscribe(&topic, qos);
        }
        let kept = reader.receive();
        assert_eq!((kept.text().as_str(), kept.retain), ("kept", true), "retained messages are sent again");
        client(&addr).publish(&topic, "live", 2);
        assert_eq!(reader.receive().qos, qos, "the new QoS counts");
        reader.expect_nothing();
    }
    unretain(&addr, &topic);
}

#[test]
fn mqtt3_3_8_4_3_replacing_does_not_interrupt_the_flow() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut reader = watcher(&addr, &topic);
    let mut publisher = client(&addr);
    for n in 0..100u8 {
        publisher.publish(&topic, [n], 1);
        reader.send(&subscribe_raw(9, topic.as_bytes(), 1));
    }
    let mut got = Vec::new();
    let mut acks = 0;
    while got.len() < 100 || acks < 100 {
        let e2e_tests::client::Read::Packet(packet) = reader.read(e2e_tests::BOUND) else {
            panic!("{got:?} {acks}")
        };
        match packet.kind() {
            kind::SUBACK => acks += 1,
            _ => {
                let publish = packet.publish(Version::V3_1_1);
                reader.answer(&publish);
                got.push(publish.payload[0]);
            }
        }
    }
    assert_eq!(got, (0..100).collect::<Vec<u8>>(), "each once, in order");
}

#[test]
fn mqtt3_3_8_4_4_several_filters_act_in_sequence_with_one_suback() {
    let (_broker, addr) = broker();
    let root = unique("t");
    let (a, b) = (format!("{root}/a"), format!("{root}/b"));
    let mut reader = client(&addr);
    let filters = [(a.as_str(), 2), (b.as_str(), 1), (a.as_str(), 0)];
    reader.send(&subscribe(Version::V3_1_1, 5, &filters, &Props::new()));
    assert_eq!(reader.expect(kind::SUBACK).body, [0, 5, 2, 1, 0]);
    client(&addr).publish(&a, "a", 2);
    client(&addr).publish(&b, "b", 2);
    let (first, second) = (reader.receive(), reader.receive());
    assert_eq!((first.text().as_str(), first.qos), ("a", 0), "the last of two identical filters counts");
    assert_eq!((second.text().as_str(), second.qos), ("b", 1));
    reader.expect_nothing();
}

#[test]
fn mqtt3_3_8_4_5_each_filter_gets_a_code() {
    let (_broker, addr) = broker();
    let mut reader = client(&addr);
    let ack = reader.subscribe_with(&[("a", 0), ("b", 1), ("c", 2), ("a/+/b", 2), ("#", 1)], &Props::new());
    assert_eq!(ack.codes, [0, 1, 2, 2, 1]);
}

#[test]
fn mqtt3_3_8_4_6_the_delivery_qos_is_the_lower_of_published_and_granted() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut readers: Vec<_> = (0..3)
        .map(|qos| {
            let mut reader = client(&addr);
            reader.subscribe(&topic, qos);
            reader
        })
        .collect();
    for published in 0..3 {
        client(&addr).publish(&topic, [published], published);
        for (granted, reader) in readers.iter_mut().enumerate() {
            let got = reader.receive();
            assert_eq!(
                (got.payload, usize::from(got.qos)),
                (vec![published], granted.min(usize::from(published)))
            );
        }
    }
}

#[test]
fn mqtt3_3_9_3_1_suback_codes_come_in_filter_order() {
    let (_broker, addr) = broker();
    let qos_of = |n: usize| ((n * 7) % 3) as u8;
    let names: Vec<String> = (0..100).map(|n| format!("{}/{n}", unique("t"))).collect();
    let filters: Vec<(&str, u8)> =
        names.iter().enumerate().map(|(n, name)| (name.as_str(), qos_of(n))).collect();
    let ack = client(&addr).subscribe_with(&filters, &Props::new());
    assert_eq!(ack.codes, (0..100).map(qos_of).collect::<Vec<u8>>());
}

#[test]
fn mqtt3_3_9_3_2_suback_codes_are_0_1_2_or_0x80() {
    let (_broker, addr) = broker();
    for filter in ["a", "a#", "#/a", "+a", "$share/g", "$share//x", "$SYS/#", "a//b"] {
        let mut client = client(&addr);
        client.send(&subscribe_raw(1, filter.as_bytes(), 1));
        match client.read(e2e_tests::BOUND) {
            e2e_tests::client::Read::Packet(packet) => {
                assert_eq!(packet.first, 0x90);
                assert!([0, 1, 2, 0x80].contains(&packet.body[2]), "{filter}: {packet:02x?}");
            }
            e2e_tests::client::Read::Closed => {}
            e2e_tests::client::Read::Nothing => panic!("{filter}: no answer"),
        }
    }
    nothing_but_the_mark(&addr, &mut watcher(&addr, "b38/mark"), "b38/mark");
}
