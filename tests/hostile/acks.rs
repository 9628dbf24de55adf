//! B29 to B31: acks that never come, acks of nothing, acks of something else, and packets of the server's.
//! Each test has a broker of its own, see `guard`.

use e2e_tests::packets::ack;
use e2e_tests::wire::{kind, packet, prop};
use e2e_tests::{Connect, Props, RawClient, Version, unique};

use crate::guard::Guard;

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const UNKNOWN_ID: u8 = 0x92;

#[test]
fn b29_a_reader_that_never_acks_has_a_bounded_window() {
    let guard = Guard::new();
    let connect = Connect::v5(unique("c")).props(Props::new().two(prop::RECEIVE_MAXIMUM, 5));
    let mut reader = RawClient::connect(guard.addr(), &connect);
    reader.subscribe("b29/+", 2);
    let mut publisher = guard.v5();
    (0..200u8).for_each(|n| publisher.publish("b29/a", [n], 1 + n % 2));
    let first: Vec<_> = (0..5).map(|_| reader.expect_publish()).collect();
    reader.ping();
    reader.expect_nothing();
    reader.send(&ack(kind::PUBACK, first[0].packet_id));
    assert_eq!(reader.expect_publish().payload, [5], "one ack, one more");
    reader.expect_nothing();
}

#[test]
fn b29_a_reader_that_never_sends_pubcomp_has_a_bounded_window() {
    let guard = Guard::new();
    let connect = Connect::v5(unique("c")).props(Props::new().two(prop::RECEIVE_MAXIMUM, 3));
    let mut reader = RawClient::connect(guard.addr(), &connect);
    reader.subscribe("b29", 2);
    let mut publisher = guard.v5();
    (0..20u8).for_each(|n| publisher.publish("b29", [n], 2));
    for id in [0; 3].map(|_| reader.expect_publish().packet_id) {
        reader.send(&ack(kind::PUBREC, id));
        assert_eq!(reader.expect_ack(kind::PUBREL).packet_id, id);
    }
    reader.ping();
    reader.expect_nothing();
}

#[test]
fn b29_acks_of_ids_never_sent() {
    let guard = Guard::new();
    let mut client = guard.v5();
    for id in [1, 77, 65_535] {
        client.send(&[ack(kind::PUBACK, id), ack(kind::PUBCOMP, id)].concat());
        client.ping();
        client.expect_nothing();
        client.send(&ack(kind::PUBREC, id));
        let pubrel = client.expect_ack(kind::PUBREL);
        assert_eq!((pubrel.packet_id, pubrel.code()), (id, UNKNOWN_ID));
        client.send(&ack(kind::PUBCOMP, id));
    }
    client.ping();
    client.publish("b29", "on", 2);
}

#[test]
fn b29_acks_of_ids_never_sent_in_3_1_1() {
    let guard = Guard::new();
    for ack_kind in [kind::PUBACK, kind::PUBREC, kind::PUBCOMP] {
        let mut client = guard.v3();
        client.send(&ack(ack_kind, 77));
        // Ignored, answered by PUBREL, or closed; the broker is none the worse for it, as the guard shows.
        match client.read(e2e_tests::QUIET) {
            e2e_tests::client::Read::Packet(packet) => {
                assert_eq!((packet.first, packet.body), (0x62, vec![0, 77]))
            }
            e2e_tests::client::Read::Closed => continue,
            e2e_tests::client::Read::Nothing => {}
        }
        client.ping();
    }
}

#[test]
fn b29_an_ack_of_another_kind_of_exchange() {
    let guard = Guard::new();
    for version in [Version::V5, Version::V3_1_1] {
        for (qos, wrong) in [(2, kind::PUBACK), (1, kind::PUBREC), (2, kind::PUBCOMP), (1, kind::PUBCOMP)] {
            let mut reader = guard.client(version);
            reader.subscribe("b29", 2);
            guard.v5().publish("b29", "x", qos);
            let publish = reader.expect_publish();
            reader.send(&ack(wrong, publish.packet_id));
            match version {
                Version::V5 => {
                    let code = reader.expect_refusal(&[PROTOCOL_ERROR]);
                    assert_eq!(code, Some(PROTOCOL_ERROR), "ack {wrong} of a QoS {qos} exchange");
                }
                _ => match reader.read(e2e_tests::QUIET) {
                    e2e_tests::client::Read::Closed => {}
                    e2e_tests::client::Read::Nothing => reader.ping(),
                    other => panic!("ack {wrong} of a QoS {qos} exchange: {other:02x?}"),
                },
            }
        }
    }
}

#[test]
fn b30_pubrel_of_an_unknown_id_is_answered() {
    let guard = Guard::new();
    let mut v5 = guard.v5();
    for id in [1, 500, 65_535] {
        v5.send(&ack(kind::PUBREL, id));
        let pubcomp = v5.expect_ack(kind::PUBCOMP);
        assert_eq!((pubcomp.packet_id, pubcomp.code()), (id, UNKNOWN_ID));
    }
    let mut v3 = guard.v3();
    v3.send(&ack(kind::PUBREL, 9));
    assert_eq!(v3.expect(kind::PUBCOMP).body, [0, 9]);
    v3.ping();
}

#[test]
fn b31_packets_of_the_server_from_a_client() {
    let guard = Guard::new();
    let v5 = [
        packet(0x20, &[0, 0, 0]),
        packet(0x90, &[0, 1, 0, 0]),
        packet(0xB0, &[0, 1, 0, 0]),
        packet(0xD0, &[]),
    ];
    for bytes in v5 {
        guard.v5_ends_with(&bytes, &[PROTOCOL_ERROR], &format!("{bytes:02x?}"));
    }
    for bytes in [packet(0x20, &[0, 0]), packet(0x90, &[0, 1, 0]), packet(0xB0, &[0, 1]), packet(0xD0, &[])] {
        guard.v3_ends(&bytes, &format!("{bytes:02x?}"));
        guard.v5_ends_with(&bytes, &[PROTOCOL_ERROR, MALFORMED], &format!("{bytes:02x?}"));
    }
}
