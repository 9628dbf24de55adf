//! What a node with peers has between itself and them: the lines, the words of its shards, the ways of its groups, and who
//! the others are. Made by the composition root once the node has an identity; the cluster group and the shards use it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use node_routing::asking::{AnswersQuestions, Asker};
use node_routing::identity::Identity as NetIdentity;
use node_routing::join::{Admits, Known, Standing};
use node_routing::peers::{Gone, Peer, Peers as NetPeers, PeersWatch};
use node_routing::presence::{AnswersTouch, Toucher};
use node_routing::reach::{Reach, Ways};
use node_routing::server::{Answers, Server};
use node_routing::transport::Transport;
use raft_consensus::cluster::{AskError, Command, Founding, Roster};
use raft_consensus::disk::FileDisk;
use raft_consensus::network::{Dispatcher, Joined, StoreSnapshots};
use raft_consensus::storage::Storage;
use raft_consensus::types::NodeId;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::info;

use super::Asks;
use super::formation::{AGAIN, places};
use super::port::Port;
use crate::identity::Identity;
use crate::shard::{Linked, Peers};
use crate::streams::SaysToHosts;

/// The way between a node and its peers.
pub(crate) struct Way {
    /// The ways of groups.
    pub(crate) networks: Joined<Transport>,
    /// The ways of words about shards.
    pub(crate) peers: Peers,
    /// The ways of publishes between hosts.
    pub(crate) hosts: Arc<dyn SaysToHosts>,
    /// Where the others are.
    pub(crate) view: watch::Sender<NetPeers>,
    reach: Arc<Reach>,
    linked: Arc<Linked>,
    ways: Ways,
    gone: Option<mpsc::Receiver<Gone>>,
}

impl Way {
    /// Makes the way of a node, which knows nobody yet.
    ///
    /// # Errors
    /// The directory cannot be used, or the bounds of connections do not fit together.
    pub(crate) fn open(
        identity: &Identity,
        port: &Port,
        (storage, directory): (&Storage, &Path),
    ) -> anyhow::Result<Self> {
        let host = identity.host();
        let node = NodeId::from(host.node.0);
        let view = watch::Sender::new(NetPeers::new());
        let ways = Ways {
            identity: NetIdentity { cluster: identity.cluster, node, incarnation: host.incarnation },
            peers: view.subscribe(),
            limits: port.limits,
            security: Arc::clone(&port.security),
            tally: Arc::clone(&port.tally),
        };
        let (reach, gone) = Reach::new(ways.clone())?;
        let linked = Arc::new(Linked::new(Arc::clone(&reach)));
        let disk: Arc<FileDisk> = Arc::new(FileDisk::new(directory)?);
        let files = Arc::new(StoreSnapshots::new(Arc::clone(storage.store()), directory.to_owned()));
        let dispatcher = Dispatcher::new(node, disk.clone(), files.clone());
        let transport = Arc::new(Transport::new(Arc::clone(&reach)));
        let networks = Joined { node, transport, disk, files, dispatcher };
        let (peers, hosts) = (Peers::linked(&linked), Arc::clone(&linked) as Arc<dyn SaysToHosts>);
        Ok(Self { networks, peers, hosts, view, reach, linked, ways, gone: Some(gone) })
    }

    /// Answers the others from now on.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub(crate) fn answer(
        &self,
        port: &Port,
        asks: &Asks,
        (touched, questioned): (Arc<dyn AnswersTouch>, Arc<dyn AnswersQuestions>),
        (founding, level): (Founding, watch::Receiver<u32>),
    ) -> anyhow::Result<Server> {
        let me = (self.networks.node, port.address.clone());
        let door = Door { founding, me, view: self.watch(), asks: asks.clone(), level };
        let answers = Answers {
            dispatcher: self.networks.dispatcher.clone(),
            hears: self.linked.ears(),
            touched,
            asked: Arc::new(asks.clone()),
            questioned,
            admits: Arc::new(door),
        };
        Ok(Server::start(port.listeners()?, self.ways.clone(), answers)?)
    }

    /// The way to ask the others.
    pub(super) fn asker(&self) -> Asker {
        Asker::new(Arc::clone(&self.reach))
    }

    /// The way to touch them.
    pub(crate) fn toucher(&self) -> Toucher {
        Toucher::new(Arc::clone(&self.reach))
    }

    /// Where they are, and word of every change.
    pub(crate) fn watch(&self) -> PeersWatch {
        self.view.subscribe()
    }

    /// Word of those that are gone, for the first who asks.
    pub(crate) fn take_gone(&mut self) -> Option<mpsc::Receiver<Gone>> {
        self.gone.take()
    }

    /// The lines to them, for whoever only looks.
    pub(crate) fn reach(&self) -> Weak<Reach> {
        Arc::downgrade(&self.reach)
    }

    /// Keeps a connection to each of the others, for as long as it is polled.
    pub(crate) fn keep_in_touch(&self) -> impl Future<Output = ()> + Send + use<> {
        let reach = Arc::clone(&self.reach);
        async move { reach.keep_in_touch().await }
    }

    /// Asks the seeds where the others are until somebody knows; for a node that has lost what it knew.
    pub(super) async fn find(&self, port: &Port) -> Vec<NodeId> {
        let (me, cluster) = (self.networks.node, self.ways.identity.cluster);
        while self.view.borrow().keys().all(|node| *node == me) && !port.seeds.is_empty() {
            look_for(&self.view, places(&port.meets(), &port.seeds, cluster).await);
            sleep(AGAIN).await;
        }
        self.view.borrow().keys().copied().filter(|node| *node != me).collect()
    }

    /// Asks the seeds where the others are, for as long as it is polled and the cluster group does not say it.
    pub(super) fn seek(
        &self,
        port: &Port,
        roster: watch::Receiver<Roster>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (identity, view) = (self.ways.identity, self.view.clone());
        let (meets, seeds) = (port.meets(), port.seeds.clone());
        let begun = move |roster: &Roster| {
            let mut members = roster.iter();
            members.any(|(node, known)| {
                NodeId::from(node.0) == identity.node && known.begun == identity.incarnation
            })
        };
        async move {
            while !begun(&roster.borrow()) && !seeds.is_empty() {
                look_for(&view, places(&meets, &seeds, identity.cluster).await);
                sleep(AGAIN).await;
            }
        }
    }

    /// Has the others found where the cluster group says that they are, for as long as it is polled.
    pub(crate) fn follow(&self, roster: watch::Receiver<Roster>) -> impl Future<Output = ()> + Send + use<> {
        follow(self.networks.node, self.view.clone(), roster)
    }
}

/// Adds nodes of which nothing is known.
fn look_for(view: &watch::Sender<NetPeers>, places: BTreeMap<NodeId, String>) {
    view.send_if_modified(|peers| {
        let before = peers.len();
        for (node, address) in places {
            let (name, lowest_live) = Default::default();
            peers.entry(node).or_insert_with(|| Peer { address, name, lowest_live });
        }
        peers.len() > before
    });
}

async fn follow(me: NodeId, view: watch::Sender<NetPeers>, mut roster: watch::Receiver<Roster>) {
    let mut before = Roster::new();
    loop {
        let now = roster.borrow_and_update().clone();
        tell(&before, &now);
        // Before this node has heard of itself it goes by what it was told at its seeds.
        if now.keys().any(|node| NodeId::from(node.0) == me) {
            let known = peers_of(&now);
            view.send_if_modified(|peers| {
                let changed = *peers != known;
                *peers = known;
                changed
            });
        }
        before = now;
        if roster.changed().await.is_err() {
            return;
        }
    }
}

fn peers_of(roster: &Roster) -> NetPeers {
    let reached = roster.iter().filter(|(_, member)| !member.address.is_empty());
    let peer = |(node, member): (&session_store::NodeId, &raft_consensus::cluster::Member)| {
        let (address, name) = (member.address.to_string(), member.name.to_string().into());
        let peer = Peer { address, name, lowest_live: member.lowest_live };
        (NodeId::from(node.0), peer)
    };
    reached.map(peer).collect()
}

/// Tells the operator who has come, or come back.
fn tell(before: &Roster, now: &Roster) {
    for (node, member) in now {
        let (node_number, name, address) = (node.0, &*member.name, &*member.address);
        match before.get(node) {
            None => {
                info!(target: "quelea", node = node_number, name, address, "a node belongs to the cluster")
            }
            Some(known) if known.begun != member.begun => {
                let run = member.begun.0;
                info!(target: "quelea", node = node_number, name, address, run, "a node has begun another run");
            }
            Some(_) => {}
        }
    }
}

/// Answers nodes that belong to no cluster.
struct Door {
    founding: Founding,
    me: (NodeId, String),
    view: PeersWatch,
    asks: Asks,
    /// The level of `apply` that holds.
    level: watch::Receiver<u32>,
}

impl Admits for Door {
    fn standing(&self) -> Standing {
        let places = self.view.borrow().iter().map(|(node, peer)| (*node, peer.address.clone())).collect();
        let mut nodes: BTreeMap<NodeId, String> = places;
        nodes.insert(self.me.0, self.me.1.clone());
        let Founding { cluster, shards } = self.founding;
        Standing::Member(Known { cluster, shards, nodes, apply_level: *self.level.borrow() })
    }

    fn admit(&self, token: u64) -> BoxFuture<'static, Result<NodeId, String>> {
        let asks = self.asks.clone();
        Box::pin(async move {
            asks.ask(&Command::Admit(token)).await.map_err(|error: AskError| error.to_string())?;
            let given =
                asks.look(move |cluster| cluster.admitted(token)).await.map_err(|gone| gone.to_string())?;
            given.map(|node| NodeId::from(node.0)).ok_or_else(|| "the number was forgotten again".to_owned())
        })
    }
}
