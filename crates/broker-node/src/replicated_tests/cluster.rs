//! Three nodes in one process, each with a replica of every shard, and clients over real sockets. What a test of this
//! folder is written in; it decides nothing about what is right.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use raft_consensus::cluster::{Live, LowestLive};
use raft_consensus::disk::FileDisk;
use raft_consensus::group::Timing;
use raft_consensus::network::{
    Channel, Dispatcher, Joined, MemoryNetwork, MemoryTransport, Networks, StoreSnapshots,
};
use raft_consensus::storage::Storage;
use raft_consensus::types::TokioTypes;
use session_store::{ClientId, Host, Incarnation, NodeId};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::client::{Client, PATIENCE};
use super::group::StandIn;
use super::port::{Port, View};
use crate::clock::Clock;
use crate::cluster::ClusterView;
use crate::config::Settings;
use crate::lease::Lease;
use crate::routes::AsksCluster;
use crate::shard::{Members, Peers};
use crate::streams::HostPeers;
use crate::testing::{self, SHARDS, TestNode, TestRun};

pub(super) const NODES: [u32; 3] = [1, 2, 3];

/// Three nodes, of which some may be down.
pub(super) struct Cluster {
    network: MemoryNetwork<TokioTypes>,
    peers: Peers,
    pub(super) group: StandIn,
    pub(super) hosts: HostPeers,
    /// Where the nodes are, if they reach each other by ports.
    view: Option<watch::Sender<View>>,
    ports: BTreeMap<u32, Port>,
    lowest_live: watch::Sender<LowestLive>,
    live: watch::Sender<Live>,
    directories: BTreeMap<u32, TempDir>,
    incarnations: BTreeMap<u32, u32>,
    pub(super) nodes: BTreeMap<u32, TestNode>,
}

/// What a node is started with, whatever becomes of the cluster meanwhile.
struct Starting {
    node: u32,
    host: Host,
    data: std::path::PathBuf,
    network: MemoryNetwork<TokioTypes>,
    peers: Peers,
    group: StandIn,
    hosts: HostPeers,
    view: Option<watch::Sender<View>>,
    runs: (watch::Receiver<LowestLive>, watch::Receiver<Live>),
}

/// What a node has before its groups start.
struct Opened {
    settings: Settings,
    storage: Storage,
    node: u64,
    disk: Arc<FileDisk>,
    files: Arc<StoreSnapshots>,
    dispatcher: Dispatcher,
}

impl Starting {
    async fn start(self) -> (u32, TestNode, Option<Port>) {
        let node = self.node;
        let starting = async {
            match self.view.clone() {
                Some(view) => self.start_linked(view).await.map(|(node, port)| (node, Some(port))),
                None => self.start_with(|networks| networks).await.map(|node| (node, None)),
            }
        };
        let started = timeout(PATIENCE, starting).await;
        let (started, port) = started.expect("a node that starts in time").unwrap();
        (node, started, port)
    }

    /// What is on its disk, and who answers for it.
    fn open(&self) -> Opened {
        let settings = testing::settings();
        let storage = testing::open_replica(&self.data, &settings);
        let node = u64::from(self.node);
        let disk: Arc<FileDisk> = Arc::new(FileDisk::new(&self.data).unwrap());
        let files = Arc::new(StoreSnapshots::new(Arc::clone(storage.store()), self.data.clone()));
        let dispatcher = Dispatcher::new(node, disk.clone(), files.clone());
        Opened { settings, storage, node, disk, files, dispatcher }
    }

    /// Starts it with a port, and ways to those of the others.
    async fn start_linked(self, view: watch::Sender<View>) -> anyhow::Result<(TestNode, Port)> {
        let Opened { settings, storage, node, disk, files, dispatcher } = self.open();
        let (port, transport, peers) = Port::open(self.host, view, dispatcher.clone()).await;
        let networks = Joined { node, transport, disk, files, dispatcher };
        let nodes = NODES.map(u64::from).to_vec();
        let founders = nodes.clone();
        let (networks, timing) = (&networks, Timing::ZONES);
        let members =
            Members { nodes, founders, alone: false, networks, peers, timing, others: None, hearsay: None };
        Ok((TestNode::start(self.run(), (storage, settings), members, Vec::new()).await?, port))
    }

    /// Starts it with networks that are not quite those of the cluster.
    async fn start_with<N: Networks<TokioTypes>>(
        self,
        with: impl FnOnce(Joined<MemoryTransport<TokioTypes>>) -> N,
    ) -> anyhow::Result<TestNode> {
        let Opened { settings, storage, node, disk, files, dispatcher } = self.open();
        let transport = Arc::new(self.network.transport(node));
        self.network.join(node, dispatcher.clone());
        let networks = with(Joined { node, transport, disk, files, dispatcher });
        let members = Members {
            nodes: NODES.map(u64::from).to_vec(),
            founders: NODES.map(u64::from).to_vec(),
            alone: false,
            networks: &networks,
            peers: self.peers.clone(),
            others: None,
            hearsay: None,
            timing: Timing::ZONES,
        };
        TestNode::start(self.run(), (storage, settings), members, Vec::new()).await
    }

    fn run(self) -> TestRun {
        let (clock, following) = (Clock::start(), self.group.begin(self.host));
        let cluster = ClusterView::told(self.runs, clock.of_groups(self.node.into()), &following);
        let lease = Lease::alone(&ClusterView { applied: self.group.in_force(), ..cluster.clone() });
        let joins: (Arc<dyn AsksCluster>, HostPeers) = (Arc::new(self.group), self.hosts);
        TestRun { host: self.host, clock, cluster, lease, joins: Some(joins) }
    }
}

impl Cluster {
    pub(super) async fn start() -> Self {
        let mut cluster = Self::down();
        cluster.start_all().await;
        cluster
    }

    /// Whose nodes reach each other by ports, as processes do.
    pub(super) async fn linked() -> Self {
        let mut cluster = Self { view: Some(watch::Sender::default()), ..Self::down() };
        cluster.start_all().await;
        cluster
    }

    async fn start_all(&mut self) {
        let starting = NODES.map(|node| tokio::spawn(self.begin(node).start()));
        for started in starting {
            self.started(started.await.unwrap());
        }
    }

    fn started(&mut self, (node, started, port): (u32, TestNode, Option<Port>)) {
        self.nodes.insert(node, started);
        self.ports.extend(port.map(|port| (node, port)));
    }

    /// A cluster of which no node runs.
    pub(super) fn down() -> Self {
        let directories = NODES.map(|node| (node, tempfile::tempdir_in(data_root()).unwrap())).into();
        Self {
            network: MemoryNetwork::new(1),
            peers: Peers::default(),
            group: StandIn::new(),
            hosts: HostPeers::default(),
            view: None,
            ports: BTreeMap::new(),
            lowest_live: watch::Sender::default(),
            live: watch::Sender::default(),
            directories,
            incarnations: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    /// Starts a node with networks of a test's own, and gives what became of the start.
    pub(super) async fn try_start<N: Networks<TokioTypes>>(
        &mut self,
        node: u32,
        with: impl FnOnce(Joined<MemoryTransport<TokioTypes>>) -> N,
    ) -> anyhow::Result<()> {
        let started = timeout(PATIENCE, self.begin(node).start_with(with)).await;
        started.expect("a start that ends in time").map(|started| drop(self.nodes.insert(node, started)))
    }

    /// The next run of a node begins; those before it are dead.
    fn begin(&mut self, node: u32) -> Starting {
        let incarnation = self.incarnations.entry(node).or_default();
        *incarnation += 1;
        let host = Host { node: NodeId(node), incarnation: Incarnation(*incarnation) };
        self.lowest_live.send_modify(|live| live.extend([(host.node, host.incarnation)]));
        self.live.send_modify(|live| {
            live.retain(|run| run.node != host.node);
            live.push(host);
        });
        let (network, peers, view) = (self.network.clone(), self.peers.clone(), self.view.clone());
        let (group, hosts) = (self.group.clone(), self.hosts.clone());
        let data = self.directories[&node].path().to_owned();
        let runs = (self.lowest_live.subscribe(), self.live.subscribe());
        Starting { node, host, data, network, peers, group, hosts, view, runs }
    }

    pub(super) async fn restart(&mut self, node: u32) {
        let started = self.begin(node).start().await;
        self.started(started);
    }

    /// A node is gone, with all its connections, without a word to anybody.
    pub(super) async fn kill(&mut self, node: u32) {
        let killed = self.nodes.remove(&node).unwrap();
        self.network.leave(u64::from(node));
        self.group.leave(NodeId(node));
        self.ports.remove(&node);
        killed.kill().await;
    }

    /// What is said of shards to a node is lost, until what is returned is called.
    pub(super) fn lose_words_to(&self, node: u32) -> impl FnOnce() + use<> {
        self.peers.lose_words_to(u64::from(node))
    }

    /// Waits until a CONNECT on a node is known to wait for another connection to stop.
    pub(super) async fn until_deferred(&self, node: u32) {
        let waits = async {
            while self.nodes[&node].shards.deferred() == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, waits).await.expect("a CONNECT that waits in time");
    }

    /// A node that is down loses all its checkpoints.
    pub(super) fn lose_checkpoints(&self, node: u32) {
        std::fs::remove_dir_all(self.directories[&node].path().join("sessions")).unwrap();
    }

    /// A bit of each page of the checkpoints of a node that is down is flipped.
    pub(super) fn damage_checkpoints(&self, node: u32) {
        let path = self.directories[&node].path().join("sessions/db");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.iter_mut().skip(1_000).step_by(4_096).for_each(|byte| *byte ^= 1);
        std::fs::write(path, bytes).unwrap();
    }

    /// How many times a checkpoint of a shard was sent to another node.
    pub(super) fn snapshots(&self) -> u64 {
        self.network.used(Channel::Snapshot).1
    }

    /// The others know that the present run of a node is dead.
    pub(super) fn declare_dead(&mut self, node: u32) {
        let incarnation = Incarnation(self.incarnations[&node]);
        self.group.down(Host { node: NodeId(node), incarnation });
        let next = incarnation.next();
        self.lowest_live.send_modify(|live| live.extend([(NodeId(node), next)]));
        self.live.send_modify(|live| live.retain(|run| run.node != NodeId(node)));
    }

    pub(super) fn address(&self, node: u32) -> &str {
        &self.nodes[&node].address
    }

    pub(super) async fn client(&self, node: u32, client: &str) -> Client {
        Client::connect(self.address(node), client).await
    }

    /// The home of a client.
    pub(super) fn home_of(&self, client: &str) -> u16 {
        self.nodes[&1].shards.home_of_client(&ClientId::new(client))
    }

    /// Some nodes have no replica of a shard any more.
    pub(super) async fn stop_shard(&self, shard: u16, nodes: impl IntoIterator<Item = u32>) {
        for node in nodes {
            self.nodes[&node].shards.groups().nth(usize::from(shard)).unwrap().stop().await;
        }
    }

    /// Who leads a shard, as the nodes that are up see it.
    pub(super) async fn leader(&self, shard: u16) -> u32 {
        let look = async {
            loop {
                for (node, up) in &self.nodes {
                    let group = up.shards.groups().nth(usize::from(shard)).unwrap();
                    if group.leadership().now().leader == Some(u64::from(*node))
                        && group.caught_up().await.is_ok()
                    {
                        return *node;
                    }
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, look).await.expect("a leader in time")
    }

    /// Gives the leadership of a shard to a node.
    pub(super) async fn lead(&self, shard: u16, node: u32) {
        let give = async {
            loop {
                let leader = self.leader(shard).await;
                if leader == node {
                    return;
                }
                let group = self.nodes[&leader].shards.groups().nth(usize::from(shard)).unwrap();
                let _ = group.hand_over(u64::from(node)).await;
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, give).await.expect("a leadership handed over in time");
    }

    /// Gives the leadership of all shards to a node.
    pub(super) async fn lead_all(&self, node: u32) {
        for shard in 0..SHARDS {
            self.lead(shard, node).await;
        }
    }

    /// Waits until so many messages wait in queues, and no node has any of them in memory.
    pub(super) async fn until_stored(&self, messages: usize) {
        let look = async {
            loop {
                let mut stored = true;
                for up in self.nodes.values() {
                    let sizes = up.shards.sizes().await;
                    stored &= (sizes.queued_messages, sizes.queued_stored_messages) == (messages, messages);
                }
                if stored {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, look).await.expect("queues that leave memory in time");
    }

    /// Does something while the leaderships of all shards go from node to node.
    pub(super) async fn while_moving<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.keep_moving() => match never {},
        }
    }

    async fn keep_moving(&self) -> Infallible {
        loop {
            for node in NODES {
                self.lead_all(node).await;
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Waits until all replicas of each shard are equal.
    pub(super) async fn until_equal(&self) {
        let look = async {
            loop {
                let mut digests = BTreeMap::new();
                for up in self.nodes.values() {
                    for (shard, group) in up.shards.groups().enumerate() {
                        let digest = group.look_now(|state| state.machine().digest()).await.unwrap();
                        digests.entry(shard).or_insert_with(Vec::new).push(digest);
                    }
                }
                if digests.values().all(|of| of.windows(2).all(|pair| pair[0] == pair[1])) {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, look).await.expect("equal replicas in time");
    }
}

pub(super) fn data_root() -> std::path::PathBuf {
    let shm = std::path::Path::new("/dev/shm");
    if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() }
}
