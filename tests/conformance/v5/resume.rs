//! Section 4.4: what is sent again on resume, and that nothing is at any other time.

use std::time::Duration;

use e2e_tests::packets;
use e2e_tests::unique;
use e2e_tests::wire::{Version, kind};

use crate::common::{World, persistent, topic};

#[test]
fn mqtt5_4_4_0_1_on_resume_unacked_packets_are_sent_again_with_their_ids_in_order() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut client = world.connect(&persistent(&id));
    client.subscribe(&topic, 2);
    let mut publisher = world.client();
    for (text, qos) in [("a", 1), ("b", 2), ("c", 2), ("d", 1)] {
        publisher.publish(&topic, text, qos);
    }
    let sent: Vec<_> = (0..4).map(|_| client.expect_publish()).collect();
    client.send(&packets::ack(kind::PUBREC, sent[1].packet_id));
    client.expect(kind::PUBREL);
    // By DISCONNECT, so that the broker is known to have stopped sending.
    client.disconnect();
    publisher.publish(&topic, "e", 1);

    let mut client = world.connect(&persistent(&id));
    let mut publishes = Vec::new();
    let mut released = Vec::new();
    for _ in 0..5 {
        match client.read(e2e_tests::BOUND) {
            e2e_tests::client::Read::Packet(packet) if packet.kind() == kind::PUBLISH => {
                publishes.push(packet.publish(Version::V5));
            }
            e2e_tests::client::Read::Packet(packet) if packet.kind() == kind::PUBREL => {
                released.push(packet.ack(Version::V5).packet_id);
            }
            other => panic!("expected PUBLISH or PUBREL, got {other:?}"),
        }
    }
    assert_eq!(released, [sent[1].packet_id]);
    let got: Vec<_> = publishes.iter().map(|p| (p.text(), p.dup, p.packet_id)).collect();
    let again = |number: usize| (sent[number].text(), true, sent[number].packet_id);
    assert_eq!(got[..3], [again(0), again(2), again(3)]);
    assert_eq!((got[3].0.as_str(), got[3].1), ("e", false), "what was never sent comes last, as new");
}

#[test]
fn mqtt5_4_4_0_1_nothing_is_sent_again_on_a_live_connection() {
    let world = World::new();
    let topic = topic();
    let mut client = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    publisher.publish(&topic, "a", 1);
    publisher.publish(&topic, "b", 2);
    publisher.publish(&topic, "c", 2);
    let sent: Vec<_> = (0..3).map(|_| client.expect_publish()).collect();
    client.send(&packets::ack(kind::PUBREC, sent[2].packet_id));
    client.expect(kind::PUBREL);
    client.expect_nothing_for(Duration::from_secs(4));
    for publish in &sent[..2] {
        client.answer(publish);
    }
    client.send(&packets::ack(kind::PUBCOMP, sent[2].packet_id));
    client.ping();
}

#[test]
fn mqtt5_4_4_0_1_a_clean_start_is_sent_nothing_again() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut client = world.connect(&persistent(&id));
    client.subscribe(&topic, 2);
    world.client().publish(&topic, "a", 2);
    client.expect_publish();
    client.drop_connection();
    world.connect(&persistent(&id).clean(true)).expect_nothing();
}

#[test]
fn mqtt5_4_4_0_1_a_takeover_resumes_what_the_old_connection_left_open() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut first = world.connect(&persistent(&id));
    first.subscribe(&topic, 1);
    world.client().publish(&topic, "a", 1);
    let before = first.expect_publish();
    let mut second = world.connect(&persistent(&id));
    let again = second.receive();
    assert_eq!((again.packet_id, again.dup), (before.packet_id, true));
    first.expect_refusal(&[0x8E]);
}
