//! Subscriptions and their options, and that UNSUBACK is final (G11).

use std::time::Instant;

use e2e_tests::client::Read;
use e2e_tests::wire::{Props, Version, prop};
use e2e_tests::{PATIENCE, Publish, QUIET, unique};

use super::{VERSIONS, World, persistent};

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;

#[test]
fn subscriptions_are_there_at_their_qos() {
    let Some(mut world) = World::start() else { return };
    for version in VERSIONS {
        let id = unique("c");
        let mut client = world.connect(&persistent(version, &id));
        for (filter, qos) in [("a/0", 0), ("a/1", 1), ("a/+", 2), ("b/#", 1)] {
            client.subscribe(filter, qos);
        }
        world.kill_and_restart();
        let mut client = world.resume(&persistent(version, &id));
        let mut publisher = world.client();
        for topic in ["a/1", "b/x/y", "c"] {
            publisher.publish(topic, topic, 2);
        }
        // A session gets a message once, at the highest QoS of what matches.
        let got =
            [client.receive(), client.receive()].map(|publish| (publish.text(), publish.qos, publish.dup));
        assert_eq!(got, [("a/1".to_owned(), 2, false), ("b/x/y".to_owned(), 1, false)]);
        client.expect_nothing();
    }
}

#[test]
fn options_and_identifiers_of_subscriptions_are_there() {
    let Some(mut world) = World::start() else { return };
    let connect = persistent(Version::V5, "c");
    let mut client = world.connect(&connect);
    let id = Props::new().var(prop::SUBSCRIPTION_ID, 70_000);
    client.subscribe_with(&[("kept/#", 1 | NO_LOCAL | RETAIN_AS_PUBLISHED)], &id);
    client.subscribe_with(&[("plain", 2)], &Props::new());
    world.kill_and_restart();
    let mut client = world.resume(&connect);
    client.publish("kept/own", "its own", 1);
    client.publish("plain", "its own", 1);
    let mut publisher = world.client();
    publisher.publish_packet(Publish::v5("kept/x", "another's").retain(), 2);
    let plain = client.receive();
    assert_eq!((plain.topic.as_str(), plain.props.0.len()), ("plain", 0), "no local is not for this one");
    let kept = client.receive();
    assert_eq!((kept.text(), kept.qos, kept.retain), ("another's".to_owned(), 1, true));
    assert_eq!(kept.props.numbers(prop::SUBSCRIPTION_ID), [70_000]);
    client.expect_nothing();
}

#[test]
fn a_member_of_a_shared_group_is_still_one() {
    let Some(mut world) = World::start() else { return };
    let members = ["one", "two"].map(|id| persistent(Version::V5, id));
    for member in &members {
        world.absent(member, "$share/g/jobs", 1);
    }
    world.kill_and_restart();
    let mut clients = members.each_ref().map(|member| world.resume(member));
    let mut publisher = world.client();
    for number in 0..10 {
        publisher.publish("jobs", [number], 1);
    }
    let mut got = Vec::new();
    let mut quiet = 0;
    let deadline = Instant::now() + PATIENCE;
    // Once more after all came: none comes twice.
    while quiet < 2 && Instant::now() < deadline {
        for client in &mut clients {
            while let Read::Packet(packet) = client.read(QUIET) {
                got.push(packet.publish(Version::V5).payload[0]);
            }
        }
        quiet += u32::from(got.len() >= 10);
    }
    got.sort_unstable();
    assert_eq!(got, (0..10).collect::<Vec<u8>>(), "each once in the group");
}

#[test]
fn g11_unsuback_is_final() {
    let Some(mut world) = World::start() else { return };
    for version in VERSIONS {
        let id = unique("c");
        let mut client = world.connect(&persistent(version, &id));
        client.subscribe("gone", 2);
        client.subscribe("there", 2);
        client.unsubscribe(&["gone"]);
        world.kill_and_restart();
        let mut publisher = world.client();
        publisher.publish("gone", "nobody's", 2);
        publisher.publish("there", "one's", 2);
        let mut client = world.resume(&persistent(version, &id));
        assert_eq!(client.receive().text(), "one's");
        client.expect_nothing();
    }
}

#[test]
fn a_subscription_that_was_replaced_is_the_new_one() {
    let Some(mut world) = World::start() else { return };
    let connect = persistent(Version::V5, "c");
    let mut client = world.connect(&connect);
    client.subscribe("t", 2);
    client.subscribe("t", 1);
    world.kill_and_restart();
    world.client().publish("t", "x", 2);
    let mut client = world.resume(&connect);
    assert_eq!(client.receive().qos, 1);
    client.expect_nothing();
}
