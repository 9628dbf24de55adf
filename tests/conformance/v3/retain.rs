//! Section 3.3.1.3: retained messages.
//! Run against the shared broker.

use e2e_tests::{Publish, RawClient, unique};

use crate::support::{broker, client, forget, nothing_but_the_mark, persistent, retain, unretain, watcher};

#[test]
fn mqtt3_3_3_1_5_a_retained_message_is_stored_with_its_qos() {
    let (_broker, addr) = broker();
    let topic = unique("r");
    for qos in [1, 2, 0] {
        let mut publisher = client(&addr);
        publisher.publish_packet(Publish::v3(&topic, [qos]).retain(), qos);
        publisher.ping();
        let mut late = watcher(&addr, &topic);
        let got = late.receive();
        assert_eq!((got.payload, got.qos), (vec![qos], qos));
        late.expect_nothing();
    }
    unretain(&addr, &topic);
}

#[test]
fn mqtt3_3_3_1_6_a_new_subscription_gets_the_last_message_of_each_topic() {
    let (_broker, addr) = broker();
    let root = unique("r");
    for (level, payload) in [("a", "old"), ("a", "new"), ("b", "only"), ("b/c", "deep")] {
        retain(&addr, &format!("{root}/{level}"), payload);
    }
    let mut late = watcher(&addr, &format!("{root}/#"));
    let mut got: Vec<_> = (0..3).map(|_| late.receive()).map(|p| (p.topic, p.payload)).collect();
    got.sort();
    let expected = [("a", "new"), ("b", "only"), ("b/c", "deep")];
    let expected: Vec<_> =
        expected.iter().map(|(level, p)| (format!("{root}/{level}"), p.as_bytes().to_vec())).collect();
    assert_eq!(got, expected);
    late.expect_nothing();
    ["a", "b", "b/c"].iter().for_each(|level| unretain(&addr, &format!("{root}/{level}")));
}

#[test]
fn mqtt3_3_3_1_7_a_qos_0_retained_message_replaces_the_previous_one() {
    let (_broker, addr) = broker();
    let topic = unique("r");
    let mut publisher = client(&addr);
    publisher.publish_packet(Publish::v3(&topic, "old").retain(), 2);
    publisher.publish_packet(Publish::v3(&topic, "new").retain(), 0);
    publisher.ping();
    let mut late = watcher(&addr, &topic);
    let got = late.receive();
    assert_eq!((got.text().as_str(), got.qos), ("new", 0));
    late.expect_nothing();
    unretain(&addr, &topic);
}

#[test]
fn mqtt3_3_3_1_8_what_a_new_subscription_caused_has_retain_1() {
    let (_broker, addr) = broker();
    let topic = unique("r");
    retain(&addr, &topic, "x");
    assert!(watcher(&addr, &topic).receive().retain);
    unretain(&addr, &topic);
}

#[test]
fn mqtt3_3_3_1_9_what_an_established_subscription_caused_has_retain_0() {
    let (_broker, addr) = broker();
    let topic = unique("r");
    let mut reader = watcher(&addr, &topic);
    for qos in 0..3 {
        client(&addr).publish_packet(Publish::v3(&topic, "x").retain(), qos);
        assert!(!reader.receive().retain);
    }
    let id = unique("c");
    let mut away = RawClient::connect(&addr, &persistent(&id));
    away.subscribe(&topic, 1);
    away.receive();
    away.disconnect();
    retain(&addr, &topic, "queued");
    let queued = RawClient::connect(&addr, &persistent(&id)).receive();
    assert_eq!((queued.text().as_str(), queued.retain), ("queued", false));
    forget(&addr, &id);
    unretain(&addr, &topic);
}

#[test]
fn mqtt3_3_3_1_10_an_empty_retained_message_is_delivered_and_removes() {
    let (_broker, addr) = broker();
    let topic = unique("r");
    retain(&addr, &topic, "x");
    let mut reader = watcher(&addr, &topic);
    reader.receive();
    retain(&addr, &topic, "");
    let got = reader.receive();
    assert_eq!((got.payload.len(), got.retain), (0, false));
    nothing_but_the_mark(&addr, &mut watcher(&addr, &topic), &topic);
}

#[test]
fn mqtt3_3_3_1_11_an_empty_payload_is_never_stored() {
    let (_broker, addr) = broker();
    let topic = unique("r");
    for qos in 0..3 {
        client(&addr).publish_packet(Publish::v3(&topic, "").retain(), qos);
    }
    nothing_but_the_mark(&addr, &mut watcher(&addr, &topic), &topic);
}

#[test]
fn mqtt3_3_3_1_12_retain_0_neither_stores_nor_removes() {
    let (_broker, addr) = broker();
    let topic = unique("r");
    client(&addr).publish(&topic, "not stored", 1);
    nothing_but_the_mark(&addr, &mut watcher(&addr, &topic), &topic);
    retain(&addr, &topic, "kept");
    client(&addr).publish(&topic, "", 1);
    client(&addr).publish(&topic, "live", 1);
    assert_eq!(watcher(&addr, &topic).receive().text(), "kept");
    unretain(&addr, &topic);
}
