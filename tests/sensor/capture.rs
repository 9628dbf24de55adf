//! What an emulated device puts on the wire, dissected by tshark, which knows nothing of either end.
//! One device, one capture; no packet of it is malformed.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use e2e_tests::Dev;

use crate::cluster::{expect, ports};
use crate::device::{Board, Device, program};
use crate::readings::Subscriber;

/// A device that had to connect again has another conversation than is looked for here; a busy machine may bring that about.
const RUNS: usize = 3;

#[test]
fn a_dissector_finds_every_field_and_nothing_malformed() {
    let missing = Board::Emulated.missing().or_else(|| program("tshark").err());
    if let Some(reason) = missing {
        return crate::left_out(&reason);
    }
    let dev = Dev::shared();
    let words = "client_id=attic interval_ms=200 readings=5 user=sensor password=secret keep_alive_s=30";
    for _ in 0..RUNS {
        // Nobody else publishes below the default prefix here.
        let mut subscriber = Subscriber::at(&[dev.mqtt(3)], "ESP32/#");
        let mut device = Device::start(Board::Emulated, &ports(&dev, 1), words);
        device.finish();
        expect(&mut subscriber, "ESP32", &device);
        if device.lines("dialing").len() == 1 {
            return dissect(&device, dev.port(1));
        }
    }
    panic!("the device never stayed on its first connection");
}

fn dissect(device: &Device, port: u16) {
    let capture = Capture { file: &device.capture(), port };
    assert_eq!(
        capture.frames("_ws.malformed || mqtt && _ws.expert.severity >= 0x00600000"),
        [] as [Value; 0]
    );
    assert!(!capture.frames("dhcp.option.dhcp == 5").is_empty(), "the address came by DHCP");
    let packets = capture.packets();
    connect(&packets);
    publishes(&packets, &device.readings());
    // Subscribed to its commands, and left with its will published.
    let subscribe = of_type(&packets, "8");
    assert_eq!((subscribe.len(), text(subscribe[0], "mqtt.topic").as_str()), (1, "ESP32/CMD"));
    assert_eq!(text(of_type(&packets, "14")[0], "mqtt.disconnect.reason_code"), "4");
    println!("a capture of {} packets of MQTT was dissected", packets.len());
}

fn connect(packets: &[Value]) {
    let connects = of_type(packets, "1");
    assert_eq!(connects.len(), 1);
    for (field, expected) in [
        ("mqtt.protoname", "MQTT"),
        ("mqtt.ver", "5"),
        ("mqtt.clientid", "attic"),
        ("mqtt.kalive", "30"),
        ("mqtt.willtopic", "ESP32/STATUS"),
        ("mqtt.username", "sensor"),
        ("mqtt.passwd", "secret"),
        ("mqtt.conflag.cleansess", "1"),
        ("mqtt.conflag.willflag", "1"),
        ("mqtt.conflag.qos", "1"),
        ("mqtt.conflag.retain", "1"),
        ("mqtt.conflag.uname", "1"),
        ("mqtt.conflag.passwd", "1"),
    ] {
        assert_eq!(text(connects[0], field), expected, "{field} in {:#}", connects[0]);
    }
    assert_eq!(bytes(connects[0], "mqtt.willmsg"), "offline");
    let connack = of_type(packets, "2");
    assert_eq!((connack.len(), text(connack[0], "mqtt.connack.reason_code").as_str()), (1, "0"));
}

/// Each PUBLISH of a reading is there in order, at QoS 1, and its PUBACK too.
fn publishes(packets: &[Value], readings: &[(String, String)]) {
    let mut expected = vec![("ESP32/STATUS".to_owned(), "online".to_owned(), "1".to_owned())];
    for (celsius, percent) in readings {
        expected.push(("ESP32/TEM".to_owned(), celsius.clone(), "0".to_owned()));
        expected.push(("ESP32/HUM".to_owned(), percent.clone(), "0".to_owned()));
    }
    let publishes = of_type(packets, "3");
    let seen: Vec<_> = publishes
        .iter()
        .map(|p| (text(p, "mqtt.topic"), bytes(p, "mqtt.msg"), text(p, "mqtt.retain")))
        .collect();
    assert_eq!(seen, expected);
    assert!(publishes.iter().all(|p| text(p, "mqtt.qos") == "1" && text(p, "mqtt.dupflag") == "0"));
    let ids = |packets: &[&Value]| packets.iter().map(|p| text(p, "mqtt.msgid")).collect::<Vec<_>>();
    assert_eq!(ids(&of_type(packets, "4")), ids(&publishes), "each has its PUBACK");
}

struct Capture<'a> {
    file: &'a Path,
    /// The broker's, which nobody registered for MQTT.
    port: u16,
}

impl Capture<'_> {
    /// The frames that a filter of tshark's finds.
    fn frames(&self, filter: &str) -> Vec<Value> {
        let mut command = Command::new("tshark");
        command.arg("-r").arg(self.file).args(["-d", &format!("tcp.port=={},mqtt", self.port)]);
        command.args(["-Y", filter, "-T", "json", "--no-duplicate-keys"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("tshark prints JSON")
    }

    /// All MQTT packets in order; a frame may have several.
    fn packets(&self) -> Vec<Value> {
        let frames = self.frames("mqtt");
        let layers = frames.iter().map(|frame| &frame["_source"]["layers"]["mqtt"]);
        layers.flat_map(|layer| layer.as_array().cloned().unwrap_or_else(|| vec![layer.clone()])).collect()
    }
}

fn of_type<'p>(packets: &'p [Value], number: &str) -> Vec<&'p Value> {
    packets.iter().filter(|packet| text(packet, "mqtt.msgtype") == number).collect()
}

/// A field, wherever in the packet's tree it is; nothing where it is not.
fn text(packet: &Value, field: &str) -> String {
    find(packet, field).unwrap_or_default().to_owned()
}

/// A field of bytes, as the text it is.
fn bytes(packet: &Value, field: &str) -> String {
    let digits = text(packet, field);
    let bytes = digits.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("bytes in hexadecimal"));
    String::from_utf8(bytes.collect()).unwrap()
}

fn find<'p>(tree: &'p Value, field: &str) -> Option<&'p str> {
    let tree = tree.as_object()?;
    tree.get(field).and_then(Value::as_str).or_else(|| tree.values().find_map(|branch| find(branch, field)))
}
