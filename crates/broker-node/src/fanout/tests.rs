//! Tests of the fan-out: who gets a message, what a worker remembers, and who of a shared group is picked.

use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{QoS, SharedPublish, Text};
use session_store::command::{Members, RouteChange};
use session_store::limits::QueuePolicy;
use session_store::matching::Subscribed;
use session_store::{ClientId, ConnectionId, Message, MessageRef};
use topic_index::Filter;

use super::*;
use crate::inbox::{Backlog, InboxLimits};

const LIMITS: InboxLimits = InboxLimits {
    messages_max: 1_000,
    bytes_max: 1 << 20,
    qos0_bytes_max: 1 << 20,
    policy: QueuePolicy::DropNewest,
};

fn inbox(id: u64) -> Arc<Inbox> {
    Inbox::new(ConnectionId(id), LIMITS)
}

fn subscribed(qos: QoS) -> Subscribed {
    Subscribed { qos, no_local: false, retain_as_published: false, id: None }
}

fn filter(text: &str) -> Filter {
    Filter::parse(text, 99).unwrap()
}

fn message(topic: &str) -> MessageRef {
    let body = SharedPublish::new(&Text::new(topic).unwrap(), &Bytes::new(), &Bytes::from_static(b"x"));
    Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: false, expires_at: None })
}

fn taken(inbox: &Inbox) -> usize {
    inbox.close().messages.len()
}

/// A group of four members, each with a mailbox, and which of them takes each of `topics`.
fn picks(strategy: SharedStrategy, publisher: &str, topics: &[&str], busy: &[u64]) -> Vec<u64> {
    let fanout = Fanout::new(strategy);
    let inboxes: Vec<Arc<Inbox>> = (1..=4).map(inbox).collect();
    for inbox in &inboxes {
        fanout.subscribe(&filter("$share/g/#"), inbox, subscribed(QoS::AtLeastOnce));
        let busy = busy.contains(&inbox.id().0);
        let (messages, room) = if busy { (10, 0) } else { (0, 10) };
        inbox.set_backlog(Backlog { messages, bytes: 0, qos0_bytes: 0, room });
    }
    let publisher = ClientId::new(publisher);
    let pick = |topic: &&str| {
        let matched = fanout.match_now(topic.as_bytes());
        match fanout.pick(matched.groups.first().unwrap(), &publisher, topic.as_bytes()) {
            Some(Picked::Local(member)) => member.inbox.id().0,
            other => panic!("{other:?}"),
        }
    };
    topics.iter().map(pick).collect()
}

#[test]
fn a_subscriber_gets_one_copy_and_a_change_is_seen_at_once() {
    let fanout = Fanout::new(SharedStrategy::RoundRobin);
    let mut cache = TopicCache::default();
    let one = inbox(1);
    fanout.subscribe(&filter("a/+"), &one, subscribed(QoS::AtMostOnce));
    fanout.subscribe(&filter("a/#"), &one, subscribed(QoS::AtLeastOnce));
    let matched = fanout.matched(b"a/b", &mut cache);
    assert_eq!(matched.locals.iter().map(|target| target.copy.qos).collect::<Vec<_>>(), [QoS::AtLeastOnce]);
    assert!(Rc::ptr_eq(&matched, &fanout.matched(b"a/b", &mut cache)), "remembered");
    fanout.unsubscribe(&filter("a/#"), one.id());
    let after = fanout.matched(b"a/b", &mut cache);
    assert_eq!(after.locals.first().map(|target| target.copy.qos), Some(QoS::AtMostOnce));
    assert!(!fanout.is_current(&matched) && fanout.is_current(&after));
    assert_eq!(fanout.subscriptions(), (1, 0));
    matched.deliver(&[message("a/b")], ConnectionId(9));
    assert_eq!(taken(&one), 1);
}

#[test]
fn routes_of_shards_are_matched_and_removed() {
    let fanout = Fanout::new(SharedStrategy::RoundRobin);
    let change = |text, qos| RouteChange { filter: filter(text), qos, members: Members::default() };
    fanout.change_route(3, &change("a/#", Some(QoS::AtMostOnce)));
    fanout.change_route(3, &change("a/b", Some(QoS::ExactlyOnce)));
    fanout.change_route(5, &change("a/b", Some(QoS::AtLeastOnce)));
    let mut shards = fanout.match_now(b"a/b").shards;
    shards.sort_unstable();
    assert_eq!(shards, [(3, QoS::ExactlyOnce), (5, QoS::AtLeastOnce)]);
    fanout.change_route(3, &change("a/b", None));
    fanout.change_route(5, &change("a/b", None));
    assert_eq!(fanout.match_now(b"a/b").shards, [(3, QoS::AtMostOnce)]);
}

#[test]
fn round_robin_takes_turns_and_passes_over_full_windows() {
    let topics = ["t"; 8];
    assert_eq!(picks(SharedStrategy::RoundRobin, "p", &topics, &[]), [1, 2, 3, 4, 1, 2, 3, 4]);
    assert_eq!(picks(SharedStrategy::RoundRobin, "p", &topics[..4], &[2, 3]), [1, 4, 4, 4]);
    assert_eq!(picks(SharedStrategy::RoundRobin, "p", &topics[..2], &[1, 2, 3, 4]), [1, 2], "all are full");
}

#[test]
fn random_reaches_everybody_and_keeps_no_order() {
    let picked = picks(SharedStrategy::Random, "p", &["t"; 400], &[]);
    for member in 1..=4 {
        let count = picked.iter().filter(|id| **id == member).count();
        assert!((60..=140).contains(&count), "member {member} got {count} of 400");
    }
    assert!(!picked.windows(2).all(|pair| pair[0] % 4 + 1 == pair[1]));
}

#[test]
fn sticky_and_the_hashes_keep_their_member() {
    assert_eq!(picks(SharedStrategy::Sticky, "p", &["a", "b", "c"], &[1]), [1, 1, 1]);
    let by_client = picks(SharedStrategy::HashClient, "p", &["a", "b", "c"], &[]);
    assert!(by_client.iter().all(|id| *id == by_client[0]));
    let clients: std::collections::BTreeSet<u64> =
        (0..50).flat_map(|n| picks(SharedStrategy::HashClient, &format!("p{n}"), &["t"], &[])).collect();
    assert_eq!(clients.len(), 4, "many publishers reach all members");
    let by_topic = picks(SharedStrategy::HashTopic, "p", &["a", "b", "a", "b"], &[]);
    assert_eq!(by_topic[..2], by_topic[2..]);
}

#[test]
fn least_in_flight_goes_to_who_waits_with_least() {
    assert_eq!(picks(SharedStrategy::LeastInFlight, "p", &["t"; 3], &[1, 2, 4]), [3, 3, 3]);
}

#[test]
fn places_of_shards_come_behind_the_members_here() {
    let fanout = Fanout::new(SharedStrategy::RoundRobin);
    let here = inbox(1);
    fanout.subscribe(&filter("$share/g/t"), &here, subscribed(QoS::AtLeastOnce));
    let members = Members { all: 9, connected: 2 };
    let change = RouteChange { filter: filter("$share/g/t"), qos: Some(QoS::AtLeastOnce), members };
    fanout.change_route(4, &change);
    let publisher = ClientId::new("p");
    let group = fanout.match_now(b"t").groups.pop().unwrap();
    let places: Vec<Option<(u16, u64)>> = (0..4)
        .map(|_| match fanout.pick(&group, &publisher, b"t").unwrap() {
            Picked::Local(_) => None,
            Picked::Shard(shard, pick) => Some((shard, pick.choice)),
        })
        .collect();
    assert_eq!(places, [None, Some((4, 0)), Some((4, 1)), None], "only connected ones have a place");
    fanout.unsubscribe(&filter("$share/g/t"), here.id());
    fanout.change_route(4, &RouteChange { members: Members { all: 3, connected: 0 }, ..change });
    let group = fanout.match_now(b"t").groups.pop().unwrap();
    let choices = (0..3).filter_map(|_| fanout.pick(&group, &publisher, b"t")).count();
    assert_eq!(choices, 3, "while nobody is connected all have one");
}

#[test]
fn a_full_mailbox_drops_and_counts_by_qos() {
    let limits = InboxLimits { messages_max: 2, qos0_bytes_max: 8, ..LIMITS };
    for policy in [QueuePolicy::DropNewest, QueuePolicy::Disconnect] {
        let inbox = Inbox::new(ConnectionId(1), InboxLimits { policy, ..limits });
        let fanout = Fanout::new(SharedStrategy::RoundRobin);
        fanout.subscribe(&filter("t"), &inbox, subscribed(QoS::AtLeastOnce));
        let messages: Vec<MessageRef> = (0..5).map(|_| message("t")).collect();
        let dropped = fanout.match_now(b"t").deliver(&messages, ConnectionId(9));
        assert_eq!((dropped.queue_full, dropped.qos0), (3, 0));
        fanout.subscribe(&filter("t"), &inbox, subscribed(QoS::AtMostOnce));
        let dropped = fanout.match_now(b"t").deliver(&messages, ConnectionId(9));
        assert!(dropped.qos0 >= 2 && dropped.queue_full == 0, "{dropped:?}");
        let waker = std::task::Waker::noop();
        let context = std::task::Context::from_waker(waker);
        let std::task::Poll::Ready(taken) = inbox.poll_take(&context) else { panic!("nothing there") };
        assert_eq!(taken.overflow, policy == QueuePolicy::Disconnect);
    }
}

#[test]
fn a_qos_0_message_above_the_bound_gets_through_while_little_waits() {
    let inbox = Inbox::new(ConnectionId(1), InboxLimits { qos0_bytes_max: 100, ..LIMITS });
    inbox.set_backlog(Backlog { messages: 0, bytes: 0, qos0_bytes: 5, room: 1 });
    let fanout = Fanout::new(SharedStrategy::RoundRobin);
    fanout.subscribe(&filter("#"), &inbox, subscribed(QoS::AtMostOnce));
    let large = message(&"t".repeat(500));
    let dropped = fanout.match_now(b"t").deliver(&[large.clone(), large], ConnectionId(9));
    assert_eq!(dropped.qos0, 1, "the second waits behind too much");
    assert_eq!(taken(&inbox), 1);
}

#[test]
fn the_memory_of_a_worker_is_bounded() {
    let fanout = Fanout::new(SharedStrategy::RoundRobin);
    let mut cache = TopicCache::default();
    for n in 0..20_000 {
        fanout.matched(format!("t/{n}").as_bytes(), &mut cache);
    }
    assert!(cache.len() <= 8_192, "{}", cache.len());
}
