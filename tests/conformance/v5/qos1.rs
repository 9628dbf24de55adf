//! Section 4.3.2: QoS 1, with the server as receiver and as sender.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e_tests::packets::{self, Publish};
use e2e_tests::unique;
use e2e_tests::wire::kind;

use crate::common::{World, persistent, topic};

#[test]
fn mqtt5_4_3_2_1_each_new_message_has_a_fresh_packet_id() {
    let world = World::new();
    let topic = topic();
    let mut client = world.subscriber(&topic, 1);
    let mut publisher = world.client();
    let mut open = BTreeSet::new();
    for number in 0..30 {
        publisher.publish(&topic, "p", 1);
        let id = client.expect_publish().packet_id;
        assert!(open.insert(id), "id {id} is in use");
        if number % 3 == 0 {
            client.send(&packets::ack(kind::PUBACK, id));
            open.remove(&id);
        }
    }
}

#[test]
fn mqtt5_4_3_2_2_the_first_try_is_qos_1_with_dup_0() {
    let world = World::new();
    let topic = topic();
    let mut client = world.subscriber(&topic, 1);
    world.client().publish(&topic, "p", 1);
    assert_eq!(client.expect(kind::PUBLISH).first, 0x32, "QoS 1, DUP 0, RETAIN 0");
}

#[test]
fn mqtt5_4_3_2_3_a_message_is_unacknowledged_until_puback() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut client = world.connect(&persistent(&id));
    client.subscribe(&topic, 1);
    let mut publisher = world.client();
    for text in ["one", "two", "three"] {
        publisher.publish(&topic, text, 1);
    }
    let got: Vec<_> = (0..3).map(|_| client.expect_publish()).collect();
    client.send(&packets::ack(kind::PUBACK, got[1].packet_id));
    client.ping();
    client.drop_connection();
    let mut client = world.connect(&persistent(&id));
    let again: Vec<_> = (0..2).map(|_| client.expect_publish()).collect();
    for (again, before) in again.iter().zip([&got[0], &got[2]]) {
        assert_eq!((again.packet_id, again.text(), again.dup), (before.packet_id, before.text(), true));
    }
    again.iter().for_each(|publish| client.answer(publish));
    client.ping();
    client.drop_connection();
    world.connect(&persistent(&id)).expect_nothing();
}

#[test]
fn mqtt5_4_3_2_4_puback_follows_when_the_message_is_taken() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    world.absent(&id, &topic, 1);
    let mut publisher = world.client();
    publisher.send(&Publish::v5(&topic, "owned").qos(1, 3).bytes());
    let puback = publisher.expect_ack(kind::PUBACK);
    assert_eq!((puback.packet_id, puback.code()), (3, 0));
    // The publisher is gone; the message is the server's.
    publisher.drop_connection();
    assert_eq!(world.connect(&persistent(&id)).receive().text(), "owned");
}

#[test]
fn mqtt5_4_3_2_5_the_same_id_after_puback_is_a_new_message() {
    let world = World::new();
    let topic = topic();
    let mut client = world.subscriber(&topic, 1);
    let mut publisher = world.client();
    for text in ["one", "two", "two"] {
        publisher.send(&Publish::v5(&topic, text).qos(1, 5).bytes());
        assert_eq!(publisher.expect_ack(kind::PUBACK).packet_id, 5);
        assert_eq!(client.receive().text(), text);
    }
    // Also with DUP: at QoS 1 the receiver cannot know it from a new message.
    publisher.send(&Publish::v5(&topic, "again").qos(1, 5).dup().bytes());
    publisher.expect_ack(kind::PUBACK);
    assert_eq!(client.receive().text(), "again");
}

#[test]
fn mqtt5_4_5_0_2_a_client_that_never_acks_gets_each_message_once_a_connection() {
    let world = World::new();
    let topic = topic();
    let mut client = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    publisher.publish(&topic, "one", 1);
    publisher.publish(&topic, "two", 2);
    assert_eq!([client.expect_publish().text(), client.expect_publish().text()], ["one", "two"]);
    // No repeat on a live connection, and others are served meanwhile.
    client.expect_nothing_for(Duration::from_secs(3));
    let mut other = world.subscriber(&topic, 1);
    publisher.publish(&topic, "three", 1);
    assert_eq!(other.receive().text(), "three");
}
