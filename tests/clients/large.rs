//! A payload of 16 MiB at each QoS: over TCP and TLS with mosquitto's clients, over WebSocket with mqtt.js.
//! What happens above the limit is tested elsewhere.

use std::fmt::Write;
use std::fs;

use crate::child::run;
use crate::mosquitto::Mosquitto;
use crate::node::{Directory, Node};
use crate::tools::{self, need};

const SIZE: usize = 16 * 1024 * 1024;
const CONFIG: &str = "[mqtt]\nmax_packet_size = \"20 MiB\"\n";

/// Text in which every eight bytes are different, so that a piece that is lost or moved shows.
fn payload() -> String {
    let mut text = String::with_capacity(SIZE);
    for number in 0..SIZE / 8 {
        write!(text, "{number:07},").unwrap();
    }
    text
}

#[test]
fn sixteen_mebibytes_arrive_whole_at_each_qos() {
    need!(tools::program("mosquitto_sub"));
    let node = Node::with_config(CONFIG);
    let dir = Directory::new();
    let (file, sent) = (dir.file("payload"), payload());
    fs::write(&file, &sent).unwrap();
    let mut clients = vec![("3.1.1", Mosquitto::tcp(&node, "311")), ("5", Mosquitto::tcp(&node, "5"))];
    if !node.is_external() {
        let secure = ["-h", "localhost", "-p", &node.port("tls"), "--cafile", &node.ca()];
        clients.push(("TLS", Mosquitto::to(&secure)));
    }
    for (case, client) in clients {
        for qos in ["0", "1", "2"] {
            let subscriber = client.subscribe(&["-t", "large/온도", "-q", qos, "-C", "1"]);
            client.publish(&["-t", "large/온도", "-q", qos, "-f", &file]);
            let got = subscriber.0.finish();
            let expected = format!("large/온도 {qos} 0 {sent}");
            let same = got.stdout.lines().any(|line| line.strip_prefix("MSG ") == Some(&expected));
            assert!(same, "{case} at QoS {qos}: {} bytes of output", got.stdout.len());
        }
    }
}

#[test]
fn sixteen_mebibytes_arrive_whole_over_websocket() {
    let mut command = need!(tools::node("large.js"));
    let node = Node::with_config(CONFIG);
    command.args([node.url("ws"), SIZE.to_string()]);
    let expected: Vec<_> = [4, 5]
        .iter()
        .flat_map(|version| {
            (0..3).map(move |qos| format!("version {version} at {qos}: {SIZE} bytes, same true"))
        })
        .collect();
    assert_eq!(run(command).lines(), expected);
}

#[test]
fn what_comes_after_a_large_qos_0_message_comes_too() {
    need!(tools::program("mosquitto_sub"));
    let node = Node::with_config(CONFIG);
    let dir = Directory::new();
    let file = dir.file("payload");
    fs::write(&file, payload()).unwrap();
    let client = Mosquitto::tcp(&node, "311");
    let subscriber = client.subscribe_as("%l", &["-t", "large/#"]);
    for small in 0..3 {
        client.publish(&["-t", "large/온도", "-f", &file]);
        subscriber.0.wait_for(&format!("MSG {SIZE}"), small + 1);
        client.publish(&["-t", "large/hum", "-m", &"x".repeat(small + 1)]);
        subscriber.0.wait_for(&format!("MSG {}", small + 1), 1);
    }
}
