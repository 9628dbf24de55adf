//! Topic aliases in both directions: sections 3.1.2.11.5, 3.2.2.3.8 and 3.3.2.3.4.

use std::collections::HashMap;

use e2e_tests::packets::{Connect, Publish};
use e2e_tests::parse::ReceivedPublish;
use e2e_tests::wire::{Props, prop};
use e2e_tests::{RawClient, unique};

use crate::common::{World, expiry, persistent, topic};

fn alias(number: u16) -> Props {
    Props::new().two(prop::TOPIC_ALIAS, number)
}

/// A client that takes this many aliases from the server.
fn taking(world: &World, maximum: u16) -> RawClient {
    world.client_with(Props::new().two(prop::TOPIC_ALIAS_MAXIMUM, maximum))
}

/// Reads the topic of a PUBLISH as a client must: by name, or by an alias that was set before.
fn resolve(known: &mut HashMap<u32, String>, publish: &ReceivedPublish) -> String {
    let alias = publish.props.number(prop::TOPIC_ALIAS);
    if publish.topic.is_empty() {
        let alias = alias.expect("a PUBLISH has a topic or an alias");
        return known.get(&alias).expect("the alias was set before").clone();
    }
    known.extend(alias.map(|alias| (alias, publish.topic.clone())));
    publish.topic.clone()
}

/// Publishes on so many topics, each three times, to a client that takes so many aliases; checks every topic.
fn aliases_used(maximum: u16, topics: usize) -> Vec<u32> {
    let world = World::new();
    let base = topic();
    let mut subscriber = taking(&world, maximum);
    subscriber.subscribe(&format!("{base}/#"), 1);
    let mut publisher = world.client();
    let (mut known, mut used) = (HashMap::new(), Vec::new());
    for round in 0..3 {
        for number in 0..topics {
            let name = format!("{base}/a/rather/long/topic/{number}");
            publisher.publish(&name, "p", round % 2);
            let got = subscriber.receive();
            assert_eq!(resolve(&mut known, &got), name);
            used.extend(got.props.number(prop::TOPIC_ALIAS));
        }
    }
    used
}

#[test]
fn mqtt5_3_1_2_26_the_servers_aliases_are_at_most_the_clients_maximum() {
    for maximum in [1, 2, 5] {
        assert!(aliases_used(maximum, 8).iter().all(|alias| (1..=u32::from(maximum)).contains(alias)));
    }
}

#[test]
fn mqtt5_3_1_2_27_without_a_maximum_the_server_sends_no_alias() {
    assert_eq!(aliases_used(0, 4), [] as [u32; 0]);
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    let mut publisher = world.client();
    for _ in 0..5 {
        publisher.publish(&topic, "p", 0);
        let got = subscriber.expect_publish();
        assert!(got.topic == topic && !got.props.has(prop::TOPIC_ALIAS));
    }
}

#[test]
fn mqtt5_3_3_2_7_a_clients_alias_ends_with_its_connection() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut subscriber = world.subscriber(&topic, 0);
    let mut client = world.connect(&persistent(&id));
    client.send(&Publish::v5(&topic, "set").props(alias(1)).bytes());
    client.send(&Publish::v5("", "used").props(alias(1)).bytes());
    assert_eq!([subscriber.expect_publish().text(), subscriber.expect_publish().text()], ["set", "used"]);
    client.disconnect();
    let (mut client, connack) = world.connect_ack(&persistent(&id));
    assert!(connack.session_present);
    client.send(&Publish::v5("", "forgotten").props(alias(1)).bytes());
    client.expect_refusal(&[0x81, 0x82, 0x94]);
    subscriber.expect_nothing();
}

#[test]
fn mqtt5_3_3_2_7_the_servers_alias_ends_with_the_connection() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let with_aliases = persistent(&id).props(expiry(300).two(prop::TOPIC_ALIAS_MAXIMUM, 10));
    let mut publisher = world.client();
    let mut client = world.connect(&with_aliases);
    client.subscribe(&topic, 1);
    for _ in 0..2 {
        publisher.publish(&topic, "p", 1);
        client.receive();
    }
    client.drop_connection();
    let mut client = world.connect(&with_aliases);
    publisher.publish(&topic, "p", 1);
    assert_eq!(client.receive().topic, topic, "the name is sent again");
    client.drop_connection();
    let mut client = world.connect(&persistent(&id));
    publisher.publish(&topic, "p", 1);
    let got = client.receive();
    assert!(got.topic == topic && !got.props.has(prop::TOPIC_ALIAS), "no maximum this time");
}

#[test]
fn mqtt5_3_3_2_8_alias_0_is_refused() {
    let world = World::new();
    world.refused(&Publish::v5("t", "p").props(alias(0)).bytes(), &[0x81, 0x82, 0x94]);
}

#[test]
fn mqtt5_3_3_2_9_an_alias_above_the_servers_maximum_is_refused() {
    let world = World::new();
    let (_client, connack) = world.connect_ack(&Connect::v5(unique("c")));
    let maximum = connack.props.number(prop::TOPIC_ALIAS_MAXIMUM).unwrap_or(0) as u16;
    for above in [maximum + 1, 65_535] {
        world.refused(&Publish::v5("t", "p").props(alias(above)).bytes(), &[0x94]);
    }
}

#[test]
fn mqtt5_3_3_2_9_an_alias_that_was_never_set_is_refused() {
    let world = World::new();
    world.refused(&Publish::v5("", "p").props(alias(1)).bytes(), &[0x81, 0x82, 0x94]);
}

#[test]
fn mqtt5_3_3_2_10_aliases_of_the_server_resolve_for_a_client_that_takes_them() {
    // `aliases_used` reads each topic as the client would; the server may use fewer aliases than it could.
    for maximum in [3, 20, 65_535] {
        aliases_used(maximum, 6);
    }
}

#[test]
fn mqtt5_3_3_2_11_the_servers_aliases_stay_in_the_range_of_each_client() {
    let world = World::new();
    let base = topic();
    let mut narrow = taking(&world, 1);
    let mut wide = taking(&world, 4);
    narrow.subscribe(&format!("{base}/#"), 0);
    wide.subscribe(&format!("{base}/#"), 0);
    let mut publisher = world.client();
    let (mut of_narrow, mut of_wide) = (HashMap::new(), HashMap::new());
    for number in [1, 2, 1, 3, 4, 5, 1, 5, 5, 2] {
        let name = format!("{base}/{number}");
        publisher.publish(&name, "p", 0);
        for (client, known, maximum) in [(&mut narrow, &mut of_narrow, 1), (&mut wide, &mut of_wide, 4)] {
            let got = client.expect_publish();
            assert_eq!(resolve(known, &got), name);
            assert!(got.props.number(prop::TOPIC_ALIAS).is_none_or(|alias| (1..=maximum).contains(&alias)));
        }
    }
}

#[test]
fn mqtt5_3_3_2_12_every_alias_up_to_the_servers_maximum_is_accepted() {
    let world = World::new();
    let base = topic();
    let mut subscriber = world.subscriber(&format!("{base}/#"), 0);
    let (mut client, connack) = world.connect_ack(&Connect::v5(unique("c")));
    let maximum = connack.props.number(prop::TOPIC_ALIAS_MAXIMUM).expect("aliases are offered") as u16;
    for number in 1..=maximum {
        client.send(&Publish::v5(format!("{base}/{number}"), "set").props(alias(number)).bytes());
        assert_eq!(subscriber.expect_publish().topic, format!("{base}/{number}"));
    }
    for number in (1..=maximum).rev() {
        client.send(&Publish::v5("", "used").props(alias(number)).bytes());
        let got = subscriber.expect_publish();
        assert_eq!(got.topic, format!("{base}/{number}"));
        assert!(!got.props.has(prop::TOPIC_ALIAS), "an alias is not passed on");
    }
}

#[test]
fn mqtt5_3_3_2_12_an_alias_can_be_set_anew_and_used_at_every_qos() {
    let world = World::new();
    let base = topic();
    let mut subscriber = world.subscriber(&format!("{base}/#"), 2);
    let mut client = world.client();
    for name in ["one", "two", "one"] {
        let name = format!("{base}/{name}");
        client.publish_packet(Publish::v5(&name, "set").props(alias(1)), 1);
        client.publish_packet(Publish::v5("", "used").props(alias(1)), 2);
        assert_eq!([subscriber.receive().topic, subscriber.receive().topic], [name.as_str(), name.as_str()]);
    }
}
