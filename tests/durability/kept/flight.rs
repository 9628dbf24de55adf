//! Exchanges that were under way: outbound with DUP and the same packet ids, QoS 2 in both directions (G3, G4).

use e2e_tests::wire::{Version, kind};
use e2e_tests::{Publish, RawClient, packets, unique};

use super::{VERSIONS, World, persistent};

#[test]
fn what_was_in_flight_is_sent_again_with_dup_its_packet_id_and_in_order() {
    let Some(mut world) = World::start() else { return };
    for version in VERSIONS {
        let id = unique("c");
        let mut client = world.subscribed(&persistent(version, &id), "t", 2);
        world.publish([("a", 1), ("b", 2), ("c", 1), ("d", 2)]);
        let sent: Vec<_> = (0..4).map(|_| client.expect_publish()).collect();
        for times in 1..=2 {
            world.kill_and_restart();
            let mut client = world.resume(&persistent(version, &id));
            for before in &sent {
                let again = client.expect_publish();
                let expected = (before.text(), before.qos, before.packet_id, true);
                assert_eq!(
                    (again.text(), again.qos, again.packet_id, again.dup),
                    expected,
                    "restart {times}"
                );
            }
            client.expect_nothing();
        }
        let mut client = world.resume(&persistent(version, &id));
        let again: Vec<_> = (0..4).map(|_| client.expect_publish()).collect();
        again.iter().for_each(|publish| client.answer(publish));
        client.disconnect();
        world.kill_and_restart();
        world.resume(&persistent(version, &id)).expect_nothing();
    }
}

#[test]
fn what_was_in_flight_comes_before_what_was_queued() {
    let Some(mut world) = World::start() else { return };
    let connect = || {
        let mut connect = persistent(Version::V5, "c");
        connect.props = connect.props.two(e2e_tests::wire::prop::RECEIVE_MAXIMUM, 2);
        connect
    };
    let mut client = world.subscribed(&connect(), "t", 1);
    world.publish([("a", 1), ("b", 1), ("c", 1)]);
    let sent = [client.expect_publish(), client.expect_publish()];
    world.kill_and_restart();
    world.publish([("d", 1)]);
    let mut client = world.resume(&connect());
    for before in sent {
        let again = client.receive();
        assert_eq!((again.text(), again.packet_id, again.dup), (before.text(), before.packet_id, true));
    }
    for text in ["c", "d"] {
        let new = client.receive();
        assert_eq!((new.text(), new.dup), (text.to_owned(), false), "never sent before, so no repeat");
    }
    client.expect_nothing();
}

#[test]
fn g4_an_exchange_at_pubrel_goes_on_with_pubrel_and_never_with_publish() {
    let Some(mut world) = World::start() else { return };
    for version in VERSIONS {
        let id = unique("c");
        let mut client = world.subscribed(&persistent(version, &id), "t", 2);
        world.publish([("a", 2), ("b", 2), ("c", 2)]);
        let sent: Vec<_> = (0..3).map(|_| client.expect_publish()).collect();
        client.send(&packets::ack(kind::PUBREC, sent[1].packet_id));
        let pubrel = client.expect_ack(kind::PUBREL);
        assert_eq!(pubrel.packet_id, sent[1].packet_id);
        for _ in 0..2 {
            world.kill_and_restart();
            let mut client = world.resume(&persistent(version, &id));
            assert_eq!(client.expect_publish().text(), "a");
            assert_eq!(client.expect_ack(kind::PUBREL).packet_id, pubrel.packet_id);
            assert_eq!(client.expect_publish().text(), "c");
            client.expect_nothing();
        }
        let mut client = world.resume(&persistent(version, &id));
        let (first, released, last) =
            (client.expect_publish(), client.expect(kind::PUBREL), client.expect_publish());
        client.send(&packets::ack(kind::PUBCOMP, released.ack(version).packet_id));
        client.answer(&first);
        client.answer(&last);
        client.disconnect();
        world.kill_and_restart();
        world.resume(&persistent(version, &id)).expect_nothing();
    }
}

/// Publishes at QoS 2 up to PUBREC, and no further.
fn until_pubrec(publisher: &mut RawClient, publish: Publish, packet_id: u16) {
    publisher.send(&publish.qos(2, packet_id).bytes());
    assert_eq!(publisher.expect_ack(kind::PUBREC).packet_id, packet_id);
}

/// PUBREL, and the code of its PUBCOMP.
fn release(publisher: &mut RawClient, packet_id: u16) -> u8 {
    publisher.send(&packets::ack(kind::PUBREL, packet_id));
    let pubcomp = publisher.expect_ack(kind::PUBCOMP);
    assert_eq!(pubcomp.packet_id, packet_id);
    pubcomp.code()
}

#[test]
fn g3_a_received_qos_2_id_is_known_until_pubrel() {
    let Some(mut world) = World::start() else { return };
    for version in VERSIONS {
        let (pub_id, sub_id) = (unique("p"), unique("s"));
        world.absent(&persistent(version, &sub_id), "t", 2);
        let publish = |text| Publish::new(version, "t", text);
        let mut publisher = world.connect(&persistent(version, &pub_id));
        until_pubrec(&mut publisher, publish("once"), 9);
        for _ in 0..2 {
            world.kill_and_restart();
            let mut publisher = world.resume(&persistent(version, &pub_id));
            until_pubrec(&mut publisher, publish("once").dup(), 9);
        }
        let mut publisher = world.resume(&persistent(version, &pub_id));
        assert_eq!(release(&mut publisher, 9), 0);
        until_pubrec(&mut publisher, publish("another"), 9);
        let mut subscriber = world.resume(&persistent(version, &sub_id));
        let got = [subscriber.receive().text(), subscriber.receive().text()];
        assert_eq!(got, ["once", "another"], "the id is free after PUBCOMP, and was not before");
        subscriber.expect_nothing();
    }
}

#[test]
fn g3_an_id_that_was_released_is_free_after_the_restart() {
    let Some(mut world) = World::start() else { return };
    for version in VERSIONS {
        let (pub_id, sub_id) = (unique("p"), unique("s"));
        world.absent(&persistent(version, &sub_id), "t", 2);
        let mut publisher = world.connect(&persistent(version, &pub_id));
        until_pubrec(&mut publisher, Publish::new(version, "t", "one"), 5);
        assert_eq!(release(&mut publisher, 5), 0);
        world.kill_and_restart();
        let mut publisher = world.resume(&persistent(version, &pub_id));
        // The answer may have been lost on its way: the client asks again.
        assert_eq!(release(&mut publisher, 5), if version == Version::V5 { 0x92 } else { 0 });
        until_pubrec(&mut publisher, Publish::new(version, "t", "two"), 5);
        let mut subscriber = world.resume(&persistent(version, &sub_id));
        assert_eq!([subscriber.receive().text(), subscriber.receive().text()], ["one", "two"]);
        subscriber.expect_nothing();
    }
}
