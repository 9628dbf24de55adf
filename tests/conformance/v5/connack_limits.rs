//! The limits the server announces in CONNACK, and CONNACK within the client's own limit.

use e2e_tests::packets::{Connect, Publish};
use e2e_tests::wire::{Props, kind, prop, string, varint};
use e2e_tests::{Broker, RawClient, Version, unique};

use crate::common::{World, topic};

const SMALL: &str = "[mqtt]\nmax_packet_size = \"2 KiB\"\ntopic_alias_maximum = 0\n";

#[test]
fn mqtt5_3_2_2_15_a_packet_above_the_servers_maximum_is_refused() {
    let world = World::new();
    let (_client, connack) = world.connect_ack(&Connect::v5(unique("c")));
    let maximum = connack.props.number(prop::MAXIMUM_PACKET_SIZE).expect("a maximum is announced") as usize;
    let mut client = world.client();
    // Only the header: the broker need not wait for a body it will not take.
    client.send(&[&[kind::PUBLISH << 4][..], &varint(maximum)].concat());
    client.expect_refusal(&[0x95]);
}

#[test]
fn mqtt5_3_2_2_15_a_packet_of_exactly_the_servers_maximum_is_taken() {
    let broker = Broker::with_config(SMALL);
    if broker.is_external() {
        return;
    }
    let addr = broker.mqtt();
    let (mut client, connack) = RawClient::connect_ack(&addr, &Connect::v5("big"));
    assert_eq!(connack.props.number(prop::MAXIMUM_PACKET_SIZE), Some(2048));
    client.subscribe("t", 0);
    // First byte, two bytes of length, topic, property length, payload.
    let overhead = 1 + 2 + string("t").len() + 1;
    client.publish("t", vec![b'x'; 2048 - overhead], 0);
    assert_eq!(client.expect(kind::PUBLISH).wire_len, 2048);
    client.send(&Publish::v5("t", vec![b'x'; 2049 - overhead]).bytes());
    client.expect_refusal(&[0x95]);
}

#[test]
fn mqtt5_3_2_2_17_an_alias_above_the_servers_maximum_is_refused() {
    let world = World::new();
    let (mut client, connack) = world.connect_ack(&Connect::v5(unique("c")));
    let maximum = connack.props.number(prop::TOPIC_ALIAS_MAXIMUM).unwrap_or(0) as u16;
    client.send(&Publish::v5("t", "p").props(Props::new().two(prop::TOPIC_ALIAS, maximum + 1)).bytes());
    client.expect_refusal(&[0x94]);
}

#[test]
fn mqtt5_3_2_2_18_without_an_alias_maximum_every_alias_is_refused() {
    let broker = Broker::with_config(SMALL);
    if broker.is_external() {
        return;
    }
    let (mut client, connack) = RawClient::connect_ack(&broker.mqtt(), &Connect::v5("c"));
    assert_eq!(connack.props.number(prop::TOPIC_ALIAS_MAXIMUM).unwrap_or(0), 0);
    client.send(&Publish::v5("t", "p").props(Props::new().two(prop::TOPIC_ALIAS, 1)).bytes());
    client.expect_refusal(&[0x94]);
}

#[test]
fn mqtt5_3_2_2_19_a_refusing_connack_fits_the_clients_maximum() {
    let world = World::new();
    for maximum in [5, 8, 12, 20, 40] {
        let props = Props::new().four(prop::MAXIMUM_PACKET_SIZE, maximum).text(prop::AUTH_METHOD, "NO-SUCH");
        let mut client = RawClient::open(&world.addr());
        client.send(&Connect::v5(unique("c")).props(props).bytes());
        for packet in client.expect_closed() {
            assert!(packet.wire_len <= maximum as usize, "{} bytes, maximum {maximum}", packet.wire_len);
            assert!(packet.connack(Version::V5).reason >= 0x80);
        }
    }
}

#[test]
fn mqtt5_3_2_2_20_a_connack_of_success_fits_the_clients_maximum() {
    let world = World::new();
    for maximum in 1..60 {
        let props = Props::new().four(prop::MAXIMUM_PACKET_SIZE, maximum);
        let mut client = RawClient::open(&world.addr());
        client.send(&Connect::v5("").props(props).bytes());
        client.send(&e2e_tests::packets::disconnect());
        for packet in client.expect_closed() {
            assert!(packet.wire_len <= maximum as usize, "{} bytes, maximum {maximum}", packet.wire_len);
        }
    }
}

#[test]
fn mqtt5_3_3_4_7_above_the_servers_receive_maximum_is_refused() {
    let broker = Broker::with_config("[mqtt]\nreceive_maximum = 3\n");
    if broker.is_external() {
        return;
    }
    let (mut client, connack) = RawClient::connect_ack(&broker.mqtt(), &Connect::v5("c"));
    assert_eq!(connack.props.number(prop::RECEIVE_MAXIMUM), Some(3));
    // Without PUBREL these exchanges stay open.
    for id in 1..=3 {
        client.send(&Publish::v5("t", "p").qos(2, id).bytes());
        assert!(client.expect_ack(kind::PUBREC).code() < 0x80);
    }
    client.send(&Publish::v5("t", "p").qos(2, 4).bytes());
    client.expect_refusal(&[0x93]);
}

#[test]
fn mqtt5_3_3_4_7_exchanges_that_ended_leave_the_receive_maximum() {
    let broker = Broker::with_config("[mqtt]\nreceive_maximum = 3\n");
    let mut client = RawClient::v5(&broker.mqtt(), &unique("c"));
    for number in 0..20 {
        client.publish("t", "p", 1 + number % 2);
    }
}

#[test]
fn mqtt5_3_3_4_8_other_packets_are_served_while_a_client_is_at_the_receive_maximum() {
    let broker = Broker::with_config("[mqtt]\nreceive_maximum = 2\n");
    let mut client = RawClient::v5(&broker.mqtt(), &unique("c"));
    let topic = topic();
    for id in [101, 102] {
        client.send(&Publish::v5("t", "p").qos(2, id).bytes());
        client.expect_ack(kind::PUBREC);
    }
    client.ping();
    client.subscribe(&topic, 1);
    client.publish(&topic, "at the maximum", 0);
    assert_eq!(client.expect_publish().text(), "at the maximum");
    assert_eq!(client.unsubscribe(&[&topic]).codes, [0]);
}
