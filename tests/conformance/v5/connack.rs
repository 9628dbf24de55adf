//! Section 3.2: CONNACK, its codes, and what its properties announce.

use e2e_tests::packets::{Connect, Publish, Will};
use e2e_tests::parse::ConnAck;
use e2e_tests::wire::{Props, kind, prop};
use e2e_tests::{RawClient, unique};

use crate::common::{World, persistent, topic};

/// Reason codes of CONNACK, section 3.2.2.2.
const CODES: [u8; 22] = [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99,
    0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];

/// A CONNECT the broker refuses for its authentication method, on top of a stored session.
fn refused_on_a_session(world: &World) -> (RawClient, ConnAck) {
    let id = unique("c");
    world.absent(&id, "t", 0);
    let mut client = RawClient::open(&world.addr());
    let connack = client.handshake(&persistent(&id).props(Props::new().text(prop::AUTH_METHOD, "NO-SUCH")));
    assert!(connack.reason >= 0x80, "{connack:?}");
    (client, connack)
}

#[test]
fn mqtt5_3_2_2_6_a_refusal_has_session_present_0() {
    let world = World::new();
    let (_client, connack) = refused_on_a_session(&world);
    assert_eq!(connack.flags, 0);
}

#[test]
fn mqtt5_3_2_2_7_a_refusal_is_followed_by_the_end() {
    let world = World::new();
    let (mut client, _connack) = refused_on_a_session(&world);
    assert_eq!(client.expect_closed(), [], "nothing follows, no DISCONNECT either");
}

#[test]
fn mqtt5_3_2_2_8_codes_are_those_of_the_table() {
    let world = World::new();
    let with = |props: Props| Connect::v5(unique("c")).props(props).bytes();
    for bytes in [
        Connect::v5(unique("c")).bytes(),
        Connect::v5(unique("c")).bytes_with_flags(0x03),
        Connect::v5(unique("c")).bytes_named(b"MQTT", 77, 2),
        Connect::v5(b"\xC3\x28").bytes(),
        Connect::v5(vec![b'i'; 65_535]).bytes(),
        Connect::v5(unique("c")).will(Will::new("a/#", "w")).bytes(),
        with(Props::new().text(prop::AUTH_METHOD, "NO-SUCH")),
        with(Props::new().two(prop::RECEIVE_MAXIMUM, 0)),
        with(Props::new().four(prop::MAXIMUM_PACKET_SIZE, 0)),
        with(Props::new().byte(prop::REQUEST_PROBLEM_INFO, 3)),
    ] {
        let mut client = RawClient::open(&world.addr());
        client.send(&bytes);
        client.send(&e2e_tests::packets::disconnect());
        for packet in client.expect_closed() {
            if bytes[8] != 5 && packet.body.len() == 2 {
                // A broker may take a client of another version for one of 3.x, and say so in that form.
                assert_eq!(packet.body, [0, 1]);
                continue;
            }
            let code = packet.connack(e2e_tests::Version::V5).reason;
            assert!(CODES.contains(&code), "CONNACK {code:#04x} to {bytes:02x?}");
        }
    }
}

#[test]
fn mqtt5_3_2_2_9_qos_2_is_supported_so_no_maximum_qos_is_announced() {
    let world = World::new();
    let (mut client, connack) = world.connect_ack(&Connect::v5(unique("c")));
    match connack.props.number(prop::MAXIMUM_QOS) {
        None => client.publish("t", "p", 2),
        Some(maximum) => {
            assert!(maximum < 2, "Maximum QoS is 0 or 1");
            client.send(&Publish::v5("t", "p").qos(2, 1).bytes());
            client.expect_refusal(&[0x9B]);
        }
    }
}

#[test]
fn mqtt5_3_2_2_10_subscribe_is_accepted_at_any_qos() {
    let world = World::new();
    let mut client = world.client();
    for qos in 0..3 {
        assert!(client.subscribe(&topic(), qos).code() <= qos);
    }
}

#[test]
fn mqtt5_3_2_2_12_a_will_at_any_qos_is_supported() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 2);
    for qos in 0..3 {
        let will = Will::new(&topic, "w").qos(qos);
        world.connect(&Connect::v5(unique("c")).will(will)).drop_connection();
        assert_eq!(subscriber.receive().qos, qos);
    }
}

#[test]
fn mqtt5_3_2_2_13_retain_is_supported_for_wills_and_publishes() {
    let world = World::new();
    let topic = topic();
    let will = Will::new(&topic, "w").retain();
    let (client, connack) = world.connect_ack(&Connect::v5(unique("c")).will(will));
    assert_ne!(connack.props.number(prop::RETAIN_AVAILABLE), Some(0));
    let mut watcher = world.subscriber(&topic, 0x20);
    client.drop_connection();
    watcher.expect_publish();
    assert_eq!(world.subscriber(&topic, 0).expect_publish().text(), "w");
    let mut publisher = world.client();
    publisher.publish_packet(Publish::v5(&topic, "p").retain(), 1);
    assert_eq!(world.subscriber(&topic, 0).expect_publish().text(), "p");
    publisher.publish_packet(Publish::v5(&topic, "").retain(), 1);
}

#[test]
fn mqtt5_3_2_2_16_an_assigned_id_belongs_to_nobody_else() {
    let world = World::new();
    let mut others: Vec<RawClient> = (0..5).map(|_| world.client()).collect();
    let (_a, one) = world.connect_ack(&Connect::v5(""));
    let (_b, two) = world.connect_ack(&Connect::v5(""));
    let id = |connack: &ConnAck| connack.props.text(prop::ASSIGNED_CLIENT_ID).unwrap();
    assert_ne!(id(&one), id(&two));
    assert!(!one.session_present && !two.session_present);
    others.iter_mut().for_each(RawClient::ping);
}

#[test]
fn mqtt5_3_1_2_28_no_response_information_unless_asked_for() {
    let world = World::new();
    for props in [Props::new(), Props::new().byte(prop::REQUEST_RESPONSE_INFO, 0)] {
        let (_client, connack) = world.connect_ack(&Connect::v5(unique("c")).props(props));
        assert!(!connack.props.has(prop::RESPONSE_INFO));
    }
    // With 1 the server may answer or not; both are a success.
    world.client_with(Props::new().byte(prop::REQUEST_RESPONSE_INFO, 1)).disconnect();
}

#[test]
fn mqtt5_3_1_2_29_no_reason_strings_unless_asked_for() {
    let world = World::new();
    let mut client = world.client_with(Props::new().byte(prop::REQUEST_PROBLEM_INFO, 0));
    let suback = client.subscribe_with(&[("bad#", 0), ("fine", 1)], &Props::new());
    let unsuback = client.unsubscribe(&["never/subscribed", "bad#"]);
    client.send(&e2e_tests::packets::ack(kind::PUBREL, 99));
    let pubcomp = client.expect_ack(kind::PUBCOMP);
    client.send(&Publish::v5("$SYS/nobody/may/write", "x").qos(1, 7).bytes());
    let puback = client.expect_ack(kind::PUBACK);
    for ack in [suback, unsuback, pubcomp, puback] {
        assert!(!ack.props.has(prop::REASON_STRING) && ack.props.user().is_empty(), "{ack:?}");
    }
}
