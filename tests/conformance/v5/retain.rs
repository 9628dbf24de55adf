//! Retained messages, Retain Handling and Retain As Published: sections 3.3.1.3 and 3.8.3.1.

use e2e_tests::RawClient;
use e2e_tests::packets::Publish;
use e2e_tests::wire::Props;

use crate::common::{World, topic};

/// Retain as published.
const RAP: u8 = 0x08;

fn retain(client: &mut RawClient, topic: &str, payload: &str) {
    client.publish_packet(Publish::v5(topic, payload).retain(), 1);
}

/// Retain Handling in an options byte. 2 keeps a look-up at subscribe from finding what is published just after it.
fn handling(value: u8) -> u8 {
    value << 4
}

#[test]
fn mqtt5_3_3_1_5_a_retained_message_replaces_the_one_before() {
    let world = World::new();
    let topic = topic();
    let mut publisher = world.client();
    for (text, qos) in [("one", 0), ("two", 2), ("three", 1)] {
        publisher.publish_packet(Publish::v5(&topic, text).retain(), qos);
        // QoS 0 has no ack: what the broker answered later came after it.
        publisher.ping();
        let mut late = world.subscriber(&topic, 2);
        let got = late.receive();
        assert_eq!((got.text().as_str(), got.qos, got.retain, got.dup), (text, qos, true, false));
        late.expect_nothing();
    }
    retain(&mut publisher, &topic, "");
}

#[test]
fn mqtt5_3_3_1_6_an_empty_retained_message_is_delivered_and_removes() {
    let world = World::new();
    let topic = topic();
    let mut publisher = world.client();
    let mut here = world.subscriber(&topic, handling(2) | RAP);
    retain(&mut publisher, &topic, "kept");
    retain(&mut publisher, &topic, "");
    assert_eq!(here.expect_publish().text(), "kept");
    let removal = here.expect_publish();
    assert!(removal.payload.is_empty() && removal.retain);
    world.subscriber(&topic, 0).expect_nothing();
}

#[test]
fn mqtt5_3_3_1_7_an_empty_message_is_never_retained() {
    let world = World::new();
    let topic = topic();
    let mut publisher = world.client();
    for qos in 0..3 {
        publisher.publish_packet(Publish::v5(&topic, "").retain(), qos);
    }
    publisher.ping();
    world.subscriber(&topic, 0).expect_nothing();
}

#[test]
fn mqtt5_3_3_1_8_without_retain_nothing_is_stored_or_removed() {
    let world = World::new();
    let (kept, empty) = (topic(), topic());
    let mut publisher = world.client();
    publisher.publish(&empty, "passing", 1);
    world.subscriber(&empty, 0).expect_nothing();
    retain(&mut publisher, &kept, "kept");
    publisher.publish(&kept, "passing", 1);
    publisher.publish(&kept, "", 1);
    assert_eq!(world.subscriber(&kept, 0).expect_publish().text(), "kept");
    retain(&mut publisher, &kept, "");
}

#[test]
fn mqtt5_3_3_1_9_handling_0_sends_retained_messages_at_each_subscribe() {
    let world = World::new();
    let base = topic();
    let mut publisher = world.client();
    for name in ["a", "b", "c/d"] {
        retain(&mut publisher, &format!("{base}/{name}"), name);
    }
    let mut client = world.client();
    for _ in 0..2 {
        client.subscribe(&format!("{base}/#"), handling(0) | 1);
        let mut got: Vec<String> = (0..3).map(|_| client.receive()).map(|p| p.text()).collect();
        got.sort();
        assert_eq!(got, ["a", "b", "c/d"]);
        client.expect_nothing();
    }
    for name in ["a", "b", "c/d"] {
        retain(&mut publisher, &format!("{base}/{name}"), "");
    }
}

#[test]
fn mqtt5_3_3_1_10_handling_1_sends_them_to_new_subscriptions_only() {
    let world = World::new();
    let topic = topic();
    let mut publisher = world.client();
    retain(&mut publisher, &topic, "kept");
    let mut client = world.client();
    client.subscribe(&topic, handling(1));
    assert_eq!(client.expect_publish().text(), "kept");
    client.subscribe(&topic, handling(1) | 1);
    client.expect_nothing();
    client.unsubscribe(&[&topic]);
    client.subscribe(&topic, handling(1));
    assert_eq!(client.expect_publish().text(), "kept");
    retain(&mut publisher, &topic, "");
}

#[test]
fn mqtt5_3_3_1_11_handling_2_sends_none() {
    let world = World::new();
    let topic = topic();
    let mut publisher = world.client();
    retain(&mut publisher, &topic, "kept");
    let mut client = world.subscriber(&topic, handling(2));
    client.subscribe(&topic, handling(2));
    client.expect_nothing();
    publisher.publish(&topic, "live", 0);
    assert_eq!(client.expect_publish().text(), "live");
    retain(&mut publisher, &topic, "");
}

#[test]
fn mqtt5_3_3_1_12_without_retain_as_published_the_flag_is_cleared() {
    let world = World::new();
    let topic = topic();
    let mut here = world.subscriber(&topic, handling(2) | 1);
    let mut publisher = world.client();
    retain(&mut publisher, &topic, "kept");
    publisher.publish(&topic, "plain", 1);
    assert!(!here.receive().retain && !here.receive().retain);
    // What is sent because of a subscription carries it nevertheless.
    assert!(world.subscriber(&topic, 1).receive().retain);
    retain(&mut publisher, &topic, "");
}

#[test]
fn mqtt5_3_3_1_13_with_retain_as_published_the_flag_is_kept() {
    let world = World::new();
    let topic = topic();
    let mut here = world.subscriber(&topic, handling(2) | RAP | 1);
    let mut publisher = world.client();
    retain(&mut publisher, &topic, "kept");
    publisher.publish(&topic, "plain", 1);
    assert!(here.receive().retain);
    assert!(!here.receive().retain);
    retain(&mut publisher, &topic, "");
}

#[test]
fn mqtt5_3_3_1_9_retained_messages_have_the_lower_qos_and_reach_wildcards() {
    let world = World::new();
    let base = topic();
    let mut publisher = world.client();
    publisher.publish_packet(Publish::v5(format!("{base}/x"), "two").retain(), 2);
    for granted in 0..3 {
        let mut client = world.subscriber(&format!("{base}/+"), granted);
        assert_eq!(client.receive().qos, granted);
    }
    retain(&mut publisher, &format!("{base}/x"), "");
}

#[test]
fn mqtt5_3_8_4_4_replacing_a_subscription_sends_retained_again_and_loses_nothing() {
    let world = World::new();
    let topic = topic();
    let mut publisher = world.client();
    retain(&mut publisher, &topic, "kept");
    let mut client = world.subscriber(&topic, 1);
    assert_eq!(client.receive().text(), "kept");
    for number in 0..20 {
        publisher.publish(&topic, number.to_string(), 1);
        assert_eq!(client.subscribe_with(&[(&topic, 1)], &Props::new()).codes, [1]);
        let mut got = [client.receive(), client.receive()].map(|p| (p.retain, p.text()));
        got.sort();
        assert_eq!(got, [(false, number.to_string()), (true, "kept".to_owned())]);
    }
    client.expect_nothing();
    retain(&mut publisher, &topic, "");
}
