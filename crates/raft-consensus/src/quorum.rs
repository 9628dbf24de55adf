//! What a node knows of the majority behind a group: who leads, when a quorum answered the leader, what is committed. Read
//! by whoever grants leases on it; decides nothing.

use std::time::Instant;

use openraft::Instant as _;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftMetrics;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{InstantOf, WatchReceiverOf};

use crate::group::{Gone, Group};
use crate::machine::Machine;
use crate::types::{LogId, NodeId, Types};

/// A place in a group's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The entry.
    pub index: u64,
    /// Whether whoever leads now made it: if so, it knows of everything before it that is committed.
    pub of_own_term: bool,
}

/// When a quorum answered this node last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// It has not yet.
    Never,
    /// It answered what was sent then, or a little later. This clock may stand still while the machine sleeps.
    Sent(Instant),
    /// This node is the only voter, and always a quorum.
    Alone,
}

/// How it stands with a group on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The last term that this node knows of.
    pub term: u64,
    /// Whether this node leads. It may have been deposed without knowing.
    pub leads: bool,
    /// When a quorum answered it, if it leads.
    pub acknowledged: Acknowledged,
    /// What is known here to be committed.
    pub committed: Place,
    /// What is applied here.
    pub applied: Place,
}

fn read<C: Types>(metrics: &RaftMetrics<C>) -> Quorum {
    let leads = metrics.state == ServerState::Leader;
    let place = |id: Option<&LogId>| Place {
        index: id.map_or(0, |id| id.index),
        of_own_term: leads && id.is_some_and(|id| id.leader_id.term == metrics.current_term),
    };
    let voters: Vec<NodeId> = metrics.membership_config.voter_ids().collect();
    let acknowledged = match metrics.last_quorum_acked {
        _ if leads && voters == [metrics.id] => Acknowledged::Alone,
        Some(sent) if leads => {
            sent_at::<C>(sent.into_inner()).map_or(Acknowledged::Never, Acknowledged::Sent)
        }
        _ => Acknowledged::Never,
    };
    Quorum {
        leader: metrics.current_leader,
        term: metrics.current_term,
        leads,
        acknowledged,
        committed: place(metrics.local_committed.as_ref()),
        applied: place(metrics.last_applied.as_ref()),
    }
}

/// A time of the runtime's clock. What comes between the two readings makes it look older.
fn sent_at<C: Types>(sent: InstantOf<C>) -> Option<Instant> {
    let now = Instant::now();
    now.checked_sub(C::now().saturating_duration_since(sent))
}

/// Follows how it stands with a group.
pub struct QuorumWatch<C: Types> {
    watch: WatchReceiverOf<C, RaftMetrics<C>>,
}

impl<C: Types> QuorumWatch<C> {
    /// How it is now.
    #[must_use]
    pub fn now(&mut self) -> Quorum {
        read(&*self.watch.borrow_and_update())
    }

    /// Waits until it is not any more what [`Self::now`] said at last: also whenever a quorum has answered.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn changed(&mut self) -> Result<(), Gone> {
        self.watch.changed().await.map_err(|_| Gone)
    }
}

impl<C: Types, M: Machine> Group<C, M> {
    /// Follows who leads the group and who answers it.
    #[must_use]
    pub fn quorum(&self) -> QuorumWatch<C> {
        QuorumWatch { watch: self.raft().metrics() }
    }
}
