//! What this node may acknowledge: nothing that rests on its view of the cluster without a lease (section 4 of the
//! design). Asked by every thread before something is acknowledged; it sends nothing itself.
//!
//! The order is all: the bytes are read, then the view is loaded and matched, and then [`Lease::allows`] reads the clock.

use tokio::sync::watch;

use crate::cluster::ClusterView;

/// What the node may do, and until when. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    in_force: watch::Receiver<u64>,
}

impl Lease {
    /// Of a node without peers: nobody else acknowledges anything, and what it has applied is in force.
    pub(crate) fn alone(cluster: &ClusterView) -> Self {
        Self { in_force: cluster.applied.clone() }
    }

    /// Whether this node may act on what it matched in its route view as of entry `view`. Reads the clock: to be asked
    /// behind the match, never before.
    #[expect(clippy::unused_self, reason = "a node with peers has to look")]
    pub(crate) fn allows(&self, _view: u64) -> bool {
        true
    }

    /// The entry of the cluster group's log up to which everything is in force: each node that may hold a lease has
    /// applied it.
    pub(crate) fn in_force(&self) -> watch::Receiver<u64> {
        self.in_force.clone()
    }
}
