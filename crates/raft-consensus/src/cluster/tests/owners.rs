//! Tests of routes and fences: what each command does to them, what is told of it, their bounds, and that they are what a
//! plain map would be.

use std::collections::{BTreeMap, BTreeSet};

use mqtt_codec::QoS;
use proptest::collection::vec;
use session_store::{ClientId, Epoch};
use topic_index::Filter;

use super::super::chunked::{CHUNK_ENTRIES_MAX, Chunked, Key};
use super::stored::{Records, restore, write};
use super::*;

pub(super) fn filter(text: &str) -> Filter {
    Filter::parse(text, u16::MAX).unwrap()
}

pub(super) fn route(text: &str, qos: u8) -> Route {
    Route { filter: filter(text), qos: QoS::try_from(qos).unwrap() }
}

/// A change that adds one route, numbered behind the one before.
pub(super) fn add(owner: Owner, number: u64, text: &str) -> Command {
    let predecessor = number - 1;
    Command::Routes(Routes { owner, number, predecessor, removes: Vec::new(), adds: vec![route(text, 1)] })
}

pub(super) fn fence_of(client: &str, epoch: u64, host: Host) -> Fence {
    Fence { client: ClientId::new(client), epoch: Epoch(epoch), host, connection: epoch.wrapping_mul(7) }
}

const HOST: Owner = Owner::Host(Host { node: NodeId(1), incarnation: Incarnation(3) });

fn text() -> impl Strategy<Value = String> {
    let plain = "[ab](/[ab+]){0,2}(/#)?";
    prop_oneof![3 => plain, 1 => plain.prop_map(|plain| format!("$share/g/{plain}"))]
}

fn owner() -> impl Strategy<Value = Owner> {
    prop_oneof![
        (0..4_u32, 0..4_u32).prop_map(|(node, incarnation)| Owner::Host(run(node, incarnation))),
        (0..3_u16).prop_map(|shard| Owner::Shard(ShardId(shard))),
    ]
}

/// Few owners, numbers and filters, so that commands meet.
pub(super) fn routes() -> impl Strategy<Value = Routes> {
    let adds = vec((text(), 0..3_u8).prop_map(|(text, qos)| route(&text, qos)), 0..4);
    let removes = vec(text().prop_map(|text| filter(&text)), 0..3);
    let numbers = (0..6_u64, 0..3_u64).prop_map(|(predecessor, ahead)| (predecessor + ahead, predecessor));
    (owner(), numbers, removes, adds).prop_map(|(owner, (number, predecessor), removes, adds)| Routes {
        owner,
        number,
        predecessor,
        removes,
        adds,
    })
}

pub(super) fn fence() -> impl Strategy<Value = Fence> {
    ("[cd]", 0..3_u64, 0..4_u32, 0..4_u32)
        .prop_map(|(client, epoch, node, incarnation)| fence_of(&client, epoch, run(node, incarnation)))
}

fn told(cluster: &mut Cluster, command: &Command) -> Vec<Change> {
    let mut changes = Vec::new();
    cluster.apply_telling(Millis(5), command, &mut |change| changes.push(change)).unwrap();
    changes
}

fn texts(cluster: &Cluster, owner: Owner) -> Vec<(String, u8)> {
    cluster.routes(owner).map(|(filter, qos)| (filter.to_string(), qos.into())).collect()
}

#[test]
fn an_owner_without_a_life_has_no_routes() {
    let cluster = cluster(&[begin(1, 3), begin(2, 1), Command::Down(run(2, 1))]);
    let refused = |owner| refusal(&cluster, &add(owner, 1, "a"));
    assert_eq!(refused(Owner::Host(run(1, 2))), Refusal::Dead);
    assert_eq!(refused(Owner::Host(run(2, 1))), Refusal::Dead);
    assert_eq!(refused(Owner::Host(run(1, 4))), Refusal::NotBegun);
    assert_eq!(refused(Owner::Host(run(3, 1))), Refusal::NotBegun);
    assert_eq!(refused(Owner::Shard(ShardId(6))), Refusal::NoShard(ShardId(6)));
    assert_eq!(
        refusal(&Cluster::default(), &add(Owner::Shard(ShardId(0)), 1, "a")),
        Refusal::NoShard(ShardId(0))
    );
}

#[test]
fn a_repeat_changes_nothing_and_a_gap_is_refused_with_the_last_number() {
    let mut cluster = cluster(&[begin(1, 3), add(HOST, 1, "a"), add(HOST, 2, "b")]);
    assert!(told(&mut cluster, &add(HOST, 1, "c")).is_empty(), "number 1 was seen");
    assert_eq!(cluster.standing(&add(HOST, 2, "c")), Standing::InForce);
    assert_eq!(refusal(&cluster, &add(HOST, 4, "c")), Refusal::Gap(2));
    let behind = |number, predecessor| {
        let adds = vec![route("c", 0)];
        Command::Routes(Routes { owner: HOST, number, predecessor, removes: Vec::new(), adds })
    };
    assert_eq!(refusal(&cluster, &behind(9, 1)), Refusal::Gap(2), "it names one that is not the last");
    assert_eq!(cluster.standing(&behind(9, 2)), Standing::Open);
    cluster.apply(Millis(5), &behind(9, 2)).unwrap();
    assert_eq!(cluster.last_routes(HOST), 9);
    assert_eq!(texts(&cluster, HOST), [("a".into(), 1), ("b".into(), 1), ("c".into(), 0)]);
}

#[test]
fn what_really_changed_is_told() {
    let mut cluster = cluster(&[begin(1, 3), add(HOST, 1, "a"), add(HOST, 2, "b")]);
    let removes = vec![filter("b"), filter("x"), filter("c")];
    let adds = vec![route("a", 1), route("c", 0), route("c", 2)];
    let routes = Routes { owner: HOST, number: 3, predecessor: 2, removes, adds };
    let changes = told(&mut cluster, &Command::Routes(routes.clone()));
    let adds = vec![route("c", 0), route("c", 2)];
    assert_eq!(changes, [Change::Routes(Routes { removes: vec![filter("b")], adds, ..routes })]);
    let raised =
        Routes { owner: HOST, number: 4, predecessor: 3, removes: vec![], adds: vec![route("a", 2)] };
    let changes = told(&mut cluster, &Command::Routes(raised.clone()));
    assert_eq!(changes, [Change::Routes(raised)], "raising the QoS is a change");
}

#[test]
fn a_dead_run_has_nothing_at_once_and_is_buried_in_pieces() {
    for kill in [Command::Down(run(1, 3)), begin(1, 4)] {
        let mut cluster = cluster(&[begin(1, 3)]);
        let per_entry = CHUNK_ENTRIES_MAX * 2;
        for number in 1..=5 {
            let text = |at: usize| format!("f/{number}/{at}");
            let adds = (0..per_entry).map(|at| route(&text(at), 1)).collect();
            let routes = Routes { owner: HOST, number, predecessor: number - 1, removes: vec![], adds };
            cluster.apply(Millis(5), &Command::Routes(routes)).unwrap();
        }
        cluster.apply(Millis(5), &Command::Fence(fence_of("c", 1, run(1, 3)))).unwrap();
        let mut records = Records::new();
        write(&mut records, &cluster.take_changes());
        assert_eq!(records.len(), 2 + 1 + 10 + 1, "head, member, owner, chunks of routes, a chunk of fences");
        assert_eq!(told(&mut cluster, &kill), [Change::Gone(run(1, 3))]);
        assert_eq!((cluster.routes(HOST).count(), cluster.fences(run(1, 3)).count()), (0, 0));
        write(&mut records, &cluster.take_changes());
        assert_eq!(records.len(), 14, "its chunks go later");
        // It goes on after a restart.
        let mut cluster = restore(&records).unwrap();
        assert_eq!(cluster.routes(HOST).count(), 0);
        let mut buried = BTreeSet::new();
        let mut steps = 0;
        let mut over = false;
        while !over {
            steps += 1;
            cluster.clean_up(1, &mut |change| match change {
                Change::Buried { host, filters, last } => {
                    assert_eq!(host, run(1, 3));
                    assert!(filters.len() <= CHUNK_ENTRIES_MAX);
                    buried.extend(filters);
                    over = last;
                }
                other => panic!("{other:?}"),
            });
        }
        assert_eq!((buried.len(), steps), (5 * per_entry, 11));
        cluster.clean_up(100, &mut |change| panic!("{change:?}"));
        write(&mut records, &cluster.take_changes());
        assert_eq!(records.len(), 2);
    }
}

#[test]
fn chunks_that_were_emptied_just_before_the_death_go_too() {
    let fence = fence_of("c", 1, run(1, 3));
    let mut cluster = cluster(&[begin(1, 3), add(HOST, 1, "a"), Command::Fence(fence.clone())]);
    let mut records = Records::new();
    write(&mut records, &cluster.take_changes());
    assert_eq!(records.len(), 2 + 1 + 2, "head, member, owner, two chunks");
    let removes = vec![filter("a")];
    let routes = Routes { owner: HOST, number: 2, predecessor: 1, removes, adds: vec![] };
    for command in [Command::Routes(routes), Command::Unfence(fence), Command::Down(run(1, 3))] {
        cluster.apply(Millis(5), &command).unwrap();
    }
    cluster.clean_up(1, &mut |_| ());
    write(&mut records, &cluster.take_changes());
    assert_eq!(records.len(), 2);
}

#[test]
fn a_fence_stays_until_the_end_is_reported_or_the_run_is_dead() {
    let mut cluster = cluster(&[begin(1, 3), begin(2, 1)]);
    let (here, there) = (fence_of("c", 4, run(1, 3)), fence_of("c", 5, run(2, 1)));
    for fence in [&here, &there] {
        let changes = told(&mut cluster, &Command::Fence(fence.clone()));
        assert_eq!(changes, [Change::Fenced(fence.clone())]);
        assert!(told(&mut cluster, &Command::Fence(fence.clone())).is_empty(), "a repeat");
    }
    assert_eq!(cluster.fences(run(1, 3)).collect::<Vec<_>>(), [fence_of("c", 4, run(1, 3))]);
    assert_eq!(told(&mut cluster, &Command::Unfence(here.clone())), [Change::Unfenced(here.clone())]);
    assert!(told(&mut cluster, &Command::Unfence(here)).is_empty(), "a repeat");
    assert_eq!(told(&mut cluster, &Command::Down(run(2, 1))), [Change::Gone(run(2, 1))]);
    assert_eq!(cluster.fences(run(2, 1)).count(), 0);
    assert_eq!(cluster.standing(&Command::Fence(there.clone())), Standing::InForce, "its host is down");
    assert!(told(&mut cluster, &Command::Fence(there)).is_empty(), "none is made for a dead run");
    assert_eq!(refusal(&cluster, &Command::Fence(fence_of("c", 1, run(2, 2)))), Refusal::NotBegun);
}

#[test]
fn changes_routes_and_fences_are_bounded() {
    let mut cluster = cluster(&[begin(1, 3)]);
    let many = |number, count: usize, length: usize| {
        let adds = (0..count).map(|at| route(&format!("{number}/{at}/{}", "x".repeat(length)), 0)).collect();
        Routes { owner: HOST, number, predecessor: number - 1, removes: vec![], adds }
    };
    let refused = |cluster: &Cluster, routes| refusal(cluster, &Command::Routes(routes));
    assert_eq!(refused(&cluster, many(1, CHANGES_MAX + 1, 0)), Refusal::TooManyChanges);
    assert_eq!(refused(&cluster, many(1, 3, 60_000)), Refusal::TooManyChanges);
    assert_eq!(cluster.standing(&Command::Routes(many(1, 1, 65_500))), Standing::Open, "the longest filter");
    let full = u64::try_from(ROUTES_MAX / CHANGES_MAX).unwrap();
    for number in 1..=full {
        cluster.apply(Millis(5), &Command::Routes(many(number, CHANGES_MAX, 0))).unwrap();
    }
    assert_eq!(cluster.routes(HOST).count(), ROUTES_MAX);
    assert_eq!(refused(&cluster, many(full + 1, 1, 0)), Refusal::TooManyRoutes);
    let again = Routes { number: full + 1, predecessor: full, ..many(full, CHANGES_MAX, 0) };
    assert_eq!(cluster.standing(&Command::Routes(again)), Standing::Open, "nothing new is in it");
    let fences = u64::try_from(FENCES_MAX).unwrap();
    for epoch in 0..fences {
        cluster.apply(Millis(5), &Command::Fence(fence_of("c", epoch, run(1, 3)))).unwrap();
    }
    let one_more = Command::Fence(fence_of("c", fences, run(1, 3)));
    assert_eq!(refusal(&cluster, &one_more), Refusal::TooManyFences);
}

#[test]
fn the_bytes_of_routes_and_fences_are_bounded() {
    let mut cluster = cluster(&[begin(1, 3)]);
    let long = "x".repeat(64_000);
    let mut number = 0;
    let refused = loop {
        number += 1;
        let adds = vec![route(&format!("{number}/{long}"), 0)];
        let routes = Routes { owner: HOST, number, predecessor: number - 1, removes: vec![], adds };
        if let Err(refusal) = cluster.apply(Millis(5), &Command::Routes(routes)) {
            break refusal;
        }
    };
    assert_eq!(refused, Refusal::TooManyRoutes);
    assert!(number > 2_000, "{number}");
    let mut epoch = 0;
    let refused = loop {
        epoch += 1;
        if let Err(refusal) = cluster.apply(Millis(5), &Command::Fence(fence_of(&long, epoch, run(1, 3)))) {
            break refusal;
        }
    };
    assert_eq!(refused, Refusal::TooManyFences);
    assert!(epoch > 200, "{epoch}");
}

/// Routes by owner and fences by host, as plainly as it can be said.
#[derive(Default)]
struct Naive {
    routes: BTreeMap<Owner, (u64, BTreeMap<String, u8>)>,
    fences: BTreeSet<Fence>,
}

impl Naive {
    /// Takes over a command that was not refused.
    fn apply(&mut self, command: &Command, lowest_live: &BTreeMap<NodeId, Incarnation>) {
        match command {
            Command::Routes(routes) => {
                let (last, known) = self.routes.entry(routes.owner).or_default();
                if routes.number > *last {
                    *last = routes.number;
                    for filter in &routes.removes {
                        known.remove(&filter.to_string());
                    }
                    let adds = routes.adds.iter().map(|add| (add.filter.to_string(), add.qos.into()));
                    known.extend(adds);
                }
            }
            Command::Fence(fence) => {
                self.fences.insert(fence.clone());
            }
            Command::Unfence(fence) => {
                self.fences.remove(fence);
            }
            _ => {}
        }
        let live =
            |host: &Host| lowest_live.get(&host.node).is_some_and(|lowest| host.incarnation >= *lowest);
        self.routes.retain(|owner, _| match owner {
            Owner::Host(host) => live(host),
            Owner::Shard(_) => true,
        });
        self.fences.retain(|fence| live(&fence.host));
    }
}

/// A follower that keeps what it is told, and lets go of what is buried.
#[derive(Default)]
struct View {
    routes: BTreeMap<Owner, BTreeMap<String, u8>>,
    fences: BTreeSet<Fence>,
    gone: BTreeSet<Host>,
}

impl View {
    fn take(&mut self, change: Change) {
        match change {
            Change::Routes(Routes { owner, removes, adds, .. }) => {
                let known = self.routes.entry(owner).or_default();
                for filter in removes {
                    known.remove(&filter.to_string()).expect("only what was there is removed");
                }
                known.extend(adds.into_iter().map(|add| (add.filter.to_string(), add.qos.into())));
            }
            Change::Gone(host) => {
                self.gone.insert(host);
                self.fences.retain(|fence| fence.host != host);
            }
            Change::Buried { host, filters, last } => {
                assert!(self.gone.contains(&host));
                let known = self.routes.entry(Owner::Host(host)).or_default();
                for filter in filters {
                    known.remove(&filter.to_string()).expect("what is buried was there");
                }
                if last {
                    assert!(
                        self.routes.remove(&Owner::Host(host)).unwrap().is_empty(),
                        "all of it is buried"
                    );
                    self.gone.remove(&host);
                }
            }
            Change::Fenced(fence) => assert!(self.fences.insert(fence)),
            Change::Unfenced(fence) => assert!(self.fences.remove(&fence)),
            Change::Banned(_) | Change::Unbanned(_) => {}
        }
    }

    fn seen(&self) -> BTreeMap<Owner, BTreeMap<String, u8>> {
        let alive = |owner: &Owner| !matches!(owner, Owner::Host(host) if self.gone.contains(host));
        let routes = self.routes.iter().filter(|(owner, routes)| alive(owner) && !routes.is_empty());
        routes.map(|(owner, routes)| (*owner, routes.clone())).collect()
    }
}

proptest! {
    #[test]
    fn routes_and_fences_are_what_a_plain_map_would_have(
        commands in vec((command(), 0..2_usize), 0..150),
    ) {
        let mut cluster = cluster(&[begin(1, 1), begin(2, 1), begin(3, 1)]);
        let (mut naive, mut view) = (Naive::default(), View::default());
        for (command, chunks) in commands {
            let answer = cluster.apply_telling(Millis(5), &command, &mut |change| view.take(change));
            if answer.is_ok() {
                naive.apply(&command, &cluster.lowest_live().collect());
            }
            cluster.clean_up(chunks, &mut |change| view.take(change));
            let routes: BTreeMap<Owner, BTreeMap<String, u8>> = cluster
                .owners()
                .map(|owner| (owner, texts(&cluster, owner).into_iter().collect::<BTreeMap<_, _>>()))
                .filter(|(_, routes)| !routes.is_empty())
                .collect();
            let mut wanted: BTreeMap<_, _> =
                naive.routes.iter().map(|(owner, (_, routes))| (*owner, routes.clone())).collect();
            wanted.retain(|_, routes| !routes.is_empty());
            prop_assert_eq!(&routes, &wanted);
            prop_assert_eq!(view.seen(), wanted);
            for (owner, (last, _)) in &naive.routes {
                prop_assert_eq!(cluster.last_routes(*owner), *last);
            }
            let hosts = cluster.members().map(|(node, member)| Host { node, incarnation: member.begun });
            let fences = hosts.flat_map(|host| {
                cluster.fences(host)
            });
            prop_assert_eq!(&fences.collect::<BTreeSet<_>>(), &naive.fences);
            prop_assert_eq!(&view.fences, &naive.fences);
            prop_assert_eq!(cluster.validate(), Ok(()));
        }
    }

    #[test]
    fn a_table_in_chunks_is_a_map_and_its_records_have_all_of_it(
        steps in vec((0..400_u16, any::<bool>(), 0..2_u8, any::<bool>()), 0..900),
    ) {
        let (mut table, mut map) = (Chunked::<Number, u8>::default(), BTreeMap::new());
        let mut records: BTreeMap<u32, Vec<(Number, u8)>> = BTreeMap::new();
        for (key, remove, value, checkpoint) in steps {
            let key = Number(key);
            if remove {
                prop_assert_eq!(table.remove(&key), map.remove(&key).is_some());
            } else {
                prop_assert_eq!(table.insert(key.clone(), value), map.insert(key, value) != Some(value));
            }
            if checkpoint {
                records.extend(table.take_touched());
                records.retain(|_, entries| !entries.is_empty());
                let mut again = Chunked::<Number, u8>::default();
                for (chunk, entries) in &records {
                    for (key, value) in entries {
                        prop_assert!(again.restore(*chunk, key.clone(), *value));
                    }
                }
                prop_assert!(again.iter().eq(&map));
                prop_assert_eq!(again.validate(), Ok(()));
                table = again;
            }
            prop_assert_eq!(table.validate(), Ok(()));
        }
        prop_assert!(table.iter().eq(&map));
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u16);

impl Key for Number {
    fn bytes(&self) -> usize {
        // Some chunks are full by their bytes.
        if self.0.is_multiple_of(7) { 9_000 } else { 3 }
    }
}
