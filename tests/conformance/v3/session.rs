//! Session state: sections 3.1.2.4, 4.1 and 4.4. What is kept while a client is away, and what is not.
//! Run against the shared broker.

use e2e_tests::client::Read;
use e2e_tests::wire::kind;
use e2e_tests::{Broker, Connect, Publish, RawClient, unique};
use std::time::Duration;

use crate::support::{
    broker, client, forget, nothing_but_the_mark, persistent, pubcomp, pubrec, pubrel, retain, unretain,
    watcher,
};

#[test]
fn mqtt3_3_1_2_4_clean_session_0_resumes_the_session() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("s"), unique("t"));
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 2);
    reader.disconnect();
    let (mut reader, connack) = RawClient::connect_ack(&addr, &persistent(&id));
    assert!(connack.session_present);
    for qos in 0..3 {
        client(&addr).publish(&topic, [qos], qos);
        assert_eq!(reader.receive().qos, qos, "the subscription is there with its QoS");
    }
    reader.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_3_1_2_5_messages_for_an_absent_client_are_stored() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("s"), unique("t"));
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 2);
    reader.drop_connection();
    let mut publisher = client(&addr);
    (0..50u8).for_each(|n| publisher.publish(&topic, [n], 1 + n % 2));
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    for n in 0..50u8 {
        let got = reader.receive();
        assert_eq!((got.payload, got.qos, got.dup), (vec![n], 1 + n % 2, false));
    }
    reader.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_3_1_2_6_clean_session_1_discards_the_session() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("s"), unique("t"));
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 1);
    reader.drop_connection();
    client(&addr).publish(&topic, "for the old session", 1);
    let (mut reader, connack) = RawClient::connect_ack(&addr, &Connect::v3(&id));
    assert!(!connack.session_present);
    client(&addr).publish(&topic, "to nobody", 1);
    reader.expect_nothing();
    reader.disconnect();
    let (reader, connack) = RawClient::connect_ack(&addr, &persistent(&id));
    assert!(!connack.session_present, "and the clean one left nothing");
    reader.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_3_1_2_6_the_received_ids_of_a_discarded_session_are_forgotten() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("s"), unique("t"));
    let mut reader = watcher(&addr, &topic);
    for (clean, payload) in [(false, "old"), (true, "new")] {
        let mut publisher = RawClient::connect(&addr, &Connect::v3(&id).clean(clean));
        publisher.send(&Publish::v3(&topic, payload).qos(2, 5).bytes());
        publisher.expect(kind::PUBREC);
        if clean {
            publisher.send(&pubrel(5));
            publisher.expect(kind::PUBCOMP);
        }
        publisher.drop_connection();
    }
    let first = reader.receive().text();
    if first == "old" {
        assert_eq!(reader.receive().text(), "new", "it was not taken as a repeat");
    } else {
        assert_eq!(first, "new");
    }
}

#[test]
fn mqtt3_3_1_2_7_retained_messages_survive_the_session() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("s"), unique("t"));
    let mut publisher = RawClient::connect(&addr, &persistent(&id));
    publisher.publish_packet(Publish::v3(&topic, "kept").retain(), 1);
    publisher.disconnect();
    forget(&addr, &id);
    assert_eq!(watcher(&addr, &topic).receive().text(), "kept");
    unretain(&addr, &topic);
}

#[test]
fn mqtt3_4_1_0_1_subscriptions_queue_and_in_flight_state_are_the_session() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("s"), unique("t"));
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 2);
    client(&addr).publish(&topic, "in flight", 1);
    client(&addr).publish(&topic, "received", 2);
    let unacked = reader.expect_publish();
    let second = reader.expect_publish();
    reader.send(&pubrec(second.packet_id));
    reader.expect(kind::PUBREL);
    reader.send(&Publish::v3("elsewhere", "x").qos(2, 77).bytes());
    reader.expect(kind::PUBREC);
    reader.drop_connection();
    client(&addr).publish(&topic, "queued", 1);

    let mut reader = RawClient::connect(&addr, &persistent(&id));
    let again = reader.expect_publish();
    assert_eq!((again.text().as_str(), again.packet_id, again.dup), ("in flight", unacked.packet_id, true));
    assert_eq!(reader.expect_ack(kind::PUBREL).packet_id, second.packet_id);
    reader.answer(&again);
    reader.send(&pubcomp(second.packet_id));
    assert_eq!(reader.receive().text(), "queued");
    reader.send(&pubrel(77));
    assert_eq!(reader.expect_ack(kind::PUBCOMP).packet_id, 77);
    reader.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_4_1_0_2_a_session_lasts_as_long_as_its_connection() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut reader = watcher(&addr, &topic);
    reader.expect_nothing_for(Duration::from_secs(3));
    client(&addr).publish(&topic, "still there", 1);
    assert_eq!(reader.receive().text(), "still there");
}

#[test]
fn mqtt3_4_4_0_1_unacked_publishes_and_pubrels_are_resent_with_their_ids() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("s"), unique("t"));
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 2);
    let mut publisher = client(&addr);
    for (payload, qos) in [("one", 1), ("two", 2), ("three", 2), ("four", 1)] {
        publisher.publish(&topic, payload, qos);
    }
    let first: Vec<_> = (0..4).map(|_| reader.expect_publish()).collect();
    reader.send(&pubrec(first[1].packet_id));
    reader.expect(kind::PUBREL);
    for _ in 0..2 {
        reader.drop_connection();
        reader = RawClient::connect(&addr, &persistent(&id));
        let (mut publishes, mut pubrels) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let e2e_tests::client::Read::Packet(packet) = reader.read(e2e_tests::BOUND) else {
                panic!("4 resends")
            };
            match packet.kind() {
                kind::PUBREL => pubrels.push(packet.ack(e2e_tests::Version::V3_1_1).packet_id),
                _ => publishes.push(packet.publish(e2e_tests::Version::V3_1_1)),
            }
        }
        assert_eq!(pubrels, [first[1].packet_id]);
        for (again, before) in publishes.iter().zip([&first[0], &first[2], &first[3]]) {
            assert_eq!(
                (again.packet_id, &again.payload, again.qos),
                (before.packet_id, &before.payload, before.qos)
            );
            assert!(again.dup, "a re-delivery has DUP 1");
        }
        assert_eq!(publishes.len(), 3);
    }
    reader.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_4_4_0_1_nothing_is_resent_on_a_live_connection() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut reader = watcher(&addr, &topic);
    client(&addr).publish(&topic, "never acked", 1);
    reader.expect_publish();
    reader.expect_nothing_for(Duration::from_secs(3));
    nothing_but_the_mark(&addr, &mut reader, &topic);
}

#[test]
fn mqtt3_4_5_0_2_what_is_not_acked_stays_with_the_broker() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("s"), unique("t"));
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 1);
    client(&addr).publish(&topic, "x", 1);
    for _ in 0..3 {
        assert_eq!(reader.expect_publish().text(), "x");
        reader.drop_connection();
        reader = RawClient::connect(&addr, &persistent(&id));
    }
    assert_eq!(reader.receive().text(), "x");
    reader.disconnect();
    RawClient::connect(&addr, &persistent(&id)).expect_nothing();
    forget(&addr, &id);
}

#[test]
fn mqtt3_4_8_0_2_a_connect_that_meets_a_full_broker_is_closed() {
    let broker = Broker::with_config("[session]\nsessions_max = 1\n");
    if broker.is_external() {
        return;
    }
    let addr = broker.mqtt();
    let mut ids: Vec<String> = Vec::new();
    let refused = (0..200).any(|_| {
        let id = unique("s");
        let mut client = RawClient::open(&addr);
        client.speak(e2e_tests::Version::V3_1_1);
        client.send(&persistent(&id).bytes());
        let accepted = match client.read(e2e_tests::BOUND) {
            Read::Packet(connack) => connack.body == [0, 0],
            Read::Closed => return true,
            Read::Nothing => panic!("neither CONNACK nor the end"),
        };
        if !accepted {
            assert!(client.expect_closed().is_empty(), "refused, then closed");
            return true;
        }
        client.disconnect();
        ids.push(id);
        false
    });
    assert!(refused, "{} sessions where one is allowed", ids.len());
    ids.iter().for_each(|id| forget(&addr, id));
    RawClient::connect(&addr, &persistent(&ids[0])).disconnect();
}

#[test]
fn mqtt3_4_8_0_2_the_session_outlives_the_error() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("s"), unique("t"));
    retain(&addr, &topic, "kept");
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 1);
    reader.receive();
    reader.send(&e2e_tests::wire::packet(0xF0, &[]));
    reader.expect_closed();
    client(&addr).publish(&topic, "queued", 1);
    assert_eq!(RawClient::connect(&addr, &persistent(&id)).receive().text(), "queued");
    forget(&addr, &id);
    unretain(&addr, &topic);
}
