//! Sections 3.4 to 3.7: the codes of PUBACK, PUBREC, PUBREL and PUBCOMP, from both sides.

use e2e_tests::RawClient;
use e2e_tests::packets::{self, Publish};
use e2e_tests::wire::{Props, kind, packet};

use crate::common::{MALFORMED, World, topic};

const OF_PUBACK_AND_PUBREC: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const OF_PUBREL_AND_PUBCOMP: [u8; 2] = [0x00, 0x92];
/// Codes of other packets, and of none.
const FOREIGN: [u8; 6] = [0x01, 0x04, 0x18, 0x8E, 0x9C, 0xFF];

/// A subscriber that has an unanswered message of this QoS, and that message's id.
fn unanswered(world: &World, qos: u8) -> (RawClient, u16) {
    let topic = topic();
    let mut client = world.subscriber(&topic, 2);
    world.client().publish(&topic, "p", qos);
    let id = client.expect_publish().packet_id;
    (client, id)
}

/// As a subscriber that has released a QoS 2 message.
fn released(world: &World) -> (RawClient, u16) {
    let (mut client, id) = unanswered(world, 2);
    client.send(&packets::ack(kind::PUBREC, id));
    client.expect(kind::PUBREL);
    (client, id)
}

/// As a publisher whose QoS 2 message the server has received.
fn received(world: &World) -> (RawClient, u16) {
    let mut client = world.client();
    client.send(&Publish::v5("t", "p").qos(2, 21).bytes());
    assert!(client.expect_ack(kind::PUBREC).code() < 0x80);
    (client, 21)
}

/// Each code of the table is taken; each foreign one ends the connection.
fn codes_from_the_client(ack_kind: u8, allowed: &[u8], ready: impl Fn(&World) -> (RawClient, u16)) {
    let world = World::new();
    for code in allowed {
        let (mut client, id) = ready(&world);
        client.send(&packets::ack_v5(ack_kind, id, *code, &Props::new()));
        client.ping();
    }
    for code in FOREIGN {
        let (mut client, id) = ready(&world);
        client.send(&packets::ack_v5(ack_kind, id, code, &Props::new()));
        client.expect_refusal(MALFORMED);
    }
}

#[test]
fn mqtt5_3_4_2_1_puback_codes_of_the_client() {
    codes_from_the_client(kind::PUBACK, &OF_PUBACK_AND_PUBREC, |world| unanswered(world, 1));
}

#[test]
fn mqtt5_3_5_2_1_pubrec_codes_of_the_client() {
    codes_from_the_client(kind::PUBREC, &OF_PUBACK_AND_PUBREC, |world| unanswered(world, 2));
}

#[test]
fn mqtt5_3_6_2_1_pubrel_codes_of_the_client() {
    codes_from_the_client(kind::PUBREL, &OF_PUBREL_AND_PUBCOMP, received);
}

#[test]
fn mqtt5_3_7_2_1_pubcomp_codes_of_the_client() {
    codes_from_the_client(kind::PUBCOMP, &OF_PUBREL_AND_PUBCOMP, released);
}

#[test]
fn mqtt5_3_4_2_1_puback_and_pubrec_codes_of_the_server() {
    let world = World::new();
    let topic = topic();
    let _subscriber = world.subscriber(&topic, 0);
    for (number, target) in
        [&topic, "nobody/here", "$SYS/broker/uptime", "$share/g/t"].into_iter().enumerate()
    {
        let mut client = world.client();
        let id = number as u16 + 1;
        for (qos, ack_kind) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
            client.send(&Publish::v5(target, "p").qos(qos, id).bytes());
            let ack = client.expect_ack(ack_kind);
            assert!(OF_PUBACK_AND_PUBREC.contains(&ack.code()), "{ack:?} to {target}");
        }
    }
}

#[test]
fn mqtt5_3_6_2_1_pubrel_and_pubcomp_codes_of_the_server() {
    let world = World::new();
    let mut client = world.client();
    client.send(&packets::ack(kind::PUBREC, 900));
    let pubrel = client.expect_ack(kind::PUBREL);
    assert_eq!((pubrel.packet_id, pubrel.code()), (900, 0x92), "packet identifier not found");
    client.send(&packets::ack(kind::PUBREL, 901));
    let pubcomp = client.expect_ack(kind::PUBCOMP);
    assert_eq!((pubcomp.packet_id, pubcomp.code()), (901, 0x92), "packet identifier not found");
    client.publish("t", "p", 2);
    let (_client, _id) = released(&world);
}

#[test]
fn mqtt5_3_6_1_1_pubrel_flags_are_0010() {
    let world = World::new();
    for wrong in [0, 1, 3, 4, 6, 8, 10, 15] {
        let (mut client, id) = received(&world);
        client.send(&packet(kind::PUBREL << 4 | wrong, &id.to_be_bytes()));
        client.expect_refusal(MALFORMED);
    }
}

#[test]
fn mqtt5_3_4_2_1_acks_of_a_wrong_form_are_malformed() {
    let world = World::new();
    for ack_kind in [kind::PUBACK, kind::PUBREC, kind::PUBREL, kind::PUBCOMP] {
        let first = ack_kind << 4 | if ack_kind == kind::PUBREL { 2 } else { 0 };
        for body in [
            &[][..],
            &[0],
            &[0, 0],
            // Bytes after the properties, a property length beyond the packet, a property of another packet.
            &[0, 1, 0, 0, 9],
            &[0, 1, 0, 9],
            &[0, 1, 0, 3, 0x21, 0, 1],
            // Two reason strings.
            &[0, 1, 0, 8, 0x1F, 0, 1, b'a', 0x1F, 0, 1, b'b'],
        ] {
            world.refused(&packet(first, body), MALFORMED);
        }
    }
}

#[test]
fn mqtt5_3_4_2_2_acks_with_reason_string_and_user_properties_are_taken() {
    let world = World::new();
    let more = Props::new().text(0x1F, "because").user("a", "b").user("a", "c");
    let with = |ack_kind, id| packets::ack_v5(ack_kind, id, 0, &more);
    let (mut client, id) = unanswered(&world, 1);
    client.send(&with(kind::PUBACK, id));
    client.ping();
    let (mut client, id) = unanswered(&world, 2);
    client.send(&with(kind::PUBREC, id));
    client.expect(kind::PUBREL);
    client.send(&with(kind::PUBCOMP, id));
    client.ping();
    let (mut client, id) = received(&world);
    client.send(&with(kind::PUBREL, id));
    assert_eq!(client.expect_ack(kind::PUBCOMP).code(), 0);
}
