//! The cluster group of a node without peers, on a real log and store: what it was told is there after each start, with
//! and without a checkpoint, and a run that may not begin is told why.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raft_consensus::checkpoint::Checkpointer;
use raft_consensus::cluster::{
    AskError, Begin, ClusterId, ClusterMachine, Command, Founding, GROUP, LowestLive, Refusal,
};
use raft_consensus::group::{Group, Start, Timing};
use raft_consensus::network::Alone;
use raft_consensus::storage::Storage;
use raft_consensus::types::TokioTypes;
use raft_consensus::wal::WalOptions;
use session_store::{Host, Incarnation, NodeId};
use tokio::sync::watch;
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(60);
const FOUNDING: Founding = Founding { cluster: ClusterId([3; 16]), shards: 6 };

struct Node {
    storage: Storage,
    group: Group<TokioTypes, ClusterMachine>,
    lowest_live: watch::Receiver<LowestLive>,
}

impl Node {
    async fn start(directory: &Path) -> Self {
        let options = WalOptions { segment_bytes: 1 << 20, log_bytes_max: 8 << 20, ..WalOptions::default() };
        let storage = Storage::open(directory, options).unwrap();
        let (machine, checkpoint) = ClusterMachine::restore(&storage).unwrap();
        let lowest_live = machine.lowest_live();
        let (group, _task) = Group::start(Start {
            node: 1,
            group: GROUP,
            timing: Timing::LAN,
            log: storage.log(GROUP).unwrap(),
            room: storage.wal().room(),
            network: Alone,
            machine,
            checkpoint,
            clock: Arc::new(|| 1_000),
        })
        .await
        .unwrap();
        group.found([1]).await.unwrap();
        group.ready(WITHIN).await.unwrap();
        Self { storage, group, lowest_live }
    }

    async fn ask(&self, command: Command) -> Result<(), Refusal> {
        match timeout(WITHIN, self.group.ask(&command)).await.unwrap() {
            Ok(()) => Ok(()),
            Err(AskError::Refused(refusal)) => Err(refusal),
            Err(AskError::Gone(gone)) => panic!("{gone}"),
        }
    }

    async fn checkpoint(&self) {
        let store = Arc::clone(self.storage.store());
        let mut checkpointer = Checkpointer::new(store, self.storage.wal().clone());
        checkpointer.watch(self.group.clone());
        checkpointer.finish().await.unwrap();
    }

    async fn stop(self) {
        self.group.stop().await;
        self.storage.close();
    }
}

fn begin(incarnation: u32, token: u64) -> Command {
    let host = Host { node: NodeId(1), incarnation: Incarnation(incarnation) };
    Command::Begin(Begin { host, token, name: "quelea-0".into(), knows_level: 1 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_run_finds_what_those_before_it_left() {
    let directory = tempfile::tempdir().unwrap();
    for incarnation in 1..=6 {
        let node = Node::start(directory.path()).await;
        let founding = node.group.look(|machine| machine.state().founding()).await.unwrap();
        assert_eq!(founding, (incarnation > 1).then_some(FOUNDING));
        let before: Vec<u32> = node.lowest_live.borrow().values().map(|lowest| lowest.0).collect();
        assert_eq!(before, if incarnation > 1 { vec![incarnation - 1] } else { vec![] });
        assert_eq!(node.ask(Command::Found(FOUNDING)).await, Ok(()));
        assert_eq!(node.ask(begin(incarnation, 7)).await, Ok(()));
        assert_eq!(node.lowest_live.borrow()[&NodeId(1)], Incarnation(incarnation));
        if incarnation % 3 == 0 {
            node.checkpoint().await;
        }
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_is_refused_by_name_and_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for _start in 0..2 {
        let node = Node::start(directory.path()).await;
        assert_eq!(node.ask(Command::Found(FOUNDING)).await, Ok(()));
        assert_eq!(node.ask(begin(5, 7)).await, Ok(()), "the first time, and as a repeat");
        assert_eq!(node.ask(begin(5, 8)).await, Err(Refusal::NotNewer(Incarnation(5))));
        assert_eq!(node.ask(begin(4, 7)).await, Err(Refusal::NotNewer(Incarnation(5))));
        let other = Founding { shards: 9, ..FOUNDING };
        assert_eq!(node.ask(Command::Found(other)).await, Err(Refusal::Founded(FOUNDING)));
        node.stop().await;
    }
}
