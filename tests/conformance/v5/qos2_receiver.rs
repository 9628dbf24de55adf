//! Section 4.3.3 with the server as receiver of QoS 2.

use std::time::Duration;

use e2e_tests::packets::{self, Publish};
use e2e_tests::wire::{Props, kind, prop};
use e2e_tests::{RawClient, pause, unique};

use crate::common::{World, persistent, topic};

/// Sends a QoS 2 PUBLISH and expects PUBREC; gives its code.
#[track_caller]
fn publish2(client: &mut RawClient, publish: &Publish, id: u16) -> u8 {
    client.send(&publish.clone().qos(2, id).bytes());
    let pubrec = client.expect_ack(kind::PUBREC);
    assert_eq!(pubrec.packet_id, id);
    pubrec.code()
}

/// Sends PUBREL and expects PUBCOMP; gives its code.
#[track_caller]
fn release(client: &mut RawClient, id: u16) -> u8 {
    client.send(&packets::ack(kind::PUBREL, id));
    let pubcomp = client.expect_ack(kind::PUBCOMP);
    assert_eq!(pubcomp.packet_id, id);
    pubcomp.code()
}

#[test]
fn mqtt5_4_3_3_8_pubrec_follows_when_the_message_is_taken() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    world.absent(&id, &topic, 2);
    let mut publisher = world.connect(&persistent(&unique("p")));
    assert_eq!(publish2(&mut publisher, &Publish::v5(&topic, "owned"), 3), 0);
    // The publisher is gone without PUBREL; the message is the server's.
    publisher.drop_connection();
    assert_eq!(world.connect(&persistent(&id)).receive().text(), "owned");
}

#[test]
fn mqtt5_4_3_3_9_after_a_pubrec_of_failure_the_id_is_new_again() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    // Whether the broker refuses this with 0x87 or takes and drops it is its choice.
    let code = publish2(&mut publisher, &Publish::v5("$SYS/not/yours", "no"), 8);
    if code < 0x80 {
        assert_eq!(release(&mut publisher, 8), 0);
    }
    assert_eq!(publish2(&mut publisher, &Publish::v5(&topic, "a new one"), 8), 0);
    assert_eq!(release(&mut publisher, 8), 0);
    assert_eq!(subscriber.receive().text(), "a new one");
    subscriber.expect_nothing();
}

#[test]
fn mqtt5_4_3_3_10_every_repeat_gets_pubrec_and_makes_no_second_message() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    assert_eq!(publish2(&mut publisher, &Publish::v5(&topic, "once"), 4), 0);
    for _ in 0..100 {
        publish2(&mut publisher, &Publish::v5(&topic, "once").dup(), 4);
    }
    assert_eq!(release(&mut publisher, 4), 0);
    assert_eq!(subscriber.receive().text(), "once");
    subscriber.expect_nothing();
}

#[test]
fn mqtt5_4_3_3_10_a_repeat_on_the_next_connection_makes_no_second_message() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publisher = world.connect(&persistent(&id));
    publish2(&mut publisher, &Publish::v5(&topic, "once"), 4);
    assert_eq!(subscriber.receive().text(), "once");
    publisher.drop_connection();
    let mut publisher = world.connect(&persistent(&id));
    publish2(&mut publisher, &Publish::v5(&topic, "once").dup(), 4);
    publisher.drop_connection();
    let mut publisher = world.connect(&persistent(&id));
    assert_eq!(release(&mut publisher, 4), 0, "the exchange is part of the session");
    subscriber.expect_nothing();
}

#[test]
fn mqtt5_4_3_3_10_a_new_session_knows_no_old_exchange() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publisher = world.connect(&persistent(&id));
    publish2(&mut publisher, &Publish::v5(&topic, "one"), 4);
    publisher.drop_connection();
    let mut publisher = world.connect(&persistent(&id).clean(true));
    publish2(&mut publisher, &Publish::v5(&topic, "two"), 4);
    assert_eq!([subscriber.receive().text(), subscriber.receive().text()], ["one", "two"]);
}

#[test]
fn mqtt5_4_3_3_11_pubrel_is_answered_by_pubcomp() {
    let world = World::new();
    let mut publisher = world.client();
    for id in [1, 2, 0xFFFF] {
        publish2(&mut publisher, &Publish::v5("t", "p"), id);
        assert_eq!(release(&mut publisher, id), 0);
        // Again, as after a lost PUBCOMP: answered, with "packet identifier not found" or success.
        assert!([0x00, 0x92].contains(&release(&mut publisher, id)));
    }
}

#[test]
fn mqtt5_4_3_3_12_after_pubcomp_the_id_is_new_again() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    for text in ["one", "two", "two"] {
        publish2(&mut publisher, &Publish::v5(&topic, text), 6);
        assert_eq!(release(&mut publisher, 6), 0);
        assert_eq!(subscriber.receive().text(), text);
    }
}

#[test]
fn mqtt5_4_3_3_13_acks_go_on_though_the_message_has_expired() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    world.absent(&id, &topic, 2);
    let expiring = Publish::v5(&topic, "p").props(Props::new().four(prop::MESSAGE_EXPIRY, 1));
    let mut publisher = world.client();
    assert_eq!(publish2(&mut publisher, &expiring, 9), 0);
    pause(Duration::from_millis(2500));
    publish2(&mut publisher, &expiring.clone().dup(), 9);
    assert_eq!(release(&mut publisher, 9), 0);
    world.connect(&persistent(&id)).expect_nothing();
}

#[test]
fn mqtt5_4_3_3_10_exchanges_may_be_interleaved() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    for id in 1..=50 {
        publish2(&mut publisher, &Publish::v5(&topic, id.to_string()), id);
    }
    for id in (1..=50).rev() {
        assert_eq!(release(&mut publisher, id), 0);
    }
    for id in 1..=50 {
        assert_eq!(subscriber.receive().text(), id.to_string());
    }
}
