//! What a device says to a broker that does everything right.

use std::string::ToString;
use std::vec;

use super::broker::{Door, read_field};
use super::{Counting, Device, all, celsius};

#[test]
fn readings_go_to_their_topics_every_two_seconds() {
    let mut device = Device::new("broker=a");
    device.pass(4_100);
    let world = device.world.borrow();
    let came: vec::Vec<_> = world
        .got
        .iter()
        .map(|got| (got.at_ms, got.topic.as_str(), got.payload.as_str(), got.retain))
        .collect();
    assert_eq!(
        came,
        [
            (0, "ESP32/STATUS", "online", true),
            (0, "ESP32/TEM", "20.00", false),
            (0, "ESP32/HUM", "40.00", false),
            (2_000, "ESP32/TEM", "20.10", false),
            (2_000, "ESP32/HUM", "40.10", false),
            (4_000, "ESP32/TEM", "20.20", false),
            (4_000, "ESP32/HUM", "40.20", false),
        ]
    );
    assert_eq!(world.subscriptions, ["ESP32/CMD"]);
    drop(world);
    assert_eq!(device.events("acknowledged").last().unwrap(), "acknowledged total=6");
}

#[test]
fn connect_says_who_it_is_and_what_its_will_is() {
    let mut device =
        Device::new("broker=a client_id=attic prefix=house/attic user=u password=secret keep_alive_s=30");
    device.pass(1);
    let world = device.world.borrow();
    let connect = &world.connects[0];
    assert_eq!(&connect[..7], b"\x00\x04MQTT\x05");
    // User name, password, will retained, QoS 1, will, clean start.
    assert_eq!(connect[7], 0b1110_1110);
    assert_eq!(&connect[8..10], [0, 30]);
    let properties = usize::from(connect[10]);
    // Session expiry interval.
    assert!(connect[11..11 + properties].windows(5).any(|window| window == [0x11, 0, 0, 0x0E, 0x10]));
    let payload = &connect[11 + properties..];
    assert_eq!(read_field(payload), b"attic");
    // The will's properties: its payload is text.
    let rest = &payload[2 + b"attic".len()..];
    assert_eq!(&rest[..3], [2, 0x01, 1]);
    let mut rest = &rest[3..];
    let mut fields = vec![];
    while !rest.is_empty() {
        let field = read_field(rest);
        rest = &rest[2 + field.len()..];
        fields.push(std::str::from_utf8(field).unwrap().to_string());
    }
    assert_eq!(fields, ["house/attic/STATUS", "offline", "u", "secret"]);
    assert_eq!(world.payloads("house/attic/TEM"), ["20.00"]);
}

#[test]
fn a_command_changes_the_interval_and_is_answered() {
    let mut device = Device::new("broker=a");
    device.pass(2_500);
    device.world.borrow_mut().ask("ESP32/CMD", "interval_ms=500", Some(("answers/7", b"\x00\xFFq")));
    // 500 ms after the last reading were over when it came.
    device.pass(1_600);
    let world = device.world.borrow();
    let answer = world.got.iter().find(|got| got.topic == "answers/7").unwrap();
    assert_eq!((answer.payload.as_str(), answer.at_ms), ("interval_ms=500", 2_500));
    assert_eq!(answer.correlation.as_deref(), Some(&b"\x00\xFFq"[..]));
    let times: vec::Vec<_> =
        world.got.iter().filter(|got| got.topic == "ESP32/TEM").map(|got| got.at_ms).collect();
    assert_eq!(times, [0, 2_000, 2_500, 3_000, 3_500, 4_000]);
}

#[test]
fn a_command_that_cannot_be_done_is_answered_too_and_changes_nothing() {
    let mut device = Device::new("broker=a");
    device.pass(10);
    // The board's sensor needs 500 ms.
    device.world.borrow_mut().ask("ESP32/CMD", "interval_ms=499", Some(("answers", b"1")));
    device.pass(10);
    // Nobody to answer to.
    device.world.borrow_mut().ask("ESP32/CMD", "interval_ms=0", None);
    device.pass(2_000);
    let world = device.world.borrow();
    assert_eq!(world.payloads("answers"), ["error: interval_ms is 500 to 3600000"]);
    assert_eq!(world.payloads("ESP32/TEM"), all(2));
    drop(world);
    assert_eq!(device.events("interval"), [""; 0]);
}

#[test]
fn an_answer_without_room_is_left_out_and_said() {
    let mut device = Device::new("broker=a");
    device.pass(10);
    let long = "t".repeat(129);
    device.world.borrow_mut().chunk = 7;
    device.world.borrow_mut().ask("ESP32/CMD", "x", Some((&long[..100], b"1")));
    device.pass(10);
    assert_eq!(device.world.borrow().payloads(&long[..100]).len(), 1);
    assert_eq!(device.events("a command").len(), 0);
    device.world.borrow_mut().ask("ESP32/CMD", "", Some(("answers", &[7; 65])));
    device.pass(10);
    assert_eq!(device.world.borrow().payloads("answers").len(), 0);
    assert_eq!(device.events("a command"), ["a command cannot be answered"]);
}

#[test]
fn it_ends_after_as_many_readings_as_it_was_told_and_has_its_will_published() {
    let mut device = Device::new("broker=a readings=3");
    device.pass(4_010);
    assert!(device.ended);
    assert_eq!(device.temperatures(), all(3));
    assert_eq!(device.world.borrow().left, Some(0x04));
    assert_eq!(device.events("finished").len(), 1);
}

#[test]
fn a_reading_that_fails_is_left_out_and_the_next_is_on_time() {
    let mut device = Device::with_sensor("broker=a", Counting { readings: 0, fails: Some(2) });
    device.pass(4_100);
    assert_eq!(device.temperatures(), [celsius(0), celsius(2)]);
    assert_eq!(device.events("sensor failed"), ["sensor failed: the checksum is wrong"]);
}

#[test]
fn an_interval_longer_than_the_keep_alive_pings() {
    let mut device = Device::new("broker=a interval_ms=60000 keep_alive_s=20");
    device.pass(130_000);
    assert_eq!(device.temperatures(), all(3));
    assert!(device.world.borrow().pings >= 6, "{}", device.world.borrow().pings);
    assert_eq!(device.dials(), 1);
}

#[test]
fn a_short_interval_is_lengthened_to_what_the_sensor_needs() {
    let mut device = Device::new("broker=a interval_ms=100");
    device.pass(1_100);
    assert_eq!(device.temperatures(), all(3));
}

#[test]
fn a_link_that_moves_a_byte_at_a_time_is_enough() {
    let mut device = Device::new("broker=a");
    device.world.borrow_mut().chunk = 1;
    device.pass(8_100);
    assert_eq!(device.temperatures(), all(5));
    assert_eq!((device.dials(), device.world.borrow().door), (1, Door::Open { resumed: false }));
}
