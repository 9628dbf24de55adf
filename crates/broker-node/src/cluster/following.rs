//! What this node's threads see of the cluster group's log: brings each entry into the route view, and then says that it
//! is there. Called by the machine on the thread that applies; it never waits.

use std::sync::Arc;

use node_routing::view::RouteView;
use raft_consensus::cluster::{Change, Cluster, Follow};
use session_store::Host;
use tokio::sync::watch;

use crate::access::Stored;
use crate::routes::Barriers;

/// Who follows the cluster group on this node.
#[derive(Debug)]
pub(crate) struct Following {
    /// Which owners a topic stands for, and which connections are fenced.
    pub(crate) routes: Arc<RouteView>,
    /// The entry that the view is as of.
    pub(crate) applied: watch::Sender<u64>,
    /// What of the routes is in force.
    pub(crate) barriers: Arc<Barriers>,
    /// Who is banned.
    pub(crate) access: Arc<Stored>,
}

impl Following {
    /// Of this run of the node, which has heard of nothing yet.
    pub(crate) fn new(me: Host, access: &Arc<Stored>) -> Self {
        let (routes, applied) = (Arc::default(), watch::Sender::default());
        Self { routes, applied, barriers: Arc::new(Barriers::new(me)), access: Arc::clone(access) }
    }
}

impl Follow for Following {
    fn begin(&self, index: u64, state: &Cluster) {
        self.routes.begin(index, state);
        self.barriers.began(index, state);
        self.access.begin(state);
        self.applied.send_replace(index);
    }

    fn applied(&self, index: u64, changes: Vec<Change>) {
        let numbers = Barriers::numbers(&changes);
        self.access.applied(&changes);
        Follow::applied(&*self.routes, index, changes);
        self.barriers.entered(index, numbers);
        self.applied.send_replace(index);
    }
}
