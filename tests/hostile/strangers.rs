//! B52: peers that speak something else on the MQTT port.
//! Each test has a broker of its own, see `guard`.

use e2e_tests::client::Read;
use e2e_tests::{RawClient, Version};

use crate::guard::Guard;
use crate::mixture::Dice;

/// What strangers begin with.
const GREETINGS: [&[u8]; 9] = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /mqtt HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u2\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"EHLO example.org\r\n",
    b"AMQP\x00\x00\x09\x01",
    b"\x05\x01\x00",
    b"\0\0\0\0\0\0\0\0",
];

#[test]
fn b52_other_protocols_are_closed_at_once() {
    let guard = Guard::new();
    for greeting in GREETINGS {
        guard.no_entry(Version::V5, greeting, &[], &String::from_utf8_lossy(greeting));
    }
}

/// Pseudo-random bytes, the same in every run.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..count).map(|_| dice.roll(256) as u8).collect()
}

#[test]
fn b52_random_bytes_are_no_connect() {
    let guard = Guard::new();
    for seed in 0..200 {
        let bytes = noise(seed, 1 + seed as usize * 3);
        let mut client = RawClient::open(guard.addr());
        client.send(&bytes);
        // What looks like the beginning of a CONNECT may wait for its rest until the connect timeout.
        if let Read::Packet(packet) = client.read(std::time::Duration::from_millis(5)) {
            assert_ne!(packet.body.get(1), Some(&0), "seed {seed} was let in");
        }
    }
}

#[test]
fn b52_random_bytes_after_connect_end_one_connection() {
    let guard = Guard::new();
    for seed in 0..200 {
        for version in [Version::V5, Version::V3_1_1] {
            let mut client = guard.client(version);
            client.send(&noise(seed, 300));
            client.send(&[0xFF; 8]);
        }
    }
}

#[test]
fn b52_a_thousand_strangers_do_not_flood_the_log() {
    let guard = Guard::new();
    let before = guard.broker().log().lines().count();
    for round in 0..1_000 {
        let mut client = RawClient::open(guard.addr());
        client.send(GREETINGS[round % GREETINGS.len()]);
        client.expect_closed();
    }
    let more = guard.broker().log().lines().count() - before;
    assert!(more < 100, "{more} lines in the log for 1,000 strangers");
}

#[test]
fn b52_strangers_on_the_websocket_port_are_closed() {
    let guard = Guard::new();
    if guard.is_external() {
        return;
    }
    let addr = guard.broker().addr("ws");
    for greeting in GREETINGS.iter().skip(3) {
        let mut client = RawClient::open(&addr);
        client.send(greeting);
        match client.read(e2e_tests::QUIET) {
            Read::Closed => {}
            Read::Nothing => client.drop_connection(),
            // An HTTP error does not look like an MQTT packet, or only by accident.
            Read::Packet(_) => drop(client.expect_closed()),
        }
    }
}
