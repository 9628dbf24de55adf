//! Tests of the cluster group's state: what each command does, and that replicas are equal whatever they went through.

mod bans;
mod duties;
mod machine;
mod owners;
mod stored;

use proptest::collection::vec;
use proptest::prelude::*;
use session_store::{Host, Incarnation, Millis, NodeId, ShardId};

use super::*;

pub(super) const FOUNDING: Founding = Founding { cluster: ClusterId([7; 16]), shards: 6 };

pub(super) fn run(node: u32, incarnation: u32) -> Host {
    Host { node: NodeId(node), incarnation: Incarnation(incarnation) }
}

pub(super) fn begin(node: u32, incarnation: u32) -> Command {
    begin_with(run(node, incarnation), u64::from(incarnation), 1)
}

pub(super) fn begin_with(host: Host, token: u64, knows_level: u32) -> Command {
    Command::Begin(Begin {
        host,
        token,
        name: format!("quelea-{}", host.node.0).into(),
        address: "".into(),
        knows_level,
    })
}

/// A founded cluster that was told these.
pub(super) fn cluster(commands: &[Command]) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.apply(Millis(1), &Command::Found(FOUNDING)).unwrap();
    for command in commands {
        cluster.apply(Millis(2), command).unwrap();
    }
    cluster
}

fn refusal(cluster: &Cluster, command: &Command) -> Refusal {
    match cluster.standing(command) {
        Standing::Refused(refusal) => refusal,
        standing => panic!("{command:?}: {standing:?}"),
    }
}

fn lowest(cluster: &Cluster, node: u32) -> u32 {
    cluster.member(NodeId(node)).unwrap().lowest_live.0
}

#[test]
fn a_cluster_is_founded_once() {
    let none = Cluster::default();
    assert_eq!(refusal(&none, &begin(1, 1)), Refusal::NotFounded);
    assert_eq!(refusal(&none, &Command::RaiseLevel(1)), Refusal::NotFounded);
    assert_eq!(refusal(&none, &Command::Found(Founding { shards: 0, ..FOUNDING })), Refusal::NoShards);
    let cluster = cluster(&[]);
    assert_eq!(cluster.founding(), Some(FOUNDING));
    assert_eq!(cluster.standing(&Command::Found(FOUNDING)), Standing::InForce, "a repeat");
    for other in [
        Founding { shards: 7, ..FOUNDING },
        Founding { cluster: ClusterId([8; 16]), ..FOUNDING },
        Founding { shards: 0, ..FOUNDING },
    ] {
        assert_eq!(refusal(&cluster, &Command::Found(other)), Refusal::Founded(FOUNDING));
    }
}

#[test]
fn the_runs_before_one_that_begins_are_dead() {
    let mut cluster = cluster(&[begin(1, 4), begin(2, 1)]);
    assert_eq!((lowest(&cluster, 1), lowest(&cluster, 2)), (4, 1));
    cluster.apply(Millis(3), &begin(1, 9)).unwrap();
    assert_eq!((lowest(&cluster, 1), lowest(&cluster, 2)), (9, 1));
    assert_eq!(cluster.standing(&begin(1, 9)), Standing::InForce, "a repeat");
    assert_eq!(refusal(&cluster, &begin(1, 4)), Refusal::NotNewer(Incarnation(9)));
    let imposter = begin_with(run(1, 9), 1_000, 1);
    assert_eq!(refusal(&cluster, &imposter), Refusal::NotNewer(Incarnation(9)));
    assert_eq!(cluster.members().len(), 2);
}

#[test]
fn down_is_a_level_that_only_rises() {
    let mut cluster = cluster(&[begin(1, 4)]);
    for (dead, lowest_live) in [(2, 4), (3, 4), (4, 5), (4, 5), (1, 5)] {
        cluster.apply(Millis(3), &Command::Down(run(1, dead))).unwrap();
        assert_eq!(lowest(&cluster, 1), lowest_live, "run {dead} is down");
        assert_eq!(cluster.standing(&Command::Down(run(1, dead))), Standing::InForce);
    }
    assert_eq!(refusal(&cluster, &begin(1, 4)), Refusal::Dead, "its own repeat comes too late");
    assert_eq!(refusal(&cluster, &Command::Down(run(1, 5))), Refusal::NotBegun);
    assert_eq!(refusal(&cluster, &Command::Down(run(2, 1))), Refusal::NotBegun);
    cluster.apply(Millis(4), &begin(1, 5)).unwrap();
    assert_eq!(lowest(&cluster, 1), 5);
}

#[test]
fn numbers_that_no_run_has_are_refused() {
    let cluster = cluster(&[]);
    for host in [run(0, 1), run(1, 0), run(1, u32::MAX)] {
        assert_eq!(refusal(&cluster, &begin_with(host, 1, 1)), Refusal::NoRun(host));
    }
}

#[test]
fn members_and_their_names_are_bounded() {
    let mut cluster = cluster(&[]);
    for node in 1..=u32::try_from(MEMBERS_MAX).unwrap() {
        cluster.apply(Millis(2), &begin(node, 1)).unwrap();
    }
    assert_eq!(refusal(&cluster, &begin(5_000, 1)), Refusal::Full);
    cluster.apply(Millis(3), &begin(1, 2)).unwrap();
    let named = |length: usize| {
        let name = "n".repeat(length).into();
        Command::Begin(Begin { host: run(2, 2), token: 1, name, address: "".into(), knows_level: 1 })
    };
    assert_eq!(cluster.standing(&named(NAME_BYTES_MAX)), Standing::Open);
    assert_eq!(refusal(&cluster, &named(NAME_BYTES_MAX + 1)), Refusal::NameTooLong);
}

#[test]
fn a_number_is_given_once_and_a_repeat_finds_it() {
    assert_eq!(refusal(&Cluster::default(), &Command::Admit(1)), Refusal::NotFounded);
    let mut cluster = cluster(&[Command::Admit(70), begin(1, 1), Command::Admit(80), Command::Admit(70)]);
    assert_eq!((cluster.admitted(70), cluster.admitted(80)), (Some(NodeId(2)), Some(NodeId(3))));
    assert_eq!(cluster.standing(&Command::Admit(70)), Standing::InForce);
    assert_eq!(cluster.admitted(90), None);
    cluster.apply(Millis(3), &begin(7, 1)).unwrap();
    cluster.apply(Millis(3), &Command::Admit(90)).unwrap();
    assert_eq!(cluster.admitted(90), Some(NodeId(8)), "no number that a node has");
    for token in 100..200 {
        cluster.apply(Millis(3), &Command::Admit(token)).unwrap();
    }
    assert_eq!(cluster.admitted.len(), ADMITTED_MAX);
    assert_eq!((cluster.admitted(70), cluster.admitted(199)), (None, Some(NodeId(108))));
    cluster.apply(Millis(3), &Command::Admit(70)).unwrap();
    assert_eq!(cluster.admitted(70), Some(NodeId(109)), "what was forgotten is not given again");
}

#[test]
fn where_a_node_is_comes_with_its_run_and_is_bounded() {
    let mut cluster = cluster(&[begin(1, 1)]);
    let at = |incarnation, address: &str| {
        let name = "quelea-1".into();
        let begin =
            Begin { host: run(1, incarnation), token: 9, name, address: address.into(), knows_level: 1 };
        Command::Begin(begin)
    };
    cluster.apply(Millis(3), &at(2, "a.example:7883")).unwrap();
    assert_eq!(&*cluster.member(NodeId(1)).unwrap().address, "a.example:7883");
    cluster.apply(Millis(3), &at(3, "b.example:7883")).unwrap();
    assert_eq!(&*cluster.member(NodeId(1)).unwrap().address, "b.example:7883");
    let long = "a".repeat(ADDRESS_BYTES_MAX + 1);
    assert_eq!(refusal(&cluster, &at(4, &long)), Refusal::AddressTooLong);
}

#[test]
fn a_level_is_raised_once_all_members_know_it() {
    let mut cluster = cluster(&[begin_with(run(1, 1), 1, 3), begin_with(run(2, 1), 1, 1)]);
    assert_eq!(cluster.level_to_raise(), None, "one member knows no other");
    assert_eq!(refusal(&cluster, &Command::RaiseLevel(2)), Refusal::NotKnownTo(NodeId(2)));
    cluster.apply(Millis(3), &Command::Down(run(2, 1))).unwrap();
    assert_eq!(cluster.level_to_raise(), None, "a node that is down comes back with what it had");
    cluster.apply(Millis(3), &begin_with(run(2, 2), 2, 2)).unwrap();
    assert_eq!(cluster.level_to_raise(), Some(2));
    cluster.apply(Millis(4), &Command::RaiseLevel(2)).unwrap();
    assert_eq!((cluster.apply_level(), cluster.level_to_raise()), (2, None));
    assert_eq!(
        cluster.standing(&Command::RaiseLevel(1)),
        Standing::InForce,
        "a level holds with those below it"
    );
    assert_eq!(refusal(&cluster, &begin_with(run(1, 2), 2, 1)), Refusal::TooOld(2));
    assert_eq!(refusal(&cluster, &begin_with(run(3, 1), 1, 1)), Refusal::TooOld(2));
}

#[test]
fn an_id_is_written_in_one_way() {
    let id: ClusterId = "00112233445566778899aabbccddeeff".parse().unwrap();
    assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
    for wrong in ["", "0", "00112233445566778899AABBCCDDEEFF", "+0112233445566778899aabbccddeeff"] {
        assert_eq!(wrong.parse::<ClusterId>(), Err(NotAnId), "{wrong}");
    }
}

/// Few nodes, runs and levels, so that commands meet.
pub(super) fn command() -> impl Strategy<Value = Command> {
    let host = || (0..5_u32, 0..6_u32).prop_map(|(node, incarnation)| run(node, incarnation));
    let shards = 0..3_u16;
    prop_oneof![
        1 => Just(Command::Tick),
        2 => shards.prop_map(|shards| Command::Found(Founding { shards, ..FOUNDING })),
        8 => (host(), 0..2_u64, 0..3_u32).prop_map(|(host, token, level)| begin_with(host, token, level)),
        4 => host().prop_map(Command::Down),
        2 => (0..3_u32).prop_map(Command::RaiseLevel),
        3 => (0..4_u64).prop_map(Command::Admit),
        1 => (0..5_u32).prop_map(|node| Command::Drain(NodeId(node))),
        1 => (0..5_u32).prop_map(|node| Command::Undrain(NodeId(node))),
        2 => (0..5_u32).prop_map(|node| Command::Leave(NodeId(node))),
        2 => (0..5_u32).prop_map(|node| Command::Left(NodeId(node))),
        12 => owners::routes().prop_map(Command::Routes),
        4 => owners::fence().prop_map(Command::Fence),
        2 => owners::fence().prop_map(Command::Unfence),
        1 => bans::change(),
    ]
}

proptest! {
    #[test]
    fn a_repeat_is_answered_alike_and_changes_nothing(commands in vec((0..9_u64, command()), 0..60)) {
        let mut cluster = Cluster::default();
        for (now, command) in &commands {
            let answer = cluster.apply(Millis(*now), command);
            let digest = cluster.digest();
            let standing = answer.map_or_else(Standing::Refused, |()| Standing::InForce);
            prop_assert_eq!(cluster.standing(command), standing);
            prop_assert_eq!(cluster.apply(Millis(0), command), answer);
            prop_assert_eq!(cluster.digest(), digest);
        }
    }

    #[test]
    fn what_is_said_of_a_node_only_rises(commands in vec(command(), 0..60)) {
        let mut cluster = Cluster::default();
        let mut before: std::collections::BTreeMap<_, _> = cluster.lowest_live().collect();
        let mut level = cluster.apply_level();
        for (now, command) in commands.iter().enumerate() {
            let _answer = cluster.apply(Millis(now as u64), command);
            let after: std::collections::BTreeMap<_, _> = cluster.lowest_live().collect();
            prop_assert!(before.iter().all(|(node, lowest)| after.get(node) >= Some(lowest)));
            prop_assert!(cluster.apply_level() >= level);
            (before, level) = (after, cluster.apply_level());
        }
    }
}
