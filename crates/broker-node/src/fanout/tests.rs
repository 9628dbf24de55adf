//! Tests of the fan-out: who gets a message, what a worker remembers, and who of a shared group is picked.

use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{QoS, SharedPublish, Text};
use session_store::command::{Members, PublishItem, RouteChange};
use session_store::limits::QueuePolicy;
use session_store::matching::Subscribed;
use session_store::{ClientId, ConnectionId, Host, Message, MessageRef};
use topic_index::Filter;

use super::groups::Holder;
use super::others::{Full, Others};
use super::*;
use crate::inbox::{Backlog, Dropped, InboxLimits};

const LIMITS: InboxLimits = InboxLimits {
    messages_max: 1_000,
    bytes_max: 1 << 20,
    qos0_bytes_max: 1 << 20,
    policy: QueuePolicy::DropNewest,
};

fn connection(number: u64) -> ConnectionId {
    ConnectionId { host: Host::default(), number }
}

fn inbox(id: u64) -> Arc<Inbox> {
    Inbox::new(connection(id), LIMITS)
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

fn numbered(topic: &str, n: u8, qos: QoS) -> MessageRef {
    let body = SharedPublish::new(&Text::new(topic).unwrap(), &Bytes::new(), &Bytes::copy_from_slice(&[n]));
    Arc::new(Message { body, qos, retain: false, expires_at: None })
}

fn taken(inbox: &Inbox) -> usize {
    inbox.close().messages.len()
}

/// Numbers of the messages in a mailbox, and whether another member gets them if they are not acknowledged.
fn numbers(inbox: &Inbox) -> Vec<(u8, bool)> {
    let messages = inbox.close().messages;
    messages.iter().map(|item| (item.message.body.payload()[0], item.group.is_some())).collect()
}

/// What became of a run of messages.
#[derive(Debug, Default)]
struct Outcome {
    /// Answers that each message's acknowledgement waits for before the delivery.
    waits: Vec<u32>,
    to_shards: Vec<(u16, PublishItem)>,
    dropped: Dropped,
    /// Numbers of acknowledgements that a member here has answered.
    here: Vec<u64>,
    moved: Vec<(u16, PublishItem)>,
}

/// Adds messages of one topic to a run; their acknowledgements are numbered from 1.
fn gather(fanout: &Fanout, matched: &Matched, messages: &[MessageRef]) -> (Gathering, Outcome) {
    let (mut gathered, mut outcome) = (Gathering::default(), Outcome::default());
    let publisher = ClientId::new("p");
    for (message, number) in messages.iter().zip(1..) {
        let accepted = Accepted { message: message.clone(), publisher: &publisher, topic_home: None, number };
        let to_shards = &mut outcome.to_shards;
        let waits =
            gathered.add((fanout, matched), accepted, |to, item| to_shards.push((shard_of(to), item)));
        outcome.waits.push(waits);
    }
    (gathered, outcome)
}

fn shard_of(to: Destination) -> u16 {
    match to {
        Destination::Shard(shard) => shard,
        Destination::Host(host) => panic!("{host}"),
    }
}

fn finish((mut gathered, mut outcome): (Gathering, Outcome), matched: &Matched) -> Outcome {
    outcome.dropped = gathered.deliver(matched, connection(9), |placed| match placed {
        Placed::Here(number) => outcome.here.push(number),
        Placed::Elsewhere(to, item) => outcome.moved.push((shard_of(to), item)),
    });
    assert!(gathered.is_empty());
    outcome
}

/// Delivers messages of one topic as one run.
fn deliver(fanout: &Fanout, messages: &[MessageRef]) -> Outcome {
    let matched = fanout.match_now(messages[0].body.topic());
    finish(gather(fanout, &matched, messages), &matched)
}

fn group_of(fanout: &Fanout, members: &[u64]) -> Vec<Arc<Inbox>> {
    let inboxes: Vec<Arc<Inbox>> = members.iter().copied().map(inbox).collect();
    for inbox in &inboxes {
        fanout.subscribe(&filter("$share/g/t"), inbox, subscribed(QoS::AtLeastOnce));
    }
    inboxes
}

fn run_of(range: std::ops::Range<u8>) -> Vec<MessageRef> {
    range.map(|n| numbered("t", n, QoS::AtLeastOnce)).collect()
}

/// A group of four members, each with a mailbox, and which of them takes each of `topics`.
fn picks(strategy: SharedStrategy, publisher: &str, topics: &[&str], busy: &[u64]) -> Vec<u64> {
    let fanout = Fanout::new(strategy);
    let inboxes: Vec<Arc<Inbox>> = (1..=4).map(inbox).collect();
    for inbox in &inboxes {
        fanout.subscribe(&filter("$share/g/#"), inbox, subscribed(QoS::AtLeastOnce));
        let busy = busy.contains(&inbox.id().number);
        let (messages, room) = if busy { (10, 0) } else { (0, 10) };
        inbox.set_backlog(Backlog { messages, bytes: 0, qos0_bytes: 0, room });
    }
    let publisher = ClientId::new(publisher);
    let pick = |topic: &&str| {
        let matched = fanout.match_now(topic.as_bytes());
        let group = matched.groups.first().unwrap();
        match group.at(fanout.pick(group, &publisher, topic.as_bytes()).unwrap()) {
            Some(Holder::Local(member)) => member.inbox.id().number,
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
    let matched = fanout.matched(b"a/b", fanout.now(), &mut cache);
    assert_eq!(matched.locals.iter().map(|target| target.copy.qos).collect::<Vec<_>>(), [QoS::AtLeastOnce]);
    assert!(Rc::ptr_eq(&matched, &fanout.matched(b"a/b", fanout.now(), &mut cache)), "remembered");
    fanout.unsubscribe(&filter("a/#"), one.id());
    let after = fanout.matched(b"a/b", fanout.now(), &mut cache);
    assert_eq!(after.locals.first().map(|target| target.copy.qos), Some(QoS::AtMostOnce));
    assert!(!fanout.is_current(&matched) && fanout.is_current(&after));
    assert_eq!(fanout.subscriptions(), (1, 0));
    deliver(&fanout, &[message("a/b")]);
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
        .map(|_| match group.at(fanout.pick(&group, &publisher, b"t").unwrap()).unwrap() {
            Holder::Local(_) => None,
            Holder::Elsewhere(to, pick) => Some((shard_of(to), pick.choice)),
        })
        .collect();
    assert_eq!(places, [None, Some((4, 0)), Some((4, 1)), None], "only connected ones have a place");
    fanout.unsubscribe(&filter("$share/g/t"), here.id());
    fanout.change_route(4, &RouteChange { members: Members { all: 3, connected: 0 }, ..change });
    let group = fanout.match_now(b"t").groups.pop().unwrap();
    let places = (0..3).filter_map(|_| group.at(fanout.pick(&group, &publisher, b"t")?)).count();
    assert_eq!(places, 3, "while nobody is connected all have one");
}

#[test]
fn hosts_whose_members_are_full_are_passed_over_while_others_have_room() {
    let (there, full) =
        (Host { node: session_store::NodeId(2), ..Host::default() }, Arc::new(Full::default()));
    let name = match filter("$share/g/t") {
        Filter::Shared { group, filter } => Arc::new(session_store::matching::GroupName { group, filter }),
        Filter::Plain(_) => panic!("not shared"),
    };
    let host = Others { to: Destination::Host(there), places: 2, full: Some(Arc::clone(&full)) };
    let group = GroupView::without_locals(name, 0).with([host, Others::of_shard(4, 1)].into_iter());
    let picked = || -> Vec<u64> {
        let pick = |_| group.pick(SharedStrategy::RoundRobin, &ClientId::new("p"), b"t");
        (0..6).filter_map(pick).collect()
    };
    assert_eq!(picked(), [0, 1, 2, 0, 1, 2]);
    full.heard(2);
    let now = picked();
    assert!(now == [2; 6] || full.is_old(), "{now:?}");
}

#[test]
fn a_full_mailbox_drops_and_counts_by_qos() {
    let limits = InboxLimits { messages_max: 2, qos0_bytes_max: 8, ..LIMITS };
    for policy in [QueuePolicy::DropNewest, QueuePolicy::Disconnect] {
        let inbox = Inbox::new(connection(1), InboxLimits { policy, ..limits });
        let fanout = Fanout::new(SharedStrategy::RoundRobin);
        fanout.subscribe(&filter("t"), &inbox, subscribed(QoS::AtLeastOnce));
        let messages: Vec<MessageRef> = (0..5).map(|_| message("t")).collect();
        let dropped = deliver(&fanout, &messages).dropped;
        assert_eq!((dropped.queue_full, dropped.qos0), (3, 0));
        fanout.subscribe(&filter("t"), &inbox, subscribed(QoS::AtMostOnce));
        let dropped = deliver(&fanout, &messages).dropped;
        assert!(dropped.qos0 >= 2 && dropped.queue_full == 0, "{dropped:?}");
        let waker = std::task::Waker::noop();
        let context = std::task::Context::from_waker(waker);
        let std::task::Poll::Ready(taken) = inbox.poll_take(&context) else { panic!("nothing there") };
        assert_eq!(taken.overflow, policy == QueuePolicy::Disconnect);
    }
}

#[test]
fn a_qos_0_message_above_the_bound_gets_through_while_little_waits() {
    let inbox = Inbox::new(connection(1), InboxLimits { qos0_bytes_max: 100, ..LIMITS });
    inbox.set_backlog(Backlog { messages: 0, bytes: 0, qos0_bytes: 5, room: 1 });
    let fanout = Fanout::new(SharedStrategy::RoundRobin);
    fanout.subscribe(&filter("#"), &inbox, subscribed(QoS::AtMostOnce));
    let large = message(&"t".repeat(500));
    let dropped = deliver(&fanout, &[large.clone(), large]).dropped;
    assert_eq!(dropped.qos0, 1, "the second waits behind too much");
    assert_eq!(taken(&inbox), 1);
}

#[test]
fn the_memory_of_a_worker_is_bounded() {
    let fanout = Fanout::new(SharedStrategy::RoundRobin);
    let mut cache = TopicCache::default();
    for n in 0..20_000 {
        fanout.matched(format!("t/{n}").as_bytes(), fanout.now(), &mut cache);
    }
    assert!(cache.len() <= 8_192, "{}", cache.len());
}

#[test]
fn a_run_is_spread_evenly_over_a_group_and_each_member_keeps_the_order() {
    let fanout = Fanout::new(SharedStrategy::RoundRobin);
    let members = group_of(&fanout, &[1, 2, 3]);
    let everything = inbox(7);
    fanout.subscribe(&filter("#"), &everything, subscribed(QoS::AtLeastOnce));
    let first = deliver(&fanout, &run_of(0..7));
    let second = deliver(&fanout, &run_of(7..9));
    assert_eq!((first.waits, second.waits), (vec![1; 7], vec![1; 2]), "each waits for its member");
    let mut answered = first.here;
    answered.sort_unstable();
    assert_eq!(answered, [1, 2, 3, 4, 5, 6, 7], "and is answered once");
    let got: Vec<Vec<(u8, bool)>> = members.iter().map(|inbox| numbers(inbox)).collect();
    let expected = [[0, 3, 6], [1, 4, 7], [2, 5, 8]].map(|ids| ids.map(|n| (n, true)).to_vec());
    assert_eq!(got, expected, "turns go on from run to run");
    assert_eq!(numbers(&everything), (0..9).map(|n| (n, false)).collect::<Vec<_>>());
}

#[test]
fn what_a_member_does_not_acknowledge_goes_to_others_but_not_at_qos_0() {
    let fanout = Fanout::new(SharedStrategy::Sticky);
    let members = group_of(&fanout, &[1, 2]);
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let messages: Vec<MessageRef> = (0..3).zip(qos).map(|(n, qos)| numbered("t", n, qos)).collect();
    deliver(&fanout, &messages);
    assert_eq!(numbers(&members[0]), [(0, false), (1, true), (2, true)]);
    assert_eq!(taken(&members[1]), 0);
}

#[test]
fn the_next_in_turn_takes_what_a_member_was_picked_for_that_has_ended() {
    let fanout = Fanout::new(SharedStrategy::RoundRobin);
    let members = group_of(&fanout, &[1, 2, 3, 4]);
    let matched = fanout.match_now(b"t");
    let gathered = gather(&fanout, &matched, &run_of(0..8));
    // Between the look-up and the delivery.
    members[1].close();
    members[3].close();
    let outcome = finish(gathered, &matched);
    assert_eq!((outcome.here.len(), outcome.dropped), (8, Dropped::default()));
    assert_eq!(numbers(&members[0]).into_iter().map(|(n, _)| n).collect::<Vec<_>>(), [0, 4, 3, 7]);
    assert_eq!(numbers(&members[2]).into_iter().map(|(n, _)| n).collect::<Vec<_>>(), [1, 5, 2, 6]);
    let outcome = deliver(&fanout, &run_of(0..5));
    assert_eq!(outcome.here.len(), 5, "when nobody is left nobody is waited for");
    assert_eq!(outcome.dropped, Dropped::default());
}

#[test]
fn a_shard_takes_over_and_answers_for_a_member_that_has_ended() {
    let fanout = Fanout::new(SharedStrategy::RoundRobin);
    let members = group_of(&fanout, &[1]);
    let change = RouteChange {
        filter: filter("$share/g/t"),
        qos: Some(QoS::AtLeastOnce),
        members: Members { all: 1, connected: 1 },
    };
    fanout.change_route(4, &change);
    let matched = fanout.match_now(b"t");
    let gathered = gather(&fanout, &matched, &run_of(0..4));
    members[0].close();
    let outcome = finish(gathered, &matched);
    let numbers = |items: &[(u16, PublishItem)]| -> Vec<(u16, u64, usize)> {
        items.iter().map(|(shard, item)| (*shard, item.number, item.groups.len())).collect()
    };
    assert_eq!(outcome.waits, [1, 1, 1, 1]);
    assert_eq!(numbers(&outcome.to_shards), [(4, 2, 1), (4, 4, 1)]);
    assert_eq!(numbers(&outcome.moved), [(4, 1, 1), (4, 3, 1)], "their acknowledgements wait for the shard");
    assert_eq!(outcome.here, [0_u64; 0]);
}

#[test]
fn a_full_member_drops_what_it_was_picked_for_and_counts_it() {
    let fanout = Fanout::new(SharedStrategy::RoundRobin);
    let small = InboxLimits { messages_max: 2, ..LIMITS };
    let members = [Inbox::new(connection(1), small), inbox(2)];
    for inbox in &members {
        fanout.subscribe(&filter("$share/g/t"), inbox, subscribed(QoS::AtLeastOnce));
    }
    let outcome = deliver(&fanout, &run_of(0..10));
    assert_eq!((outcome.dropped.queue_full, outcome.here.len()), (3, 10));
    assert_eq!((taken(&members[0]), taken(&members[1])), (2, 5));
}

#[test]
fn no_acknowledgement_waits_for_a_route_that_sends_on_at_qos_0() {
    let fanout = Fanout::new(SharedStrategy::RoundRobin);
    let change = |qos| RouteChange { filter: filter("t"), qos: Some(qos), members: Members::default() };
    fanout.change_route(3, &change(QoS::AtMostOnce));
    let message = [message("t")];
    let outcome = deliver(&fanout, &message);
    assert_eq!((&outcome.waits[..], outcome.to_shards[0].1.number), (&[0][..], 0));
    fanout.change_route(3, &change(QoS::AtLeastOnce));
    let outcome = deliver(&fanout, &message);
    assert_eq!((&outcome.waits[..], outcome.to_shards[0].1.number), (&[1][..], 1));
}

#[test]
fn a_message_for_very_many_groups_goes_to_a_shard_in_parts_that_are_all_waited_for() {
    let fanout = Fanout::new(SharedStrategy::RoundRobin);
    for n in 0..20 {
        let name = format!("$share/{n:02}{}/t", "g".repeat(50_000));
        let members = Members { all: 1, connected: 1 };
        let change = RouteChange { filter: filter(&name), qos: Some(QoS::AtLeastOnce), members };
        fanout.change_route(4, &change);
    }
    let sessions =
        RouteChange { filter: filter("t"), qos: Some(QoS::AtLeastOnce), members: Members::default() };
    fanout.change_route(4, &sessions);
    let outcome = deliver(&fanout, &run_of(0..2));
    let parts: Vec<(u16, u64, bool, usize)> = outcome
        .to_shards
        .iter()
        .map(|(shard, item)| (*shard, item.number, item.sessions, item.groups.len()))
        .collect();
    let of = |number| (0..4).map(move |part| (4, number, part == 0, 5));
    assert_eq!(parts, of(1).chain(of(2)).collect::<Vec<_>>());
    assert_eq!(outcome.waits, [4, 4]);
}
