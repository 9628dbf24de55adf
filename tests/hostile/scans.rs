//! B42 as a burden: look-ups of retained messages among so many topics that each takes several pages, most of them empty.
//! Each test has a broker of its own, see `guard`; what one page may cost is counted in the tests of the broker's crates.

use e2e_tests::wire::kind;
use e2e_tests::{Props, Publish, RawClient, Version, packets};

use crate::bursts::{end_session, persistent};
use crate::guard::Guard;

/// Several pages of every shard.
const TOPICS: usize = 60_000;
/// SUBSCRIBEs of a client in one segment, each of which begins its look-up anew.
const REPEATS: u16 = 20;

fn topic(number: usize) -> String {
    // The levels of the filters, but for the last of all topics.
    format!("{number:05}/b42/{}/{}", number % 7, if number == TOPICS - 1 { "last" } else { "other" })
}

/// Publishes to every topic, retained, and waits until the broker has all of it.
fn retain_all(client: &mut RawClient, payload: &str) {
    for first in (0..TOPICS).step_by(1_000) {
        let publish = |number| Publish::v5(topic(number), payload).retain().bytes();
        client.send(&(first..first + 1_000).flat_map(publish).collect::<Vec<u8>>());
        client.ping();
    }
    client.publish_packet(Publish::v5(topic(0), payload).retain(), 1);
}

fn repeat_subscribe(client: &mut RawClient, filter: &str) {
    let subscribe = |id| packets::subscribe(Version::V5, id, &[(filter, 1)], &Props::new());
    client.send(&(1..=REPEATS).flat_map(subscribe).collect::<Vec<u8>>());
}

fn expect_subacks(client: &mut RawClient) {
    for id in 1..=REPEATS {
        let ack = client.expect_ack(kind::SUBACK);
        assert_eq!((ack.packet_id, ack.codes.as_slice()), (id, [1].as_slice()));
    }
}

#[test]
fn b42_look_ups_that_find_nothing_hold_nobody_up() {
    let mut guard = Guard::new();
    let mut publisher = guard.v5();
    retain_all(&mut publisher, "x");
    let mut clients: Vec<RawClient> = (0..4).map(|_| guard.v5()).collect();
    clients.extend((0..4).map(|_| persistent(&guard)));
    for _ in 0..5 {
        clients.iter_mut().for_each(|client| repeat_subscribe(client, "+/b42/+/nothing"));
        guard.neighbours_talk();
        let mut newcomer = guard.v5();
        newcomer.publish("b42/more", "x", 1);
        newcomer.disconnect();
        clients.iter_mut().for_each(expect_subacks);
    }
    let persistent = clients.split_off(4);
    clients.into_iter().for_each(RawClient::disconnect);
    persistent.into_iter().for_each(end_session);
    retain_all(&mut publisher, "");
}

#[test]
fn b42_a_look_up_goes_on_behind_pages_without_a_match() {
    let guard = Guard::new();
    let mut publisher = guard.v5();
    retain_all(&mut publisher, "x");
    let mut clients = vec![guard.v5(), guard.v3(), persistent(&guard)];
    for options in 0..=2 {
        for client in &mut clients {
            client.subscribe("+/b42/+/last", options);
            // It was retained at QoS 0.
            let found = client.receive();
            assert_eq!((found.topic, found.retain, found.qos), (topic(TOPICS - 1), true, 0));
        }
    }
    // One topic matches, and it was sent once for each SUBSCRIBE.
    clients.iter_mut().for_each(RawClient::expect_nothing);
    end_session(clients.remove(2));
    drop(clients);
    retain_all(&mut publisher, "");
}
