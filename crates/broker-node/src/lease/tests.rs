//! Leases between nodes of one process that reach each other over real ports: everybody has one, what is written comes into
//! force, and who dies is taken for dead. The rules themselves are tested in `node_routing::lease`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use node_routing::asking::Asker;
use node_routing::identity::Identity;
use node_routing::lease::{Hold, Profile};
use node_routing::limits::Limits;
use node_routing::links::Hears;
use node_routing::peers::{Peer, Peers};
use node_routing::presence::Toucher;
use node_routing::reach::{Reach, Ways};
use node_routing::security::Plain;
use node_routing::server::{Answers, Server};
use node_routing::transport::Transport;
use raft_consensus::cluster::{
    AskError, Begin, ClusterId, ClusterMachine, Command, Founding, GROUP, Live, LowestLive, Roster,
};
use raft_consensus::disk::FileDisk;
use raft_consensus::group::{Group, Start, Timing};
use raft_consensus::network::{Dispatcher, Joined, Networks, Refusal, StoreSnapshots};
use raft_consensus::proposer::Ended;
use raft_consensus::storage::Storage;
use raft_consensus::types::{NodeId as PeerId, TokioTypes};
use session_store::{Host, Incarnation, NodeId};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::{Granting, Keep, Lease};
use crate::clock::{Clock, GroupTime};
use crate::cluster::{Asks, ClusterView, Following, Hearsay, REFUSING, Succeeding};
use crate::testing;

const WITHIN: Duration = Duration::from_secs(90);
const CLUSTER: ClusterId = ClusterId([5; 16]);

/// Nobody says anything of shards.
struct Deaf;

impl Hears for Deaf {
    fn hear(&self, _: PeerId, _: bytes::Bytes) -> Result<(), Refusal> {
        Ok(())
    }

    fn lost(&self, _: PeerId) {}
}

struct Node {
    group: Group<TokioTypes, ClusterMachine>,
    asks: Asks,
    lease: Lease,
    live: watch::Receiver<Live>,
    applied: watch::Receiver<u64>,
    port: Port,
    _tasks: JoinSet<()>,
    _storage: Storage,
    _data: TempDir,
}

/// Where a node is reached.
struct Port {
    server: Option<Server>,
    ways: Ways,
    answers: Box<dyn Fn() -> Answers + Send>,
}

impl Port {
    /// The node is reached from now on, and others are told where.
    async fn answer(&mut self, view: &watch::Sender<Peers>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        self.server = Some(Server::start([listener], self.ways.clone(), (self.answers)()).unwrap());
        let peer = Peer { address, name: Box::default(), lowest_live: Incarnation(1) };
        view.send_modify(|peers| drop(peers.insert(self.ways.identity.node, peer)));
    }

    /// Connections to the node break, and new ones are refused. It goes on to reach the others.
    fn refuse(&mut self) {
        self.server = None;
    }
}

/// The cluster group of a node that has started.
struct Started {
    group: Group<TokioTypes, ClusterMachine>,
    task: JoinHandle<Ended>,
    following: Arc<Following>,
    lowest_live: watch::Receiver<LowestLive>,
    live: watch::Receiver<Live>,
    roster: watch::Receiver<Roster>,
}

impl Started {
    async fn begin(storage: &Storage, networks: &Joined<Transport>, time: &Arc<GroupTime>) -> Self {
        let (mut machine, checkpoint) = ClusterMachine::restore(storage).unwrap();
        let following =
            Arc::new(Following::new(host(u32::try_from(networks.node).unwrap()), &Arc::default()));
        machine.follow(following.clone());
        let (lowest_live, live, roster) = (machine.lowest_live(), machine.live(), machine.roster());
        let (group, task) = Group::start(Start {
            node: networks.node,
            group: GROUP,
            timing: Timing::ZONES,
            log: storage.log(GROUP).unwrap(),
            room: storage.wal().room(),
            network: Networks::<TokioTypes>::network(networks, GROUP),
            machine,
            checkpoint,
            clock: time.of_entries(),
        })
        .await
        .unwrap();
        Networks::<TokioTypes>::started(networks, &group).unwrap();
        Self { group, task, following, lowest_live, live, roster }
    }
}

fn host(node: u32) -> Host {
    Host { node: NodeId(node), incarnation: Incarnation(1) }
}

impl Node {
    /// Starts a node that others find by `view`.
    async fn start(node: u32, view: &watch::Sender<Peers>) -> Self {
        let profile = Profile::zones(Duration::from_millis(50)).unwrap();
        let data = tempfile::tempdir().unwrap();
        let storage = testing::open_replica(data.path(), &testing::settings());
        let me = PeerId::from(node);
        let tally = Arc::default();
        let identity = Identity { cluster: CLUSTER, node: me, incarnation: host(node).incarnation };
        let ways = Ways {
            identity,
            peers: view.subscribe(),
            limits: Limits::default(),
            security: Arc::new(Plain),
            tally,
        };
        let (reach, gone) = Reach::new(ways.clone()).unwrap();
        let disk: Arc<FileDisk> = Arc::new(FileDisk::new(data.path()).unwrap());
        let files = Arc::new(StoreSnapshots::new(Arc::clone(storage.store()), data.path().to_owned()));
        let dispatcher = Dispatcher::new(me, disk.clone(), files.clone());
        let transport = Arc::new(Transport::new(Arc::clone(&reach)));
        let networks = Joined { node: me, transport, disk, files, dispatcher: dispatcher.clone() };
        let time = GroupTime::new(Clock::start(), me);
        let Started { group, task, following, lowest_live, live, roster } =
            Started::begin(&storage, &networks, &time).await;
        let hearsay = Hearsay::new(6);
        let talk = (Arc::clone(&time), hearsay.clone(), roster);
        let granting = Granting::new(profile, NodeId(node), talk);
        let applied = following.applied.subscribe();
        let asks = Asks::new(me, group.clone(), applied.clone(), Some(Asker::new(Arc::clone(&reach))));
        let (touched, asked) = (granting.clone(), asks.clone());
        let nobody = Arc::new(testing::Nobody);
        let answers = Box::new(move || Answers {
            dispatcher: dispatcher.clone(),
            hears: Arc::new(Deaf),
            touched: touched.clone(),
            asked: Arc::new(asked.clone()),
            questioned: nobody.clone(),
            admits: nobody.clone(),
        });
        let mut port = Port { server: None, ways, answers };
        port.answer(view).await;
        let cluster = ClusterView::told((lowest_live, live.clone()), time.of_entries(), &following);
        let lease = Lease::none_yet(&cluster, &profile, (&granting, reach.refused_as_dead()));
        let refusing = broadcast::Sender::new(REFUSING);
        let succeeding =
            Succeeding { group: group.clone(), refusing: refusing.subscribe(), timing: profile.timing() };
        let keep = Keep {
            me: host(node),
            profile,
            lease: lease.clone(),
            granting,
            hearsay,
            time,
            group: group.clone(),
            applied: applied.clone(),
            live: live.clone(),
            peers: view.subscribe(),
            toucher: Toucher::new(Arc::clone(&reach)),
            refusing,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(succeeding.run());
        tasks.spawn(keep.run(gone));
        tasks.spawn(async move { reach.keep_in_touch().await });
        tasks.spawn(async move { drop(task.await) });
        Self { group, asks, lease, live, applied, port, _tasks: tasks, _storage: storage, _data: data }
    }
}

struct Cluster {
    nodes: BTreeMap<u32, Node>,
    view: watch::Sender<Peers>,
}

impl Cluster {
    async fn start() -> Self {
        let view = watch::Sender::new(Peers::new());
        let mut nodes = BTreeMap::new();
        for node in 1..=3 {
            nodes.insert(node, Node::start(node, &view).await);
        }
        nodes[&1].group.found([1, 2, 3]).await.unwrap();
        let cluster = Self { nodes, view };
        // Any node may ask, whoever leads.
        cluster.asks(3, Command::Found(Founding { cluster: CLUSTER, shards: 6 })).await.unwrap();
        for node in 1..=3 {
            let begin =
                Begin { host: host(node), token: 1, name: "".into(), address: "".into(), knows_level: 1 };
            cluster.asks(node, Command::Begin(begin)).await.unwrap();
            let known = cluster.nodes[&node].live.borrow().clone();
            assert!(known.contains(&host(node)), "whoever asked knows what came of it");
        }
        cluster
    }

    async fn asks(&self, node: u32, command: Command) -> Result<(), AskError> {
        timeout(WITHIN, self.nodes[&node].asks.ask(&command)).await.expect("an answer")
    }

    async fn leader(&self) -> u32 {
        self.eventually("leader that lives", |cluster| {
            let mut said = cluster.nodes.values().map(|node| node.group.leadership().now().leader);
            let leader = said.next().flatten().and_then(|leader| u32::try_from(leader).ok());
            leader.filter(|leader| cluster.nodes.contains_key(leader))
        })
        .await
    }

    async fn eventually<T>(&self, what: &str, mut looks: impl FnMut(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = looks(self) {
                return found;
            }
            assert!(begun.elapsed() < WITHIN, "no {what}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every node has a lease, and all that any node has applied is in force on each.
    async fn settles(&self) {
        self.eventually("lease everywhere, or something is not in force", |cluster| {
            let applied = cluster.nodes.values().map(|node| *node.applied.borrow()).max()?;
            let mut nodes = cluster.nodes.values();
            let settled = nodes
                .all(|node| node.lease.hold() == Hold::Holds && *node.lease.in_force().borrow() >= applied);
            (settled && applied > 0).then_some(())
        })
        .await;
    }

    async fn kill(&mut self, node: u32) {
        let killed = self.nodes.remove(&node).unwrap();
        killed.group.stop().await;
    }

    async fn until_dead(&self, dead: u32) {
        self.eventually("word of the death", |cluster| {
            let mut nodes = cluster.nodes.values();
            let knows = |node: &Node| node.live.borrow().iter().all(|run| run.node != NodeId(dead));
            nodes.all(knows).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_has_a_lease_and_whoever_dies_is_taken_for_dead() {
    let mut cluster = Cluster::start().await;
    cluster.settles().await;
    for node in 1..=3 {
        let refused = cluster.asks(node, Command::Found(Founding { cluster: CLUSTER, shards: 0 })).await;
        assert!(matches!(refused, Err(AskError::Refused(_))), "{refused:?}");
    }
    let lives: Vec<Host> = (1..=3).map(host).collect();
    assert_eq!(*cluster.nodes[&1].live.borrow(), lives, "nobody is taken for dead who answers");
    let leader = cluster.leader().await;
    // With its leader the cluster loses whoever knew of the leases.
    cluster.kill(leader).await;
    cluster.until_dead(leader).await;
    cluster.settles().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_left_alone_has_no_lease_and_says_nothing_is_in_force() {
    let mut cluster = Cluster::start().await;
    cluster.settles().await;
    let leader = cluster.leader().await;
    let others: Vec<u32> = cluster.nodes.keys().copied().filter(|node| *node != leader).collect();
    cluster.kill(others[0]).await;
    cluster.until_dead(others[0]).await;
    cluster.settles().await;
    cluster.kill(others[1]).await;
    let left = &cluster.nodes[&leader];
    cluster.eventually("end of the lease", |_| (left.lease.hold() != Hold::Holds).then_some(())).await;
    let (in_force, live) = (*left.lease.in_force().borrow(), left.live.borrow().clone());
    cluster.eventually("end of its patience", |_| (left.lease.hold() == Hold::Over).then_some(())).await;
    assert!(!left.lease.allows(u64::MAX));
    assert_eq!((*left.lease.in_force().borrow(), left.live.borrow().clone()), (in_force, live));
}

/// As behind a firewall that refuses: the others cannot reach the leader, which lives and reaches them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_refuses_connections_and_lives_loses_the_lead_and_is_not_taken_for_dead() {
    let mut cluster = Cluster::start().await;
    cluster.settles().await;
    let old = cluster.leader().await;
    cluster.nodes.get_mut(&old).unwrap().port.refuse();
    cluster
        .eventually("other leader", |cluster| {
            let mut said = cluster.nodes.values().map(|node| node.group.leadership().now().leader);
            said.all(|leader| leader.is_some_and(|leader| leader != PeerId::from(old))).then_some(())
        })
        .await;
    let lives: Vec<Host> = (1..=3).map(host).collect();
    for node in cluster.nodes.values() {
        assert_eq!(*node.live.borrow(), lives);
    }
    cluster.nodes.get_mut(&old).unwrap().port.answer(&cluster.view).await;
    // Whoever is taken for dead never has a lease again.
    cluster.settles().await;
}
