//! Follows the nodes that break their connections and refuse new ones, and has their groups led by others at once. A task for
//! each group on each node with peers. It ends no lease and takes nobody for dead: a firewall refuses too.

use raft_consensus::group::{Gone, Group, Timing};
use raft_consensus::machine::Machine;
use raft_consensus::types::{NodeId, TokioTypes};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Nodes that refuse connections of which a group has not heard yet; of more it never does.
pub(crate) const REFUSING: usize = 64;

/// Sees to the successors of one group's leaders.
pub(crate) struct Succeeding<M: Machine> {
    pub(crate) group: Group<TokioTypes, M>,
    pub(crate) refusing: broadcast::Receiver<NodeId>,
    pub(crate) timing: Timing,
}

impl<M: Machine> Succeeding<M> {
    /// Runs until the group ends, or nobody says any more who refuses.
    pub(crate) async fn run(mut self) {
        loop {
            let succeeded = match self.refusing.recv().await {
                Ok(node) => self.group.succeed(node, self.timing).await,
                // Raft finds a leader by itself, later.
                Err(RecvError::Lagged(_)) => Ok(()),
                Err(RecvError::Closed) => return,
            };
            if let Err(Gone) = succeeded {
                return;
            }
        }
    }
}
