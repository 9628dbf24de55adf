//! A node without groups: it refuses whatever is asked of one, by name, which shows that the question arrived. What
//! tests of connections and of hostile peers are written in.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use node_routing::asking::{AnswersAsking, AnswersQuestions};
use node_routing::counters::{PeerCounters, Tally};
use node_routing::identity::Identity;
use node_routing::join::{Admits, Known, Standing};
use node_routing::limits::Limits;
use node_routing::links::{Hears, Links};
use node_routing::peers::{Gone, Peer, Peers, PeersWatch};
use node_routing::presence::{AnswersTouch, Outcome, Touch, Touched};
use node_routing::reach::{Reach, Ways};
use node_routing::security::{Plain, Security};
use node_routing::server::{Answers, Server};
use node_routing::transport::Transport;
use parking_lot::Mutex;
use raft_consensus::cluster::ClusterId;
use raft_consensus::disk::FileDisk;
use raft_consensus::network::{Channel, Dispatcher, PeerTransport, Refusal, SnapshotFiles, TransportError};
use raft_consensus::types::{NodeId, SnapshotMeta};
use raft_consensus::wal::GroupId;
use session_store::Incarnation;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::cluster::{WITHIN, eventually};

pub(crate) const CLUSTER: ClusterId = ClusterId([7; 16]);
/// A group that nobody has.
pub(crate) const NO_GROUP: u8 = 9;

pub(crate) fn identity(node: NodeId, run: u32) -> Identity {
    Identity { cluster: CLUSTER, node, incarnation: Incarnation(run) }
}

pub(crate) fn ways(identity: Identity, peers: PeersWatch, tally: &Arc<Tally>) -> Ways {
    let (limits, security) = (Limits::default(), Arc::new(Plain));
    Ways { identity, peers, limits, security, tally: Arc::clone(tally) }
}

/// A node that keeps no snapshots.
struct NoSnapshots;

impl SnapshotFiles for NoSnapshots {
    fn export(&self, _: GroupId, _: &str) -> io::Result<SnapshotMeta> {
        Err(io::Error::other("there is none"))
    }

    fn verify(&self, _: &str) -> io::Result<SnapshotMeta> {
        Err(io::Error::other("there is none"))
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}

/// Keeps what it hears.
#[derive(Default)]
pub(crate) struct Ear {
    /// From whom, and what, in its order.
    pub(crate) heard: Mutex<Vec<(NodeId, Bytes)>>,
    pub(crate) lost: Mutex<Vec<NodeId>>,
    pub(crate) touches: Mutex<Vec<(session_store::Host, Touch)>>,
    /// What was said to be in force at last.
    pub(crate) in_force: Mutex<u64>,
}

impl AnswersAsking for Ear {
    fn asked(&self, command: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let answer = match &command[..] {
            b"hang" => return Box::pin(std::future::pending()),
            b"nonsense" => Err(Refusal::Malformed("it is nonsense".to_owned())),
            other => Ok([b"done: ", other].concat().into()),
        };
        Box::pin(std::future::ready(answer))
    }
}

impl AnswersQuestions for Ear {
    fn questioned(&self, question: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        self.asked(question)
    }
}

/// Where a node of [`CLUSTER`] says that the others are.
pub(crate) fn known() -> Known {
    let nodes = [(1, "a.example:7883".to_owned()), (2, "b.example:7883".to_owned())].into();
    Known { cluster: CLUSTER, shards: 6, nodes, apply_level: 3 }
}

impl Admits for Ear {
    fn standing(&self) -> Standing {
        Standing::Member(known())
    }

    fn admit(&self, token: u64) -> BoxFuture<'static, Result<NodeId, String>> {
        let given = if token < 10 { Ok(token + 1) } else { Err("it is full".to_owned()) };
        Box::pin(std::future::ready(given))
    }
}

impl AnswersTouch for Ear {
    fn touched(&self, by: session_store::Host, touch: Touch) -> Touched {
        let outcome = if touch.wants_lease { Outcome::Denied("no".to_owned()) } else { Outcome::NotWanted };
        self.touches.lock().push((by, touch));
        Touched { outcome, in_force: *self.in_force.lock(), wall_ms: 7, left: false }
    }

    fn announced(&self, in_force: u64) {
        *self.in_force.lock() = in_force;
    }
}

impl Ear {
    /// All that a node said, one behind the other.
    pub(crate) fn from(&self, node: NodeId) -> Vec<u8> {
        let heard = self.heard.lock();
        heard.iter().filter(|(from, _)| *from == node).flat_map(|(_, words)| words.to_vec()).collect()
    }

    /// Whether a node said this.
    pub(crate) fn has(&self, node: NodeId, byte: u8) -> bool {
        let heard = self.heard.lock();
        heard.iter().any(|(from, words)| *from == node && words.contains(&byte))
    }

    /// How much a node said.
    pub(crate) fn bytes(&self, node: NodeId) -> usize {
        let heard = self.heard.lock();
        heard.iter().filter(|(from, _)| *from == node).map(|(_, words)| words.len()).sum()
    }

    pub(crate) fn lost_of(&self, node: NodeId) -> usize {
        self.lost.lock().iter().filter(|other| **other == node).count()
    }
}

impl Hears for Ear {
    fn hear(&self, from: NodeId, words: Bytes) -> Result<(), Refusal> {
        if words.contains(&0xFF) {
            return Err(Refusal::Malformed("it is nonsense".to_owned()));
        }
        self.heard.lock().push((from, words));
        Ok(())
    }

    fn lost(&self, node: NodeId) {
        self.lost.lock().push(node);
    }
}

/// Who answers at a node without groups.
pub(crate) fn answers(node: NodeId, directory: &TempDir, ear: &Arc<Ear>) -> Answers {
    let disk = Arc::new(FileDisk::new(directory.path()).unwrap());
    let dispatcher = Dispatcher::new(node, disk, Arc::new(NoSnapshots));
    Answers {
        dispatcher,
        hears: ear.clone(),
        touched: ear.clone(),
        asked: ear.clone(),
        questioned: ear.clone(),
        admits: ear.clone(),
    }
}

/// A node's port.
pub(crate) struct Host {
    pub(crate) ear: Arc<Ear>,
    pub(crate) address: String,
    pub(crate) tally: Arc<Tally>,
    pub(crate) view: watch::Sender<Peers>,
    _server: Server,
    _directory: TempDir,
}

impl Host {
    /// At any free port.
    pub(crate) async fn start(identity: Identity, limits: Limits) -> Self {
        Self::secured(identity, limits, Arc::new(Plain)).await
    }

    /// The same, with something around its connections.
    pub(crate) async fn secured(identity: Identity, limits: Limits, security: Arc<dyn Security>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tally, view) = (Arc::default(), watch::Sender::new(Peers::new()));
        let ways = Ways { limits, security, ..ways(identity, view.subscribe(), &tally) };
        let ear = Arc::new(Ear::default());
        let server = Server::start([listener], ways, answers(identity.node, &directory, &ear)).unwrap();
        Self { ear, address, tally, view, _server: server, _directory: directory }
    }

    /// It hears that runs of a node before this one are dead.
    pub(crate) fn knows_run(&self, node: NodeId, lowest_live: u32) {
        let peer =
            Peer { address: String::new(), name: Box::default(), lowest_live: Incarnation(lowest_live) };
        self.view.send_modify(|peers| drop(peers.insert(node, peer)));
    }

    /// It hears what a node is called.
    pub(crate) fn knows_name(&self, node: NodeId, name: &str) {
        let peer = Peer { address: String::new(), name: name.into(), lowest_live: Incarnation(0) };
        self.view.send_modify(|peers| drop(peers.insert(node, peer)));
    }

    pub(crate) fn counters(&self) -> PeerCounters {
        self.tally.read()
    }
}

/// A node's ways to others.
pub(crate) struct Caller {
    pub(crate) transport: Transport,
    pub(crate) reach: Arc<Reach>,
    pub(crate) links: Links,
    pub(crate) ear: Arc<Ear>,
    pub(crate) gone: mpsc::Receiver<Gone>,
    pub(crate) tally: Arc<Tally>,
    view: watch::Sender<Peers>,
}

impl Caller {
    pub(crate) fn new(identity: Identity, limits: Limits) -> Self {
        Self::secured(identity, limits, Arc::new(Plain))
    }

    /// The same, with something around its connections.
    pub(crate) fn secured(identity: Identity, limits: Limits, security: Arc<dyn Security>) -> Self {
        let (view, peers) = watch::channel(Peers::new());
        let tally = Arc::default();
        let (reach, gone) = Reach::new(Ways { limits, security, ..ways(identity, peers, &tally) }).unwrap();
        let (transport, ear) = (Transport::new(reach.clone()), Arc::new(Ear::default()));
        let links = Links::new(reach.clone(), ear.clone());
        Self { transport, reach, links, ear, gone, tally, view }
    }

    /// Says where a node is.
    pub(crate) fn place(&self, node: NodeId, address: &str) {
        self.place_run(node, address, 0);
    }

    pub(crate) fn place_run(&self, node: NodeId, address: &str, lowest_live: u32) {
        let peer =
            Peer { address: address.to_owned(), name: Box::default(), lowest_live: Incarnation(lowest_live) };
        self.view.send_modify(|peers| drop(peers.insert(node, peer)));
    }

    pub(crate) fn place_named(&self, node: NodeId, address: &str, name: &str) {
        let peer = Peer { address: address.to_owned(), name: name.into(), lowest_live: Incarnation(0) };
        self.view.send_modify(|peers| drop(peers.insert(node, peer)));
    }

    pub(crate) fn forget(&self, node: NodeId) {
        self.view.send_modify(|peers| drop(peers.remove(&node)));
    }

    pub(crate) async fn ask(&self, to: NodeId, channel: Channel) -> TransportError {
        self.ask_within(to, channel, WITHIN).await
    }

    pub(crate) async fn ask_within(&self, to: NodeId, channel: Channel, within: Duration) -> TransportError {
        self.transport.call(to, channel, question(to), within).await.unwrap_err()
    }

    /// Waits until the node is reached.
    pub(crate) async fn reaches(&self, to: NodeId) {
        eventually("way to the node", || async {
            (self.ask(to, Channel::Control).await == arrived(to)).then_some(())
        })
        .await;
    }
}

/// A request to a group that a node has not: version, group and node, as `Address` of `proto/raft.proto`.
pub(crate) fn question(to: NodeId) -> Bytes {
    Bytes::from(vec![0x08, 1, 0x10, NO_GROUP, 0x18, u8::try_from(to).unwrap()])
}

/// What a node without groups says to it.
pub(crate) fn arrived(to: NodeId) -> TransportError {
    TransportError::Refused { to, refusal: Refusal::UnknownGroup(u32::from(NO_GROUP)) }
}
