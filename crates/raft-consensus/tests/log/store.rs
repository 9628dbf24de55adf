//! openraft's own suite on the log store, over real files and over a simulated disk, and what the suite does not ask.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{
    EntryResponder, IOFlushed, RaftLogReader, RaftLogStorage, RaftLogStorageExt, RaftStateMachine,
};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageError};
use raft_consensus::disk::{CrashMode, Disk, FileDisk, SimDisk};
use raft_consensus::log_store::{LogStore, READ_BYTES_MAX};
use raft_consensus::types::{
    Applied, Entry, LeaderId, LogId, Proposal, SnapshotMeta, StoredMembership, TokioTypes, Vote,
};
use raft_consensus::wal::{Wal, WalThreads};

use crate::common::{G, small};

type Snapshot = openraft::alias::SnapshotOf<TokioTypes, SnapshotMeta>;

/// The least that the suite's tests of log and state machine together need.
#[derive(Clone, Default)]
struct Memory {
    applied: SnapshotMeta,
    snapshot: Option<SnapshotMeta>,
}

impl RaftSnapshotBuilder<TokioTypes> for Memory {
    type SnapshotData = SnapshotMeta;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        Ok(Snapshot { meta: self.applied.clone(), snapshot: self.applied.clone() })
    }
}

impl RaftStateMachine<TokioTypes> for Memory {
    type SnapshotData = SnapshotMeta;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied.last_log_id, self.applied.last_membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TokioTypes>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.applied.last_log_id = Some(entry.log_id);
            if let EntryPayload::Membership(members) = entry.payload {
                self.applied.last_membership = StoredMembership::new(Some(entry.log_id), members);
            }
            if let Some(responder) = responder {
                responder.send(Applied);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.snapshot = Some(self.applied.clone());
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, _: SnapshotMeta) -> io::Result<()> {
        self.applied = meta.clone();
        self.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.snapshot.clone().map(|meta| Snapshot { meta: meta.clone(), snapshot: meta }))
    }
}

/// A log for each test of the suite, driven by its threads.
struct Builder<F>(F);

/// Ends the threads, then removes the files.
type Guard = (WalThreads, Option<tempfile::TempDir>);

impl<F> StoreBuilder<TokioTypes, LogStore, Memory, Guard> for Builder<F>
where
    F: Fn() -> (Arc<dyn Disk>, Option<tempfile::TempDir>) + Send + Sync,
{
    async fn build(&self) -> Result<(Guard, LogStore, Memory), StorageError<TokioTypes>> {
        let (disk, dir) = (self.0)();
        let wal = Wal::open(disk, small()).unwrap().0;
        let threads = wal.start().unwrap();
        Ok(((threads, dir), LogStore::new(wal.group(G).unwrap()), Memory::default()))
    }
}

#[test]
fn openrafts_suite_passes_on_real_files() {
    let real = || {
        let dir = tempfile::tempdir_in(shared_memory()).unwrap();
        (Arc::new(FileDisk::new(dir.path()).unwrap()) as Arc<dyn Disk>, Some(dir))
    };
    run(Suite::test_all(Builder(real))).unwrap();
}

#[test]
fn openrafts_suite_passes_on_a_simulated_disk() {
    let simulated = || (Arc::new(SimDisk::new()) as Arc<dyn Disk>, None);
    run(Suite::test_all(Builder(simulated))).unwrap();
}

/// Where syncs cost nothing, if there is such a place.
fn shared_memory() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test)
}

fn proposal(index: u64, len: usize) -> Entry {
    let payload = EntryPayload::Normal(Proposal(Bytes::from(vec![index as u8; len])));
    Entry { log_id: LogId::new(LeaderId { term: 1, node_id: 1 }, index), payload }
}

struct Node {
    disk: SimDisk,
    wal: Wal,
    _threads: WalThreads,
    store: LogStore,
}

fn node(disk: &SimDisk) -> Node {
    let options =
        raft_consensus::wal::WalOptions { segment_bytes: 4 << 20, log_bytes_max: 64 << 20, ..small() };
    let wal = Wal::open(Arc::new(disk.clone()), options).unwrap().0;
    let threads = wal.start().unwrap();
    let store = LogStore::new(wal.group(G).unwrap());
    Node { disk: disk.clone(), wal, _threads: threads, store }
}

/// What the trait of openraft gives, with the types filled in.
async fn append(store: &mut LogStore, entries: Vec<Entry>) {
    RaftLogStorageExt::<TokioTypes>::blocking_append(store, entries).await.unwrap();
}

async fn limited(store: &mut LogStore, start: u64, end: u64) -> Vec<u64> {
    let read = RaftLogReader::<TokioTypes>::limited_get_log_entries(store, start, end).await.unwrap();
    read.iter().map(|entry| entry.log_id.index).collect()
}

#[test]
fn replication_reads_a_bounded_piece_and_apply_reads_all() {
    run(async {
        let mut node = node(&SimDisk::new());
        append(&mut node.store, (0..50).map(|i| proposal(i, 100_000)).collect()).await;
        let piece = limited(&mut node.store, 5, 50).await;
        assert_eq!(piece, (5..5 + READ_BYTES_MAX as u64 / 100_000).collect::<Vec<_>>());
        append(&mut node.store, vec![proposal(50, READ_BYTES_MAX + 1)]).await;
        assert_eq!(limited(&mut node.store, 50, 51).await, [50], "never nothing");
        let all = RaftLogReader::<TokioTypes>::entries_stream(&mut node.store, 3..51).await;
        let all: Vec<Entry> = all.try_collect().await.unwrap();
        let expected = (3..50).map(|i| proposal(i, 100_000)).chain([proposal(50, READ_BYTES_MAX + 1)]);
        assert!(all.into_iter().eq(expected));
    });
}

#[test]
fn a_vote_is_synced_when_it_is_saved_and_found_at_the_next_start() {
    run(async {
        let disk = SimDisk::new();
        let mut node = node(&disk);
        let vote = Vote::new_committed(7, 3);
        RaftLogStorage::<TokioTypes>::save_vote(&mut node.store, &vote).await.unwrap();
        let cut = node.disk.clone();
        cut.crash(CrashMode::LoseAll, 1);
        let mut again = self::node(&cut);
        let found = RaftLogReader::<TokioTypes>::read_vote(&mut again.store).await.unwrap();
        assert_eq!(found, Some(vote));
    });
}

#[test]
fn committed_purged_and_last_are_found_at_the_next_start() {
    run(async {
        let disk = SimDisk::new();
        let mut first = node(&disk);
        append(&mut first.store, (0..5).map(|i| proposal(i, 100)).collect()).await;
        let at = |index| LogId::new(LeaderId { term: 1, node_id: 1 }, index);
        RaftLogStorage::<TokioTypes>::save_committed(&mut first.store, Some(at(3))).await.unwrap();
        RaftLogStorage::<TokioTypes>::purge(&mut first.store, at(2)).await.unwrap();
        RaftLogStorage::<TokioTypes>::truncate_after(&mut first.store, Some(at(3))).await.unwrap();
        drop(first);
        disk.crash(CrashMode::LoseAll, 1);
        let mut again = node(&disk);
        let state = RaftLogStorage::<TokioTypes>::get_log_state(&mut again.store).await.unwrap();
        assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(at(2)), Some(at(3))));
        let committed = RaftLogStorage::<TokioTypes>::read_committed(&mut again.store).await.unwrap();
        assert_eq!(committed, Some(at(3)));
    });
}

#[test]
fn a_failed_sync_is_told_to_openraft_and_to_all_who_come_later() {
    run(async {
        let mut node = node(&SimDisk::new());
        node.disk.fail_sync(0);
        let (tell, told) = <TokioTypes as TypeConfigExt>::oneshot();
        RaftLogStorage::<TokioTypes>::append(&mut node.store, [proposal(0, 10)], IOFlushed::signal(tell))
            .await
            .unwrap();
        assert!(told.await.unwrap().is_err());
        let later = RaftLogStorage::<TokioTypes>::save_vote(&mut node.store, &Vote::new(1, 1)).await;
        assert!(later.is_err());
        assert!(node.wal.ended().is_some());
    });
}
