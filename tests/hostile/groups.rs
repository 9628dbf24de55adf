//! B41, B23 and B28 against the log of a shard: what one message, one read or one connection can make large or wrong
//! there must not end the node, and least of all again at each start.
//! Each test has a broker of its own, see `guard`.

use std::collections::BTreeMap;

use e2e_tests::wire::{kind, prop};
use e2e_tests::{Connect, Props, Publish, RawClient, unique};

use crate::bursts::end_session;
use crate::guard::Guard;

/// Clients with persistent sessions, whatever shards these live in.
const CLIENTS: usize = 4;
/// Shared filters of each: together more than a record of the log holds, for each of the clients.
const GROUPS: usize = 60;

fn persistent(guard: &Guard, id: &str, props: Props) -> RawClient {
    RawClient::connect(
        guard.addr(),
        &Connect::v5(id).clean(false).props(props.four(prop::SESSION_EXPIRY, 60)),
    )
}

fn come(guard: &Guard, id: &str) -> RawClient {
    persistent(guard, id, Props::new())
}

/// Subscribes to groups whose names are as long as a filter can be; each tells its number with what it gets.
fn join_groups(client: &mut RawClient, own: &str, topic: &str) {
    for number in 1..=GROUPS {
        let prefix = format!("$share/{own}-{number}-");
        let name = "g".repeat(usize::from(u16::MAX) - prefix.len() - 1 - topic.len());
        let props = Props::new().var(prop::SUBSCRIPTION_ID, number);
        let ack = client.subscribe_with(&[(&format!("{prefix}{name}/{topic}"), 1)], &props);
        assert_eq!(ack.codes, [1]);
    }
}

/// Reads what comes until each group has each of these messages, each of them once.
fn expect_each_once(client: &mut RawClient, payloads: &[&str]) {
    let mut got: BTreeMap<(String, u32), usize> = BTreeMap::new();
    for _ in 0..GROUPS * payloads.len() {
        let publish = client.receive();
        let group = publish.props.number(prop::SUBSCRIPTION_ID).expect("each group has a number");
        *got.entry((publish.text(), group)).or_default() += 1;
    }
    let each =
        payloads.iter().flat_map(|payload| (1..=GROUPS as u32).map(|group| (payload.to_string(), group)));
    let expected: BTreeMap<(String, u32), usize> = each.map(|one| (one, 1)).collect();
    assert!(got == expected, "each group gets each message once");
    client.expect_nothing();
}

#[test]
fn b41_groups_with_names_larger_than_a_record_of_the_log_get_each_message_once() {
    let mut guard = Guard::new();
    if guard.is_external() {
        return;
    }
    let ids: Vec<String> = (0..CLIENTS).map(|_| unique("b41")).collect();
    let mut members: Vec<RawClient> = ids.iter().map(|id| come(&guard, id)).collect();
    for (member, id) in members.iter_mut().zip(&ids) {
        join_groups(member, id, "b41");
    }
    // Half of them are away while the messages come.
    members.split_off(CLIENTS / 2).into_iter().for_each(RawClient::disconnect);
    let (mut publisher, keeper) = (guard.v5(), unique("b41"));
    publisher.publish("b41", "qos 1", 1);
    publisher.publish("b41", "qos 2", 2);
    publisher.publish_packet(Publish::v5("b41", "retained").retain(), 1);
    let mut kept = come(&guard, &keeper);
    kept.publish("b41", "through the outbox", 2);
    let messages = ["qos 1", "qos 2", "retained", "through the outbox"];
    members.iter_mut().for_each(|member| expect_each_once(member, &messages));
    guard.neighbours_talk();
    members.into_iter().for_each(RawClient::disconnect);
    // Taken over by its home, and perhaps not yet passed on to all when the node is killed.
    kept.send(&Publish::v5("b41", "over a crash").qos(2, 9).bytes());
    assert_eq!(kept.expect_ack(kind::PUBREC).code(), 0);
    guard.kill_and_restart();
    for (index, id) in ids.iter().enumerate() {
        let mut member = come(&guard, id);
        if index < CLIENTS / 2 {
            expect_each_once(&mut member, &["over a crash"]);
        } else {
            expect_each_once(&mut member, &[&messages[..], &["over a crash"]].concat());
        }
        end_session(member);
    }
    end_session(come(&guard, &keeper));
    guard.v5().publish_packet(Publish::v5("b41", "").retain(), 1);
}

#[test]
fn b23_a_read_of_aliases_that_stand_for_long_topics_is_more_than_a_record_of_the_log() {
    let mut guard = Guard::new();
    let topic = "t".repeat(4_000);
    let aliased =
        |topic: &str| Publish::v5(topic, "x").retain().props(Props::new().two(prop::TOPIC_ALIAS, 1));
    let mut publisher = guard.v5();
    publisher.publish_packet(aliased(&topic), 1);
    for _ in 0..4 {
        let burst: Vec<u8> = (1..=1_000).flat_map(|id| aliased("").qos(1, id).bytes()).collect();
        publisher.send(&burst);
        (1..=1_000).for_each(|id| assert_eq!(publisher.expect_ack(kind::PUBACK).packet_id, id));
        publisher.send(&aliased("").bytes().repeat(7_000));
        publisher.ping();
    }
    guard.neighbours_talk();
    publisher.publish_packet(Publish::v5(&topic, "").retain(), 1);
}

#[test]
fn b28_a_client_that_comes_back_with_a_smaller_window_and_reads_nothing() {
    const MESSAGES: usize = 20;
    let guard = Guard::new();
    let (id, mut publisher) = (unique("b28"), guard.v5());
    let mut client = come(&guard, &id);
    client.subscribe("b28", 1);
    let large = vec![b'x'; 900_000];
    (0..MESSAGES).for_each(|_| publisher.publish("b28", &large, 1));
    // All of it is sent, and nothing acknowledged.
    (0..MESSAGES).for_each(|_| assert_eq!(client.expect_publish().payload.len(), large.len()));
    client.drop_connection();
    for window in [12, 8, 2] {
        persistent(&guard, &id, Props::new().two(prop::RECEIVE_MAXIMUM, window)).drop_connection();
    }
    let mut client = come(&guard, &id);
    (0..MESSAGES).for_each(|_| assert_eq!(client.receive().payload.len(), large.len()));
    end_session(client);
}
