//! Section 3.1.3: the fields of CONNECT's payload, client identifiers above all.
//! Run against the shared broker.

use e2e_tests::wire::{packet, string};
use e2e_tests::{Connect, RawClient, Will, unique};

use crate::support::{broker, client, closed_at_connect, forget, persistent, refused, watcher};

#[test]
fn mqtt3_3_1_3_1_the_payload_is_read_in_its_order() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("c"), unique("order"));
    let mut reader = watcher(&addr, &topic);
    let will = Will::new(&topic, "the will message").qos(1);
    let connect = Connect::v3(&id).clean(false).will(will).user("a user").password("a password");
    let mut client = RawClient::connect(&addr, &connect);
    client.subscribe("elsewhere", 1);
    client.drop_connection();
    assert_eq!(reader.receive().text(), "the will message");
    let (client, connack) = RawClient::connect_ack(&addr, &persistent(&id));
    assert!(connack.session_present, "the client id was the first field");
    client.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_3_1_3_2_the_client_id_identifies_the_session() {
    let (_broker, addr) = broker();
    let (one, other) = (unique("c"), unique("c"));
    let mut client = RawClient::connect(&addr, &persistent(&one));
    client.subscribe("elsewhere", 1);
    client.disconnect();
    let (client, connack) = RawClient::connect_ack(&addr, &persistent(&other));
    assert!(!connack.session_present);
    client.disconnect();
    let (client, connack) = RawClient::connect_ack(&addr, &persistent(&one));
    assert!(connack.session_present);
    client.disconnect();
    forget(&addr, &one);
    forget(&addr, &other);
}

#[test]
fn mqtt3_3_1_3_3_a_missing_client_id_closes() {
    let (_broker, addr) = broker();
    let head = [string("MQTT"), vec![4, 2, 0, 60]].concat();
    closed_at_connect(&addr, &packet(0x10, &head), "no payload");
}

#[test]
fn mqtt3_3_1_3_4_a_client_id_that_is_not_utf8_closes() {
    let (_broker, addr) = broker();
    closed_at_connect(&addr, &Connect::v3(b"c\xff").bytes(), "client id");
}

#[test]
fn mqtt3_3_1_3_5_ids_of_1_to_23_letters_and_digits_are_accepted() {
    let (_broker, addr) = broker();
    let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut start = 0;
    for length in 1..=23 {
        let id: String = alphabet.chars().cycle().skip(start).take(length).collect();
        start += length;
        RawClient::v3(&addr, &id).disconnect();
    }
}

#[test]
fn mqtt3_3_1_3_6_an_empty_id_gets_a_name_of_its_own() {
    let (_broker, addr) = broker();
    let topic = unique("empty");
    let (mut one, mut other) = (RawClient::v3(&addr, ""), RawClient::v3(&addr, ""));
    one.subscribe(&topic, 1);
    other.subscribe(&topic, 1);
    client(&addr).publish(&topic, "both", 1);
    assert_eq!(one.receive().text(), "both");
    assert_eq!(other.receive().text(), "both");
}

#[test]
fn mqtt3_3_1_3_7_an_empty_id_with_clean_session_1_is_served() {
    let (_broker, addr) = broker();
    let (mut client, connack) = RawClient::connect_ack(&addr, &Connect::v3(""));
    assert!(!connack.session_present);
    client.ping();
}

#[test]
fn mqtt3_3_1_3_8_an_empty_id_with_clean_session_0_gets_return_code_2() {
    let (_broker, addr) = broker();
    refused(&addr, &persistent("").bytes(), 2);
}

#[test]
fn mqtt3_3_1_3_9_a_rejected_id_gets_return_code_2() {
    let (_broker, addr) = broker();
    refused(&addr, &persistent("").bytes(), 2);
    let mut client = RawClient::open(&addr);
    let connack = client.handshake(&Connect::v3([b'i'; 65_535]));
    assert!(
        [0, 2].contains(&connack.reason),
        "an id of 65,535 bytes is accepted or rejected by code 2: {connack:?}"
    );
}

#[test]
fn mqtt3_3_1_3_10_a_will_topic_that_is_not_utf8_closes() {
    let (_broker, addr) = broker();
    let connect = Connect::v3(unique("c")).will(Will::new(b"t\xff", "m"));
    closed_at_connect(&addr, &connect.bytes(), "will topic");
}

#[test]
fn mqtt3_3_1_3_11_a_user_name_that_is_not_utf8_closes() {
    let (_broker, addr) = broker();
    closed_at_connect(&addr, &Connect::v3(unique("c")).user(b"u\xff").bytes(), "user name");
}
