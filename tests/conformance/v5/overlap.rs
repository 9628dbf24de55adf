//! Overlapping subscriptions and subscription identifiers: section 3.3.4.

use e2e_tests::RawClient;
use e2e_tests::packets::Publish;
use e2e_tests::parse::ReceivedPublish;
use e2e_tests::wire::{Props, Version, prop};
use e2e_tests::{packets, unique};

use crate::common::{MALFORMED, World, persistent, topic, until_end};

fn id(number: usize) -> Props {
    Props::new().var(prop::SUBSCRIPTION_ID, number)
}

fn ids_of(publish: &ReceivedPublish) -> Vec<u32> {
    let mut ids = publish.props.numbers(prop::SUBSCRIPTION_ID);
    ids.sort_unstable();
    ids
}

/// A client with three subscriptions that overlap on `base/a`: QoS 0 with id 1, QoS 2 with id 268,435,455, QoS 1 with none.
fn overlapping(world: &World, base: &str) -> RawClient {
    let mut client = world.client();
    client.subscribe_with(&[(&format!("{base}/a"), 0)], &id(1));
    client.subscribe_with(&[(&format!("{base}/#"), 2)], &id(268_435_455));
    client.subscribe_with(&[(&format!("{base}/+"), 1)], &Props::new());
    client
}

/// All copies of one message published at this QoS on `base/a`.
fn copies(qos: u8) -> Vec<ReceivedPublish> {
    let world = World::new();
    let base = topic();
    let mut client = overlapping(&world, &base);
    let mut publisher = world.client();
    publisher.publish(&format!("{base}/a"), "once", qos);
    // The end comes by one subscription alone, so that it is one copy.
    client.subscribe(&format!("{base}/x/end"), 0);
    client.unsubscribe(&[&format!("{base}/#")]);
    publisher.publish(&format!("{base}/x/end"), "end", 0);
    until_end(&mut client)
}

#[test]
fn mqtt5_3_3_4_2_overlapping_subscriptions_get_the_highest_qos() {
    for qos in 0..3 {
        let highest = copies(qos).iter().map(|copy| copy.qos).max();
        assert_eq!(highest, Some(qos), "granted up to 2");
    }
}

#[test]
fn mqtt5_3_3_4_3_subscription_identifiers_are_sent() {
    let world = World::new();
    let (base, session) = (topic(), unique("c"));
    let mut client = world.connect(&persistent(&session));
    client.subscribe_with(&[(&format!("{base}/a"), 1), (&format!("{base}/b"), 1)], &id(7));
    client.subscribe_with(&[(&format!("{base}/c"), 1)], &id(128));
    client.subscribe_with(&[(&format!("{base}/d"), 1)], &Props::new());
    let mut publisher = world.client();
    let mut check = |client: &mut RawClient| {
        for (name, ids) in [("a", vec![7]), ("b", vec![7]), ("c", vec![128]), ("d", vec![])] {
            publisher.publish(&format!("{base}/{name}"), "p", 1);
            assert_eq!(ids_of(&client.receive()), ids, "by filter {name}");
        }
    };
    check(&mut client);
    client.disconnect();
    // They are part of the session.
    check(&mut world.connect(&persistent(&session)));
}

#[test]
fn mqtt5_3_3_4_3_an_identifier_goes_with_messages_that_waited_and_retained_ones() {
    let world = World::new();
    let (topic, session) = (topic(), unique("c"));
    let mut client = world.connect(&persistent(&session));
    client.subscribe_with(&[(&topic, 1)], &id(5));
    client.disconnect();
    let mut publisher = world.client();
    publisher.publish_packet(Publish::v5(&topic, "p").retain(), 1);
    assert_eq!(ids_of(&world.connect(&persistent(&session)).receive()), [5]);
    let mut late = world.client();
    late.subscribe_with(&[(&topic, 1)], &id(9));
    assert_eq!(ids_of(&late.receive()), [9]);
    publisher.publish_packet(Publish::v5(&topic, "").retain(), 1);
}

#[test]
fn mqtt5_3_3_4_4_one_copy_carries_every_matching_identifier() {
    let copies = copies(1);
    if let [only] = copies.as_slice() {
        assert_eq!(ids_of(only), [1, 268_435_455]);
    }
    assert!(!copies.is_empty());
}

#[test]
fn mqtt5_3_3_4_5_several_copies_carry_their_own_identifier() {
    let copies = copies(2);
    let mut ids: Vec<u32> = copies.iter().flat_map(ids_of).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 268_435_455], "each identifier once, over all copies");
    if copies.len() > 1 {
        assert!(copies.iter().all(|copy| ids_of(copy).len() <= 1));
    }
}

#[test]
fn mqtt5_3_3_4_3_a_replaced_subscription_has_the_new_identifier() {
    let world = World::new();
    let topic = topic();
    let mut client = world.client();
    let mut publisher = world.client();
    for (props, ids) in [(id(1), vec![1]), (id(2), vec![2]), (Props::new(), vec![])] {
        client.subscribe_with(&[(&topic, 1)], &props);
        publisher.publish(&topic, "p", 0);
        assert_eq!(ids_of(&client.receive()), ids);
    }
}

#[test]
fn mqtt5_3_3_4_3_identifier_0_or_two_identifiers_are_refused() {
    let world = World::new();
    let subscribe = |props: &Props| packets::subscribe(Version::V5, 1, &[("t", 0)], props);
    world.refused(&subscribe(&id(0)), MALFORMED);
    world.refused(&subscribe(&id(1).var(prop::SUBSCRIPTION_ID, 2)), MALFORMED);
}
