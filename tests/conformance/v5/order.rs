//! Section 4.6: message order, and clients that do not keep theirs.

use e2e_tests::packets::{self, Publish};
use e2e_tests::wire::kind;
use e2e_tests::{RawClient, unique};

use crate::common::{World, persistent, texts, topic, until_end};

fn numbers(range: std::ops::Range<u16>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Opens so many QoS 1 or 2 deliveries to one client.
fn open_deliveries(world: &World, qos: u8, count: usize) -> (RawClient, Vec<u16>, String) {
    let topic = topic();
    let mut client = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    for _ in 0..count {
        publisher.publish(&topic, "p", qos);
    }
    let ids = (0..count).map(|_| client.expect_publish().packet_id).collect();
    (client, ids, topic)
}

#[test]
fn mqtt5_4_6_0_1_resent_messages_are_delivered_in_the_order_they_come() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut subscriber = world.subscriber(&topic, 1);
    let publisher = world.connect(&persistent(&id));
    publisher.drop_connection();
    let mut publisher = world.connect(&persistent(&id));
    let resent: Vec<u8> =
        (1..=20).flat_map(|id| Publish::v5(&topic, id.to_string()).qos(1, id).dup().bytes()).collect();
    publisher.send(&resent);
    for id in 1..=20 {
        assert_eq!(publisher.expect_ack(kind::PUBACK).packet_id, id, "and acknowledged in this order");
        assert_eq!(subscriber.receive().text(), id.to_string());
    }
}

#[test]
fn mqtt5_4_6_0_2_pubacks_in_another_order_are_taken() {
    let world = World::new();
    let (mut client, mut ids, topic) = open_deliveries(&world, 1, 6);
    ids.reverse();
    for id in ids {
        client.send(&packets::ack(kind::PUBACK, id));
    }
    client.ping();
    world.client().publish(&topic, "goes on", 1);
    assert_eq!(client.receive().text(), "goes on");
}

#[test]
fn mqtt5_4_6_0_3_pubrecs_in_another_order_are_answered() {
    let world = World::new();
    let (mut client, mut ids, _topic) = open_deliveries(&world, 2, 6);
    ids.reverse();
    for id in ids {
        client.send(&packets::ack(kind::PUBREC, id));
        assert_eq!(client.expect_ack(kind::PUBREL).packet_id, id);
        client.send(&packets::ack(kind::PUBCOMP, id));
    }
    client.ping();
}

#[test]
fn mqtt5_4_6_0_4_pubrels_in_another_order_are_answered() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    let mut client = world.client();
    for id in [3, 1, 2] {
        client.send(&Publish::v5(&topic, id.to_string()).qos(2, id).bytes());
        client.expect(kind::PUBREC);
    }
    for id in [2, 3, 1] {
        client.send(&packets::ack(kind::PUBREL, id));
        let pubcomp = client.expect_ack(kind::PUBCOMP);
        assert_eq!((pubcomp.packet_id, pubcomp.code()), (id, 0));
    }
    let got: Vec<String> = (0..3).map(|_| subscriber.expect_publish().text()).collect();
    assert_eq!(got, ["3", "1", "2"], "the messages keep the order of the PUBLISH packets");
}

#[test]
fn mqtt5_4_6_0_5_per_publisher_topic_and_qos_the_order_is_kept() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publishers: Vec<RawClient> = (0..3).map(|_| world.client()).collect();
    for number in 0..60 {
        for (who, publisher) in publishers.iter_mut().enumerate() {
            for qos in 0..3 {
                let publish = Publish::v5(&topic, format!("{who}/{qos}/{number}"));
                publisher.send(&publish.qos(qos, 1 + number * 2 + u16::from(qos == 2)).bytes());
            }
        }
    }
    let mut last = std::collections::HashMap::new();
    for _ in 0..60 * 3 * 3 {
        let got = subscriber.receive();
        let text = got.text();
        let (line, number) = text.rsplit_once('/').unwrap();
        let number: u16 = number.parse().unwrap();
        let expected = last.entry(line.to_owned()).or_insert(0);
        assert_eq!(number, *expected, "in line {line}");
        *expected += 1;
    }
}

#[test]
fn mqtt5_4_6_0_6_every_topic_is_ordered_on_plain_subscriptions() {
    let world = World::new();
    let base = topic();
    let away = unique("away");
    world.absent(&away, &format!("{base}/#"), 2);
    let mut plain = world.subscriber(&format!("{base}/+"), 2);
    let mut publisher = world.client();
    for qos in [1, 2] {
        for number in numbers(0..100) {
            publisher.publish(&format!("{base}/x"), number, qos);
        }
        publisher.publish(&format!("{base}/x"), "end", qos);
    }
    let mut back = world.connect(&persistent(&away));
    for client in [&mut plain, &mut back] {
        for _ in 0..2 {
            assert_eq!(texts(&until_end(client)), numbers(0..100));
        }
    }
}

#[test]
fn mqtt5_4_6_0_6_acks_leave_in_the_order_of_the_publishes() {
    let world = World::new();
    let topic = topic();
    let _subscriber = world.subscriber(&topic, 0);
    let mut publisher = world.client();
    let burst: Vec<u8> = (1..=200).flat_map(|id| Publish::v5(&topic, "p").qos(1, id).bytes()).collect();
    publisher.send(&burst);
    for id in 1..=200 {
        assert_eq!(publisher.expect_ack(kind::PUBACK).packet_id, id);
    }
}

/// What comes together with QoS 1 waits for the disk with it; what comes alone does not.
#[test]
fn mqtt5_4_6_0_6_qos_0_does_not_overtake_qos_0_that_came_with_qos_1() {
    const ROUNDS: u16 = 200;
    let world = World::new();
    let (fast, synced) = (topic(), topic());
    let mut subscriber = world.connect(&persistent(&unique("c")));
    subscriber.subscribe(&fast, 0);
    subscriber.subscribe(&synced, 1);
    let mut publisher = world.client();
    for round in 0..ROUNDS {
        let mut together = Publish::v5(&fast, (2 * round).to_string()).bytes();
        together.extend(Publish::v5(&synced, "p").qos(1, 1 + round).bytes());
        publisher.send(&together);
        e2e_tests::pause(std::time::Duration::from_micros(200));
        publisher.send(&Publish::v5(&fast, (2 * round + 1).to_string()).bytes());
        publisher.expect_ack(kind::PUBACK);
    }
    let mut got = Vec::new();
    while got.len() < usize::from(2 * ROUNDS) {
        let publish = subscriber.receive();
        if publish.topic == fast {
            got.push(publish.text());
        }
    }
    assert_eq!(got, numbers(0..2 * ROUNDS));
}
