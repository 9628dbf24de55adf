//! Message Expiry Interval: section 3.3.2.3.3.

use std::time::Duration;

use e2e_tests::packets::{Connect, Publish, Will};
use e2e_tests::wire::{Props, prop};
use e2e_tests::{pause, unique};

use crate::common::{World, persistent, topic};

fn expiring(seconds: u32) -> Props {
    Props::new().four(prop::MESSAGE_EXPIRY, seconds)
}

#[test]
fn mqtt5_3_3_2_5_a_message_that_expired_in_the_queue_is_not_delivered() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    world.absent(&id, &topic, 2);
    let mut publisher = world.client();
    for qos in [1, 2] {
        publisher.publish_packet(Publish::v5(&topic, "expired").props(expiring(1)), qos);
        publisher.publish_packet(Publish::v5(&topic, "lasting").props(expiring(600)), qos);
        publisher.publish(&topic, "eternal", qos);
    }
    pause(Duration::from_millis(2500));
    let mut client = world.connect(&persistent(&id));
    let got: Vec<String> = (0..4).map(|_| client.receive().text()).collect();
    assert_eq!(got, ["lasting", "eternal", "lasting", "eternal"]);
    client.expect_nothing();
}

#[test]
fn mqtt5_3_3_2_5_a_retained_message_expires() {
    let world = World::new();
    let topic = topic();
    world.client().publish_packet(Publish::v5(&topic, "kept").props(expiring(6)).retain(), 1);
    assert_eq!(world.subscriber(&topic, 0).expect_publish().text(), "kept");
    pause(Duration::from_millis(7500));
    world.subscriber(&topic, 0).expect_nothing();
}

#[test]
fn mqtt5_3_3_2_5_an_expired_will_in_a_queue_is_not_delivered() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    world.absent(&id, &topic, 1);
    let will = Will::new(&topic, "will").qos(1).props(expiring(1));
    world.connect(&Connect::v5(unique("c")).will(will)).drop_connection();
    pause(Duration::from_millis(3000));
    world.connect(&persistent(&id)).expect_nothing();
}

#[test]
fn mqtt5_3_3_2_6_the_expiry_that_is_forwarded_has_shrunk_by_the_waiting_time() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    world.absent(&id, &topic, 1);
    world.client().publish_packet(Publish::v5(&topic, "p").props(expiring(100)), 1);
    pause(Duration::from_millis(2100));
    let left = world.connect(&persistent(&id)).receive().props.number(prop::MESSAGE_EXPIRY);
    let left = left.expect("an expiry is forwarded");
    assert!((60..=98).contains(&left), "{left} s left of 100 after 2.1 s");
}

#[test]
fn mqtt5_3_3_2_6_an_expiry_is_forwarded_to_those_who_are_there() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 1);
    let mut publisher = world.client();
    publisher.publish_packet(Publish::v5(&topic, "p").props(expiring(100)), 1);
    let left = subscriber.receive().props.number(prop::MESSAGE_EXPIRY).expect("an expiry is forwarded");
    assert!((90..=100).contains(&left), "{left} s left of 100");
    publisher.publish(&topic, "p", 1);
    assert!(!subscriber.receive().props.has(prop::MESSAGE_EXPIRY), "none is invented");
}
