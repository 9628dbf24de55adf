//! Tests of the machine around the state: levels that a binary does not know, snapshots, and who is told.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use session_store::Epoch;

use super::owners::add;
use super::*;
use crate::machine::Machine;
use crate::proposer::ENTRY_BYTES_MAX;
use crate::record;
use crate::snapshot::SnapshotData;
use crate::storage::Storage;
use crate::types::SnapshotMeta;
use crate::wal::WalOptions;

fn open(directory: &Path) -> (Storage, ClusterMachine) {
    let options = WalOptions { segment_bytes: 1 << 20, log_bytes_max: 4 << 20, ..WalOptions::default() };
    let storage = Storage::open(directory, options).unwrap();
    let (machine, _) = ClusterMachine::restore(&storage).unwrap();
    (storage, machine)
}

fn apply(machine: &mut ClusterMachine, commands: &[Command]) {
    machine.apply(&ClusterMachine::encode(5, commands), true).unwrap();
}

#[test]
fn a_level_that_the_binary_does_not_know_is_fatal() {
    let directory = tempfile::tempdir().unwrap();
    let (_storage, mut machine) = open(directory.path());
    let newer = begin_with(run(1, 1), 1, APPLY_LEVEL_MAX + 1);
    apply(&mut machine, &[Command::Found(FOUNDING), newer]);
    let body = ClusterMachine::encode(6, &[Command::RaiseLevel(APPLY_LEVEL_MAX + 1)]);
    let error = machine.apply(&body, false).unwrap_err().to_string();
    let level = format!("apply level {}", APPLY_LEVEL_MAX + 1);
    assert!(error.contains(&level) && error.contains("newer"), "{error}");
}

#[test]
fn a_snapshot_makes_a_replica_equal_and_its_followers_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let (from, mut leader) = open(&directory.path().join("from"));
    apply(&mut leader, &[Command::Found(FOUNDING), begin(1, 3), begin(2, 1), Command::Down(run(2, 1))]);
    let path = directory.path().join("snapshot");
    let applied = record::encode_applied(&SnapshotMeta::default());
    let written = from.store().lock().write(GROUP, &leader.take_changes(), &applied).unwrap();
    from.store().lock().export(GROUP, &path).unwrap().unwrap();
    let (to, mut follower) = open(&directory.path().join("to"));
    apply(&mut follower, &[Command::Found(FOUNDING), begin(7, 1)]);
    let mut told = follower.lowest_live();
    told.mark_unchanged();
    follower.install(SnapshotData::Received(path.clone())).unwrap();
    assert_eq!(follower.state().digest(), leader.state().digest());
    assert_eq!(*told.borrow_and_update(), leader.state().lowest_live().collect());
    assert_eq!(to.store().lock().load(GROUP).unwrap().unwrap().written(), written);
    std::fs::write(&path, b"damaged").unwrap();
    assert!(follower.install(SnapshotData::Received(path)).is_err());
}

#[test]
fn followers_are_told_what_changes_and_of_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (_storage, mut machine) = open(directory.path());
    let mut told = machine.lowest_live();
    let mut news = |machine: &mut ClusterMachine, command: Command| {
        apply(machine, &[command]);
        told.has_changed().unwrap().then(|| told.borrow_and_update().clone())
    };
    assert_eq!(news(&mut machine, Command::Found(FOUNDING)), None);
    assert_eq!(news(&mut machine, begin(1, 3)), Some(LowestLive::from([(NodeId(1), Incarnation(3))])));
    assert_eq!(news(&mut machine, begin(1, 3)), None);
    assert_eq!(news(&mut machine, Command::Tick), None);
    let down = news(&mut machine, Command::Down(run(1, 3)));
    assert_eq!(down, Some(LowestLive::from([(NodeId(1), Incarnation(4))])));
    assert_eq!(machine.now_ms(), 5);
}

/// What it was told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Follow for Told {
    fn begin(&self, index: u64, state: &Cluster) {
        let owners: Vec<Owner> = state.owners().collect();
        self.0.lock().push(format!("begin {index} {owners:?}"));
    }

    fn applied(&self, index: u64, changes: Vec<Change>) {
        self.0.lock().push(format!("{index} {}", changes.len()));
    }
}

#[test]
fn a_follower_hears_of_each_entry_with_its_index_and_of_a_snapshot_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (from, mut machine) = open(&directory.path().join("from"));
    let told = Arc::new(Told::default());
    machine.follow(Arc::clone(&told) as Arc<dyn Follow>);
    apply(&mut machine, &[Command::Found(FOUNDING), begin(1, 3), add(Owner::Host(run(1, 3)), 1, "a")]);
    machine.applied(4);
    machine.applied(5);
    apply(&mut machine, &[Command::Down(run(1, 3)), add(Owner::Shard(ShardId(0)), 1, "b")]);
    machine.applied(6);
    // Gone, and buried in the same breath, since it had one route.
    assert_eq!(told.take(), ["begin 0 []", "4 1", "5 0", "6 3"]);
    let path = directory.path().join("snapshot");
    let applied = record::encode_applied(&SnapshotMeta::default());
    from.store().lock().write(GROUP, &machine.take_changes(), &applied).unwrap();
    from.store().lock().export(GROUP, &path).unwrap().unwrap();
    machine.install(SnapshotData::Received(path)).unwrap();
    assert!(told.take().is_empty(), "the index of the snapshot is not known yet");
    machine.applied(9);
    machine.checkpointed();
    assert_eq!(told.take(), ["begin 9 [shard 0]", "9 0"]);
}

proptest! {
    #[test]
    fn a_command_takes_no_more_room_than_it_is_weighed(command in command(), name in "[a-z]{0,64}") {
        let command = match command {
            Command::Begin(begin) => Command::Begin(Begin { name: name.into(), token: u64::MAX, ..begin }),
            Command::Routes(routes) => {
                let host = Host { node: NodeId(u32::MAX), incarnation: Incarnation(u32::MAX) };
                let (number, predecessor) = (u64::MAX, u64::MAX - 1);
                Command::Routes(Routes { owner: Owner::Host(host), number, predecessor, ..routes })
            }
            Command::Fence(fence) => Command::Fence(Fence { epoch: Epoch(u64::MAX), ..fence }),
            other => other,
        };
        let one = ClusterMachine::encode(u64::MAX, std::slice::from_ref(&command)).len();
        let none = ClusterMachine::encode(u64::MAX, &[]).len();
        let weight = ClusterMachine::weight(&command).bytes;
        prop_assert!(one - none <= weight && weight <= ENTRY_BYTES_MAX, "{weight} for {}", one - none);
    }
}
