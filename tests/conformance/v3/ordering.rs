//! Sections 4.5 and 4.6: delivery to every matching session, and in which order.
//! Run against the shared broker.

use e2e_tests::client::Read;
use e2e_tests::wire::kind;
use e2e_tests::{BOUND, Publish, RawClient, Version, unique};

use crate::support::{broker, client, forget, persistent, puback, pubcomp, pubrec, watcher};

const MANY: u16 = 300;

/// Reads and answers `count` publishes of three QoS that may be mixed with PUBRELs; gives (QoS, payload as a number).
fn receive_mixed(reader: &mut RawClient, count: usize) -> Vec<(u8, u16)> {
    let mut got = Vec::new();
    while got.len() < count {
        let Read::Packet(packet) = reader.read(BOUND) else { panic!("{} of {count} came", got.len()) };
        if packet.kind() == kind::PUBREL {
            reader.send(&pubcomp(packet.ack(Version::V3_1_1).packet_id));
            continue;
        }
        let publish = packet.publish(Version::V3_1_1);
        got.push((publish.qos, u16::from_be_bytes([publish.payload[0], publish.payload[1]])));
        match publish.qos {
            1 => reader.send(&puback(publish.packet_id)),
            2 => reader.send(&pubrec(publish.packet_id)),
            _ => {}
        }
    }
    got
}

/// Publishes `MANY` numbers, each at QoS number % 3, without waiting for answers; then waits for all of them.
fn publish_mixed(publisher: &mut RawClient, topic: &str) {
    let publish = |n: u16| Publish::v3(topic, n.to_be_bytes()).qos((n % 3) as u8, n + 1).bytes();
    for n in 0..MANY {
        publisher.send(&publish(n));
        let answer = [None, Some(kind::PUBACK), Some(kind::PUBREC)][usize::from(n % 3)];
        let Some(answer) = answer else { continue };
        assert_eq!(publisher.expect_among(answer).ack(Version::V3_1_1).packet_id, n + 1);
        if answer == kind::PUBREC {
            publisher.send(&crate::support::pubrel(n + 1));
            publisher.expect_among(kind::PUBCOMP);
        }
    }
}

#[test]
fn mqtt3_4_5_0_1_every_matching_session_gets_the_message() {
    let (_broker, addr) = broker();
    let (root, away) = (unique("t"), unique("c"));
    let mut absent = RawClient::connect(&addr, &persistent(&away));
    absent.subscribe(&format!("{root}/#"), 1);
    absent.disconnect();
    let mut readers: Vec<RawClient> =
        [format!("{root}/a"), format!("{root}/+"), format!("{root}/#"), "+/a".to_owned()]
            .iter()
            .map(|filter| watcher(&addr, filter))
            .collect();
    client(&addr).publish(&format!("{root}/a"), "all", 1);
    readers.iter_mut().for_each(|reader| assert_eq!(reader.receive().text(), "all"));
    assert_eq!(RawClient::connect(&addr, &persistent(&away)).receive().text(), "all");
    forget(&addr, &away);
}

#[test]
fn mqtt3_4_6_0_1_resends_keep_the_original_order() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("c"), unique("t"));
    let mut reader = RawClient::connect(&addr, &persistent(&id));
    reader.subscribe(&topic, 2);
    let mut publisher = client(&addr);
    (0..15u8).for_each(|n| publisher.publish(&topic, [n], 1 + n % 2));
    for _ in 0..3 {
        let got: Vec<u8> = (0..15).map(|_| reader.expect_publish().payload[0]).collect();
        assert_eq!(got, (0..15).collect::<Vec<u8>>());
        reader.drop_connection();
        reader = RawClient::connect(&addr, &persistent(&id));
    }
    drop(reader);
    forget(&addr, &id);
}

/// Publishes of one QoS are answered in the order in which they were sent.
fn answers_come_in_order(qos: u8, answer: u8) {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let _reader = watcher(&addr, &topic);
    let mut publisher = client(&addr);
    let ids = [7u16, 3, 900, 1, 65_535, 2, 40];
    let all: Vec<u8> = ids.iter().flat_map(|id| Publish::v3(&topic, "x").qos(qos, *id).bytes()).collect();
    publisher.send(&all);
    for id in ids {
        assert_eq!(publisher.expect_ack(answer).packet_id, id);
    }
}

#[test]
fn mqtt3_4_6_0_2_the_brokers_pubacks_come_in_receive_order() {
    answers_come_in_order(1, kind::PUBACK);
}

#[test]
fn mqtt3_4_6_0_3_the_brokers_pubrecs_come_in_receive_order() {
    answers_come_in_order(2, kind::PUBREC);
}

#[test]
fn mqtt3_4_6_0_2_a_client_that_acks_in_another_order_is_served() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut reader = watcher(&addr, &topic);
    let mut publisher = client(&addr);
    (0..5u8).for_each(|n| publisher.publish(&topic, [n], 1));
    let ids: Vec<u16> = (0..5).map(|_| reader.expect_publish().packet_id).collect();
    ids.iter().rev().for_each(|id| reader.send(&puback(*id)));
    publisher.publish(&topic, "on", 1);
    assert_eq!(reader.receive().text(), "on");
}

#[test]
fn mqtt3_4_6_0_4_the_brokers_pubrels_come_in_the_order_of_the_pubrecs() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut reader = watcher(&addr, &topic);
    let mut publisher = client(&addr);
    (0..5u8).for_each(|n| publisher.publish(&topic, [n], 2));
    let ids: Vec<u16> = (0..5).map(|_| reader.expect_publish().packet_id).collect();
    let order = [ids[3], ids[0], ids[4], ids[2], ids[1]];
    order.iter().for_each(|id| reader.send(&pubrec(*id)));
    for id in order {
        assert_eq!(reader.expect_ack(kind::PUBREL).packet_id, id);
        reader.send(&pubcomp(id));
    }
}

#[test]
fn mqtt3_4_6_0_5_every_topic_is_ordered() {
    let (_broker, addr) = broker();
    let root = unique("t");
    let mut reader = watcher(&addr, &format!("{root}/+"));
    let mut publisher = client(&addr);
    for n in 0..MANY {
        publisher.publish(&format!("{root}/{}", n % 4), n.to_be_bytes(), 0);
    }
    publisher.ping();
    let got = receive_mixed(&mut reader, usize::from(MANY));
    for topic in 0..4 {
        let of_topic: Vec<u16> = got.iter().map(|(_, n)| *n).filter(|n| n % 4 == topic).collect();
        assert!(of_topic.is_sorted() && of_topic.len() == usize::from(MANY / 4), "{of_topic:?}");
    }
}

#[test]
fn mqtt3_4_6_0_6_the_order_per_topic_and_qos_is_kept() {
    let (_broker, addr) = broker();
    let topic = unique("t");
    let mut readers = [watcher(&addr, &topic), watcher(&addr, &topic)];
    publish_mixed(&mut client(&addr), &topic);
    for reader in &mut readers {
        let got = receive_mixed(reader, usize::from(MANY));
        for qos in 0..3 {
            let of_qos: Vec<u16> = got.iter().filter(|(q, _)| *q == qos).map(|(_, n)| *n).collect();
            assert!(of_qos.is_sorted() && of_qos.len() == usize::from(MANY / 3), "QoS {qos}: {of_qos:?}");
        }
    }
}
