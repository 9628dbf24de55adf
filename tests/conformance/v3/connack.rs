//! Sections 3.1.4 and 3.2: what the broker answers to CONNECT, and what it does not do after a refusal.
//! Run against the shared broker.

use e2e_tests::wire::kind;
use e2e_tests::{Connect, Publish, RawClient, Will, unique};

use crate::support::{
    broker, client, closed_at_connect, forget, nothing_but_the_mark, persistent, refused, watcher,
};

#[test]
fn mqtt3_3_1_4_3_clean_session_is_processed() {
    let (_broker, addr) = broker();
    let id = unique("c");
    for (clean, present) in [(false, false), (false, true), (true, false), (false, false)] {
        let (client, connack) = RawClient::connect_ack(&addr, &Connect::v3(&id).clean(clean));
        assert_eq!(connack.session_present, present, "clean session {clean}");
        client.disconnect();
    }
    forget(&addr, &id);
}

#[test]
fn mqtt3_3_1_4_4_a_valid_connect_is_acknowledged_with_0() {
    let (_broker, addr) = broker();
    let mut client = RawClient::open(&addr);
    client.send(&Connect::v3(unique("c")).bytes());
    let connack = client.expect(kind::CONNACK);
    assert_eq!((connack.first, connack.body), (0x20, vec![0, 0]));
    client.ping();
}

#[test]
fn mqtt3_3_1_4_5_nothing_after_a_refused_connect_is_processed() {
    let (_broker, addr) = broker();
    let topic = unique("after");
    let mut reader = watcher(&addr, &topic);
    let connect = Connect::v3("").clean(false).will(Will::new(&topic, "will"));
    let mut client = RawClient::open(&addr);
    client.send(
        &[connect.bytes(), Publish::v3(&topic, "x").bytes(), Publish::v3(&topic, "y").qos(1, 1).bytes()]
            .concat(),
    );
    let connack = client.expect(kind::CONNACK);
    assert_eq!(connack.body, [0, 2]);
    assert!(client.expect_closed().is_empty(), "no PUBACK");
    nothing_but_the_mark(&addr, &mut reader, &topic);
}

#[test]
fn mqtt3_3_2_0_1_the_brokers_first_packet_is_connack() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("c"), unique("first"));
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 1);
    reader.drop_connection();
    client(&addr).publish(&topic, "queued", 1);
    let mut reader = RawClient::open(&addr);
    reader.speak(e2e_tests::Version::V3_1_1);
    reader.expect_nothing();
    reader.send(&persistent(&id).bytes());
    reader.expect(kind::CONNACK);
    assert_eq!(reader.receive().text(), "queued");
    reader.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_3_2_2_1_clean_session_1_has_session_present_0() {
    let (_broker, addr) = broker();
    let id = unique("c");
    RawClient::connect(&addr, &persistent(&id)).disconnect();
    let (client, connack) = RawClient::connect_ack(&addr, &Connect::v3(&id));
    assert_eq!(connack.flags, 0);
    client.disconnect();
}

#[test]
fn mqtt3_3_2_2_2_stored_state_is_present() {
    let (_broker, addr) = broker();
    let id = unique("c");
    RawClient::connect(&addr, &persistent(&id)).disconnect();
    let (client, connack) = RawClient::connect_ack(&addr, &persistent(&id));
    assert_eq!(connack.flags, 1);
    client.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_3_2_2_3_no_stored_state_is_not_present() {
    let (_broker, addr) = broker();
    let id = unique("c");
    let (client, connack) = RawClient::connect_ack(&addr, &persistent(&id));
    assert_eq!(connack.flags, 0);
    client.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_3_2_2_4_a_refusal_has_session_present_0() {
    let (_broker, addr) = broker();
    let id = unique("c");
    RawClient::connect(&addr, &persistent(&id)).disconnect();
    refused(&addr, &persistent(&id).bytes_named(b"MQTT", 3, 0), 1);
    forget(&addr, &id);
}

#[test]
fn mqtt3_3_2_2_5_a_refusal_closes() {
    let (_broker, addr) = broker();
    refused(&addr, &Connect::v3(unique("c")).bytes_named(b"MQTT", 2, 2), 1);
    refused(&addr, &persistent("").bytes(), 2);
}

#[test]
fn mqtt3_3_2_2_6_where_no_return_code_fits_it_closes_without_connack() {
    let (_broker, addr) = broker();
    closed_at_connect(&addr, &Connect::v3(unique("c")).bytes_with_flags(3), "reserved flag");
    closed_at_connect(
        &addr,
        &Connect::v3(unique("c")).will(Will::new("a/#", "m")).bytes(),
        "wildcard in the will topic",
    );
}
