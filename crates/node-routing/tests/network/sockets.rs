//! The network of a cluster of this test as real sockets: each node has a port, and a view of where the others are. With
//! proxies between them, or without.

use std::collections::BTreeMap;
use std::sync::Arc;

use node_routing::counters::{PeerCounters, Tally};
use node_routing::peers::{Gone, Peer, Peers};
use node_routing::reach::Reach;
use node_routing::server::{Answers, Server};
use node_routing::transport::Transport;
use raft_consensus::network::Dispatcher;
use raft_consensus::types::NodeId;
use session_store::Incarnation;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::cluster::{NODES, Net};
use crate::place::{Ear, identity, ways};
use crate::proxy::{Faults, Proxy};

struct Place {
    tally: Arc<Tally>,
    view: watch::Sender<Peers>,
    server: Option<Server>,
    keeping: Option<tokio::task::JoinSet<()>>,
    runs: u32,
}

pub(crate) struct Sockets {
    places: BTreeMap<NodeId, Place>,
    proxies: BTreeMap<(NodeId, NodeId), Proxy>,
    pub(crate) gone: BTreeMap<NodeId, mpsc::Receiver<Gone>>,
}

impl Sockets {
    /// Without anything between the nodes.
    pub(crate) fn direct() -> Self {
        let place = || Place {
            tally: Arc::default(),
            view: watch::Sender::default(),
            server: None,
            keeping: None,
            runs: 0,
        };
        let places = NODES.map(|node| (node, place())).into();
        Self { places, proxies: BTreeMap::new(), gone: BTreeMap::new() }
    }

    /// With a proxy on each way.
    pub(crate) fn proxied(seed: u64) -> Self {
        let mut sockets = Self::direct();
        for (from, to) in ways_between() {
            sockets.proxies.insert((from, to), Proxy::new(seed ^ (from << 8) ^ to));
        }
        sockets
    }

    pub(crate) fn counters(&self, node: NodeId) -> PeerCounters {
        self.places[&node].tally.read()
    }

    /// Changes all ways to and from a node.
    pub(crate) fn around(&self, node: NodeId, change: impl Fn(&mut Faults)) {
        for (_, proxy) in self.proxies.iter().filter(|((from, to), _)| [*from, *to].contains(&node)) {
            proxy.change(&change);
        }
    }

    pub(crate) fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.proxies.values()
    }
}

fn ways_between() -> impl Iterator<Item = (NodeId, NodeId)> {
    NODES.into_iter().flat_map(|from| NODES.map(|to| (from, to))).filter(|(from, to)| from != to)
}

impl Net for Sockets {
    type Transport = Transport;

    fn begin(&mut self, node: NodeId) -> Transport {
        let place = self.places.get_mut(&node).unwrap();
        place.runs += 1;
        let (reach, gone) =
            Reach::new(ways(identity(node, place.runs), place.view.subscribe(), &place.tally)).unwrap();
        self.gone.insert(node, gone);
        let keeps = Arc::clone(&reach);
        place.keeping = Some(tokio::task::JoinSet::from_iter([async move { keeps.keep_in_touch().await }]));
        Transport::new(reach)
    }

    async fn join(&mut self, node: NodeId, dispatcher: Dispatcher) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let place = self.places.get_mut(&node).unwrap();
        let ways = ways(identity(node, place.runs), place.view.subscribe(), &place.tally);
        let lowest_live = Incarnation(place.runs);
        let ear = Arc::new(Ear::default());
        let answers = Answers {
            dispatcher,
            hears: ear.clone(),
            touched: ear.clone(),
            asked: ear.clone(),
            questioned: ear.clone(),
            admits: ear,
        };
        place.server = Some(Server::start([listener], ways, answers).unwrap());
        for (other, place) in self.places.iter().filter(|(other, _)| **other != node) {
            let address = self.proxies.get(&(*other, node)).map_or(address, |proxy| {
                proxy.aim(address);
                proxy.address
            });
            let peer = Peer { address: address.to_string(), name: Box::default(), lowest_live };
            place.view.send_modify(|peers| drop(peers.insert(node, peer)));
        }
    }

    async fn leave(&mut self, node: NodeId) {
        let place = self.places.get_mut(&node).unwrap();
        (place.server, place.keeping) = (None, None);
    }
}
