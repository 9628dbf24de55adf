//! Retained messages (G10): set, replaced, deleted, expired.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e_tests::client::Read;
use e2e_tests::wire::{Props, Version, prop};
use e2e_tests::{PATIENCE, Publish, QUIET, RawClient, pause};

use super::World;

fn retain(publisher: &mut RawClient, topic: &str, text: &str, qos: u8) {
    publisher.publish_packet(Publish::v5(topic, text).retain(), qos);
}

/// A new subscriber gets these, and nothing else.
#[track_caller]
fn comes(world: &World, messages: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> =
        messages.iter().map(|(topic, text)| ((*topic).to_owned(), (*text).to_owned())).collect();
    let mut client = world.client();
    client.subscribe("r/#", 1);
    let mut found = BTreeMap::new();
    while let Read::Packet(packet) =
        client.read(if found.len() < expected.len() { PATIENCE } else { 2 * QUIET })
    {
        let publish = packet.publish(Version::V5);
        assert!(publish.retain, "{publish:?}");
        assert_eq!(found.insert(publish.topic.clone(), publish.text()), None, "each topic once");
    }
    assert_eq!(found, expected);
}

#[test]
fn g10_the_last_retained_message_of_a_topic_is_there_and_a_deleted_one_is_not() {
    let Some(mut world) = World::start() else { return };
    let mut publisher = world.client();
    for qos in [1, 2] {
        retain(&mut publisher, &format!("r/set/{qos}"), "set", qos);
        retain(&mut publisher, &format!("r/replaced/{qos}"), "old", qos);
        retain(&mut publisher, &format!("r/deleted/{qos}"), "old", qos);
        retain(&mut publisher, &format!("r/replaced/{qos}"), "new", qos);
        retain(&mut publisher, &format!("r/deleted/{qos}"), "", qos);
    }
    world.kill_and_restart();
    let there = [("r/set/1", "set"), ("r/set/2", "set"), ("r/replaced/1", "new"), ("r/replaced/2", "new")];
    comes(&world, &there);
    let mut publisher = world.client();
    for qos in [1, 2] {
        retain(&mut publisher, &format!("r/set/{qos}"), "", qos);
        retain(&mut publisher, &format!("r/deleted/{qos}"), "again", qos);
    }
    world.kill_and_restart();
    let there = [
        ("r/deleted/1", "again"),
        ("r/deleted/2", "again"),
        ("r/replaced/1", "new"),
        ("r/replaced/2", "new"),
    ];
    comes(&world, &there);
}

#[test]
fn g11_retained_messages_expire_while_the_node_is_down() {
    let Some(mut world) = World::start() else { return };
    let mut publisher = world.client();
    for (topic, seconds) in [("r/soon", 1), ("r/late", 1000)] {
        let props = Props::new().four(prop::MESSAGE_EXPIRY, seconds);
        publisher.publish_packet(Publish::v5(topic, "x").retain().props(props), 1);
    }
    world.0.kill();
    pause(Duration::from_millis(2_100));
    world.0.restart(&[]);
    comes(&world, &[("r/late", "x")]);
}
