//! Tests of who takes an outbox's item in shared groups: what is picked stays, and what becomes of it when a member is gone.

use super::*;
use crate::picks::{InGroup, Pick, PickedItem, Taker};

const OTHER: Host = Host { node: NodeId(2), incarnation: Incarnation(1) };

fn group(name: &str) -> Arc<GroupName> {
    Arc::new(GroupName { group: name.into(), filter: Filter::parse("t", 9).unwrap().plain().clone() })
}

fn shard(name: &str, choice: u64) -> Pick {
    Pick { group: group(name), taker: Taker::Shard(ShardId(0), choice) }
}

fn member(name: &str, host: Host, number: u64) -> Pick {
    Pick { group: group(name), taker: Taker::Member(ConnectionId { host, number }) }
}

impl World {
    /// A world whose outbox has a message of each of these QoS, from position 1.
    fn with_outbox(all: &[QoS]) -> Self {
        let mut world = Self::new();
        for qos in all {
            world.connect_with("w", true, 0, will(0).map(|will| Will { qos: *qos, ..will }));
            world.end("w", WillFate::Keep);
        }
        assert_eq!(world.shard.outbox().last(), all.len() as u64);
        world
    }

    fn picked(&mut self, position: u64, picks: Vec<Pick>) -> Vec<Effect> {
        self.input(Input::Picked(vec![PickedItem { position, picks, more: false }]))
    }

    /// For each item: its position, the groups that somebody takes it in, and the group that it is for alone.
    fn outbox(&self) -> Vec<(u64, String, Option<String>)> {
        let told = |(position, item): (u64, &OutboxItem)| {
            let names = item.picks.iter().map(|pick| pick.group.group.to_string()).collect();
            let redispatch = match &item.kind {
                OutboxKind::Publish => None,
                OutboxKind::Redispatch(group) => Some(group.group.to_string()),
            };
            (position, names, redispatch)
        };
        self.shard.outbox().from(0).map(told).collect()
    }
}

fn items(of: &[(u64, &str, Option<&str>)]) -> Vec<(u64, String, Option<String>)> {
    of.iter()
        .map(|(position, names, only)| (*position, (*names).to_owned(), only.map(str::to_owned)))
        .collect()
}

#[test]
fn what_was_picked_for_an_item_is_not_picked_again_and_goes_with_it() {
    let mut world = World::with_outbox(&[QoS::ExactlyOnce; 2]);
    let bytes = world.shard.outbox().bytes();
    assert!(world.picked(1, vec![shard("a", 1), shard("b", 2)]).is_empty());
    world.picked(1, vec![shard("a", 7), shard("c", 7)]);
    let item = world.shard.outbox().get(1).unwrap();
    assert_eq!(item.picks.iter().cloned().collect::<Vec<_>>(), [shard("a", 1), shard("b", 2)]);
    assert!(world.shard.outbox().bytes() > bytes, "picks count");
    world.input(Input::Relayed(1));
    world.picked(1, vec![shard("a", 7)]);
    world.picked(9, vec![shard("a", 7)]);
    assert_eq!(world.outbox(), items(&[(2, "", None)]), "neither what was retired nor what is to come");
}

#[test]
fn what_a_member_that_is_gone_has_not_had_is_for_others_of_its_groups() {
    let mut world = World::with_outbox(&[QoS::ExactlyOnce; 3]);
    for position in 1..=3 {
        let picks = vec![member("a", HOST, 1), shard("b", 0), member("c", HOST, 1), member("d", HOST, 2)];
        world.picked(position, picks);
    }
    let from = InGroup { position: 2, group: group("c") };
    let effects = world.input(Input::GivenBack(from.clone()));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Outbox(6))), "{effects:?}");
    let expected = [
        (1, "abcd", None),
        (2, "abd", None),
        (3, "bd", None),
        (4, "", Some("c")),
        (5, "", Some("a")),
        (6, "", Some("c")),
    ];
    assert_eq!(world.outbox(), items(&expected));
    assert!(world.input(Input::GivenBack(from)).is_empty(), "once");
    assert!(
        world.input(Input::GivenBack(InGroup { position: 1, group: group("b") })).is_empty(),
        "a shard stays"
    );
    assert_eq!(world.outbox(), items(&expected));
}

#[test]
fn what_a_dead_host_was_to_have_goes_on_at_qos_1_and_is_in_doubt_at_qos_2() {
    let mut world = World::with_outbox(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
    for position in 1..=3 {
        world.picked(position, vec![member("a", OTHER, 1), member("b", HOST, 1)]);
    }
    world.input(Input::Down(OTHER));
    assert_eq!(world.outbox(), items(&[(1, "b", None), (2, "b", None), (3, "b", None), (4, "", Some("a"))]));
    assert_eq!(world.shard.take_counters().1.qos2_in_doubt, 1);
    let again = world.shard.outbox().get(4).unwrap();
    assert_eq!(again.message.qos, QoS::AtLeastOnce);
}

#[test]
fn what_nobody_in_its_group_gets_is_counted_once() {
    let mut world = World::with_outbox(&[QoS::AtMostOnce, QoS::AtLeastOnce]);
    let dropped = |world: &mut World| world.shard.take_counters().1.dropped_no_member;
    for position in 1..=2 {
        world.picked(position, vec![member("a", OTHER, 1)]);
    }
    world.input(Input::Down(OTHER));
    assert_eq!(world.outbox(), items(&[(1, "", None), (2, "", None), (3, "", Some("a"))]));
    assert_eq!(dropped(&mut world), 1, "the one of QoS 0");
    world.input(Input::RaiseLevel(crate::command::PICKS_LEVEL));
    world.input(Input::Relayed(2));
    assert_eq!(dropped(&mut world), 0, "both were for others as well");
    world.input(Input::Relayed(3));
    world.input(Input::Relayed(3));
    assert_eq!(dropped(&mut world), 1, "nobody was left to be picked");
}

/// Each entry of the log brings names of its own, and there may be thousands of items for the same groups.
#[test]
fn the_names_of_groups_are_in_memory_once() {
    let mut world = World::with_outbox(&[QoS::AtLeastOnce; 4]);
    for position in 1..=3 {
        world.picked(position, vec![member("a", OTHER, 1), shard("b", 0)]);
    }
    let names = |world: &World| {
        let picks = world.shard.outbox().from(0).flat_map(|(_, item)| item.picks.iter());
        picks.map(|pick| Arc::as_ptr(&pick.group)).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names(&world).len(), 2);
    world.input(Input::Down(OTHER));
    world.input(Input::Relayed(3));
    world.picked(4, vec![shard("a", 0), shard("b", 0)]);
    assert_eq!(names(&world).len(), 2);
    assert_eq!(world.shard.validate(), Ok(()));
}

#[test]
fn who_died_before_it_was_picked_has_had_nothing() {
    let mut world = World::with_outbox(&[QoS::ExactlyOnce]);
    world.input(Input::Down(OTHER));
    world.picked(1, vec![member("a", OTHER, 1), shard("b", 0)]);
    assert_eq!(world.outbox(), items(&[(1, "b", None), (2, "", Some("a"))]));
    assert_eq!(world.shard.take_counters().1.qos2_in_doubt, 0);
}

#[test]
fn picks_that_come_in_parts_go_on_behind_the_last_group_whatever_died_in_between() {
    let mut world = World::with_outbox(&[QoS::AtLeastOnce]);
    let part = |picks: Vec<Pick>, more| Input::Picked(vec![PickedItem { position: 1, picks, more }]);
    world.input(part(vec![shard("a", 0), member("b", OTHER, 1)], true));
    world.input(Input::Down(OTHER));
    world.input(part(vec![shard("b", 1), shard("c", 1)], false));
    assert_eq!(world.outbox(), items(&[(1, "ac", None), (2, "", Some("b"))]));
    assert!(world.shard.outbox().get(1).unwrap().picks.is_complete());
}
