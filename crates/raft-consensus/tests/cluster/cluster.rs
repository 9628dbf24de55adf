//! A cluster of three nodes with one group, a list of numbers: what a test of this folder is written in. It decides
//! nothing about what is right.

// Named by its place, since the tests over sockets use this file too.
#[path = "damage.rs"]
mod damage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use raft_consensus::checkpoint::Checkpointer;
use raft_consensus::disk::FileDisk;
use raft_consensus::group::{Group, Start, Timing};
use raft_consensus::leadership::Leadership;
use raft_consensus::machine::{BadEntry, Machine, Weight};
use raft_consensus::network::{
    Dispatcher, MemoryNetwork, MemoryTransport, Network, PeerTransport, StoreSnapshots,
};
use raft_consensus::snapshot::SnapshotData;
use raft_consensus::storage::{Storage, StorageError};
use raft_consensus::types::{NodeId, TokioTypes};
use raft_consensus::wal::{GroupId, GroupLog, WalOptions};
use session_store::store::{Changes, Store};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

pub(crate) use damage::Damage;
use damage::{DamagedFiles, Damaging};

pub(crate) const GROUP: GroupId = GroupId(1);
pub(crate) const NODES: [NodeId; 3] = [1, 2, 3];
/// Bytes that a number takes more in the log, so that some make it long.
const PADDING: usize = 200 << 10;
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// A list of numbers without repeats. With `padding` each takes as many bytes more in the log.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) numbers: Vec<u64>,
    pub(crate) installs: usize,
    acknowledged: Arc<Mutex<Vec<u64>>>,
    store: Option<Arc<Mutex<Store>>>,
}

/// A number to be put on the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Add {
    pub(crate) number: u64,
    pub(crate) padding: usize,
}

impl Ledger {
    fn read(mut records: impl Buf) -> Vec<u64> {
        let mut numbers = Vec::new();
        while records.has_remaining() {
            numbers.push(records.get_u64());
        }
        numbers
    }
}

impl Machine for Ledger {
    type Command = Add;

    fn weight(add: &Add) -> Weight {
        Weight { items: 1, bytes: 16 + add.padding }
    }

    fn tick() -> Add {
        Add { number: u64::MAX, padding: 0 }
    }

    fn encode(_now_ms: u64, commands: &[Add]) -> Bytes {
        let mut body = BytesMut::new();
        for add in commands {
            body.put_u64(add.number);
            body.put_u64(add.padding as u64);
            body.put_bytes(0, add.padding);
        }
        body.freeze()
    }

    fn apply(&mut self, body: &Bytes, leads: bool) -> Result<(), BadEntry> {
        let mut body = body.clone();
        while body.has_remaining() {
            let number = body.get_u64();
            let padding = body.get_u64();
            body.advance(usize::try_from(padding).unwrap());
            if !self.numbers.contains(&number) {
                self.numbers.push(number);
            }
            if leads {
                self.acknowledged.lock().push(number);
            }
        }
        Ok(())
    }

    fn install(&mut self, snapshot: SnapshotData) -> Result<(), BadEntry> {
        let SnapshotData::Received(path) = snapshot else {
            return Err(BadEntry("it is the own one".to_owned()));
        };
        let mut store = self.store.as_ref().unwrap().lock();
        store.import(GROUP, &path).map_err(|error| BadEntry(error.to_string()))?;
        let records = store.load(GROUP).unwrap().unwrap();
        self.numbers = records.flat_map(|record| Self::read(record.unwrap().1)).collect();
        self.installs += 1;
        Ok(())
    }

    fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        let numbers: Vec<u8> = self.numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        changes.put(b"numbers".to_vec(), numbers.into());
        changes
    }

    fn next_due_ms(&self) -> Option<u64> {
        None
    }

    fn now_ms(&self) -> u64 {
        0
    }
}

pub(crate) struct Node {
    pub(crate) group: Group<TokioTypes, Ledger>,
    pub(crate) storage: Storage,
    checkpointer: Checkpointer,
    acknowledged: Arc<Mutex<Vec<u64>>>,
}

/// How the nodes of a cluster reach each other.
pub(crate) trait Net {
    type Transport: PeerTransport;

    /// A node's way to the others, in a new life.
    fn begin(&mut self, node: NodeId) -> Self::Transport;

    /// Lets a node be reached by the others.
    async fn join(&mut self, node: NodeId, dispatcher: Dispatcher);

    /// The node is gone.
    async fn leave(&mut self, node: NodeId);
}

impl Net for MemoryNetwork<TokioTypes> {
    type Transport = MemoryTransport<TokioTypes>;

    fn begin(&mut self, node: NodeId) -> Self::Transport {
        self.transport(node)
    }

    async fn join(&mut self, node: NodeId, dispatcher: Dispatcher) {
        Self::join(self, node, dispatcher);
    }

    async fn leave(&mut self, node: NodeId) {
        Self::leave(self, node);
    }
}

pub(crate) struct Cluster<N = MemoryNetwork<TokioTypes>> {
    pub(crate) network: N,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) directories: BTreeMap<NodeId, TempDir>,
    /// What nodes that were stopped had acknowledged.
    before: Vec<u64>,
    timing: Timing,
    pub(crate) damage: Arc<Damage>,
}

impl Cluster {
    pub(crate) async fn start(timing: Timing) -> Self {
        Self::start_over(MemoryNetwork::new(1), timing).await
    }
}

impl<N: Net> Cluster<N> {
    /// What is acknowledged is everywhere, and still there after all nodes were restarted.
    pub(crate) async fn keeps_all_over_a_restart(&mut self) {
        self.insist(0..2_000).await;
        self.agrees().await;
        for node in NODES {
            self.stop_node(node).await;
        }
        for node in NODES {
            self.start_node(node).await;
        }
        self.insist(2_000..2_100).await;
        self.agrees().await;
        for node in NODES {
            assert_eq!(self.numbers(node).await.len(), 2_100);
        }
    }

    pub(crate) async fn start_over(network: N, timing: Timing) -> Self {
        let directories = NODES.map(|node| (node, tempfile::tempdir().unwrap())).into();
        let (nodes, before) = (BTreeMap::new(), Vec::new());
        let mut cluster = Self { network, nodes, directories, before, timing, damage: Arc::default() };
        for node in NODES {
            cluster.start_node(node).await;
        }
        for node in cluster.nodes.values() {
            node.group.found(NODES).await.unwrap();
        }
        cluster.leader().await;
        cluster
    }

    /// Opens what a node has on its disk.
    pub(crate) fn open(&self, id: NodeId) -> Result<Storage, StorageError> {
        let options = WalOptions { segment_bytes: 4 << 20, log_bytes_max: 64 << 20, ..WalOptions::default() };
        Storage::open_replica(self.directories[&id].path(), options)
    }

    pub(crate) async fn start_node(&mut self, id: NodeId) {
        let directory = self.directories[&id].path();
        let storage = self.open(id).unwrap();
        let disk = Arc::new(FileDisk::new(directory).unwrap());
        let files = StoreSnapshots::new(Arc::clone(storage.store()), directory.to_owned());
        let files = Arc::new(DamagedFiles { files, damage: Arc::clone(&self.damage) });
        let transport = Damaging { transport: self.network.begin(id), damage: Arc::clone(&self.damage) };
        let network = Network::new((id, GROUP), transport, disk.clone(), files.clone());
        let others: Vec<NodeId> = self.directories.keys().copied().filter(|other| *other != id).collect();
        timeout(WITHIN, storage.fetch_missing::<TokioTypes, _>(GROUP, &network, &others))
            .await
            .unwrap()
            .unwrap();
        let restored = storage.restore(GROUP, |checkpoint| {
            let mut ledger = Ledger::default();
            for record in checkpoint {
                ledger.numbers.extend(Ledger::read(record?.1));
            }
            Ok(ledger)
        });
        let (mut machine, checkpoint) = restored.unwrap().unwrap_or_default();
        let acknowledged = Arc::clone(&machine.acknowledged);
        machine.store = Some(Arc::clone(storage.store()));
        let (group, _task) = Group::start(Start {
            node: id,
            group: GROUP,
            timing: self.timing,
            log: storage.log(GROUP).unwrap(),
            room: storage.wal().room(),
            network,
            machine,
            checkpoint,
            clock: Arc::new(|| 1_000),
        })
        .await
        .unwrap();
        let dispatcher = Dispatcher::new(id, disk, files);
        dispatcher.add(&group).unwrap();
        self.network.join(id, dispatcher).await;
        let mut checkpointer = Checkpointer::new(Arc::clone(storage.store()), storage.wal().clone());
        checkpointer.watch(group.clone());
        self.nodes.insert(id, Node { group, storage, checkpointer, acknowledged });
    }

    /// Stops a node as a kill would: nobody is told.
    pub(crate) async fn stop_node(&mut self, id: NodeId) {
        self.network.leave(id).await;
        let node = self.nodes.remove(&id).unwrap();
        node.group.stop().await;
        self.before.extend(node.acknowledged.lock().iter());
        node.storage.close();
    }

    pub(crate) async fn stop(mut self) {
        let running: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in running {
            self.stop_node(node).await;
        }
    }

    pub(crate) fn leadership(&self, node: NodeId) -> Leadership {
        self.nodes[&node].group.leadership().now()
    }

    /// The node that leads according to itself and to one other at least.
    pub(crate) async fn leader(&self) -> NodeId {
        let agreed = |node: &NodeId| {
            let own = self.leadership(*node);
            let says = |other: &&NodeId| {
                let other = self.leadership(**other);
                (other.leader, other.term) == (Some(*node), own.term)
            };
            own.leader == Some(*node) && self.nodes.keys().filter(says).count() >= 2
        };
        eventually("a leader", || async { self.nodes.keys().copied().find(agreed) }).await
    }

    pub(crate) async fn propose(&self, at: NodeId, numbers: impl IntoIterator<Item = u64>) {
        self.propose_padded(at, numbers, 0).await;
    }

    pub(crate) async fn propose_padded(
        &self,
        at: NodeId,
        numbers: impl IntoIterator<Item = u64>,
        padding: usize,
    ) {
        for number in numbers {
            let room = timeout(WITHIN, self.nodes[&at].group.room()).await.unwrap().unwrap();
            room.propose(Add { number, padding });
        }
    }

    /// What was acknowledged by any node.
    pub(crate) fn acknowledged(&self) -> Vec<u64> {
        let running = self.nodes.values().flat_map(|node| node.acknowledged.lock().clone());
        self.before.iter().copied().chain(running).collect()
    }

    /// Proposes, as a client that repeats what is not acknowledged at whoever leads.
    pub(crate) async fn insist(&self, numbers: std::ops::Range<u64>) {
        self.insist_padded(numbers, 0).await;
    }

    pub(crate) async fn insist_padded(&self, numbers: std::ops::Range<u64>, padding: usize) {
        let all: Vec<u64> = numbers.collect();
        eventually("everything acknowledged", || async {
            let done = self.acknowledged();
            let left: Vec<u64> = all.iter().copied().filter(|number| !done.contains(number)).collect();
            if left.is_empty() {
                return Some(());
            }
            let leader = self.leader().await;
            let before = self.leadership(leader);
            self.propose_padded(leader, left.iter().copied(), padding).await;
            let answered = async {
                while !left.iter().all(|number| self.acknowledged().contains(number)) {
                    if self.leadership(leader) != before {
                        return;
                    }
                    sleep(Duration::from_millis(2)).await;
                }
            };
            let _ = timeout(Duration::from_secs(5), answered).await;
            None
        })
        .await;
    }

    pub(crate) async fn numbers(&self, node: NodeId) -> Vec<u64> {
        self.nodes[&node].group.look_now(|state| state.machine().numbers.clone()).await.unwrap()
    }

    /// Waits until a node has all of these.
    pub(crate) async fn has(&self, node: NodeId, numbers: &[u64]) {
        eventually("a node that has everything", || async {
            let found = self.numbers(node).await;
            numbers.iter().all(|number| found.contains(number)).then_some(())
        })
        .await;
    }

    /// All nodes come to the same list, with everything in it that was acknowledged.
    pub(crate) async fn agrees(&self) {
        let acknowledged = self.acknowledged();
        for node in self.nodes.keys() {
            self.has(*node, &acknowledged).await;
        }
        eventually("equal lists", || async {
            let mut lists = Vec::new();
            for node in self.nodes.keys() {
                lists.push(self.numbers(*node).await);
            }
            lists.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
        })
        .await;
    }

    pub(crate) async fn checkpoint(&mut self, node: NodeId) {
        self.nodes.get_mut(&node).unwrap().checkpointer.finish().await.unwrap();
    }

    /// A checkpoint of each node that runs.
    pub(crate) async fn checkpoints(&mut self) {
        let running: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in running {
            self.checkpoint(node).await;
        }
    }

    /// Stops a node that does not lead, and says which.
    pub(crate) async fn goes_away(&mut self) -> NodeId {
        let leader = self.leader().await;
        let away = NODES.into_iter().find(|node| *node != leader).unwrap();
        self.insist(0..100).await;
        self.agrees().await;
        self.stop_node(away).await;
        away
    }

    /// A node that was away while the others let go of the log that it needs.
    pub(crate) async fn left_behind(&mut self) -> NodeId {
        let away = self.goes_away().await;
        let needed = self.log(self.leader().await).last().unwrap().0;
        self.insist_padded(100..150, PADDING).await;
        self.agrees().await;
        self.checkpoints().await;
        eventually("logs that were let go", || async {
            let gone = |node: &NodeId| self.log(*node).purged().is_some_and(|(index, _)| index > needed);
            self.nodes.keys().all(gone).then_some(())
        })
        .await;
        away
    }

    pub(crate) fn log(&self, node: NodeId) -> GroupLog {
        self.nodes[&node].storage.log(GROUP).unwrap()
    }

    pub(crate) async fn installs(&self, node: NodeId) -> usize {
        self.nodes[&node].group.look_now(|state| state.machine().installs).await.unwrap()
    }
}

/// Waits until a question has an answer.
pub(crate) async fn eventually<R, F: Future<Output = Option<R>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> R {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WITHIN, asking).await.unwrap_or_else(|_| panic!("no {what} in time"))
}
