//! Sections 6 and 7: WebSocket, and what a conforming server may and may not require.
//! Run against the shared broker's listeners `mqtt` and `ws`.

use e2e_tests::transport::Transport;
use e2e_tests::wire::kind;
use e2e_tests::ws::{WsStream, opcode};
use e2e_tests::{Connect, Publish, RawClient, unique};

use crate::support::{broker, client, watcher};

/// A connected client over WebSocket.
fn over_websocket(addr: &str) -> RawClient {
    let mut client = RawClient::over(Box::new(WsStream::connect(addr)));
    assert_eq!(client.handshake(&Connect::v3(unique("ws"))).reason, 0);
    client
}

#[test]
fn mqtt3_6_0_0_1_a_text_frame_closes() {
    let (broker, addr) = broker();
    let mut ws = WsStream::connect(&broker.addr("ws"));
    drop(ws.send_frame(opcode::TEXT, true, &Connect::v3(unique("ws")).bytes()));
    ws.expect_closed();
    let mut ws = WsStream::connect(&broker.addr("ws"));
    drop(ws.send(&Connect::v3(unique("ws")).bytes()));
    let frame = ws.read_frame(e2e_tests::BOUND).unwrap().unwrap();
    assert_eq!(
        (frame.opcode, frame.payload),
        (opcode::BINARY, vec![0x20, 2, 0, 0]),
        "the broker's are binary"
    );
    drop(ws.send_frame(opcode::TEXT, true, &[0xC0, 0]));
    ws.expect_closed();
    client(&addr).ping();
}

#[test]
fn mqtt3_6_0_0_2_packets_need_not_align_with_frames() {
    let (broker, addr) = broker();
    let topic = unique("t");
    let mut reader = watcher(&addr, &topic);
    let mut ws = WsStream::connect(&broker.addr("ws"));
    let publish = |n: u8| Publish::v3(&topic, [n; 40]).bytes();
    let all = [Connect::v3(unique("ws")).bytes(), publish(1), publish(2), publish(3)].concat();
    for piece in all.chunks(7) {
        drop(ws.send(piece));
    }
    drop(ws.send(&[publish(4), publish(5)].concat()));
    for n in 1..=5 {
        assert_eq!(reader.receive().payload, [n; 40]);
    }
}

#[test]
fn mqtt3_6_0_0_2_a_packet_may_span_fragments_of_a_message() {
    let (broker, _) = broker();
    let mut ws = WsStream::connect(&broker.addr("ws"));
    let connect = Connect::v3(unique("ws")).bytes();
    let (head, tail) = connect.split_at(5);
    drop(ws.send_frame(opcode::BINARY, false, head));
    drop(ws.send_frame(opcode::PING, true, b"between"));
    drop(ws.send_frame(opcode::CONTINUATION, true, tail));
    let mut frames = [0; 2].map(|_| ws.read_frame(e2e_tests::BOUND).unwrap().unwrap());
    frames.sort_by_key(|frame| frame.opcode);
    assert_eq!((frames[0].opcode, &frames[0].payload[..]), (opcode::BINARY, &[0x20, 2, 0, 0][..]));
    assert_eq!((frames[1].opcode, &frames[1].payload[..]), (opcode::PONG, &b"between"[..]));
}

#[test]
fn mqtt3_6_0_0_3_a_client_that_does_not_offer_mqtt_is_refused() {
    let (broker, _) = broker();
    for protocol in [None, Some("chat"), Some("mqttx, soap")] {
        let answer = WsStream::handshake(&broker.addr("ws"), "/mqtt", protocol);
        assert!(answer.is_err_and(|head| head.starts_with("HTTP/1.1 4")), "subprotocol {protocol:?}");
    }
}

#[test]
fn mqtt3_6_0_0_4_the_server_selects_mqtt() {
    let (broker, _) = broker();
    for offered in ["mqtt", "chat, mqtt", "mqtt, mqttv3.1"] {
        let ws = WsStream::handshake(&broker.addr("ws"), "/mqtt", Some(offered))
            .unwrap_or_else(|head| panic!("{head}"));
        assert_eq!(ws.protocol().as_deref(), Some("mqtt"));
    }
}

#[test]
fn mqtt3_7_0_0_1_the_broker_connects_nowhere() {
    let (broker, addr) = broker();
    if broker.is_external() {
        return;
    }
    let (_one, _two) = (client(&addr), over_websocket(&broker.addr("ws")));
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", broker.pid())).unwrap();
    let listening: Vec<u16> =
        ["mqtt", "ws"].iter().flat_map(|name| broker.addrs(name)).map(|a| port(&a)).collect();
    let own: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", broker.pid()))
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|to| {
            to.to_string_lossy().strip_prefix("socket:[").map(|i| i.trim_end_matches(']').to_owned())
        })
        .collect();
    let mut seen = 0;
    for row in table.lines().skip(1) {
        let cells: Vec<&str> = row.split_whitespace().collect();
        if own.iter().any(|inode| inode == cells[9]) {
            let local = u16::from_str_radix(cells[1].rsplit(':').next().unwrap(), 16).unwrap();
            assert!(listening.contains(&local), "a connection the broker made: {row}");
            seen += 1;
        }
    }
    assert!(seen >= 4, "two listeners and two clients at least");
}

fn port(addr: &str) -> u16 {
    addr.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap()
}

#[test]
fn mqtt3_7_0_0_2_the_plain_protocol_is_enough() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut plain = RawClient::open(&addr);
    plain.speak(e2e_tests::Version::V3_1_1);
    plain.send(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b'p']);
    assert_eq!(plain.expect(kind::CONNACK).body, [0, 0]);
    plain.subscribe(&topic, 2);
    for qos in 0..3 {
        plain.send(&Publish::v3(&topic, [qos]).qos(qos, 1).bytes());
        match qos {
            0 => {}
            1 => drop(plain.expect_among(kind::PUBACK)),
            _ => {
                plain.expect_among(kind::PUBREC);
                plain.send(&crate::support::pubrel(1));
                plain.expect_among(kind::PUBCOMP);
            }
        }
        assert_eq!(plain.receive().payload, [qos]);
    }
    plain.unsubscribe(&[&topic]);
    plain.ping();
    plain.disconnect();
}

#[test]
fn mqtt3_7_1_1_1_tcp_is_served_as_a_byte_stream() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut reader = watcher(&addr, &topic);
    let mut slow = RawClient::open(&addr);
    slow.speak(e2e_tests::Version::V3_1_1);
    for byte in Connect::v3(unique("c")).bytes() {
        slow.send(&[byte]);
    }
    slow.expect(kind::CONNACK);
    let stream: Vec<u8> = (0..200u8).flat_map(|n| Publish::v3(&topic, [n; 100]).bytes()).collect();
    for piece in stream.chunks(1013) {
        slow.send(piece);
    }
    for n in 0..200u8 {
        assert_eq!(reader.receive().payload, [n; 100], "nothing lost, nothing out of order");
    }
}

#[test]
fn mqtt3_7_1_1_1_a_large_packet_crosses_whole() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let payload: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut reader = watcher(&addr, &topic);
    client(&addr).publish(&topic, &payload, 1);
    assert!(reader.receive().payload == payload);
}
