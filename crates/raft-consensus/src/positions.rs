//! Where a replica is in its group's log, for whoever looks at a cluster from outside. Called by the broker's admin API; it
//! waits for nothing but the state machine's turn, and decides nothing.

use openraft::async_runtime::WatchReceiver;

use crate::group::{Gone, Group};
use crate::machine::Machine;
use crate::types::Types;

/// Numbers of entries; 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// The last one in this replica's log.
    pub last: u64,
    /// The last one that this replica knows to be committed.
    pub committed: u64,
    /// The last one that it has applied.
    pub applied: u64,
    /// The one that its last checkpoint is as of.
    pub checkpoint: u64,
}

impl<C: Types, M: Machine> Group<C, M> {
    /// Where this replica is.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn positions(&self) -> Result<Positions, Gone> {
        let index = |id: Option<crate::types::LogId>| id.map_or(0, |id| id.index);
        let (last, committed) = {
            let metrics = self.raft().metrics();
            let now = metrics.borrow_watched();
            (now.last_log_index.unwrap_or(0), index(now.local_committed))
        };
        let standing = |state: &mut crate::state_machine::StateMachine<M>| {
            (state.applied().last_log_id, state.checkpoint().last_log_id)
        };
        let (applied, checkpoint) = self.look_now(standing).await?;
        let (applied, checkpoint) = (index(applied), index(checkpoint));
        // They are looked at one after the other, and never one ahead of what it is part of.
        Ok(Positions { last: last.max(applied), committed: committed.max(applied), applied, checkpoint })
    }
}
