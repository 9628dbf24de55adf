//! Clean Start, session present, takeover: sections 3.1.2.4, 3.1.4 and 3.2.2.1.

use e2e_tests::packets::{self, Connect};
use e2e_tests::wire::{Props, kind, prop};
use e2e_tests::{BOUND, RawClient, pause, unique};
use std::time::Duration;

use crate::common::{World, expiry, persistent, topic};

#[test]
fn mqtt5_3_1_2_4_clean_start_discards_the_old_session() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    world.absent(&id, &topic, 1);
    world.client().publish(&topic, "queued before", 1);
    let (mut client, connack) = world.connect_ack(&persistent(&id).clean(true));
    assert!(!connack.session_present);
    world.client().publish(&topic, "after", 1);
    client.expect_nothing();
    client.disconnect();
    let (mut client, connack) = world.connect_ack(&persistent(&id));
    assert!(connack.session_present, "the new session is kept in turn");
    client.expect_nothing();
}

#[test]
fn mqtt5_3_1_2_5_a_stored_session_is_resumed() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    world.absent(&id, &topic, 2);
    world.client().publish(&topic, "one", 1);
    world.client().publish(&topic, "two", 2);
    let (mut client, connack) = world.connect_ack(&persistent(&id));
    assert!(connack.session_present);
    let (first, second) = (client.receive(), client.receive());
    assert_eq!((first.text().as_str(), first.qos), ("one", 1));
    assert_eq!((second.text().as_str(), second.qos), ("two", 2));
    world.client().publish(&topic, "live", 0);
    assert_eq!(client.receive().text(), "live");
}

#[test]
fn mqtt5_3_1_2_6_without_a_stored_session_one_is_created() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let (mut client, connack) = world.connect_ack(&persistent(&id));
    assert!(!connack.session_present);
    client.subscribe(&topic, 1);
    client.disconnect();
    let (_client, connack) = world.connect_ack(&persistent(&id));
    assert!(connack.session_present);
}

#[test]
fn mqtt5_3_1_2_23_state_is_kept_after_the_network_is_lost() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut client = world.connect(&persistent(&id));
    client.subscribe(&topic, 1);
    client.drop_connection();
    world.client().publish(&topic, "while away", 1);
    let (mut client, connack) = world.connect_ack(&persistent(&id));
    assert!(connack.session_present);
    assert_eq!(client.receive().text(), "while away");
}

#[test]
fn mqtt5_3_1_2_23_an_expiry_in_disconnect_counts() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut client = world.connect(&persistent(&id));
    client.subscribe(&topic, 1);
    client.send(&packets::disconnect_v5(0, &expiry(0)));
    client.expect_closed();
    let (_client, connack) = world.connect_ack(&persistent(&id));
    assert!(!connack.session_present, "DISCONNECT ended the session");
}

#[test]
fn mqtt5_3_1_4_2_a_connect_that_fails_further_checks_is_closed() {
    let world = World::new();
    let connect = Connect::v5(unique("c")).props(Props::new().text(prop::AUTH_METHOD, "NO-SUCH-METHOD"));
    world.refused_first(&connect.bytes(), &[0x8C, 0x87]);
}

#[test]
fn mqtt5_3_1_4_3_a_second_connection_takes_over() {
    let world = World::new();
    let id = unique("c");
    let mut first = world.connect(&persistent(&id));
    first.subscribe(&id, 1);
    let (mut second, connack) = world.connect_ack(&persistent(&id));
    assert!(connack.session_present);
    assert_eq!(first.expect_refusal(&[0x8E]), Some(0x8E), "the old connection is told");
    second.publish(&id, "mine now", 1);
    assert_eq!(second.receive().text(), "mine now");
}

#[test]
fn mqtt5_3_1_4_3_a_takeover_of_a_transient_session_too() {
    let world = World::new();
    let id = unique("c");
    let mut connections: Vec<_> = Vec::new();
    for _ in 0..5 {
        let (client, connack) = world.connect_ack(&Connect::v5(&id));
        assert!(!connack.session_present);
        connections.push(client);
    }
    let mut last = connections.pop().unwrap();
    for mut old in connections {
        old.expect_refusal(&[0x8E]);
    }
    last.ping();
}

#[test]
fn mqtt5_3_1_4_4_clean_start_is_processed_at_a_takeover() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut first = world.connect(&persistent(&id));
    first.subscribe(&topic, 1);
    let (mut second, connack) = world.connect_ack(&persistent(&id).clean(true));
    assert!(!connack.session_present);
    first.expect_refusal(&[0x8E]);
    world.client().publish(&topic, "to the old session", 1);
    second.expect_nothing();
}

#[test]
fn mqtt5_3_1_4_5_success_is_acknowledged_with_0x00() {
    let world = World::new();
    let mut client = RawClient::open(&world.addr());
    let connack = client.handshake(&Connect::v5(unique("c")));
    assert_eq!((connack.flags, connack.reason), (0, 0));
}

#[test]
fn mqtt5_3_2_0_1_connack_is_the_first_packet() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    world.absent(&id, &topic, 1);
    for number in 0..20 {
        world.client().publish(&topic, number.to_string(), 1);
    }
    let mut client = RawClient::open(&world.addr());
    // The subscriptions of the session are busy while it is resumed.
    client.send(&[persistent(&id).bytes(), packets::pingreq()].concat());
    let connack = client.expect(kind::CONNACK).connack(e2e_tests::Version::V5);
    assert!(connack.session_present && connack.reason == 0);
    assert_eq!(client.expect_among(kind::PUBLISH).publish(e2e_tests::Version::V5).text(), "0");
}

#[test]
fn mqtt5_3_2_0_2_there_is_one_connack() {
    let world = World::new();
    let mut client = world.client();
    client.send(&Connect::v5(unique("c")).bytes());
    let after = client.expect_closed();
    assert!(after.iter().all(|packet| packet.kind() == kind::DISCONNECT), "no second CONNACK: {after:02x?}");
}

#[test]
fn mqtt5_3_2_2_2_clean_start_is_answered_with_session_present_0() {
    let world = World::new();
    let id = unique("c");
    world.absent(&id, "t", 0);
    let (_client, connack) = world.connect_ack(&persistent(&id).clean(true));
    assert_eq!(connack.flags, 0);
}

#[test]
fn mqtt5_3_2_2_3_session_present_tells_whether_there_is_state() {
    let world = World::new();
    let id = unique("c");
    let (client, connack) = world.connect_ack(&persistent(&id));
    assert_eq!(connack.flags, 0, "reserved bits are 0 too");
    client.disconnect();
    let (client, connack) = world.connect_ack(&persistent(&id));
    assert_eq!(connack.flags, 1, "reserved bits are 0 too");
    client.disconnect();
}

#[test]
fn mqtt5_3_2_2_4_a_client_that_closes_on_an_unexpected_session_finds_it_unharmed() {
    let world = World::new();
    let id = unique("c");
    world.absent(&id, &id, 1);
    let (client, connack) = world.connect_ack(&persistent(&id));
    assert!(connack.session_present);
    client.drop_connection();
    let (_client, connack) = world.connect_ack(&persistent(&id));
    assert!(connack.session_present);
}

#[test]
fn mqtt5_3_2_2_5_acks_of_a_state_the_server_has_lost_do_no_harm() {
    let world = World::new();
    let mut client = world.client();
    // A client that should have dropped its state with session present 0 goes on with it.
    client.send(&packets::ack(kind::PUBACK, 11));
    client.send(&packets::ack(kind::PUBCOMP, 12));
    client.send(&packets::ack(kind::PUBREL, 13));
    let pubcomp = client.expect_ack(kind::PUBCOMP);
    assert_eq!((pubcomp.packet_id, pubcomp.code()), (13, 0x92));
    client.ping();
}

#[test]
fn mqtt5_4_1_0_1_state_is_kept_while_connected() {
    let world = World::new();
    let topic = topic();
    let mut client = world.subscriber(&topic, 2);
    let mut publisher = world.client();
    client.send(&packets::Publish::v5("t", "open").qos(2, 5).bytes());
    client.expect_ack(kind::PUBREC);
    publisher.publish(&topic, "unanswered", 2);
    let unanswered = client.expect_publish();
    pause(Duration::from_millis(1500));
    client.answer(&unanswered);
    client.send(&packets::ack(kind::PUBREL, 5));
    assert_eq!(client.expect_ack(kind::PUBCOMP).code(), 0);
    publisher.publish(&topic, "still subscribed", 0);
    assert_eq!(client.expect_publish().text(), "still subscribed");
}

#[test]
fn mqtt5_4_1_0_2_state_is_discarded_after_the_expiry() {
    let world = World::new();
    let (id, topic) = (unique("c"), topic());
    let mut client = world.connect(&persistent(&id).props(expiry(1)));
    client.subscribe(&topic, 1);
    client.drop_connection();
    let mut publisher = world.client();
    publisher.publish(&topic, "into the session", 1);
    pause(Duration::from_millis(3500));
    let (mut client, connack) = world.connect_ack(&persistent(&id));
    assert!(!connack.session_present);
    publisher.publish(&topic, "nobody", 1);
    client.expect_nothing();
}

#[test]
fn mqtt5_4_1_0_2_without_an_expiry_state_ends_with_the_connection() {
    let world = World::new();
    let id = unique("c");
    for props in [Props::new(), expiry(0)] {
        let mut client = world.connect(&Connect::v5(&id).clean(false).props(props));
        client.subscribe(&id, 1);
        client.disconnect();
        let (client, connack) = world.connect_ack(&Connect::v5(&id).clean(false));
        assert!(!connack.session_present);
        client.disconnect();
    }
}

#[test]
fn mqtt5_4_1_0_2_an_expiry_of_all_ones_never_expires() {
    let world = World::new();
    let id = unique("c");
    let (client, connack) = world.connect_ack(&Connect::v5(&id).clean(false).props(expiry(u32::MAX)));
    assert!(connack.props.number(prop::SESSION_EXPIRY).is_none_or(|given| given > 0));
    client.drop_connection();
    pause(Duration::from_millis(1200));
    let mut client = RawClient::open(&world.addr());
    assert!(client.handshake(&persistent(&id)).session_present);
    client.expect_nothing_for(BOUND / 100);
}
