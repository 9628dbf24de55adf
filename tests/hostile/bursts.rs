//! B6, B28 and B42 once more: much in one segment from clients with persistent sessions, which is allowed, and
//! look-ups of retained messages that a mailbox could not hold. Each was lost or refused once.

use e2e_tests::client::Read;
use e2e_tests::wire::{kind, prop};
use e2e_tests::{BOUND, Connect, Props, Publish, RawClient, Version, packets, unique};

use crate::guard::Guard;

const RECEIVE_MAXIMUM: u16 = 1_024;
const QUOTA: u8 = 0x97;

/// A client whose session outlives its connection.
pub(crate) fn persistent(guard: &Guard) -> RawClient {
    let expiry = Props::new().four(prop::SESSION_EXPIRY, 60);
    RawClient::connect(guard.addr(), &Connect::v5(unique("p")).clean(false).props(expiry))
}

/// Ends the session of such a client, and its connection.
pub(crate) fn end_session(client: RawClient) {
    let mut client = client;
    client.send(&packets::disconnect_v5(0, &Props::new().four(prop::SESSION_EXPIRY, 0)));
    client.expect_closed();
}

fn next_kind(client: &mut RawClient) -> u8 {
    match client.read(BOUND) {
        Read::Packet(packet) => packet.kind(),
        other => panic!("expected a packet, got {other:?}"),
    }
}

#[test]
fn b28_a_whole_receive_maximum_of_qos_2_in_one_segment_is_taken() {
    let guard = Guard::new();
    let mut client = persistent(&guard);
    let burst: Vec<u8> =
        (1..=RECEIVE_MAXIMUM).flat_map(|id| Publish::v5("b28/burst", "x").qos(2, id).bytes()).collect();
    client.send(&burst);
    for id in 1..=RECEIVE_MAXIMUM {
        assert_eq!(client.expect_ack(kind::PUBREC).packet_id, id);
    }
    let releases: Vec<u8> = (1..=RECEIVE_MAXIMUM).flat_map(|id| packets::ack(kind::PUBREL, id)).collect();
    client.send(&releases);
    (1..=RECEIVE_MAXIMUM).for_each(|id| assert_eq!(client.expect_ack(kind::PUBCOMP).packet_id, id));
    end_session(client);
}

#[test]
fn b06_a_retained_publish_is_found_by_the_subscribe_behind_it_in_one_segment() {
    let guard = Guard::new();
    for n in 0..20_u16 {
        let (topic, mut client) = (format!("b06/{n}"), guard.v5());
        let publish = Publish::v5(&topic, "kept").retain().qos(1, 1).bytes();
        let subscribe = packets::subscribe(Version::V5, 2, &[(&topic, 0)], &Props::new());
        client.send(&[publish, subscribe].concat());
        let mut seen: Vec<u8> = (0..3).map(|_| next_kind(&mut client)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [kind::PUBLISH, kind::PUBACK, kind::SUBACK], "{topic}");
        client.publish_packet(Publish::v5(&topic, "").retain(), 1);
        client.disconnect();
    }
}

#[test]
fn b42_a_persistent_session_gets_every_retained_message_at_qos_0() {
    let guard = Guard::new();
    let (mut publisher, large) = (guard.v5(), vec![b'x'; 4_000]);
    let mut retain = |n: u16, payload: &[u8]| {
        publisher.send(&Publish::v5(format!("b42/kept/{n}"), payload).retain().qos(1, 1).bytes());
        assert!(!publisher.expect_ack(kind::PUBACK).codes.contains(&QUOTA));
    };
    (0..2_000).for_each(|n| retain(n, &large));
    let mut client = persistent(&guard);
    client.subscribe("b42/kept/#", 0);
    (0..2_000).for_each(|n| assert_eq!(client.receive().payload.len(), large.len(), "message {n}"));
    end_session(client);
    (0..2_000).for_each(|n| retain(n, b""));
}
