//! How nodes leave the cluster for good: one that was asked to says that it has left once it has nothing that others lack; of one
//! that died before, or was replaced by another of its name, whoever leads the cluster group says it. A task on each
//! node with peers; it moves nothing itself.

use std::time::Duration;

use raft_consensus::cluster::{AskError, Command, Duty, Member, Roster};
use raft_consensus::types::NodeId as GroupNode;
use session_store::NodeId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::hearsay::Own;
use super::{Asks, Hearsay, Raft};

/// Between two looks while somebody leaves.
const AGAIN: Duration = Duration::from_millis(500);
/// Clients that have not gone after this time are ended with the node.
const CLIENTS_TIMEOUT: Duration = Duration::from_secs(60);

/// What a node does so that nodes leave.
pub(super) struct Leaving {
    pub(super) me: NodeId,
    pub(super) group: Raft,
    pub(super) asks: Asks,
    pub(super) roster: watch::Receiver<Roster>,
    pub(super) hearsay: Hearsay,
}

impl Leaving {
    /// Runs until the cluster group ends.
    pub(super) async fn run(mut self) {
        let mut without_replicas = None;
        loop {
            let roster = self.roster.borrow_and_update().clone();
            let goes = self.next(&roster, &mut without_replicas);
            if let Some(node) = goes
                && self.has_left(node).await.is_err()
            {
                return;
            }
            let wait = roster.iter().any(|(node, member)| is_to_go(&roster, *node, member));
            tokio::select! {
                changed = self.roster.changed() => if changed.is_err() { return },
                () = sleep(AGAIN), if wait => {}
            }
        }
    }

    /// Who can be said to have left, by this node.
    fn next(&self, roster: &Roster, without_replicas: &mut Option<Instant>) -> Option<NodeId> {
        let has_none = |node: NodeId| self.hearsay.has_none(node);
        let leads = self.group.leadership().now().leader == Some(GroupNode::from(self.me.0));
        let mut to_go = roster.iter().filter(|(node, member)| is_to_go(roster, **node, member));
        to_go.find_map(|(node, member)| {
            let may = match *node == self.me {
                true if !has_none(*node) || leads => false,
                true => {
                    let since = without_replicas.get_or_insert_with(Instant::now);
                    self.hearsay.is_empty() || since.elapsed() > CLIENTS_TIMEOUT
                }
                false => leads && !member.lives() && has_none(*node),
            };
            may.then_some(*node)
        })
    }

    async fn has_left(&self, node: NodeId) -> Result<(), ()> {
        match self.asks.ask(&Command::Left(node)).await {
            Ok(()) => {
                info!(target: "quelea", node = node.0, "a node has left the cluster");
                if node == self.me {
                    self.hearsay.note_left();
                }
                Ok(())
            }
            Err(AskError::Refused(refusal)) => {
                warn!(target: "quelea", node = node.0, %refusal, "a node has not left the cluster");
                Ok(())
            }
            Err(AskError::Gone(_)) => Err(()),
        }
    }
}

/// Whether a member was asked to leave, or is replaced by another of its name.
fn is_to_go(roster: &Roster, node: NodeId, member: &Member) -> bool {
    let later = |(later, other): (&NodeId, &Member)| {
        *later > node && other.duty != Duty::Left && !other.name.is_empty() && other.name == member.name
    };
    match member.duty {
        Duty::Left => false,
        Duty::Leaves => true,
        Duty::Serves | Duty::Drains => roster.iter().any(later),
    }
}

/// Waits until this node has left the cluster: by the cluster group's log, or since others say so.
pub(super) async fn left(me: NodeId, mut roster: watch::Receiver<Roster>, hearsay: &Hearsay) {
    let mut own = hearsay.own();
    let by_log = roster.wait_for(|roster| roster.get(&me).is_some_and(|member| member.duty == Duty::Left));
    let by_word = own.wait_for(Own::has_left);
    tokio::select! {
        Ok(_) = by_log => {}
        Ok(_) = by_word => {}
        else => std::future::pending().await,
    }
}
