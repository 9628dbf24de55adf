//! The cluster group of a node without peers, on a real log and store: what it was told is there after each start, with
//! and without a checkpoint, and a run that may not begin is told why. Then one of three nodes: they hear the same, and a
//! new leader knows what the one before it answered.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::network::{NetSnapshot, RaftNetworkFactory};
use raft_consensus::checkpoint::Checkpointer;
use raft_consensus::cluster::{
    AskError, Begin, ClusterId, ClusterMachine, Command, Founding, GROUP, LowestLive, Refusal,
};
use raft_consensus::disk::FileDisk;
use raft_consensus::group::{Group, Start, Timing};
use raft_consensus::network::{Alone, Dispatcher, MemoryNetwork, Network, StoreSnapshots};
use raft_consensus::snapshot::SnapshotData;
use raft_consensus::storage::Storage;
use raft_consensus::types::TokioTypes;
use raft_consensus::wal::WalOptions;
use session_store::{Host, Incarnation, NodeId};
use tokio::sync::watch;
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(60);
const FOUNDING: Founding = Founding { cluster: ClusterId([3; 16]), shards: 6 };

struct Node {
    id: u64,
    storage: Storage,
    group: Group<TokioTypes, ClusterMachine>,
    lowest_live: watch::Receiver<LowestLive>,
}

impl Node {
    async fn start(directory: &Path) -> Self {
        let storage = Self::open(directory);
        let node = Self::run(1, storage, Alone).await;
        node.group.found([1]).await.unwrap();
        node.group.ready(WITHIN).await.unwrap();
        node
    }

    fn open(directory: &Path) -> Storage {
        let options = WalOptions { segment_bytes: 1 << 20, log_bytes_max: 8 << 20, ..WalOptions::default() };
        Storage::open(directory, options).unwrap()
    }

    /// One of a cluster's nodes; `network` has it from here on.
    async fn join(id: u64, directory: &Path, network: &MemoryNetwork<TokioTypes>) -> Self {
        let storage = Self::open(directory);
        let disk = Arc::new(FileDisk::new(directory).unwrap());
        let files = Arc::new(StoreSnapshots::new(Arc::clone(storage.store()), directory.to_owned()));
        let peers = Network::new((id, GROUP), network.transport(id), disk.clone(), files.clone());
        let node = Self::run(id, storage, peers).await;
        let dispatcher = Dispatcher::new(id, disk, files);
        dispatcher.add(&node.group).unwrap();
        network.join(id, dispatcher);
        node
    }

    async fn run<N>(id: u64, storage: Storage, network: N) -> Self
    where
        N: RaftNetworkFactory<TokioTypes>,
        N::Network: NetSnapshot<TokioTypes, SnapshotData = SnapshotData>,
    {
        let (machine, checkpoint) = ClusterMachine::restore(&storage).unwrap();
        let lowest_live = machine.lowest_live();
        let (group, _task) = Group::start(Start {
            node: id,
            group: GROUP,
            timing: Timing::LAN,
            log: storage.log(GROUP).unwrap(),
            room: storage.wal().room(),
            network,
            machine,
            checkpoint,
            clock: Arc::new(|| 1_000),
        })
        .await
        .unwrap();
        Self { id, storage, group, lowest_live }
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
    begin_of(1, incarnation, token)
}

fn begin_of(node: u32, incarnation: u32, token: u64) -> Command {
    let host = Host { node: NodeId(node), incarnation: Incarnation(incarnation) };
    Command::Begin(Begin { host, token, name: "quelea-0".into(), address: "".into(), knows_level: 1 })
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

/// Waits until one of the nodes leads, and says which.
async fn leader(nodes: &[Node]) -> usize {
    let all = nodes.iter().map(|node| Box::pin(leads(node)));
    timeout(WITHIN, futures_util::future::select_all(all)).await.unwrap().1
}

async fn leads(node: &Node) {
    let mut leadership = node.group.leadership();
    while leadership.now().leader != Some(node.id) {
        leadership.changed().await.unwrap();
    }
}

async fn hears(node: &mut Node, expected: [(u32, u32); 3]) {
    let expected = expected.map(|(node, lowest)| (NodeId(node), Incarnation(lowest))).into();
    timeout(WITHIN, node.lowest_live.wait_for(|told| *told == expected)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_hear_the_same_and_a_new_leader_knows_the_answers() {
    let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let network = MemoryNetwork::new(1);
    let mut nodes = Vec::new();
    for (id, directory) in (1..).zip(&directories) {
        nodes.push(Node::join(id, directory.path(), &network).await);
    }
    nodes[0].group.found([1, 2, 3]).await.unwrap();
    let leads = leader(&nodes).await;
    assert_eq!(nodes[leads].ask(Command::Found(FOUNDING)).await, Ok(()));
    for node in 1..=3 {
        assert_eq!(nodes[leads].ask(begin_of(node, 1, 7)).await, Ok(()));
    }
    for node in &mut nodes {
        hears(node, [(1, 1), (2, 1), (3, 1)]).await;
    }
    let asks_in_vain = nodes[(leads + 1) % 3].group.ask(&Command::Found(FOUNDING));
    assert!(timeout(Duration::from_millis(300), asks_in_vain).await.is_err(), "it does not lead");
    let gone = nodes.remove(leads);
    let dead = u32::try_from(gone.id).unwrap();
    network.leave(gone.id);
    gone.stop().await;
    let leads = leader(&nodes).await;
    assert_eq!(nodes[leads].ask(begin_of(dead, 1, 7)).await, Ok(()), "a repeat");
    assert_eq!(nodes[leads].ask(begin_of(dead, 1, 8)).await, Err(Refusal::NotNewer(Incarnation(1))));
    let down = Command::Down(Host { node: NodeId(dead), incarnation: Incarnation(1) });
    assert_eq!(nodes[leads].ask(down).await, Ok(()));
    assert_eq!(nodes[leads].ask(begin_of(dead, 1, 7)).await, Err(Refusal::Dead));
    for node in &mut nodes {
        hears(node, [1, 2, 3].map(|id| (id, if id == dead { 2 } else { 1 }))).await;
    }
    for node in nodes {
        node.stop().await;
    }
}
