//! What strangers may cost together: memory and sockets of thousands of connections that never get to be clients.
//! Each test has a broker of its own, see `guard`.

use std::net::TcpStream;

use e2e_tests::transport::{Transport, tcp};
use e2e_tests::wire::{packet, prop, varint};
use e2e_tests::{Connect, Props, RawClient, Will, pause, unique};
use std::time::Duration;

use crate::guard::Guard;

/// What a stranger may hold of memory, in KiB.
const EACH_KIB: u64 = 4;

/// Opens connections that send these bytes and stay.
fn crowd(guard: &Guard, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = tcp(guard.addr());
        drop(Transport::send(&mut stream, bytes));
        stream
    };
    (0..count).map(open).collect()
}

/// How much more memory the broker has than at first, in KiB.
fn rise(guard: &Guard, before: u64) -> u64 {
    guard.broker().rss_kib().saturating_sub(before)
}

#[test]
fn g17_strangers_hold_less_than_4_kib_each() {
    let guard = Guard::with_config("[limits]\nconnect_timeout = \"60s\"\n");
    if guard.is_external() {
        return;
    }
    let begun = Connect::v5(unique("c")).bytes();
    let announced = [vec![0x10], varint(1_000_000), begun[2..].to_vec()].concat();
    let too_much = [vec![0x10], varint(268_435_455), begun[2..].to_vec()].concat();
    for prefix in
        [Vec::new(), vec![0x10], begun[..begun.len() - 1].to_vec(), announced, too_much, packet(0x30, &[])]
    {
        drop(crowd(&guard, 100, &prefix));
        guard.sockets_are_back();
        let before = guard.broker().rss_kib();
        // The allocator's memory grows in steps of 2 MiB: a thousand would measure little but these.
        let strangers = crowd(&guard, 3_000, &prefix);
        pause(Duration::from_millis(300));
        let rise = rise(&guard, before);
        assert!(rise < 3_000 * EACH_KIB, "{rise} KiB for 3,000 strangers that sent {prefix:02x?}");
        drop(strangers);
        guard.sockets_are_back();
    }
}

#[test]
fn g17_a_long_connect_costs_what_was_sent_of_it() {
    let guard = Guard::with_config("[limits]\nconnect_timeout = \"60s\"\n");
    if guard.is_external() {
        return;
    }
    let announced = [vec![0x10], varint(1_000_000), Connect::v5(unique("c")).bytes()[2..].to_vec()].concat();
    let trickled = [announced, vec![b'x'; 3_000]].concat();
    drop(crowd(&guard, 100, &trickled));
    guard.sockets_are_back();
    let before = guard.broker().rss_kib();
    let _strangers = crowd(&guard, 1_000, &trickled);
    pause(Duration::from_millis(300));
    let rise = rise(&guard, before);
    assert!(rise < 1_000 * EACH_KIB * 3, "{rise} KiB for 1,000 strangers that sent 3,000 bytes each");
}

#[test]
fn g17_ten_thousand_silent_connections_are_closed_and_freed() {
    let mut guard = Guard::with_config("[limits]\nconnect_timeout = \"2s\"\n");
    if guard.is_external() {
        return;
    }
    let mut highest = Vec::new();
    for _ in 0..3 {
        let strangers = crowd(&guard, 10_000, &[]);
        guard.neighbours_talk();
        highest.push(guard.broker().rss_kib());
        guard.sockets_are_back();
        drop(strangers);
    }
    assert!(highest[2] < highest[0] + 8 * 1024, "each wave takes up what the last one left: {highest:?} KiB");
}

#[test]
fn g17_refused_connects_leak_nothing() {
    let guard = Guard::new();
    if guard.is_external() {
        return;
    }
    let will = Will::new("t", vec![b'x'; 500])
        .props(Props::new().four(prop::WILL_DELAY, 9).text(prop::CONTENT_TYPE, "t").raw(&[0x7F, 0]));
    let connect = Connect::v5("leak").will(will).user("user").password("password").bytes();
    let round = |count: usize| {
        for _ in 0..count {
            let mut client = RawClient::open(guard.addr());
            client.send(&connect);
            client.expect_closed();
        }
        guard.broker().rss_kib()
    };
    let (first, last) = (round(1_000), round(6_000));
    assert!(last < first + 4 * 1024, "{first} KiB after 1,000 bad CONNECTs, {last} KiB after 7,000");
}

#[test]
fn g17_connections_above_the_limit_wait_and_cost_nothing() {
    let mut guard = Guard::with_config("[limits]\nconnections_max = 20\nconnect_timeout = \"2s\"\n");
    if guard.is_external() {
        return;
    }
    let strangers = crowd(&guard, 200, &[]);
    guard.neighbours_talk();
    assert!(guard.broker().open_sockets() < 40);
    drop(strangers);
    RawClient::v5(guard.addr(), &unique("c")).ping();
}
