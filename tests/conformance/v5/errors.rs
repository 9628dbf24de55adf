//! Section 4.2: the transport is a byte stream; packets are cut and joined in any way.

use std::time::Duration;

use e2e_tests::packets::{self, Connect, Publish, Will};
use e2e_tests::wire::{Props, Version, kind, prop};
use e2e_tests::{RawClient, pause, unique};

use crate::common::{World, topic};

/// A whole conversation of a client that publishes to itself.
fn conversation(topic: &str) -> Vec<u8> {
    let props = Props::new().user("name", "value").text(prop::CONTENT_TYPE, "type");
    [
        Connect::v5(unique("c")).user("u").password("p").will(Will::new("w/t", "w")).bytes(),
        packets::subscribe(Version::V5, 1, &[(topic, 1)], &Props::new().var(prop::SUBSCRIPTION_ID, 300)),
        Publish::v5(topic, "hello").qos(1, 2).props(props).bytes(),
        packets::pingreq(),
    ]
    .concat()
}

#[track_caller]
fn answers(client: &mut RawClient) {
    assert_eq!(client.expect(kind::CONNACK).connack(Version::V5).reason, 0);
    assert_eq!(client.expect_among(kind::SUBACK).ack(Version::V5).codes, [1]);
    assert_eq!(client.expect_among(kind::PUBACK).ack(Version::V5).code(), 0);
    client.expect_among(kind::PINGRESP);
    let publish = client.expect_among(kind::PUBLISH).publish(Version::V5);
    assert_eq!(publish.text(), "hello");
    assert_eq!(publish.props.numbers(prop::SUBSCRIPTION_ID), [300]);
}

#[test]
fn mqtt5_4_2_1_packets_in_one_segment() {
    let world = World::new();
    let mut client = RawClient::open(&world.addr());
    client.send(&conversation(&topic()));
    answers(&mut client);
}

#[test]
fn mqtt5_4_2_1_packets_byte_by_byte() {
    let world = World::new();
    let mut client = RawClient::open(&world.addr());
    for byte in conversation(&topic()) {
        client.send(&[byte]);
    }
    answers(&mut client);
}

#[test]
fn mqtt5_4_2_1_packets_cut_at_every_place() {
    let world = World::new();
    let topic = topic();
    let length = conversation(&topic).len();
    let mut clients: Vec<(RawClient, Vec<u8>)> = Vec::new();
    for cut in (1..length).step_by(3) {
        let mut client = RawClient::open(&world.addr());
        let bytes = conversation(&format!("{topic}/{cut:03}"));
        client.send(&bytes[..cut]);
        clients.push((client, bytes[cut..].to_vec()));
    }
    pause(Duration::from_millis(50));
    for (client, rest) in &mut clients {
        client.send(rest);
    }
    for (client, _rest) in &mut clients {
        answers(client);
    }
}

#[test]
fn mqtt5_4_2_1_a_large_payload_arrives_whole() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    let payload: Vec<u8> = (0..1_000_000u32).map(|number| ((number * 31) >> 3) as u8).collect();
    for qos in 0..3 {
        publisher.publish(&topic, &payload, qos);
        let got = subscriber.receive();
        assert!(got.qos == qos && got.payload == payload, "the payload at QoS {qos}");
    }
}
