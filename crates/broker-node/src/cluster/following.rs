//! What this node's threads see of the cluster group's log: brings each entry into the route view, and then says that it
//! is there. Called by the machine on the thread that applies; it never waits.

use std::sync::Arc;

use node_routing::view::RouteView;
use raft_consensus::cluster::{Change, Cluster, Follow};
use tokio::sync::watch;

/// Who follows the cluster group on this node.
#[derive(Debug, Default)]
pub(crate) struct Following {
    /// Which owners a topic stands for, and which connections are fenced.
    pub(crate) routes: Arc<RouteView>,
    /// The entry that the view is as of.
    pub(crate) applied: watch::Sender<u64>,
}

impl Follow for Following {
    fn begin(&self, index: u64, state: &Cluster) {
        self.routes.begin(index, state);
        self.applied.send_replace(index);
    }

    fn applied(&self, index: u64, changes: Vec<Change>) {
        Follow::applied(&*self.routes, index, changes);
        self.applied.send_replace(index);
    }
}
