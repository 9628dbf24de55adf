//! B45 to B47: how connections end, and what keeps them.
//! Each test has a broker of its own, see `guard`.

use std::time::{Duration, Instant};

use e2e_tests::packets::{disconnect, disconnect_v5};
use e2e_tests::wire::{packet, prop};
use e2e_tests::{Connect, Props, Publish, RawClient, Version, Will, unique};

use crate::guard::Guard;

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const KEEP_ALIVE: u8 = 0x8D;

/// Connects with a will, sends these bytes, and expects the end with one of these codes (none in 3.1.1) and the will.
#[track_caller]
fn ends_with_its_will(guard: &Guard, version: Version, bytes: &[u8], codes: &[u8]) {
    let mut reader = guard.v3();
    reader.subscribe("b45", 1);
    let connect = Connect::new(version, unique("c")).will(Will::new("b45", "fired").qos(1));
    let mut client = RawClient::connect(guard.addr(), &connect);
    client.send(bytes);
    let code = client.expect_refusal(codes);
    assert_eq!(code.is_some(), version == Version::V5, "{bytes:02x?}");
    assert_eq!(reader.receive().text(), "fired", "it was no DISCONNECT: {bytes:02x?}");
}

#[test]
fn b45_a_disconnect_that_raises_the_expiry_from_zero() {
    let guard = Guard::new();
    let raise = disconnect_v5(0, &Props::new().four(prop::SESSION_EXPIRY, 60));
    ends_with_its_will(&guard, Version::V5, &raise, &[PROTOCOL_ERROR]);
}

#[test]
fn b45_a_disconnect_with_a_code_of_the_servers() {
    let guard = Guard::new();
    for code in [0x01, 0x02, 0x7F, 0x87, 0x8B, 0x8D, 0x8E, 0x9C, 0xFF] {
        let bytes = disconnect_v5(code, &Props::new());
        ends_with_its_will(&guard, Version::V5, &bytes, &[PROTOCOL_ERROR, MALFORMED]);
    }
    let reference = disconnect_v5(0, &Props::new().text(prop::SERVER_REFERENCE, "elsewhere"));
    ends_with_its_will(&guard, Version::V5, &reference, &[PROTOCOL_ERROR, MALFORMED]);
}

#[test]
fn b45_a_disconnect_with_trailing_bytes() {
    let guard = Guard::new();
    ends_with_its_will(&guard, Version::V5, &packet(0xE0, &[0, 0, 0]), &[MALFORMED]);
    ends_with_its_will(&guard, Version::V5, &packet(0xE0, &[0, 5, 0]), &[MALFORMED]);
    for body in [&[0][..], &[0, 0], &[0x04, 0]] {
        ends_with_its_will(&guard, Version::V3_1_1, &packet(0xE0, body), &[]);
    }
}

#[test]
fn b45_a_disconnect_with_will_is_accepted() {
    let guard = Guard::new();
    let mut reader = guard.v3();
    reader.subscribe("b45", 1);
    let connect = Connect::v5(unique("c")).will(Will::new("b45", "fired").qos(1));
    let mut client = RawClient::connect(guard.addr(), &connect);
    client.send(&disconnect_v5(0x04, &Props::new()));
    assert!(client.expect_closed().is_empty());
    assert_eq!(reader.receive().text(), "fired");
}

#[test]
fn b46_packets_after_disconnect_are_ignored() {
    let guard = Guard::new();
    let mut reader = guard.v3();
    reader.subscribe("b46/#", 1);
    for version in [Version::V5, Version::V3_1_1] {
        let connect = Connect::new(version, unique("c")).will(Will::new("b46/will", "fired").qos(1));
        let mut client = RawClient::connect(guard.addr(), &connect);
        let late = Publish::new(version, "b46/late", "x").qos(1, 1).bytes();
        let bad = packet(0x00, &[0xFF; 50]);
        client.send(&[disconnect(), late, bad, connect.bytes()].concat());
        assert!(client.expect_closed().is_empty(), "nothing after DISCONNECT is answered");
    }
    guard.v3().publish("b46/mark", "mark", 1);
    assert_eq!(reader.receive().topic, "b46/mark");
}

/// The Server Keep Alive that a 5.0 client is told when it asks for `asked`.
fn told(guard: &Guard, asked: u16) -> Option<u32> {
    let connect = Connect::v5(unique("c")).keep_alive(asked);
    RawClient::connect_ack(guard.addr(), &connect).1.props.number(prop::SERVER_KEEP_ALIVE)
}

#[test]
fn b47_keep_alives_above_the_maximum_are_lowered() {
    let guard = Guard::new();
    assert_eq!(
        (told(&guard, 0), told(&guard, u16::MAX), told(&guard, 3_601)),
        (Some(3_600), Some(3_600), Some(3_600))
    );
    assert!([None, Some(3_600)].contains(&told(&guard, 3_600)));
    assert!([None, Some(60)].contains(&told(&guard, 60)));
}

/// Clients of both versions that ask for these keep alives and stay silent must be closed, not before this time.
fn silence_ends(guard: &Guard, keep_alives: &[u16], least: Duration) {
    let started = Instant::now();
    for version in [Version::V5, Version::V3_1_1] {
        let connects =
            keep_alives.iter().map(|seconds| Connect::new(version, unique("c")).keep_alive(*seconds));
        let clients: Vec<RawClient> =
            connects.map(|connect| RawClient::connect(guard.addr(), &connect)).collect();
        for mut client in clients {
            let code = client.expect_refusal(&[KEEP_ALIVE]);
            assert_eq!(code.is_some(), version == Version::V5, "5.0 is told why");
            assert!(started.elapsed() >= least, "not before 1.5 times the keep alive");
        }
    }
}

#[test]
fn b47_silence_of_one_and_a_half_keep_alives_ends_the_connection() {
    let guard = Guard::new();
    silence_ends(&guard, &[1], Duration::from_millis(1_400));
}

#[test]
fn b47_the_operators_maximum_counts_for_everybody() {
    let mut guard = Guard::with_config("[mqtt]\nmax_keep_alive = \"3s\"\n");
    if guard.is_external() {
        return;
    }
    assert_eq!(told(&guard, 0), Some(3));
    silence_ends(&guard, &[0, u16::MAX], Duration::from_millis(4_400));
    guard.neighbours_return();
}
