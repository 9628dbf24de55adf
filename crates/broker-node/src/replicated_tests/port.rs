//! The port of a node for the others, as between processes, and its ways to theirs. Used by the cluster of the tests.

use std::sync::Arc;

use node_routing::identity::Identity;
use node_routing::peers::Peer;
use node_routing::reach::{Reach, Ways};
use node_routing::security::Plain;
use node_routing::server::{Answers, Server};
use node_routing::transport::Transport;
use raft_consensus::cluster::ClusterId;
use raft_consensus::network::Dispatcher;
use session_store::Host;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::shard::{Linked, Peers};
use crate::testing::{self, Nobody};

/// Where the nodes are.
pub(super) type View = node_routing::peers::Peers;

/// A port, as long as it is there.
pub(super) struct Port {
    _server: Server,
}

impl Port {
    /// Opens a port and says where it is.
    pub(super) async fn open(
        host: Host,
        view: watch::Sender<View>,
        dispatcher: Dispatcher,
    ) -> (Self, Arc<Transport>, Peers) {
        let (node, incarnation) = (u64::from(host.node.0), host.incarnation);
        let identity = Identity { cluster: ClusterId([3; 16]), node, incarnation };
        let (peers, security) = (view.subscribe(), Arc::new(Plain));
        let limits = testing::settings().peer_limits();
        let ways = Ways { identity, peers, limits, security, tally: Arc::default() };
        let (reach, _gone) = Reach::new(ways.clone()).unwrap();
        let linked = Arc::new(Linked::new(Arc::clone(&reach)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let nobody = Arc::new(Nobody);
        let (touched, asked, admits) = (nobody.clone(), nobody.clone(), nobody.clone());
        let answers =
            Answers { dispatcher, hears: linked.ears(), touched, asked, questioned: nobody, admits };
        let server = Server::start([listener], ways, answers).unwrap();
        let peer = Peer { address, name: Box::default(), lowest_live: incarnation };
        view.send_modify(|peers| drop(peers.insert(node, peer)));
        (Self { _server: server }, Arc::new(Transport::new(reach)), Peers::linked(&linked))
    }
}
