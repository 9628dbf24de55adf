//! Keep Alive and Server Keep Alive: section 3.1.2.10, 3.2.2.3.14, and PINGREQ of 3.12.

use std::time::{Duration, Instant};

use e2e_tests::packets::{self, Connect, Publish, Will};
use e2e_tests::wire::{kind, prop};
use e2e_tests::{Broker, RawClient, pause, unique};

use crate::common::{World, topic};

/// How long the broker let a silent client live that connected after this moment.
#[track_caller]
fn silent_life(begun: Instant, client: &mut RawClient) -> Duration {
    client.expect_refusal(&[0x8D]);
    begun.elapsed()
}

#[test]
fn mqtt5_3_1_2_20_a_client_that_pings_stays() {
    let world = World::new();
    let mut client = world.connect(&Connect::v5(unique("c")).keep_alive(4));
    for _ in 0..8 {
        pause(Duration::from_secs(1));
        client.ping();
    }
}

#[test]
fn mqtt5_3_1_2_20_any_packet_of_the_client_counts() {
    let world = World::new();
    let mut client = world.connect(&Connect::v5(unique("c")).keep_alive(4));
    for _ in 0..8 {
        pause(Duration::from_secs(1));
        client.send(&Publish::v5("t", "alive").bytes());
    }
    client.ping();
}

#[test]
fn mqtt5_3_1_2_22_silence_for_one_and_a_half_keep_alives_closes() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    let begun = Instant::now();
    let mut client = world.connect(&Connect::v5(unique("c")).keep_alive(2).will(Will::new(&topic, "silent")));
    let life = silent_life(begun, &mut client);
    assert!(life >= Duration::from_millis(2900), "closed after {life:?}, before 1.5 times the keep alive");
    assert_eq!(subscriber.expect_publish().text(), "silent", "the will is published");
}

#[test]
fn mqtt5_3_1_2_22_what_the_server_sends_does_not_keep_a_client_alive() {
    let world = World::new();
    let topic = topic();
    let mut client = world.connect(&Connect::v5(unique("c")).keep_alive(1));
    client.subscribe(&topic, 0);
    let mut publisher = world.client();
    let start = Instant::now();
    let mut closed = false;
    while !closed && start.elapsed() < Duration::from_secs(10) {
        publisher.publish(&topic, "tick", 0);
        closed = matches!(client.read(Duration::from_millis(300)), e2e_tests::client::Read::Closed);
        pause(Duration::from_millis(100));
    }
    assert!(closed, "a client that only receives is silent");
}

#[test]
fn mqtt5_3_1_2_22_without_a_keep_alive_silence_is_allowed() {
    let world = World::new();
    let (mut client, connack) = world.connect_ack(&Connect::v5(unique("c")).keep_alive(0));
    assert!(connack.props.number(prop::SERVER_KEEP_ALIVE).is_none_or(|s| s >= 60));
    client.expect_nothing_for(Duration::from_secs(3));
    client.ping();
}

#[test]
fn mqtt5_3_1_2_21_a_server_keep_alive_is_announced_and_enforced() {
    let broker = Broker::with_config("[mqtt]\nmax_keep_alive = \"2s\"\n");
    if broker.is_external() {
        return;
    }
    for asked in [0, 3, 65_535] {
        let connect = Connect::v5(unique("c")).keep_alive(asked);
        let begun = Instant::now();
        let (mut client, connack) = RawClient::connect_ack(&broker.mqtt(), &connect);
        assert_eq!(connack.props.number(prop::SERVER_KEEP_ALIVE), Some(2), "asked for {asked}");
        let life = silent_life(begun, &mut client);
        assert!(life >= Duration::from_millis(2900), "closed after {life:?}");
    }
}

#[test]
fn mqtt5_3_2_2_22_without_a_server_keep_alive_the_clients_value_holds() {
    let world = World::new();
    let begun = Instant::now();
    let (mut client, connack) = world.connect_ack(&Connect::v5(unique("c")).keep_alive(1));
    assert!(!connack.props.has(prop::SERVER_KEEP_ALIVE));
    let life = silent_life(begun, &mut client);
    assert!(life >= Duration::from_millis(1400), "closed after {life:?}");
}

#[test]
fn mqtt5_3_12_4_1_pingreq_is_answered_by_pingresp() {
    let world = World::new();
    let mut client = world.client();
    client.send(&packets::pingreq().repeat(50));
    for _ in 0..50 {
        let pong = client.expect(kind::PINGRESP);
        assert_eq!((pong.first, pong.body.as_slice()), (0xD0, &[][..]));
    }
    client.expect_nothing();
}
