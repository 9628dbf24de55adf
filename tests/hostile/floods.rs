//! B48: pings and publishes as fast as a line carries them, and readers that do not read.
//! Each test has a broker of its own, see `guard`.

use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::packets::pingreq;
use e2e_tests::transport::{Transport, tcp};
use e2e_tests::{Connect, Publish, RawClient, Version, pause, unique};

use crate::guard::Guard;

const RATE_TOO_HIGH: u8 = 0x96;

#[test]
fn b48_pings_at_line_rate_end_the_connection() {
    let guard = Guard::with_config("[limits]\npings_per_second_max = 20\n");
    for version in [Version::V5, Version::V3_1_1] {
        let mut client = guard.client(version);
        client.send(&pingreq().repeat(2_000));
        let mut served = 0;
        loop {
            match client.read(e2e_tests::BOUND) {
                Read::Packet(packet) if packet.first == 0xD0 => served += 1,
                Read::Packet(packet) => {
                    assert_eq!((version, packet.reasoned().reason), (Version::V5, RATE_TOO_HIGH));
                }
                Read::Closed => break,
                Read::Nothing => panic!("not closed after {served} pings were served"),
            }
        }
        assert!(served < 200, "{served} of 2,000 pings at once were served");
    }
}

#[test]
fn b48_pings_above_the_rate_are_told_so() {
    let guard = Guard::with_config("[limits]\npings_per_second_max = 20\n");
    let mut client = guard.v5();
    for _ in 0..200 {
        client.send(&pingreq());
        match client.read(e2e_tests::BOUND) {
            Read::Packet(packet) if packet.first == 0xD0 => {}
            Read::Packet(packet) => {
                assert_eq!((packet.first, packet.reasoned().reason), (0xE0, RATE_TOO_HIGH));
                assert!(client.expect_closed().is_empty());
                return;
            }
            other => panic!("neither PINGRESP nor DISCONNECT: {other:?}"),
        }
    }
    panic!("200 pings in no time were all answered");
}

#[test]
fn b48_pings_at_a_decent_rate_are_served() {
    let guard = Guard::with_config("[limits]\npings_per_second_max = 20\n");
    let mut client = guard.v5();
    for _ in 0..20 {
        client.ping();
        pause(Duration::from_millis(100));
    }
}

/// Publishes of one byte to `topic`, many in one buffer.
fn burst(topic: &str) -> Vec<u8> {
    Publish::v3(topic, "x").bytes().repeat(2_000)
}

#[test]
fn b48_a_flood_of_qos_0_disturbs_nobody() {
    let mut guard = Guard::new();
    let mut reader = guard.v3();
    reader.subscribe("b48", 0);
    let mut flood = tcp(guard.addr());
    drop(Transport::send(&mut flood, &Connect::v3(unique("c")).bytes()));
    let bytes = burst("b48");
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        drop(Transport::send(&mut flood, &bytes));
        while let Read::Packet(_) = reader.read(Duration::ZERO) {}
        guard.neighbours_talk();
    }
}

#[test]
fn b48_a_reader_that_stopped_costs_a_bounded_queue() {
    let mut guard = Guard::with_config("[limits]\nwrite_timeout = \"3s\"\n");
    let mut stopped = guard.v3();
    stopped.subscribe("b48", 0);
    let mut flood = guard.v3();
    let bytes = Publish::v3("b48", vec![b'x'; 10_000]).bytes().repeat(100);
    let rss = if guard.is_external() { 0 } else { guard.broker().rss_kib() };
    for _ in 0..200 {
        flood.send(&bytes);
        flood.ping();
    }
    guard.neighbours_talk();
    if !guard.is_external() {
        let rise = guard.broker().rss_kib().saturating_sub(rss);
        assert!(rise < 96 * 1024, "200 MB for a reader that stopped: {rise} KiB more");
    }
}

#[test]
fn b48_a_reader_that_stopped_is_closed_after_the_write_timeout() {
    let guard = Guard::with_config("[limits]\nwrite_timeout = \"2s\"\n");
    if guard.is_external() {
        return;
    }
    let mut stopped = guard.v3();
    stopped.subscribe("b48", 0);
    let open = guard.broker().open_sockets();
    let mut flood = guard.v3();
    let bytes = Publish::v3("b48", vec![b'x'; 10_000]).bytes().repeat(100);
    for _ in 0..100 {
        flood.send(&bytes);
        flood.ping();
    }
    drop(flood);
    guard.broker().expect_sockets_at_most(open - 1);
    drop(stopped);
}

#[test]
fn b48_a_client_that_sends_and_never_reads_answers_is_slowed() {
    let mut guard = Guard::with_config("[limits]\nwrite_timeout = \"3s\"\n");
    let mut deaf = tcp(guard.addr());
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    drop(Transport::send(&mut deaf, &Connect::v5(unique("c")).bytes()));
    let bytes = pingreq().repeat(50_000);
    let rss = if guard.is_external() { 0 } else { guard.broker().rss_kib() };
    let mut sent = 0;
    while sent < 400 && Transport::send(&mut deaf, &bytes).is_ok() {
        sent += 1;
    }
    guard.neighbours_talk();
    if !guard.is_external() {
        let rise = guard.broker().rss_kib().saturating_sub(rss);
        assert!(rise < 32 * 1024, "{rise} KiB for answers that nobody reads");
    }
}

#[test]
fn b48_reconnecting_in_a_loop_leaves_nothing() {
    let guard = Guard::new();
    let id = unique("c");
    for round in 0..300 {
        let connect = Connect::new([Version::V5, Version::V3_1_1][round % 2], &id);
        let mut client = RawClient::connect(guard.addr(), &connect);
        client.subscribe("b48/#", 1);
        if round % 3 == 0 {
            client.drop_connection();
        }
    }
}
