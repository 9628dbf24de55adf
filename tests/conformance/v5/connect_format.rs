//! Section 3.1 up to the connect flags: what a CONNECT must look like.

use e2e_tests::packets::{self, Connect, Publish, Will};
use e2e_tests::wire::{Props, Version, kind, packet};
use e2e_tests::{RawClient, unique};

use crate::common::{MALFORMED, World, topic};

#[test]
fn mqtt5_3_1_0_1_the_first_packet_is_connect() {
    let world = World::new();
    let no_props = Props::new();
    for bytes in [
        packet(0, &[]),
        packet(kind::CONNACK << 4, &[0, 0, 0]),
        Publish::v5("t", "p").bytes(),
        Publish::v5("t", "p").qos(2, 1).bytes(),
        packets::ack(kind::PUBACK, 1),
        packets::ack(kind::PUBREC, 1),
        packets::ack(kind::PUBREL, 1),
        packets::ack(kind::PUBCOMP, 1),
        packets::subscribe(Version::V5, 1, &[("#", 0)], &no_props),
        packet(kind::SUBACK << 4, &[0, 1, 0, 0]),
        packets::unsubscribe(Version::V5, 1, &["#"], &no_props),
        packet(kind::UNSUBACK << 4, &[0, 1, 0, 0]),
        packets::pingreq(),
        packet(kind::PINGRESP << 4, &[]),
        packets::disconnect(),
        packets::auth(0x18, &no_props),
    ] {
        let mut client = RawClient::open(&world.addr());
        client.send(&bytes);
        assert_eq!(client.expect_closed(), [], "nothing is answered before CONNACK to {bytes:02x?}");
    }
}

#[test]
fn mqtt5_3_1_0_2_a_second_connect_ends_the_connection() {
    let world = World::new();
    let mut client = world.client();
    client.send(&Connect::v5(unique("c")).bytes());
    client.expect_refusal(&[0x82]);
}

/// The connection must end; a CONNACK before it says "unsupported protocol version", in the form of 5.0 or 3.x.
#[track_caller]
fn unsupported(world: &World, bytes: &[u8]) {
    let mut client = RawClient::open(&world.addr());
    client.send(bytes);
    let before = client.expect_closed();
    assert!(before.len() <= 1, "{before:?}");
    for connack in before {
        assert_eq!(connack.kind(), kind::CONNACK);
        assert!(connack.body[0] == 0 && [0x84, 0x01].contains(&connack.body[1]), "{connack:02x?}");
    }
}

#[test]
fn mqtt5_3_1_2_1_another_protocol_name_is_refused() {
    let world = World::new();
    for name in [&b"mqtt"[..], b"MQT", b"MQTTT", b"", b"MQIsdp", b"HTTP", &[b'M'; 65_535]] {
        unsupported(&world, &Connect::v5(unique("c")).bytes_named(name, 5, 0x02));
    }
}

#[test]
fn mqtt5_3_1_2_2_another_protocol_version_is_refused() {
    let world = World::new();
    for level in [0, 1, 2, 3, 6, 7, 127, 128, 255] {
        unsupported(&world, &Connect::v5(unique("c")).bytes_named(b"MQTT", level, 0x02));
    }
}

#[test]
fn mqtt5_3_1_2_3_the_reserved_connect_flag_is_zero() {
    let world = World::new();
    world.refused_first(&Connect::v5(unique("c")).bytes_with_flags(0x03), MALFORMED);
    world.refused_first(&Connect::v5(unique("c")).bytes_with_flags(0x01), MALFORMED);
}

#[test]
fn mqtt5_3_1_2_9_a_will_flag_without_will_fields_is_malformed() {
    let world = World::new();
    world.refused_first(&Connect::v5(unique("c")).bytes_with_flags(0x06), MALFORMED);
    world.refused_first(&Connect::v5(unique("c")).user("u").bytes_with_flags(0x86), MALFORMED);
}

#[test]
fn mqtt5_3_1_2_11_will_qos_without_will_flag_is_malformed() {
    let world = World::new();
    for flags in [0x0A, 0x12, 0x1A] {
        world.refused_first(&Connect::v5(unique("c")).bytes_with_flags(flags), MALFORMED);
    }
}

#[test]
fn mqtt5_3_1_2_12_will_qos_is_at_most_2() {
    let world = World::new();
    let with_qos = |qos| Connect::v5(unique("c")).will(Will::new("w", "w").qos(qos));
    world.refused_first(&with_qos(3).bytes(), MALFORMED);
    for qos in 0..3 {
        world.connect(&with_qos(qos)).disconnect();
    }
}

#[test]
fn mqtt5_3_1_2_13_will_retain_without_will_flag_is_malformed() {
    let world = World::new();
    world.refused_first(&Connect::v5(unique("c")).bytes_with_flags(0x22), MALFORMED);
}

#[test]
fn mqtt5_3_1_2_16_a_user_name_without_its_flag_is_malformed() {
    let world = World::new();
    let connect = Connect::v5(unique("c")).user("name");
    world.refused_first(&connect.bytes_with_flags(0x02), MALFORMED);
}

#[test]
fn mqtt5_3_1_2_17_a_user_name_flag_without_a_user_name_is_malformed() {
    let world = World::new();
    world.refused_first(&Connect::v5(unique("c")).bytes_with_flags(0x82), MALFORMED);
}

#[test]
fn mqtt5_3_1_2_18_a_password_without_its_flag_is_malformed() {
    let world = World::new();
    let connect = Connect::v5(unique("c")).user("name").password("secret");
    world.refused_first(&connect.bytes_with_flags(0x82), MALFORMED);
}

#[test]
fn mqtt5_3_1_2_19_a_password_flag_without_a_password_is_malformed() {
    let world = World::new();
    world.refused_first(&Connect::v5(unique("c")).user("name").bytes_with_flags(0xC2), MALFORMED);
    world.refused_first(&Connect::v5(unique("c")).bytes_with_flags(0x42), MALFORMED);
}

#[test]
fn mqtt5_3_1_4_1_a_connect_that_is_cut_or_too_long_is_refused() {
    let world = World::new();
    let whole = Connect::v5(unique("c")).user("u").password("p").will(Will::new("w", "w")).bytes();
    let body = &whole[2..];
    for cut in [0, 1, 5, 6, 7, 8, 9, 10, 12, body.len() - 1] {
        world.refused_first(&packet(kind::CONNECT << 4, &body[..cut]), &[0x81, 0x82, 0x84]);
    }
    world.refused_first(&packet(kind::CONNECT << 4, &[body, b"x"].concat()), MALFORMED);
}

#[test]
fn mqtt5_3_1_4_1_connect_properties_are_those_of_connect_and_single() {
    let world = World::new();
    let with = |props: Props| Connect::v5(unique("c")).props(props).bytes();
    let raw = |bytes: &[u8]| Props::new().raw(bytes);
    for foreign in
        [&[0x02, 0, 0, 0, 1][..], &[0x23, 0, 1], &[0x0B, 1], &[0x24, 1], &[0x01, 0], &[0x7F], &[0x00]]
    {
        world.refused_first(&with(raw(foreign)), MALFORMED);
    }
    for single in
        [&[0x11, 0, 0, 0, 1][..], &[0x21, 0, 9], &[0x27, 0, 1, 0, 0], &[0x22, 0, 1], &[0x19, 1], &[0x17, 1]]
    {
        world.refused_first(&with(raw(single).raw(single)), MALFORMED);
    }
    for out_of_range in [&[0x21, 0, 0][..], &[0x27, 0, 0, 0, 0], &[0x17, 2], &[0x19, 2]] {
        world.refused_first(&with(raw(out_of_range)), MALFORMED);
    }
    world.refused_first(&with(raw(&[0x16, 0, 1, b'x'])), MALFORMED);
}

#[test]
fn mqtt5_3_1_4_6_nothing_is_processed_after_a_refused_connect() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    for refused in [
        Connect::v5(unique("c")).bytes_with_flags(0x03),
        Connect::v5(unique("c")).bytes_named(b"MQTT", 9, 0x02),
        Connect::v5(unique("c")).props(Props::new().text(0x15, "UNKNOWN")).bytes(),
    ] {
        let mut client = RawClient::open(&world.addr());
        let publish = Publish::v5(&topic, "no").retain().bytes();
        client.send(&[refused, publish, packets::pingreq()].concat());
        let before = client.expect_closed();
        assert!(before.iter().all(|packet| packet.kind() == kind::CONNACK), "{before:02x?}");
    }
    subscriber.expect_nothing();
    let mut late = world.subscriber(&topic, 0);
    late.expect_nothing();
}
