//! A group of one on a real log: what was applied is there after the next start, with and without a checkpoint.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft_consensus::checkpoint::Checkpointer;
use raft_consensus::group::{Group, MAILBOX_BYTES_MAX, NoRoom, Start, Timing};
use raft_consensus::machine::{BadEntry, Machine, Weight};
use raft_consensus::members::{ChangeError, FoundError};
use raft_consensus::network::Alone;
use raft_consensus::proposer::{Ended, IN_FLIGHT_MAX};
use raft_consensus::snapshot::SnapshotData;
use raft_consensus::storage::Storage;
use raft_consensus::types::TokioTypes;
use raft_consensus::wal::{Durability, GroupId, Room, WalOptions};
use session_store::store::Changes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const GROUP: GroupId = GroupId(1);
const WITHIN: Duration = Duration::from_secs(60);

/// A list of numbers, and how many entries brought them.
#[derive(Debug, Default)]
struct Ledger {
    numbers: Vec<u64>,
    entries: usize,
    led: usize,
    now_ms: u64,
    due_ms: Option<u64>,
    ticks: usize,
}

/// A tick is a number that no test proposes.
const TICK: u64 = u64::MAX;

impl Machine for Ledger {
    type Command = u64;

    fn weight(_: &u64) -> Weight {
        Weight { items: 1, bytes: 8 }
    }

    fn tick() -> u64 {
        TICK
    }

    fn encode(now_ms: u64, commands: &[u64]) -> Bytes {
        let mut body = BytesMut::new();
        body.put_u64(now_ms);
        commands.iter().for_each(|number| body.put_u64(*number));
        body.freeze()
    }

    fn apply(&mut self, body: &Bytes, leads: bool) -> Result<(), BadEntry> {
        let mut body = body.clone();
        self.now_ms = body.get_u64();
        while body.has_remaining() {
            match body.get_u64() {
                TICK => {
                    self.ticks += 1;
                    self.due_ms = None;
                }
                number => self.numbers.push(number),
            }
        }
        self.entries += 1;
        self.led += usize::from(leads);
        Ok(())
    }

    fn install(&mut self, _: SnapshotData) -> Result<(), BadEntry> {
        Err(BadEntry("nobody sends one".to_owned()))
    }

    fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        let numbers: Vec<u8> = self.numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        changes.put(b"numbers".to_vec(), numbers.into());
        changes
    }

    fn next_due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    fn now_ms(&self) -> u64 {
        self.now_ms
    }
}

struct Node {
    storage: Storage,
    group: Group<TokioTypes, Ledger>,
    task: JoinHandle<Ended>,
}

async fn start(directory: &Path) -> Node {
    start_in(directory, (None, Timing::LAN)).await
}

/// With a log whose room the test decides about, if it is given.
async fn start_in(directory: &Path, with: (Option<watch::Receiver<Room>>, Timing)) -> Node {
    start_synced(directory, with, Durability::Always).await
}

/// With a log that is synced as the test wants it.
async fn start_synced(
    directory: &Path,
    (room, timing): (Option<watch::Receiver<Room>>, Timing),
    durability: Durability,
) -> Node {
    let options =
        WalOptions { segment_bytes: 1 << 20, log_bytes_max: 8 << 20, durability, ..WalOptions::default() };
    let storage = Storage::open(directory, options).unwrap();
    let restored = storage.restore(GROUP, |checkpoint| {
        let mut ledger = Ledger::default();
        for record in checkpoint {
            let (_, mut numbers) = record?;
            while numbers.has_remaining() {
                ledger.numbers.push(numbers.get_u64());
            }
        }
        Ok(ledger)
    });
    let (machine, checkpoint) = restored.unwrap().unwrap_or_default();
    let (group, task) = Group::start(Start {
        node: 1,
        group: GROUP,
        timing,
        log: storage.log(GROUP).unwrap(),
        room: room.unwrap_or_else(|| storage.wal().room()),
        network: Alone,
        machine,
        checkpoint,
        clock: Arc::new(|| 1_000),
    })
    .await
    .unwrap();
    group.found([1]).await.unwrap();
    group.ready(WITHIN).await.unwrap();
    Node { storage, group, task }
}

impl Node {
    async fn propose(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.group.room().await.unwrap().propose(number);
        }
    }

    /// Waits until exactly these were applied.
    async fn has(&self, numbers: &[u64]) {
        until(async || {
            self.group.look_now(|state| state.machine().numbers.clone()).await.unwrap() == numbers
        })
        .await;
    }

    async fn numbers(&self) -> Vec<u64> {
        timeout(WITHIN, self.group.look(|ledger| ledger.numbers.clone())).await.unwrap().unwrap()
    }

    async fn stop(self) {
        self.group.stop().await;
        self.storage.close();
    }
}

/// Waits until something is so.
async fn until(is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WITHIN, asking).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_applied_is_there_after_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let node = start(directory.path()).await;
    node.propose(0..5_000).await;
    assert_eq!(node.numbers().await, (0..5_000).collect::<Vec<_>>());
    let (entries, led) = node.group.look(|ledger| (ledger.entries, ledger.led)).await.unwrap();
    assert!(entries <= 5_000 / IN_FLIGHT_MAX, "{entries} entries: what waits is put together");
    assert_eq!(entries, led);
    node.stop().await;
    let node = start(directory.path()).await;
    assert_eq!(node.numbers().await, (0..5_000).collect::<Vec<_>>());
    assert_eq!(node.group.look(|ledger| ledger.led).await.unwrap(), 0, "an old entry has no effects");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_alone_waits_for_no_tick_before_it_leads_again() {
    const NEVER: Timing =
        Timing { heartbeat_ms: 3_600_000, election_min_ms: 7_200_000, election_max_ms: 10_800_000 };
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let node = start_in(directory.path(), (None, NEVER)).await;
        node.propose(0..1).await;
        assert_eq!(node.numbers().await.len(), round);
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_lets_the_log_go() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let node = start(directory.path()).await;
        assert_eq!(node.numbers().await.len(), round * 300);
        let store = Arc::clone(node.storage.store());
        let mut checkpointer = Checkpointer::new(store, node.storage.wal().clone());
        checkpointer.watch(node.group.clone());
        let first = round as u64 * 300;
        for start in [first, first + 100, first + 200] {
            node.propose(start..start + 100).await;
            node.numbers().await;
            checkpointer.finish().await.unwrap();
        }
        assert_eq!(node.numbers().await, (0..first + 300).collect::<Vec<_>>());
        let log = node.storage.log(GROUP).unwrap();
        let last = log.last().map(|(index, _)| index);
        // A node without peers keeps nothing for them.
        until(async || log.last().is_none() && log.purged().map(|(index, _)| index) >= last).await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_is_done_by_a_tick_and_a_look_waits_for_what_was_proposed() {
    let directory = tempfile::tempdir().unwrap();
    let node = start(directory.path()).await;
    node.group.pass(1, |ledger| ledger.due_ms = Some(0)).await.unwrap();
    node.propose(0..1).await;
    until(async || node.group.look(|ledger| ledger.ticks).await.unwrap() > 0).await;
    assert_eq!(node.group.look(|ledger| ledger.now_ms).await.unwrap(), 1_000);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_bounded_by_its_bytes_and_room_comes_back_when_it_is_in_an_entry() {
    const LARGE: usize = 400 << 10;
    let directory = tempfile::tempdir().unwrap();
    let node = start(directory.path()).await;
    let mut rooms = Vec::new();
    while rooms.len() < MAILBOX_BYTES_MAX / LARGE {
        rooms.push(node.group.room_for(LARGE).await.unwrap());
    }
    let soon = Duration::from_millis(100);
    assert!(timeout(soon, node.group.room_for(LARGE)).await.is_err(), "all of it is taken");
    let waits = tokio::spawn({
        let group = node.group.clone();
        async move { group.room_for(LARGE).await.unwrap().propose(100) }
    });
    (0..).zip(rooms).for_each(|(number, room)| room.propose(number));
    timeout(WITHIN, waits).await.unwrap().unwrap();
    // Who waited may get its room, and use it, before the last of the others is proposed.
    let mut numbers = node.numbers().await;
    numbers.sort_unstable();
    let others = u64::try_from(MAILBOX_BYTES_MAX / LARGE).unwrap();
    assert_eq!(numbers, (0..others).chain([100]).collect::<Vec<_>>());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_record_can_hold_is_refused_and_the_group_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let node = start(directory.path()).await;
    let refused = node.group.room_for(1 << 20).await.err();
    let Some(NoRoom::TooLarge { found, bound }) = refused else { panic!("{refused:?}") };
    assert!(bound < found && bound > (1 << 20) / 3, "{bound}: nearly half a segment");
    node.group.room_for(bound).await.unwrap().propose(1);
    assert_eq!(node.numbers().await, [1]);
    node.stop().await;
}

/// Whoever proposes decides what may go on while there is no room for more; ticks do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_proposed_where_the_rest_of_the_log_is_kept_for_a_start() {
    const QUIET: Duration = Duration::from_millis(50);
    let directory = tempfile::tempdir().unwrap();
    let (room, told) = watch::channel(Room::Full);
    let node = start_in(directory.path(), (Some(told), Timing::LAN)).await;
    node.group.pass(1, |ledger| ledger.due_ms = Some(0)).await.unwrap();
    node.propose(0..2).await;
    node.has(&[0, 1]).await;
    room.send_replace(Room::Spent);
    node.propose(2..3).await;
    sleep(QUIET).await;
    node.has(&[0, 1]).await;
    room.send_replace(Room::Full);
    node.has(&[0, 1, 2]).await;
    assert_eq!(node.group.look(|ledger| ledger.ticks).await.unwrap(), 0);
    room.send_replace(Room::Ok);
    until(async || node.group.look(|ledger| ledger.ticks).await.unwrap() > 0).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_dies_while_nothing_is_proposed_says_so_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let node = start(directory.path()).await;
    node.propose(0..10).await;
    node.numbers().await;
    let store = Arc::clone(node.storage.store());
    let mut checkpointer = Checkpointer::new(store, node.storage.wal().clone());
    checkpointer.watch(node.group.clone());
    node.storage.wal().close();
    // The log takes no purge any more, which ends what runs the group.
    let _may_be_too_late_to_hear = checkpointer.finish().await;
    match timeout(WITHIN, node.task).await.unwrap().unwrap() {
        Ended::Failed(why) => assert!(why.contains("closed"), "{why}"),
        ended @ Ended::Stopped => panic!("{ended}"),
    }
    node.storage.close();
}

/// E3: were all of its members to lose power, none could take part again.
#[tokio::test]
async fn a_group_of_several_is_refused_where_the_log_is_synced_by_the_clock() {
    let directory = tempfile::tempdir().unwrap();
    let by_the_clock = Durability::Interval(Duration::from_millis(100));
    let node = start_synced(directory.path(), (None, Timing::LAN), by_the_clock).await;
    node.propose(0..3).await;
    node.has(&[0, 1, 2]).await;
    let founded = node.group.found([1, 2, 3]).await;
    assert!(matches!(founded, Err(FoundError::NotSynced(_))), "{founded:?}");
    let changed = node.group.change_members([1, 2]).await.unwrap_err();
    assert!(matches!(changed, ChangeError::NotSynced(_)));
    assert!(
        changed.to_string().contains("2 members, and this node's storage.durability is \"interval\""),
        "{changed}"
    );
    node.group.found([1]).await.unwrap();
    node.stop().await;
}
