//! Who the members of a group are: how it is founded, and how a node takes the place of another. Called by whoever decides
//! about placement; it decides nothing itself.

use std::collections::BTreeSet;

use openraft::errors::{ClientWriteError, InitializeError, RaftError};
use openraft::{EmptyNode, RaftState};

use crate::group::{Gone, Group};
use crate::machine::Machine;
use crate::types::{NodeId, Types};

/// Why the members of a group were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The group is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// This node does not lead, another change is on its way, or nobody would be left.
    #[error("the members of group {group} stay as they are: {reason}")]
    Refused {
        /// Which.
        group: u32,
        /// What openraft said.
        reason: String,
    },
}

impl<C: Types, M: Machine> Group<C, M> {
    /// Founds the group with these members, unless its log knows members already.
    ///
    /// # Errors
    /// The group has ended, or its log could not be written.
    pub async fn found(&self, members: impl IntoIterator<Item = NodeId>) -> Result<(), Gone> {
        if self.raft().is_initialized().await.map_err(|_| Gone)? {
            return self.elect_alone().await;
        }
        let members: BTreeSet<NodeId> = members.into_iter().collect();
        match self.raft().initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(_) => Err(Gone),
        }
    }

    /// Whoever is the only voter need not wait until nothing was heard from a leader for a while.
    async fn elect_alone(&self) -> Result<(), Gone> {
        let voters = |state: &RaftState<C>| state.membership_state.effective().voter_ids().count();
        if self.raft().with_raft_state(voters).await.map_err(|_| Gone)? == 1 {
            self.raft().trigger().elect(false).await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Makes these nodes the members of the group, where this node leads it. Those that are new catch up before they
    /// count; those that are not named are out of it when this returns.
    ///
    /// # Errors
    /// [`ChangeError`]; the members may change nonetheless where this node loses the leadership meanwhile.
    pub async fn change_members(&self, members: impl IntoIterator<Item = NodeId>) -> Result<(), ChangeError> {
        let members: BTreeSet<NodeId> = members.into_iter().collect();
        let known = self.look_now(|state| state.applied().last_membership.membership().clone()).await?;
        for new in members.iter().filter(|node| known.get_node(node).is_none()) {
            let added = self.raft().add_learner(*new, EmptyNode {}, true).await;
            added.map_err(|error| self.unchanged(error))?;
        }
        let changed = self.raft().change_membership(members, false).await;
        changed.map(|_| ()).map_err(|error| self.unchanged(error))
    }

    fn unchanged(&self, error: RaftError<C, ClientWriteError<C>>) -> ChangeError {
        match error {
            RaftError::Fatal(_) => Gone.into(),
            RaftError::APIError(refused) => {
                ChangeError::Refused { group: self.id().0, reason: refused.to_string() }
            }
        }
    }
}
