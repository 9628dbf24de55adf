//! Section 3.1.2.5 and 3.14: when a will is published, kept, retained and dropped.
//! Run against the shared broker.

use e2e_tests::packets::disconnect;
use e2e_tests::wire::packet;
use e2e_tests::{Connect, RawClient, Will, unique};

use crate::support::{broker, client, nothing_but_the_mark, unretain, watcher};

/// A client with this will.
fn with_will(addr: &str, will: Will) -> RawClient {
    RawClient::connect(addr, &Connect::v3(unique("w")).will(will))
}

#[test]
fn mqtt3_3_1_2_8_a_lost_connection_publishes_the_will() {
    let (_broker, addr) = broker();
    let topic = unique("will");
    let mut reader = watcher(&addr, &topic);
    for qos in 0..3 {
        with_will(&addr, Will::new(&topic, format!("lost {qos}")).qos(qos)).drop_connection();
        let will = reader.receive();
        assert_eq!((will.text(), will.qos, will.retain), (format!("lost {qos}"), qos, false));
    }
}

#[test]
fn mqtt3_3_1_2_8_a_violation_publishes_the_will() {
    let (_broker, addr) = broker();
    let topic = unique("will");
    let mut reader = watcher(&addr, &topic);
    let mut client = with_will(&addr, Will::new(&topic, "violation"));
    client.send(&packet(0xF0, &[]));
    client.expect_closed();
    assert_eq!(reader.receive().text(), "violation");
}

#[test]
fn mqtt3_3_1_2_8_a_takeover_publishes_the_will() {
    let (_broker, addr) = broker();
    let (topic, id) = (unique("will"), unique("w"));
    let mut reader = watcher(&addr, &topic);
    let mut old = RawClient::connect(&addr, &Connect::v3(&id).will(Will::new(&topic, "taken over")));
    let _new = RawClient::v3(&addr, &id);
    old.expect_closed();
    assert_eq!(reader.receive().text(), "taken over");
}

#[test]
fn mqtt3_3_1_2_10_a_will_is_published_once() {
    let (_broker, addr) = broker();
    let (topic, id) = (unique("will"), unique("w"));
    let mut reader = watcher(&addr, &topic);
    let connect = Connect::v3(&id).clean(false);
    RawClient::connect(&addr, &connect.clone().will(Will::new(&topic, "once").qos(1))).drop_connection();
    assert_eq!(reader.receive().text(), "once");
    RawClient::connect(&addr, &connect).drop_connection();
    crate::support::forget(&addr, &id);
    nothing_but_the_mark(&addr, &mut reader, &topic);
}

#[test]
fn mqtt3_3_1_2_12_without_the_will_flag_no_will_is_published() {
    let (_broker, addr) = broker();
    let all = unique("will");
    let mut reader = watcher(&addr, &all);
    let mut closed = RawClient::v3(&addr, &unique("w"));
    closed.send(&packet(0xF0, &[]));
    closed.expect_closed();
    RawClient::v3(&addr, &unique("w")).drop_connection();
    nothing_but_the_mark(&addr, &mut reader, &all);
}

#[test]
fn mqtt3_3_1_2_16_will_retain_0_is_not_retained() {
    let (_broker, addr) = broker();
    let topic = unique("will");
    let mut reader = watcher(&addr, &topic);
    with_will(&addr, Will::new(&topic, "live").qos(1)).drop_connection();
    assert_eq!(reader.receive().text(), "live");
    let mut late = watcher(&addr, &topic);
    nothing_but_the_mark(&addr, &mut late, &topic);
}

#[test]
fn mqtt3_3_1_2_17_will_retain_1_is_retained() {
    let (_broker, addr) = broker();
    let topic = unique("will");
    let mut reader = watcher(&addr, &topic);
    with_will(&addr, Will::new(&topic, "kept").qos(1).retain()).drop_connection();
    let live = reader.receive();
    assert_eq!((live.text().as_str(), live.retain), ("kept", false));
    let late = watcher(&addr, &topic).receive();
    assert_eq!((late.text().as_str(), late.retain, late.qos), ("kept", true, 1));
    unretain(&addr, &topic);
}

#[test]
fn mqtt3_3_14_1_1_reserved_bits_of_disconnect_keep_the_will() {
    let (_broker, addr) = broker();
    let topic = unique("will");
    let mut reader = watcher(&addr, &topic);
    for (bytes, what) in [(packet(0xE1, &[]), "flags"), (packet(0xE0, &[0]), "length")] {
        let mut client = with_will(&addr, Will::new(&topic, what));
        client.send(&bytes);
        assert!(client.expect_closed().is_empty());
        assert_eq!(reader.receive().text(), what, "not a DISCONNECT: the will stays armed");
    }
}

#[test]
fn mqtt3_3_14_4_1_the_broker_closes_after_disconnect() {
    let (_broker, addr) = broker();
    let mut client = client(&addr);
    client.send(&disconnect());
    assert!(client.expect_closed().is_empty(), "no packet after DISCONNECT");
}

#[test]
fn mqtt3_3_14_4_2_packets_after_disconnect_are_ignored() {
    let (_broker, addr) = broker();
    let topic = unique("after");
    let mut reader = watcher(&addr, &topic);
    let mut client = with_will(&addr, Will::new(&topic, "will"));
    let late = e2e_tests::Publish::v3(&topic, "late").qos(1, 1).bytes();
    client.send(&[disconnect(), late, packet(0xF0, &[])].concat());
    assert!(client.expect_closed().is_empty(), "no PUBACK");
    nothing_but_the_mark(&addr, &mut reader, &topic);
}

#[test]
fn mqtt3_3_14_4_3_disconnect_discards_the_will() {
    let (_broker, addr) = broker();
    let topic = unique("will");
    let mut reader = watcher(&addr, &topic);
    for qos in 0..3 {
        with_will(&addr, Will::new(&topic, "never").qos(qos).retain()).disconnect();
    }
    nothing_but_the_mark(&addr, &mut reader, &topic);
    nothing_but_the_mark(&addr, &mut watcher(&addr, &topic), &topic);
}
