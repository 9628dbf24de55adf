//! Flow control by the client's Receive Maximum: sections 3.3.4 and 4.9.

use e2e_tests::RawClient;
use e2e_tests::packets::{self, Connect, Publish};
use e2e_tests::parse::ReceivedPublish;
use e2e_tests::unique;
use e2e_tests::wire::{Props, kind, prop};

use crate::common::{MALFORMED, World, expiry, topic};

/// A subscriber that takes so many unacknowledged messages.
fn limited(world: &World, filter: &str, maximum: u16) -> RawClient {
    let mut client = world.client_with(Props::new().two(prop::RECEIVE_MAXIMUM, maximum));
    client.subscribe(filter, 2);
    client
}

/// Reads as many PUBLISH packets without answering; then nothing more may come.
#[track_caller]
fn exactly(client: &mut RawClient, count: usize) -> Vec<ReceivedPublish> {
    let got = (0..count).map(|_| client.expect_publish()).collect();
    client.expect_nothing();
    got
}

#[test]
fn mqtt5_3_3_4_9_the_server_keeps_within_the_clients_receive_maximum() {
    let world = World::new();
    let topic = topic();
    let mut client = limited(&world, &topic, 3);
    let mut publisher = world.client();
    for number in 0..8 {
        publisher.publish(&topic, number.to_string(), 1);
    }
    let mut open = exactly(&mut client, 3);
    for number in 3..8 {
        let oldest = open.remove(0);
        client.send(&packets::ack(kind::PUBACK, oldest.packet_id));
        open.extend(exactly(&mut client, 1));
        assert_eq!(open.last().unwrap().text(), number.to_string());
    }
}

#[test]
fn mqtt5_3_3_4_10_other_packets_are_served_at_the_clients_receive_maximum() {
    let world = World::new();
    let topic = topic();
    let mut client = limited(&world, &topic, 1);
    let mut publisher = world.client();
    publisher.publish(&topic, "unanswered", 1);
    publisher.publish(&topic, "waits", 1);
    exactly(&mut client, 1);
    publisher.publish(&topic, "passes", 0);
    assert_eq!(client.expect_publish().text(), "passes", "QoS 0 is not counted");
    client.ping();
    client.publish("t", "own", 2);
    let suback = client.subscribe_with(&[("another", 1)], &Props::new());
    assert_eq!(suback.codes, [1]);
    assert_eq!(client.unsubscribe(&["another"]).codes, [0]);
}

#[test]
fn mqtt5_4_9_0_1_the_quota_starts_at_the_receive_maximum() {
    let world = World::new();
    for maximum in [1, 2, 10] {
        let topic = topic();
        let mut client = limited(&world, &topic, maximum);
        let mut publisher = world.client();
        for _ in 0..usize::from(maximum) + 2 {
            publisher.publish(&topic, "p", 1);
        }
        exactly(&mut client, usize::from(maximum));
    }
}

#[test]
fn mqtt5_4_9_0_1_a_receive_maximum_of_0_is_a_protocol_error() {
    let world = World::new();
    let connect = Connect::v5(unique("c")).props(Props::new().two(prop::RECEIVE_MAXIMUM, 0));
    world.refused_first(&connect.bytes(), MALFORMED);
}

#[test]
fn mqtt5_4_9_0_1_the_quota_starts_anew_with_each_connection() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let with = |maximum| Connect::v5(&id).clean(false).props(expiry(300).two(prop::RECEIVE_MAXIMUM, maximum));
    let mut client = world.connect(&with(2));
    client.subscribe(&topic, 1);
    let mut publisher = world.client();
    for number in 0..6 {
        publisher.publish(&topic, number.to_string(), 1);
    }
    exactly(&mut client, 2);
    client.drop_connection();
    let mut client = world.connect(&with(4));
    let got = exactly(&mut client, 4);
    let dup: Vec<bool> = got.iter().map(|publish| publish.dup).collect();
    assert_eq!(dup, [true, true, false, false]);
    client.drop_connection();
    let mut client = world.connect(&with(1));
    for number in 0..6 {
        let got = exactly(&mut client, 1).remove(0);
        assert_eq!(got.text(), number.to_string());
        client.answer(&got);
    }
}

#[test]
fn mqtt5_4_9_0_2_at_quota_0_no_publish_above_qos_0_is_sent() {
    let world = World::new();
    let topic = topic();
    let mut client = limited(&world, &topic, 2);
    let mut publisher = world.client();
    for number in 0..5 {
        publisher.publish(&topic, number.to_string(), 2);
    }
    let open = exactly(&mut client, 2);
    // PUBREC below 0x80 gives nothing back, PUBCOMP does.
    client.send(&packets::ack(kind::PUBREC, open[0].packet_id));
    client.expect(kind::PUBREL);
    client.expect_nothing();
    client.send(&packets::ack(kind::PUBCOMP, open[0].packet_id));
    assert_eq!(exactly(&mut client, 1)[0].text(), "2");
    // A PUBREC of failure ends the exchange.
    client.send(&packets::ack_v5(kind::PUBREC, open[1].packet_id, 0x80, &Props::new()));
    assert_eq!(exactly(&mut client, 1)[0].text(), "3");
}

#[test]
fn mqtt5_4_9_0_3_at_quota_0_all_other_packets_are_served() {
    let world = World::new();
    let topic = topic();
    let mut client = limited(&world, &topic, 1);
    world.client().publish(&topic, "open", 2);
    let open = client.expect_publish();
    client.ping();
    client.send(&Publish::v5("t", "own").qos(2, 77).bytes());
    client.expect(kind::PUBREC);
    client.send(&packets::ack(kind::PUBREC, open.packet_id));
    client.expect(kind::PUBREL);
    client.send(&packets::ack(kind::PUBREL, 77));
    client.expect(kind::PUBCOMP);
    world.client().publish(&topic, "qos 0", 0);
    assert_eq!(client.expect_publish().text(), "qos 0");
}

#[test]
fn mqtt5_4_9_0_1_repeated_acks_do_not_raise_the_quota() {
    let world = World::new();
    let topic = topic();
    let mut client = limited(&world, &topic, 2);
    let mut publisher = world.client();
    for _ in 0..8 {
        publisher.publish(&topic, "p", 1);
    }
    let open = exactly(&mut client, 2);
    client.send(&packets::ack(kind::PUBACK, open[0].packet_id).repeat(5));
    // One place was given back, however often it was acknowledged.
    exactly(&mut client, 1);
}
