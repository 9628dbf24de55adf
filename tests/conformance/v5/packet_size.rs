//! The client's Maximum Packet Size: sections 3.1.2.11.4 and the reason strings that must fit.

use e2e_tests::packets::{self, Connect, Publish};
use e2e_tests::parse::Packet;
use e2e_tests::wire::{Props, kind, prop, varint};
use e2e_tests::{RawClient, unique};

use crate::common::{World, topic};

fn small(world: &World, maximum: u32) -> RawClient {
    world.client_with(Props::new().four(prop::MAXIMUM_PACKET_SIZE, maximum))
}

/// A client whose maximum leaves no room for more than a CONNACK, and that maximum.
fn tight(world: &World) -> (RawClient, usize) {
    let mut client = RawClient::open(&world.addr());
    client.send(&Connect::v5(unique("c")).bytes());
    let connack = client.expect(kind::CONNACK).wire_len;
    (small(world, connack as u32), connack)
}

#[track_caller]
fn fits(packet: &Packet, maximum: usize) {
    assert!(
        packet.wire_len <= maximum,
        "{} bytes, the client takes {maximum}: {packet:02x?}",
        packet.wire_len
    );
}

#[test]
fn mqtt5_3_1_2_24_the_server_never_exceeds_the_clients_maximum_packet_size() {
    let world = World::new();
    let topic = topic();
    let mut client = small(&world, 100);
    client.subscribe(&topic, 2);
    let mut publisher = world.client();
    let overhead = |qos: u8| 2 + 2 + topic.len() + if qos > 0 { 2 } else { 0 } + 1;
    for qos in 0..3 {
        publisher.publish(&topic, vec![b'x'; 101 - overhead(qos)], qos);
        publisher.publish(&topic, vec![b'x'; 5000], qos);
        publisher.publish(&topic, vec![b'y'; 100 - overhead(qos)], qos);
        let got = client.expect(kind::PUBLISH);
        assert_eq!(got.wire_len, 100);
        client.answer(&got.publish(e2e_tests::Version::V5));
    }
    client.expect_nothing();
}

#[test]
fn mqtt5_3_1_2_24_properties_count_too() {
    let world = World::new();
    let topic = topic();
    let mut client = small(&world, 100);
    client.subscribe_with(&[(&topic, 0)], &Props::new().var(prop::SUBSCRIPTION_ID, 268_435_455));
    let mut publisher = world.client();
    publisher.publish_packet(Publish::v5(&topic, "x").props(Props::new().user("n", "v".repeat(90))), 0);
    // Fits as it was published, not with the identifier added.
    publisher.publish(&topic, vec![b'x'; 100 - 2 - 2 - topic.len() - 1 - 3], 0);
    publisher.publish(&topic, "end", 0);
    assert_eq!(client.expect_publish().text(), "end");
}

#[test]
fn mqtt5_3_1_2_25_a_packet_too_large_counts_as_delivered() {
    let world = World::new();
    let topic = topic();
    let props = Props::new().four(prop::MAXIMUM_PACKET_SIZE, 100).two(prop::RECEIVE_MAXIMUM, 1);
    let mut client = world.client_with(props);
    client.subscribe(&topic, 2);
    let mut publisher = world.client();
    for round in 0..5 {
        for qos in [1, 2] {
            publisher.publish(&topic, vec![b'x'; 500], qos);
        }
        // It holds no place of the Receive Maximum of 1.
        publisher.publish(&topic, round.to_string(), 1);
        assert_eq!(client.receive().text(), round.to_string());
    }
}

#[test]
fn mqtt5_3_1_2_25_others_get_what_is_too_large_for_one() {
    let world = World::new();
    let topic = topic();
    let mut tight = small(&world, 100);
    tight.subscribe(&topic, 1);
    let mut roomy = world.subscriber(&topic, 1);
    world.client().publish(&topic, vec![b'x'; 500], 1);
    assert_eq!(roomy.receive().payload.len(), 500);
    tight.expect_nothing();
}

/// Sends a packet to a tight client's connection and gives the answer of this type, which must fit.
#[track_caller]
fn answer_fits(bytes: &[u8], answer: u8) -> Packet {
    let world = World::new();
    let (mut client, maximum) = tight(&world);
    client.send(bytes);
    let packet = client.expect(answer);
    fits(&packet, maximum);
    packet
}

#[test]
fn mqtt5_3_4_2_2_puback_fits() {
    answer_fits(&Publish::v5("$SYS/not/yours", "p").qos(1, 1).bytes(), kind::PUBACK);
    answer_fits(&Publish::v5("nobody/listens", "p").qos(1, 1).bytes(), kind::PUBACK);
}

#[test]
fn mqtt5_3_5_2_2_pubrec_fits() {
    answer_fits(&Publish::v5("$SYS/not/yours", "p").qos(2, 1).bytes(), kind::PUBREC);
    answer_fits(&Publish::v5("nobody/listens", "p").qos(2, 1).bytes(), kind::PUBREC);
}

#[test]
fn mqtt5_3_6_2_2_pubrel_fits() {
    let pubrel = answer_fits(&packets::ack(kind::PUBREC, 500), kind::PUBREL);
    assert_eq!(pubrel.ack(e2e_tests::Version::V5).code(), 0x92);
}

#[test]
fn mqtt5_3_7_2_2_pubcomp_fits() {
    let pubcomp = answer_fits(&packets::ack(kind::PUBREL, 500), kind::PUBCOMP);
    assert_eq!(pubcomp.ack(e2e_tests::Version::V5).code(), 0x92);
}

#[test]
fn mqtt5_3_9_2_1_suback_fits() {
    let bad = [("a#", 0), ("b+", 0), ("$share/x", 0)];
    let subscribe = packets::subscribe(e2e_tests::Version::V5, 3, &bad, &Props::new());
    let suback = answer_fits(&subscribe, kind::SUBACK).ack(e2e_tests::Version::V5);
    assert_eq!(suback.codes.len(), 3);
}

#[test]
fn mqtt5_3_11_2_1_unsuback_fits() {
    let unsubscribe =
        packets::unsubscribe(e2e_tests::Version::V5, 3, &["never/was", "nor/was/this"], &Props::new());
    let unsuback = answer_fits(&unsubscribe, kind::UNSUBACK).ack(e2e_tests::Version::V5);
    assert_eq!(unsuback.codes, [0x11, 0x11]);
}

#[test]
fn mqtt5_3_14_2_3_disconnect_fits() {
    let world = World::new();
    for wrong in [
        packets::subscribe(e2e_tests::Version::V5, 1, &[], &Props::new()),
        packets::subscribe(e2e_tests::Version::V5, 1, &[("$share/g/t", 0x04)], &Props::new()),
        [&[kind::PUBLISH << 4][..], &varint(100_000_000)].concat(),
        Publish::v5("t", "p").props(Props::new().two(prop::TOPIC_ALIAS, 60_000)).bytes(),
        packets::auth(0x19, &Props::new()),
        packets::disconnect_v5(0xEE, &Props::new()),
    ] {
        for maximum in [5, 20] {
            let mut client = RawClient::open(&world.addr());
            let props = Props::new().four(prop::MAXIMUM_PACKET_SIZE, maximum);
            client.send(&[Connect::v5(unique("c")).props(props).bytes(), wrong.clone()].concat());
            client.expect_closed().iter().for_each(|packet| fits(packet, maximum as usize));
        }
        let (mut client, maximum) = tight(&world);
        client.send(&wrong);
        client.expect_closed().iter().for_each(|packet| fits(packet, maximum));
    }
}

#[test]
fn mqtt5_3_14_2_3_a_disconnect_with_reason_string_and_user_properties_is_taken() {
    let world = World::new();
    let mut client = world.client();
    let props = Props::new().text(prop::REASON_STRING, "going").user("a", "b");
    client.send(&packets::disconnect_v5(0x04, &props));
    assert_eq!(client.expect_closed(), []);
}

#[test]
fn mqtt5_3_15_2_2_what_answers_an_auth_fits() {
    let world = World::new();
    let (mut client, maximum) = tight(&world);
    let props = Props::new().text(prop::AUTH_METHOD, "M").text(prop::REASON_STRING, "why").user("a", "b");
    client.send(&packets::auth(0x19, &props));
    client.expect_closed().iter().for_each(|packet| fits(packet, maximum));
}
