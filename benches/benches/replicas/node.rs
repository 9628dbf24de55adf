//! A node without sockets and brokers: its log, its store, and a replica of each shard, which makes checkpoints as a
//! broker's does. Used by all measurements.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use raft_consensus::checkpoint::Checkpointer;
use raft_consensus::disk::FileDisk;
use raft_consensus::group::{Group, Start, Timing};
use raft_consensus::machine::{BadEntry, Machine, Weight};
use raft_consensus::network::{Dispatcher, Joined, MemoryNetwork, MemoryTransport, Networks, StoreSnapshots};
use raft_consensus::snapshot::SnapshotData;
use raft_consensus::storage::Storage;
use raft_consensus::types::{NodeId, SnapshotMeta, TokioTypes};
use raft_consensus::wal::{GroupId, WalOptions};
use session_store::command::Input;
use session_store::limits::ShardLimits;
use session_store::store::{Changes, Checkpoint};
use session_store::{Effect, Host, Incarnation, Millis, Shard, ShardId, ShardNumber, record};
use tokio::task::JoinHandle;

use crate::host::{Desk, Led};

pub(crate) const NODES: [NodeId; 3] = [1, 2, 3];
/// What each command counts as: a publish, of which all that is measured here consists.
const COMMAND_BYTES: usize = 320;

/// A shard that answers.
pub(crate) struct Home {
    pub(crate) shard: Shard,
    desk: Desk,
    entries: Arc<AtomicU64>,
    effects: Vec<Effect>,
}

impl Machine for Home {
    type Command = Input;

    fn weight(_: &Input) -> Weight {
        Weight { items: 1, bytes: COMMAND_BYTES }
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn encode(now_ms: u64, commands: &[Input]) -> Bytes {
        record::encode_entry(Millis(now_ms), commands)
    }

    fn apply(&mut self, body: &Bytes, leads: bool) -> Result<(), BadEntry> {
        let entry = record::decode_entry(body.clone()).map_err(|bad| BadEntry(bad.to_string()))?;
        for input in entry.inputs {
            self.shard.apply(entry.now, input, &mut self.effects);
        }
        if leads {
            self.entries.fetch_add(1, Ordering::Relaxed);
            self.desk.carry_out(&mut self.effects);
        }
        self.effects.clear();
        Ok(())
    }

    fn install(&mut self, _: SnapshotData) -> Result<(), BadEntry> {
        Err(BadEntry("no replica here lags so far behind".to_owned()))
    }

    fn take_changes(&mut self) -> Changes {
        self.shard.take_changes()
    }

    fn checkpointed(&mut self) {
        self.shard.leave_to_store();
    }

    fn next_due_ms(&self) -> Option<u64> {
        None
    }

    fn now_ms(&self) -> u64 {
        self.shard.now().0
    }
}

/// A node with a replica of each group.
pub(crate) struct Node {
    pub(crate) storage: Storage,
    groups: Vec<(Led, Arc<AtomicU64>)>,
    checkpoints: JoinHandle<()>,
}

/// What three nodes are started with.
pub(crate) struct Cluster<'a> {
    pub(crate) root: &'a Path,
    pub(crate) groups: u16,
    pub(crate) limits: ShardLimits,
    /// How often they were started before.
    pub(crate) run: u32,
}

fn clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn restore(me: ShardNumber, limits: ShardLimits, storage: &Storage, id: GroupId) -> (Shard, SnapshotMeta) {
    let restored = storage.restore(id, |records: &mut Checkpoint| {
        let lookup = records.lookup();
        let records = records.map(|record| record.map_err(raft_consensus::storage::RestoreError::from));
        Shard::restore(me, limits, records, |key| Ok(lookup.read(key)?))
    });
    restored.unwrap().unwrap_or_else(|| (Shard::new(me, limits), SnapshotMeta::default()))
}

impl Cluster<'_> {
    /// Starts three nodes and waits until each group has a leader that has applied its log. The leaderships go round.
    pub(crate) async fn start(&self) -> (Vec<Node>, Vec<Led>) {
        let network = MemoryNetwork::new(1);
        let mut nodes = Vec::new();
        for node in NODES {
            nodes.push(self.node(node, &network).await);
        }
        if self.run == 0 {
            for (led, _) in &nodes[0].groups {
                led.group.found(NODES).await.unwrap();
            }
        }
        let led = spread(&nodes, self.groups).await;
        (nodes, led)
    }

    async fn node(&self, node: NodeId, network: &MemoryNetwork<TokioTypes>) -> Node {
        let directory = self.root.join(node.to_string());
        std::fs::create_dir_all(&directory).unwrap();
        let storage = Storage::open(&directory, WalOptions::default()).unwrap();
        let disk: Arc<FileDisk> = Arc::new(FileDisk::new(&directory).unwrap());
        let files = Arc::new(StoreSnapshots::new(Arc::clone(storage.store()), directory));
        let dispatcher = Dispatcher::new(node, disk.clone(), files.clone());
        let transport = Arc::new(network.transport(node));
        network.join(node, dispatcher.clone());
        let networks = Joined { node, transport, disk, files, dispatcher };
        let mut groups = Vec::new();
        for number in 0..self.groups {
            groups.push(self.group((node, number), &storage, &networks).await);
        }
        let mut checkpoints = Checkpointer::new(Arc::clone(storage.store()), storage.wal().clone());
        groups.iter().for_each(|(led, _)| checkpoints.watch(led.group.clone()));
        let checkpoints = tokio::spawn(async move { drop(checkpoints.run().await) });
        Node { storage, groups, checkpoints }
    }

    async fn group(
        &self,
        (node, number): (NodeId, u16),
        storage: &Storage,
        networks: &Joined<MemoryTransport<TokioTypes>>,
    ) -> (Led, Arc<AtomicU64>) {
        let me = ShardNumber { number: ShardId(number), of: self.groups };
        let id = GroupId(u32::from(number) + 1);
        let (desk, entries): (Desk, Arc<AtomicU64>) = Default::default();
        let (shard, checkpoint) = restore(me, self.limits, storage, id);
        let home = Home { shard, desk: desk.clone(), entries: Arc::clone(&entries), effects: Vec::new() };
        let (group, _task) = Group::start(Start {
            node,
            group: id,
            timing: Timing::ZONES,
            log: storage.log(id).unwrap(),
            room: storage.wal().room(),
            network: Networks::<TokioTypes>::network(networks, id),
            machine: home,
            checkpoint,
            clock: Arc::new(clock_ms),
        })
        .await
        .unwrap();
        networks.started(&group).unwrap();
        // Requests are numbered anew in each run of a host.
        let host = Host { incarnation: Incarnation(self.run), ..Host::default() };
        (Led { group, desk, host }, entries)
    }
}

/// Gives each group's leadership to one node, in turn.
async fn spread(nodes: &[Node], groups: u16) -> Vec<Led> {
    let mut led = Vec::new();
    for number in 0..usize::from(groups) {
        let wanted = number % nodes.len();
        loop {
            let leader = nodes.iter().position(|node| {
                let leadership = node.groups[number].0.group.leadership().now();
                leadership.leader.is_some_and(|leader| Some(&leader) == NODES.get(wanted))
            });
            if leader.is_some() && nodes[wanted].groups[number].0.group.caught_up().await.is_ok() {
                break;
            }
            for node in nodes {
                node.groups[number].0.group.hand_over(NODES[wanted]).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        led.push(nodes[wanted].groups[number].0.clone());
    }
    led
}

/// Syncs of all logs, and entries that were applied by leaders, so far.
pub(crate) fn counted(nodes: &[Node]) -> (u64, u64) {
    let syncs = nodes.iter().map(|node| node.storage.wal().counters().wal_syncs).sum();
    let groups = nodes.iter().flat_map(|node| &node.groups);
    (syncs, groups.map(|(_, entries)| entries.load(Ordering::Relaxed)).sum())
}

/// Ends the nodes. Their checkpoints are those of the last second, as after a crash.
pub(crate) async fn stop(nodes: Vec<Node>) {
    for node in &nodes {
        for (led, _) in &node.groups {
            led.group.stop().await;
        }
    }
    for Node { storage, groups, checkpoints } in nodes {
        checkpoints.abort();
        let _ended = checkpoints.await;
        drop(groups);
        storage.close();
    }
}

/// Resident memory of the process, in MiB.
pub(crate) fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}
