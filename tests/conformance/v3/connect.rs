//! Sections 3.1.0 to 3.1.2: the first packet, protocol name and level, connect flags, keep alive.
//! Run against the shared broker.

use std::time::{Duration, Instant};

use e2e_tests::packets::{pingreq, subscribe};
use e2e_tests::wire::{kind, packet, string};
use e2e_tests::{Connect, Props, Publish, RawClient, Version, Will, pause, unique};

use crate::support::{
    broker, client, closed_after_connect, closed_at_connect, nothing_but_the_mark, puback, refused, watcher,
};

const USER: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS_1: u8 = 0x08;
const WILL: u8 = 0x04;
const CLEAN: u8 = 0x02;

/// A CONNECT with these flags and this payload, whatever they say of each other.
fn connect_with(flags: u8, fields: &[&[u8]]) -> Vec<u8> {
    let payload: Vec<u8> = fields.iter().flat_map(string).collect();
    let head = [string("MQTT"), vec![4, flags, 0, 60]].concat();
    packet(0x10, &[head, payload].concat())
}

#[test]
fn mqtt3_3_1_0_1_another_first_packet_closes() {
    let (_broker, addr) = broker();
    let topic = unique("first");
    let mut reader = watcher(&addr, &topic);
    let subscribe = subscribe(Version::V3_1_1, 1, &[("t", 0)], &Props::new());
    for first in [
        Publish::v3(&topic, "x").bytes(),
        puback(1),
        subscribe,
        pingreq(),
        packet(0xE0, &[]),
        packet(0x20, &[0, 0]),
    ] {
        closed_at_connect(
            &addr,
            &[first.clone(), Connect::v3(unique("c")).bytes()].concat(),
            &format!("{first:02x?}"),
        );
    }
    nothing_but_the_mark(&addr, &mut reader, &topic);
}

#[test]
fn mqtt3_3_1_0_2_a_second_connect_closes() {
    let (_broker, addr) = broker();
    let id = unique("c");
    let topic = unique("will");
    let mut reader = watcher(&addr, &topic);
    let connect = Connect::v3(&id).will(Will::new(&topic, "gone"));
    let mut client = RawClient::connect(&addr, &connect);
    client.send(&connect.bytes());
    assert!(client.expect_closed().is_empty());
    assert_eq!(reader.receive().text(), "gone", "it is a violation: the will stays armed");
}

#[test]
fn mqtt3_3_1_2_1_a_wrong_protocol_name_is_not_served() {
    let (_broker, addr) = broker();
    let connect = Connect::v3(unique("c"));
    for name in ["mqtt", "MQTTX", "", "HTTP", "MQIsdp\0"] {
        let mut client = RawClient::open(&addr);
        client.send(&connect.bytes_named(name.as_bytes(), 4, CLEAN));
        let before = client.expect_closed();
        let accepted =
            before.iter().any(|packet| packet.kind() == kind::CONNACK && packet.body.get(1) == Some(&0));
        assert!(!accepted, "protocol name {name:?}: {before:02x?}");
    }
}

#[test]
fn mqtt3_3_1_2_2_an_unsupported_level_gets_return_code_1() {
    let (_broker, addr) = broker();
    for level in [0, 1, 2, 3, 0x84] {
        refused(&addr, &Connect::v3(unique("c")).bytes_named(b"MQTT", level, CLEAN), 1);
    }
}

#[test]
fn mqtt3_3_1_2_3_the_reserved_connect_flag_closes() {
    let (_broker, addr) = broker();
    closed_at_connect(&addr, &Connect::v3(unique("c")).bytes_with_flags(CLEAN | 1), "reserved flag");
}

#[test]
fn mqtt3_3_1_2_9_a_will_flag_without_will_fields_closes() {
    let (_broker, addr) = broker();
    let id = unique("c").into_bytes();
    closed_at_connect(&addr, &connect_with(CLEAN | WILL, &[&id]), "no will topic");
    closed_at_connect(&addr, &connect_with(CLEAN | WILL, &[&id, b"topic"]), "no will message");
}

#[test]
fn mqtt3_3_1_2_11_will_fields_without_the_will_flag_close() {
    let (_broker, addr) = broker();
    let id = unique("c").into_bytes();
    closed_at_connect(&addr, &connect_with(CLEAN, &[&id, b"topic", b"message"]), "will fields");
}

#[test]
fn mqtt3_3_1_2_13_a_will_qos_without_the_will_flag_closes() {
    let (_broker, addr) = broker();
    for qos in 1..=3 {
        let flags = CLEAN | (WILL_QOS_1 * qos);
        closed_at_connect(&addr, &connect_with(flags, &[unique("c").as_bytes()]), &format!("will QoS {qos}"));
    }
}

#[test]
fn mqtt3_3_1_2_14_a_will_qos_of_3_closes() {
    let (_broker, addr) = broker();
    let connect = Connect::v3(unique("c")).will(Will::new("t", "m").qos(3));
    closed_at_connect(&addr, &connect.bytes(), "will QoS 3");
}

#[test]
fn mqtt3_3_1_2_15_will_retain_without_the_will_flag_closes() {
    let (_broker, addr) = broker();
    closed_at_connect(&addr, &connect_with(CLEAN | WILL_RETAIN, &[unique("c").as_bytes()]), "will retain");
}

#[test]
fn mqtt3_3_1_2_18_a_user_name_without_its_flag_closes() {
    let (_broker, addr) = broker();
    closed_at_connect(&addr, &connect_with(CLEAN, &[unique("c").as_bytes(), b"user"]), "user name");
}

#[test]
fn mqtt3_3_1_2_19_a_user_name_flag_without_user_name_closes() {
    let (_broker, addr) = broker();
    closed_at_connect(&addr, &connect_with(CLEAN | USER, &[unique("c").as_bytes()]), "no user name");
}

#[test]
fn mqtt3_3_1_2_20_a_password_without_its_flag_closes() {
    let (_broker, addr) = broker();
    let id = unique("c").into_bytes();
    closed_at_connect(&addr, &connect_with(CLEAN | USER, &[&id, b"user", b"password"]), "password");
}

#[test]
fn mqtt3_3_1_2_21_a_password_flag_without_password_closes() {
    let (_broker, addr) = broker();
    let id = unique("c").into_bytes();
    closed_at_connect(&addr, &connect_with(CLEAN | USER | PASSWORD, &[&id, b"user"]), "no password");
}

#[test]
fn mqtt3_3_1_2_22_a_password_without_user_name_closes() {
    let (_broker, addr) = broker();
    let id = unique("c").into_bytes();
    closed_at_connect(&addr, &connect_with(CLEAN | PASSWORD, &[&id, b"password"]), "password alone");
}

#[test]
fn mqtt3_3_1_2_23_any_packet_within_the_keep_alive_keeps_the_connection() {
    let (_broker, addr) = broker();
    let mut client = RawClient::connect(&addr, &Connect::v3(unique("c")).keep_alive(4));
    let started = Instant::now();
    let mut round = 0;
    while started.elapsed() < Duration::from_secs(8) {
        pause(Duration::from_secs(1));
        round += 1;
        match round % 2 {
            0 => client.ping(),
            _ => client.publish("elsewhere", "x", 1),
        }
    }
}

#[test]
fn mqtt3_3_1_2_24_silence_of_one_and_a_half_keep_alives_closes() {
    let (_broker, addr) = broker();
    let topic = unique("silent");
    let mut reader = watcher(&addr, &topic);
    let connect = Connect::v3(unique("c")).keep_alive(2).will(Will::new(&topic, "silent"));
    let connected = Instant::now();
    let mut client = RawClient::connect(&addr, &connect);
    assert!(client.expect_closed().is_empty());
    assert!(connected.elapsed() >= Duration::from_millis(2900), "not before 1.5 times the keep alive");
    assert_eq!(reader.receive().text(), "silent");
}

#[test]
fn mqtt3_3_1_2_24_a_keep_alive_of_zero_turns_it_off() {
    let (_broker, addr) = broker();
    let mut client = RawClient::connect(&addr, &Connect::v3(unique("c")).keep_alive(0));
    client.expect_nothing_for(Duration::from_secs(3));
    client.ping();
}

#[test]
fn mqtt3_3_1_4_1_a_connect_that_does_not_conform_closes_without_connack() {
    let (_broker, addr) = broker();
    let good = Connect::v3(unique("c")).bytes();
    for cut in 2..good.len() - 2 {
        let body = &good[2..=cut];
        closed_at_connect(&addr, &packet(0x10, body), &format!("cut after {} bytes of its body", body.len()));
    }
    closed_at_connect(&addr, &packet(0x10, &[&good[2..], b"\0"].concat()), "a byte too many");
    closed_at_connect(&addr, &packet(0x10, &[]), "no body");
}

#[test]
fn mqtt3_4_8_0_1_a_violation_closes_that_connection_alone() {
    let (_broker, addr) = broker();
    let topic = unique("alone");
    let mut reader = watcher(&addr, &topic);
    closed_after_connect(&addr, &packet(0x00, &[]), "packet type 0");
    closed_after_connect(&addr, &packet(0xF0, &[]), "packet type 15");
    for server_only in
        [packet(0x20, &[0, 0]), packet(0x90, &[0, 1, 0]), packet(0xB0, &[0, 1]), packet(0xD0, &[])]
    {
        closed_after_connect(&addr, &server_only, &format!("{server_only:02x?}"));
    }
    client(&addr).publish(&topic, "on", 1);
    assert_eq!(reader.receive().text(), "on");
}
