//! Chapter 6: MQTT over WebSocket.

use e2e_tests::packets::{self, Connect, Publish};
use e2e_tests::wire::{Props, Version, kind};
use e2e_tests::ws::{WsStream, frame, opcode};
use e2e_tests::{BOUND, RawClient, unique};

use crate::common::{World, topic};

fn open(world: &World) -> WsStream {
    WsStream::connect(&world.0.addr("ws"))
}

/// An MQTT connection over a WebSocket.
fn client(world: &World) -> RawClient {
    let mut client = RawClient::over(Box::new(open(world)));
    assert_eq!(client.handshake(&Connect::v5(unique("ws"))).reason, 0);
    client
}

/// A WebSocket on which CONNECT succeeded, for frames by hand.
fn connected(world: &World) -> WsStream {
    let mut ws = open(world);
    ws.send_frame(opcode::BINARY, true, &Connect::v5(unique("ws")).bytes()).unwrap();
    let connack = ws.read_frame(BOUND).unwrap().unwrap();
    assert_eq!((connack.opcode, connack.payload[0]), (opcode::BINARY, kind::CONNACK << 4));
    ws
}

#[test]
fn mqtt5_6_0_0_1_mqtt_travels_in_binary_frames() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = client(&world);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&world);
    for qos in 0..3 {
        publisher.publish(&topic, "by WebSocket", qos);
        // The transport fails on a data frame that is not binary.
        assert_eq!(subscriber.receive().qos, qos);
    }
    world.client().publish(&topic, vec![b'x'; 200_000], 1);
    assert_eq!(subscriber.receive().payload.len(), 200_000);
    publisher.disconnect();
}

#[test]
fn mqtt5_6_0_0_1_a_text_frame_closes_the_connection() {
    let world = World::new();
    let mut before = open(&world);
    before.send_frame(opcode::TEXT, true, &Connect::v5(unique("ws")).bytes()).unwrap();
    assert!(before.expect_closed().is_none_or(|code| code == 1003 || code == 1002 || code == 1007));
    let mut after = connected(&world);
    after.send_frame(opcode::TEXT, true, &packets::pingreq()).unwrap();
    assert!(after.expect_closed().is_none_or(|code| code == 1003 || code == 1002 || code == 1007));
}

#[test]
fn mqtt5_6_0_0_2_a_frame_may_hold_many_packets_or_a_part_of_one() {
    let world = World::new();
    let topic = topic();
    let subscribe = packets::subscribe(Version::V5, 1, &[(&topic, 1)], &Props::new());
    let publish = Publish::v5(&topic, "hello").qos(1, 2).bytes();
    let all = |id: String| {
        [Connect::v5(id).bytes(), subscribe.clone(), publish.clone(), packets::pingreq()].concat()
    };
    for size in [1, 2, 3, 7, 50, 10_000] {
        let mut ws = open(&world);
        for part in all(unique("ws")).chunks(size) {
            ws.send_frame(opcode::BINARY, true, part).unwrap();
        }
        let mut client = RawClient::over(Box::new(ws));
        client.expect(kind::CONNACK);
        for answer in [kind::SUBACK, kind::PUBACK, kind::PINGRESP] {
            client.expect_among(answer);
        }
        assert_eq!(client.expect_among(kind::PUBLISH).publish(Version::V5).text(), "hello");
    }
}

#[test]
fn mqtt5_6_0_0_2_fragments_and_control_frames_between_them() {
    let world = World::new();
    let mut ws = connected(&world);
    let bytes = [packets::pingreq(), packets::pingreq()].concat();
    ws.send_frame(opcode::BINARY, false, &bytes[..1]).unwrap();
    ws.send_frame(opcode::PING, true, b"between").unwrap();
    ws.send_frame(opcode::CONTINUATION, false, &bytes[1..3]).unwrap();
    ws.send_frame(opcode::CONTINUATION, true, &bytes[3..]).unwrap();
    let (mut pongs, mut answers) = (0, Vec::new());
    while pongs < 1 || answers.len() < 4 {
        let frame = ws.read_frame(BOUND).unwrap().expect("the connection stays");
        match frame.opcode {
            opcode::PONG => {
                assert_eq!(frame.payload, b"between");
                pongs += 1;
            }
            _ => answers.extend(frame.payload),
        }
    }
    assert_eq!(answers, [0xD0, 0, 0xD0, 0]);
}

#[test]
fn mqtt5_6_0_0_1_unmasked_frames_are_refused() {
    let world = World::new();
    let mut ws = connected(&world);
    ws.send_raw(&frame(opcode::BINARY, true, &packets::pingreq(), false)).unwrap();
    assert!(ws.expect_closed().is_none_or(|code| code == 1002));
}

#[test]
fn mqtt5_6_0_0_3_a_client_that_does_not_offer_mqtt_is_not_told_mqtt() {
    let world = World::new();
    let addr = world.0.addr("ws");
    for protocol in [None, Some("chat"), Some("xmqtt, wamp")] {
        // Refusing the handshake is the broker's right; selecting what was not offered is not.
        if let Ok(ws) = WsStream::handshake(&addr, "/mqtt", protocol) {
            assert_eq!(ws.protocol(), None);
        }
    }
}

#[test]
fn mqtt5_6_0_0_4_the_server_selects_mqtt() {
    let world = World::new();
    let addr = world.0.addr("ws");
    for protocol in ["mqtt", "mqtt, chat", "chat, mqtt", "chat,mqtt"] {
        let ws = WsStream::handshake(&addr, "/mqtt", Some(protocol)).unwrap();
        assert_eq!(ws.protocol().as_deref(), Some("mqtt"), "of {protocol}");
    }
}

#[test]
fn mqtt5_6_0_0_1_a_close_frame_of_the_client_is_answered() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    let mut ws = open(&world);
    let connect = Connect::v5(unique("ws")).will(packets::Will::new(&topic, "will")).bytes();
    ws.send_frame(opcode::BINARY, true, &connect).unwrap();
    ws.read_frame(BOUND).unwrap();
    ws.send_frame(opcode::CLOSE, true, &1000u16.to_be_bytes()).unwrap();
    ws.expect_closed();
    assert_eq!(subscriber.expect_publish().text(), "will", "it was no DISCONNECT");
}
