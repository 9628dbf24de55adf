//! Picks who takes the items of an outbox in the shared groups that get them, as far as the log does not say it yet. Called
//! by the outbox's relay, which has it logged before it sends anything.

use session_store::MessageRef;
use session_store::command::PICKS_BYTES_MAX;
use session_store::matching::GroupRef;
use session_store::outbox::{OutboxItem, OutboxKind};
use session_store::picks::{Pick, PickedItem};

use crate::fanout::{Fanout, Matched};

/// What is to be done next with the first items of an outbox.
#[derive(Debug)]
pub(super) enum Next {
    /// So many of them can be sent.
    Send(usize),
    /// These picks are to be logged before; the first of them is for this item, behind this group.
    Log((u64, Option<GroupRef>), Vec<PickedItem>),
    /// The first of them has to be picked for, and there is no room for more picks.
    Wait,
}

/// What is to be done next with items. One command has as many picks as are logged at once, of an item for very
/// many groups a part. Nobody's turn passes but for a pick that is logged.
pub(super) fn next(fanout: &Fanout, items: &[(u64, OutboxItem)], room: bool) -> Next {
    let mut picking =
        Picking { fanout, matched: Matched::default(), topic: None, bytes: 0, picked: Vec::new() };
    let mut first = None;
    for (index, (position, item)) in items.iter().enumerate() {
        if item.picks.is_complete() || !picking.is_wanted(item) {
            continue;
        }
        match first {
            None if index > 0 => return Next::Send(index),
            None if !room => return Next::Wait,
            None => first = Some((*position, item.picks.behind().cloned())),
            Some(_) => {}
        }
        if !picking.pick(*position, item) {
            break;
        }
    }
    match first {
        Some(first) => Next::Log(first, picking.picked),
        None => Next::Send(items.len()),
    }
}

/// What was picked for items so far.
struct Picking<'a> {
    fanout: &'a Fanout,
    /// Its groups are in the order of their names.
    matched: Matched,
    /// A message whose topic it was matched by.
    topic: Option<MessageRef>,
    bytes: usize,
    picked: Vec<PickedItem>,
}

impl Picking<'_> {
    /// Whether an item is for groups that were not looked at, or it is to be said that there are no more of them. One that
    /// is for none needs no entry.
    fn is_wanted(&mut self, item: &OutboxItem) -> bool {
        self.match_groups(item);
        item.picks.behind().is_some() || !self.matched.groups.is_empty()
    }

    fn match_groups(&mut self, item: &OutboxItem) {
        let topic = item.message.body.topic();
        (self.matched, self.topic) = match &item.kind {
            OutboxKind::Redispatch(group) => (self.fanout.group_now(group), None),
            OutboxKind::Publish if self.is_of(topic) => return,
            OutboxKind::Publish => (self.fanout.match_now(topic), Some(MessageRef::clone(&item.message))),
        };
        self.matched.groups.sort_unstable_by(|a, b| a.name().cmp(b.name()));
    }

    fn is_of(&self, topic: &[u8]) -> bool {
        self.topic.as_ref().is_some_and(|of| of.body.topic() == topic)
            && self.fanout.is_current(&self.matched)
    }

    /// Picks who takes an item in the groups that were not looked at, as far as there is room: there is for one, however
    /// large. Says whether that is all of them.
    fn pick(&mut self, position: u64, item: &OutboxItem) -> bool {
        let behind = item.picks.behind();
        let mut picks = Vec::new();
        let mut more = false;
        for group in self.matched.groups.iter().filter(|group| behind.is_none_or(|last| last < group.name()))
        {
            let size = Pick::size_in(group.name());
            more = self.bytes > 0 && self.bytes + size > PICKS_BYTES_MAX;
            if more {
                break;
            }
            if let Some(taker) = self.fanout.taker(group, &item.publisher, item.message.body.topic()) {
                self.bytes += size;
                picks.push(Pick { group: GroupRef::clone(group.name()), taker });
            }
        }
        if !picks.is_empty() || !more {
            self.picked.push(PickedItem { position, picks, more });
        }
        !more
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use mqtt_codec::{QoS, SharedPublish, Text};
    use session_store::command::{Command, Connect, Input, Members, RouteChange, Will};
    use session_store::limits::ShardLimits;
    use session_store::picks::Taker;
    use session_store::{
        ClientId, ConnectionId, Host, Incarnation, Message, Millis, NodeId, Request, Shard, ShardId,
        ShardNumber, Source,
    };
    use topic_index::Filter;

    use super::super::weight;
    use super::*;
    use crate::config::SharedStrategy;

    /// A fan-out in which shards have one member each of these groups.
    fn with_groups<'a>(groups: impl IntoIterator<Item = (&'a str, u16)>) -> Fanout {
        let fanout = Fanout::new(SharedStrategy::RoundRobin);
        for (group, shard) in groups {
            let members = Members { all: 1, connected: 1 };
            let filter = Filter::parse(group, 9).unwrap();
            fanout.change_route(shard, &RouteChange { filter, qos: Some(QoS::ExactlyOnce), members });
        }
        fanout
    }

    fn item(topic: &str) -> OutboxItem {
        let body = SharedPublish::new(&Text::new(topic).unwrap(), &Bytes::new(), &Bytes::new());
        let message = Arc::new(Message { body, qos: QoS::ExactlyOnce, retain: false, expires_at: None });
        OutboxItem::new(ClientId::new("p"), message, OutboxKind::Publish)
    }

    fn items(topics: &[&str]) -> Vec<(u64, OutboxItem)> {
        (1..).zip(topics.iter().map(|topic| item(topic))).collect()
    }

    fn logged(next: Next) -> Vec<PickedItem> {
        match next {
            Next::Log(_, picked) => picked,
            other => panic!("{other:?}"),
        }
    }

    type Told<'a> = (u64, Vec<(&'a str, Taker)>, bool);

    fn told(picked: &[PickedItem]) -> Vec<Told<'_>> {
        fn pick(pick: &Pick) -> (&str, Taker) {
            (&pick.group.group, pick.taker)
        }
        let told = |item: &'_ PickedItem| (item.position, item.more);
        let picks = picked.iter().map(|item| item.picks.iter().map(pick).collect());
        picked.iter().map(told).zip(picks).map(|((position, more), picks)| (position, picks, more)).collect()
    }

    /// The outbox of a shard to which items were published, and which applies what is picked.
    struct Log(Shard);

    impl Log {
        fn items(&self) -> Vec<(u64, OutboxItem)> {
            self.0.outbox().from(0).map(|(position, item)| (position, item.clone())).collect()
        }

        /// A client leaves, and its will is published.
        fn publish(&mut self, topic: &str) {
            let host = Host { node: NodeId(1), incarnation: Incarnation(1) };
            let body = item(topic).message.body.clone();
            let connect = Connect {
                client: ClientId::new("p"),
                connection: ConnectionId { host, number: 1 },
                clean_start: true,
                expiry_s: 0,
                receive_maximum: 1,
                will: Some(Will { body, qos: QoS::ExactlyOnce, retain: false, delay_s: 0, expiry_s: None }),
            };
            let (source, number, done_below) = (Source::Host(host), 1, 1);
            self.apply(Input::from(Request {
                source,
                number,
                done_below,
                command: Command::Connect(connect),
            }));
            self.apply(Input::Down(host));
            self.apply(Input::Tick);
        }

        fn apply(&mut self, input: Input) {
            self.0.apply(Millis(1), input, &mut Vec::new());
        }
    }

    #[test]
    fn items_without_groups_need_no_entry_and_those_of_a_run_come_in_one() {
        let fanout = with_groups([("$share/g/t", 4), ("$share/f/+", 2)]);
        let quiet = items(&["a/b", "a/b", "x/y"]);
        assert!(matches!(next(&fanout, &quiet, true), Next::Send(3)));
        assert!(matches!(next(&fanout, &[], true), Next::Send(0)));
        let mixed = items(&["a/b", "t", "a/b", "t"]);
        assert!(matches!(next(&fanout, &mixed, true), Next::Send(1)), "what needs none does not wait");
        let picked = logged(next(&fanout, &mixed[1..], true));
        let takers = vec![("f", Taker::Shard(ShardId(2), 0)), ("g", Taker::Shard(ShardId(4), 0))];
        assert_eq!(told(&picked), [(2, takers.clone(), false), (4, takers, false)]);
    }

    fn group_of(name: &str) -> GroupRef {
        let Filter::Shared { group, filter } = Filter::parse(name, 9).unwrap() else { panic!("not shared") };
        Arc::new(session_store::matching::GroupName { group, filter })
    }

    #[test]
    fn what_is_for_a_group_alone_is_picked_there_and_for_nobody_where_none_is_left() {
        let fanout = with_groups([("$share/g/t", 4), ("$share/f/t", 2)]);
        let for_group = |name: &str| OutboxItem { kind: OutboxKind::Redispatch(group_of(name)), ..item("t") };
        let picked = logged(next(&fanout, &[(7, for_group("$share/g/t"))], true));
        assert_eq!(told(&picked), [(7, vec![("g", Taker::Shard(ShardId(4), 0))], false)]);
        assert!(matches!(next(&fanout, &[(7, for_group("$share/none/t"))], true), Next::Send(1)));
    }

    #[test]
    fn without_room_for_picks_what_needs_none_is_sent_and_the_rest_waits() {
        let fanout = with_groups([("$share/g/t", 4)]);
        let mixed = items(&["a/b", "t", "a/b"]);
        assert!(matches!(next(&fanout, &mixed, false), Next::Send(1)));
        assert!(matches!(next(&fanout, &mixed[1..], false), Next::Wait));
        assert!(matches!(next(&fanout, &mixed[2..], false), Next::Send(1)));
    }

    /// Two members take turns, and no look that comes to nothing takes one of them.
    #[test]
    fn a_turn_passes_with_each_pick_that_is_logged_and_with_nothing_else() {
        let long = format!("$share/z{}/+", "z".repeat(PICKS_BYTES_MAX / 4 - 300));
        let fanout = with_groups(std::iter::empty());
        for group in ["$share/g/t", &long] {
            let (filter, members) = (Filter::parse(group, 9).unwrap(), Members { all: 2, connected: 2 });
            fanout.change_route(4, &RouteChange { filter, qos: Some(QoS::ExactlyOnce), members });
        }
        let choices = |picked: Vec<PickedItem>, name: &str| -> Vec<(u64, Taker)> {
            let picks = picked
                .into_iter()
                .flat_map(|item| item.picks.into_iter().map(move |pick| (item.position, pick)));
            picks
                .filter(|(_, pick)| pick.group.group.starts_with(name))
                .map(|(position, pick)| (position, pick.taker))
                .collect()
        };
        let of = |choice| Taker::Shard(ShardId(4), choice);
        let mixed = items(&["a/b", "t", "t", "t", "t", "t", "t"]);
        assert!(matches!(next(&fanout, &mixed, true), Next::Send(1)));
        assert!(matches!(next(&fanout, &mixed[1..], false), Next::Wait));
        let picked = logged(next(&fanout, &mixed[1..], true));
        assert_eq!(picked.len(), 5, "the name of the other group is long: the fifth has a part");
        let first: Vec<_> = choices(picked, "g");
        assert_eq!(first, [(2, of(0)), (3, of(1)), (4, of(0)), (5, of(1)), (6, of(0))]);
        let mut rest = mixed[5..].to_vec();
        rest[0].1.picks.add(vec![Pick { group: group_of("$share/g/t"), taker: of(0) }], true);
        let picked = logged(next(&fanout, &rest, true));
        assert_eq!(choices(picked.clone(), "z"), [(6, of(0)), (7, of(1))], "four had a turn before");
        assert_eq!(choices(picked, "g"), [(7, of(1))]);
    }

    #[test]
    fn picks_for_very_many_groups_are_logged_in_parts_none_larger_than_its_bound() {
        let names: Vec<String> = (0..30).map(|n| format!("$share/{n:05}{}/t", "g".repeat(60_000))).collect();
        let fanout = with_groups(names.iter().map(|name| (name.as_str(), 1)));
        let mut log = Log(Shard::new(ShardNumber { number: ShardId(0), of: 3 }, ShardLimits::default()));
        log.publish("t");
        let mut entries = 0;
        loop {
            let items = log.items();
            assert_eq!(items.len(), 1);
            match next(&fanout, &items, true) {
                Next::Send(count) => {
                    assert_eq!(count, 1);
                    break;
                }
                Next::Log(_, picked) => {
                    let input = Input::Picked(picked);
                    assert!(weight::of(&input).bytes <= PICKS_BYTES_MAX + 1_024);
                    log.apply(input);
                    entries += 1;
                }
                Next::Wait => panic!("there is room"),
            }
        }
        assert_eq!(entries, 8, "four names in each");
        let items = log.items();
        let groups = items[0].1.picks.iter().map(|pick| pick.group.group.to_string());
        assert!(groups.eq(names.iter().map(|name| name["$share/".len()..name.len() - 2].to_owned())));
    }
}
