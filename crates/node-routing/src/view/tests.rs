//! Tests of the route view against the plain rule of matching, and of how an owner's changes are numbered.

use std::collections::{BTreeMap, BTreeSet};

use mqtt_codec::QoS;
use proptest::collection::vec;
use proptest::prelude::*;
use raft_consensus::cluster::{Begin, Command, Fence, Founding, Route, Routes};
use raft_consensus::cluster::{CHANGES_BYTES_MAX, CHANGES_MAX, ClusterId};
use session_store::{ClientId, ConnectionId, Epoch, Host, Incarnation, Millis, NodeId, ShardId};
use topic_index::{Filter, matches};

use super::*;

fn filter(text: &str) -> Filter {
    Filter::parse(text, u16::MAX).unwrap()
}

fn qos(qos: u8) -> QoS {
    QoS::try_from(qos).unwrap()
}

fn run(node: u32, incarnation: u32) -> Host {
    Host { node: NodeId(node), incarnation: Incarnation(incarnation) }
}

fn begin(node: u32, incarnation: u32) -> Command {
    let host = run(node, incarnation);
    Command::Begin(Begin { host, token: 1, name: "".into(), address: "".into(), knows_level: 1 })
}

/// A state and the view that follows it, one entry each command.
struct World {
    state: Cluster,
    view: RouteView,
    index: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self { state: Cluster::default(), view: RouteView::new(), index: 0 };
        world.apply(&Command::Found(Founding { cluster: ClusterId([1; 16]), shards: 3 }));
        (1..=3).for_each(|node| world.apply(&begin(node, 1)));
        world
    }

    fn apply(&mut self, command: &Command) {
        let mut changes = Vec::new();
        let _refused = self.state.apply_telling(Millis(1), command, &mut |change| changes.push(change));
        self.index += 1;
        Follow::applied(&self.view, self.index, changes);
    }

    /// The next change of an owner's routes.
    fn routes(&mut self, owner: Owner, removes: &[&str], adds: &[(&str, u8)]) {
        let last = self.state.last_routes(owner);
        let removes = removes.iter().map(|text| filter(text)).collect();
        let adds =
            adds.iter().map(|(text, level)| Route { filter: filter(text), qos: qos(*level) }).collect();
        self.apply(&Command::Routes(Routes { owner, number: last + 1, predecessor: last, removes, adds }));
    }

    fn clean_up(&mut self, chunks: usize) {
        let mut changes = Vec::new();
        self.state.clean_up(chunks, &mut |change| changes.push(change));
        Follow::applied(&self.view, self.index, changes);
    }

    fn owners(&self, topic: &str) -> Vec<(Owner, u8)> {
        let matched = self.view.matched(topic.as_bytes());
        matched.owners.into_iter().map(|(owner, qos)| (owner, qos.into())).collect()
    }
}

const HOST: Owner = Owner::Host(Host { node: NodeId(1), incarnation: Incarnation(1) });
const OTHER: Owner = Owner::Host(Host { node: NodeId(2), incarnation: Incarnation(1) });
const SHARD: Owner = Owner::Shard(ShardId(2));

#[test]
fn each_owner_is_found_once_with_its_highest_qos() {
    let mut world = World::new();
    world.routes(HOST, &[], &[("a/+", 0), ("a/#", 2), ("a/b", 1)]);
    world.routes(SHARD, &[], &[("#", 1)]);
    world.routes(OTHER, &[], &[("$share/g/a/b", 0), ("b", 2)]);
    world.routes(SHARD, &[], &[("$share/g/a/b", 1), ("$queue/a/b", 2)]);
    assert_eq!(world.owners("a/b"), [(HOST, 2), (SHARD, 1)]);
    let matched = world.view.matched(b"a/b");
    let groups: BTreeMap<String, Vec<(Owner, QoS)>> =
        matched.groups.iter().map(|group| (group.name.group.to_string(), group.owners.clone())).collect();
    let expected = [("$queue", vec![(SHARD, qos(2))]), ("g", vec![(OTHER, qos(0)), (SHARD, qos(1))])];
    assert_eq!(groups, expected.map(|(name, owners)| (name.to_owned(), owners)).into());
    world.routes(HOST, &["a/#"], &[]);
    assert_eq!(world.owners("a/b"), [(HOST, 1), (SHARD, 1)]);
    assert!(world.view.matched(b"$SYS/x").is_empty());
}

#[test]
fn what_was_matched_stands_until_a_route_changes() {
    let mut world = World::new();
    world.routes(HOST, &[], &[("a", 0)]);
    let matched = world.view.matched(b"a");
    assert_eq!((matched.index, world.view.as_of(&matched)), (5, Some(5)));
    let fence = Fence { client: ClientId::new("c"), epoch: Epoch(1), host: run(1, 1), connection: 1 };
    world.apply(&Command::Fence(fence));
    world.apply(&Command::Tick);
    assert_eq!((world.view.applied(), world.view.as_of(&matched)), (7, Some(7)), "no route has changed");
    world.routes(OTHER, &[], &[("b", 0)]);
    assert_eq!(world.view.as_of(&matched), None);
    assert_eq!(world.view.matched(b"a").index, 8);
}

#[test]
fn a_dead_run_is_found_no_more_at_once_and_let_go_of_in_pieces() {
    let mut world = World::new();
    let texts: Vec<String> = (0..200).map(|at| format!("f/{at}")).collect();
    let adds: Vec<(&str, u8)> = texts.iter().map(|text| (text.as_str(), 1)).collect();
    world.routes(HOST, &[], &adds);
    world.routes(OTHER, &[], &[("f/#", 1), ("$share/g/f/0", 0)]);
    world.routes(HOST, &[], &[("$share/g/f/0", 1)]);
    world.apply(&Command::Down(run(1, 1)));
    assert_eq!((world.owners("f/7"), world.view.routes()), (vec![(OTHER, 1)], 203));
    assert_eq!(world.view.matched(b"f/0").groups[0].owners, [(OTHER, qos(0))]);
    world.apply(&begin(1, 2));
    let next = Owner::Host(run(1, 2));
    world.routes(next, &[], &[("f/7", 2)]);
    assert_eq!(world.owners("f/7"), [(next, 2), (OTHER, 1)]);
    world.clean_up(1);
    assert!((4..203).contains(&world.view.routes()));
    world.clean_up(10);
    assert_eq!((world.owners("f/7"), world.view.routes()), (vec![(next, 2), (OTHER, 1)], 3));
}

#[test]
fn a_fenced_connection_and_a_dead_host_are_not_admitted() {
    let mut world = World::new();
    let (client, fence) = (ClientId::new("c"), |epoch| Fence {
        client: ClientId::new("c"),
        epoch: Epoch(epoch),
        host: run(1, 1),
        connection: epoch * 10,
    });
    let by_number =
        |world: &World, number| world.view.admits_connection(ConnectionId { host: run(1, 1), number });
    let admits = |world: &World, epoch, host| world.view.admits(&client, Epoch(epoch), host);
    world.apply(&Command::Fence(fence(4)));
    world.apply(&Command::Fence(fence(5)));
    world.apply(&Command::Unfence(fence(5)));
    let seen = |world: &World| {
        assert!(!admits(world, 4, run(1, 1)), "it is fenced");
        assert_eq!([40, 50].map(|number| by_number(world, number)), [false, true], "by its number too");
        assert!(admits(world, 5, run(1, 1)) && admits(world, 4, run(2, 1)) && admits(world, 4, run(1, 2)));
        assert!(world.view.admits(&ClientId::new("d"), Epoch(4), run(1, 1)));
    };
    seen(&world);
    Follow::begin(&world.view, world.index, &world.state);
    seen(&world);
    world.apply(&Command::Down(run(1, 1)));
    let seen = |world: &World| {
        assert!(!admits(world, 5, run(1, 1)), "its host is dead");
        assert!(admits(world, 5, run(1, 2)) && admits(world, 5, run(2, 1)));
    };
    seen(&world);
    Follow::begin(&world.view, world.index, &world.state);
    seen(&world);
}

#[test]
fn a_snapshot_takes_the_place_of_everything() {
    let mut world = World::new();
    world.routes(HOST, &[], &[("a", 0)]);
    let mut other = World::new();
    other.routes(SHARD, &[], &[("a", 2), ("$share/g/a", 1)]);
    let matched = world.view.matched(b"a");
    Follow::begin(&world.view, 90, &other.state);
    assert_eq!((world.view.applied(), world.view.as_of(&matched)), (90, None));
    assert_eq!((world.owners("a"), world.view.routes()), (vec![(SHARD, 2)], 2));
}

#[test]
fn an_owner_has_one_change_on_its_way_and_gathers_the_others() {
    let mut announcer = Announcer::new(HOST, 0);
    assert_eq!((announcer.number(), announcer.out()), (0, None));
    assert_eq!(announcer.change(filter("a"), Some(qos(0))), 1);
    assert_eq!(announcer.change(filter("b"), Some(qos(0))), 1);
    assert_eq!(announcer.change(filter("a"), Some(qos(2))), 1);
    let first = announcer.out().unwrap().clone();
    assert_eq!((first.number, first.predecessor, first.len()), (1, 0, 2));
    assert_eq!(announcer.change(filter("b"), None), 2, "the first is on its way and changes no more");
    assert_eq!(announcer.change(filter("c"), Some(qos(1))), 2);
    assert_eq!(announcer.change(filter("c"), None), 2);
    assert_eq!(announcer.out(), Some(&first));
    announcer.applied(0);
    assert_eq!(announcer.out(), Some(&first), "it is repeated until it is applied");
    announcer.applied(1);
    assert_eq!(announcer.number(), 2);
    let second = announcer.out().unwrap();
    assert_eq!((second.number, second.predecessor), (2, 1));
    assert_eq!(
        (second.removes.as_slice(), second.adds.as_slice()),
        (&[filter("b"), filter("c")][..], &[][..])
    );
    announcer.applied(2);
    assert_eq!((announcer.number(), announcer.out()), (2, None));
}

#[test]
fn what_an_owner_gathers_fits_into_entries_and_is_bounded() {
    let mut announcer = Announcer::new(SHARD, 41);
    let mut count = 0;
    while announcer.has_room() {
        let text = if count % 100 == 0 { "x".repeat(60_000) } else { String::new() };
        announcer.change(filter(&format!("{count}/{text}")), Some(qos(0)));
        count += 1;
    }
    assert_eq!(count, WAITING_MAX);
    let last = announcer.number();
    let (mut number, mut seen) = (41, 0);
    while let Some(routes) = announcer.out() {
        assert!(routes.len() <= CHANGES_MAX && routes.bytes() <= CHANGES_BYTES_MAX);
        assert_eq!((routes.predecessor, routes.number), (number, number + 1));
        (number, seen) = (routes.number, seen + routes.len());
        announcer.applied(number);
    }
    assert_eq!((number, seen), (last, count));
    assert!(announcer.has_room());
}

fn text() -> impl Strategy<Value = String> {
    let plain = "([ab+]/){0,2}([ab+]|#)";
    prop_oneof![3 => plain, 1 => plain.prop_map(|plain| format!("$share/g/{plain}"))]
}

/// Few owners and filters, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Routes(u32, Vec<String>, Vec<(String, u8)>),
    Down(u32),
    Begin(u32),
    CleanUp,
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..5_u32, vec(text(), 0..3), vec((text(), 0..3_u8), 0..5))
            .prop_map(|(owner, removes, adds)| Step::Routes(owner, removes, adds)),
        1 => (1..4_u32).prop_map(Step::Down),
        2 => (1..4_u32).prop_map(Step::Begin),
        2 => Just(Step::CleanUp),
        1 => Just(Step::Snapshot),
    ]
}

proptest! {
    #[test]
    fn a_topic_matches_what_the_rule_says(
        steps in vec(step(), 0..60),
        topics in vec("([ab]/){0,2}[ab]", 1..6),
    ) {
        let mut world = World::new();
        let mut runs = BTreeMap::from([(1, 1), (2, 1), (3, 1)]);
        for step in steps {
            match step {
                Step::Routes(number, removes, adds) => {
                    let owner = match runs.get(&number) {
                        Some(incarnation) => Owner::Host(run(number, *incarnation)),
                        None => Owner::Shard(ShardId(u16::from(number == 0))),
                    };
                    let removes: Vec<&str> = removes.iter().map(String::as_str).collect();
                    let adds: Vec<(&str, u8)> = adds.iter().map(|(text, qos)| (text.as_str(), *qos)).collect();
                    world.routes(owner, &removes, &adds);
                }
                Step::Down(node) => world.apply(&Command::Down(run(node, runs[&node]))),
                Step::Begin(node) => {
                    *runs.get_mut(&node).unwrap() += 1;
                    world.apply(&begin(node, runs[&node]));
                }
                Step::CleanUp => world.clean_up(1),
                Step::Snapshot => Follow::begin(&world.view, world.index, &world.state),
            }
            for topic in &topics {
                let (mut plain, mut groups) = (BTreeMap::new(), BTreeSet::new());
                for owner in world.state.owners() {
                    for (filter, qos) in world.state.routes(owner) {
                        match filter {
                            _ if !matches(filter.plain(), topic.as_bytes()) => {}
                            Filter::Plain(_) => {
                                let highest = plain.entry(owner).or_insert(qos);
                                *highest = qos.max(*highest);
                            }
                            Filter::Shared { group, filter } => {
                                groups.insert((group.to_string(), filter.to_string(), owner, qos));
                            }
                        }
                    }
                }
                let matched = world.view.matched(topic.as_bytes());
                prop_assert_eq!(&matched.owners, &plain.into_iter().collect::<Vec<_>>());
                let found: BTreeSet<_> = matched
                    .groups
                    .iter()
                    .flat_map(|group| group.owners.iter().map(|(owner, qos)| {
                        (group.name.group.to_string(), group.name.filter.to_string(), *owner, *qos)
                    }))
                    .collect();
                prop_assert_eq!(found, groups);
                prop_assert_eq!(matched.index, world.index);
            }
        }
    }
}
