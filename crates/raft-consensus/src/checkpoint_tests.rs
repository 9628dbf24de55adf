//! What a checkpoint and a snapshot that comes in the middle of it leave.

use std::path::Path;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::storage::RaftStateMachine;

use super::*;
use crate::log_store::LogStore;
use crate::machine::{BadEntry, Weight};
use crate::snapshot::SnapshotData;
use crate::storage::{GroupCheckpoints, Storage};
use crate::types::{Entry, LeaderId, LogId, SnapshotMeta};
use crate::wal::WalOptions;

const GROUP: GroupId = GroupId(1);

/// A state of one word, which every entry replaces.
struct Word {
    word: Bytes,
    checkpoints: GroupCheckpoints,
    /// Up to where the log was let go when a snapshot was installed.
    log: crate::wal::GroupLog,
    purged_before: Option<u64>,
}

impl Machine for Word {
    type Command = ();

    fn weight((): &()) -> Weight {
        Weight::default()
    }

    fn tick() {}

    fn encode(_: u64, _: &[()]) -> Bytes {
        Bytes::new()
    }

    fn apply(&mut self, body: &Bytes, _: bool) -> Result<(), BadEntry> {
        self.word = body.clone();
        Ok(())
    }

    fn install(&mut self, snapshot: SnapshotData) -> Result<(), BadEntry> {
        self.purged_before = self.log.purged().map(|(index, _)| index);
        let installed = self.checkpoints.install(&snapshot, |records| {
            let mut word = Bytes::new();
            for record in records {
                word = record?.1;
            }
            Ok(word)
        });
        self.word = installed.map_err(|error| BadEntry(error.to_string()))?;
        Ok(())
    }

    fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        changes.put(b"word".to_vec(), self.word.clone());
        changes
    }

    fn next_due_ms(&self) -> Option<u64> {
        None
    }

    fn now_ms(&self) -> u64 {
        0
    }
}

struct Node {
    storage: Storage,
    state: StateMachine<Word>,
    directory: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = WalOptions { segment_bytes: 1 << 20, log_bytes_max: 4 << 20, ..WalOptions::default() };
        let storage = Storage::open(directory.path(), options).unwrap();
        let log = storage.log(GROUP).unwrap();
        let checkpoints = storage.checkpoints(GROUP);
        let word = Word { word: Bytes::new(), checkpoints, log: log.clone(), purged_before: None };
        let state = StateMachine::new(word, SnapshotMeta::default(), LogStore::new(log));
        Self { storage, state, directory }
    }

    /// Applies an entry, and takes what a checkpoint after it is to write.
    fn taken(&mut self, index: u64, word: &'static str) -> Taken {
        let payload = EntryPayload::Normal(crate::types::Proposal(Bytes::from_static(word.as_bytes())));
        self.state.apply_entry(Entry { log_id: id(index), payload }, false).unwrap();
        self.state.take_changes().unwrap()
    }

    async fn write(&self, taken: Taken) {
        let disks = (Arc::clone(self.storage.store()), self.storage.wal().clone());
        write(disks, GROUP, taken.changes, taken.checkpoint).await.unwrap();
    }

    fn export(&self, to: &Path) -> SnapshotMeta {
        let written = self.storage.store().lock().export(GROUP, to).unwrap().unwrap();
        record::decode_applied(&written.applied).unwrap()
    }

    async fn install(&mut self, meta: &SnapshotMeta, path: &Path) {
        let state: &mut dyn Installs = &mut self.state;
        state.install(meta.clone(), path.to_owned()).await;
    }

    /// What the store has.
    fn stored(&self) -> (Option<LogId>, Bytes) {
        let mut records = self.storage.store().lock().load(GROUP).unwrap().unwrap();
        let word = records.next().unwrap().unwrap().1;
        (record::decode_applied(&records.written().applied).unwrap().last_log_id, word)
    }
}

/// Names the types that openraft's trait is generic over.
trait Installs {
    fn install(&mut self, meta: SnapshotMeta, path: PathBuf) -> BoxFuture<'_, ()>;
}

impl Installs for StateMachine<Word> {
    fn install(&mut self, meta: SnapshotMeta, path: PathBuf) -> BoxFuture<'_, ()> {
        async move {
            let received = SnapshotData::Received(path);
            RaftStateMachine::<TokioTypes>::install_snapshot(self, &meta, received).await.unwrap();
        }
        .boxed()
    }
}

fn id(index: u64) -> LogId {
    LogId::new(LeaderId { term: 1, node_id: 2 }, index)
}

/// A node that had taken changes for a checkpoint when a snapshot of entry 9 was installed.
async fn overtaken() -> (Node, Taken) {
    let mut leader = Node::new();
    let taken = leader.taken(9, "new");
    leader.write(taken).await;
    let mut node = Node::new();
    let taken = node.taken(3, "old");
    let path = node.directory.path().join("snapshot");
    let meta = leader.export(&path);
    node.install(&meta, &path).await;
    (node, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_not_written_over_a_snapshot_that_came_after_it() {
    let (node, taken) = overtaken().await;
    assert_eq!(node.stored(), (Some(id(9)), Bytes::from_static(b"new")));
    node.write(taken).await;
    assert_eq!(node.stored(), (Some(id(9)), Bytes::from_static(b"new")));
    node.storage.wal().write_floor();
    let Node { storage, state, directory } = node;
    drop(state);
    storage.close();
    let storage = Storage::open(directory.path(), WalOptions::default()).unwrap();
    let known = storage.recovery().floor.checkpoints[&GROUP];
    let stored = storage.store().lock().load(GROUP).unwrap().unwrap().written();
    assert_eq!((known.index, known.hash), (9, stored.hash.0), "the floor knows the snapshot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_before_a_snapshot_is_none_to_be_sent() {
    let (mut node, taken) = overtaken().await;
    node.state.checkpointed(taken.checkpoint);
    assert_eq!(node.state.checkpoint().last_log_id, Some(id(9)));
    assert!(node.state.take_changes().is_none(), "the snapshot is all there is");
    let next = node.taken(10, "next");
    node.write(next).await;
    assert_eq!(node.stored(), (Some(id(10)), Bytes::from_static(b"next")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_goes_before_the_snapshot_is_in_the_store() {
    let (mut node, _) = overtaken().await;
    assert_eq!(node.state.machine().purged_before, Some(9));
    let restored = node.storage.restore(GROUP, |_| Ok(())).unwrap();
    assert_eq!(restored.unwrap().1.last_log_id, Some(id(9)));
}
