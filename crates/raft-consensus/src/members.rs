//! Who the members of a group are: how it is founded, and how a node takes the place of another. Called by whoever decides
//! about placement; it decides nothing itself.

use std::collections::BTreeSet;

use openraft::errors::{ClientWriteError, InitializeError, RaftError};
use openraft::{EmptyNode, RaftState};

use crate::group::{Gone, Group};
use crate::machine::Machine;
use crate::types::{NodeId, Types};

/// A group has several members, and this node's log is not synced before what it holds counts. Were all of them to lose
/// power none could take part again, and nobody would be left to admit them.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "group {group} has {members} members, and this node's storage.durability is \"interval\", which is for a node without \
     peers: set it to \"always\""
)]
pub struct NotSynced {
    /// Which.
    pub group: u32,
    /// How many members it has, or would have.
    pub members: usize,
}

/// Why a group was not founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The group is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// It has several members, and what this node says it has might be lost.
    #[error(transparent)]
    NotSynced(#[from] NotSynced),
}

/// Why the members of a group were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The group is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// It would have several members, and what this node says it has might be lost.
    #[error(transparent)]
    NotSynced(#[from] NotSynced),
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
    /// The group has ended, or its log could not be written; [`NotSynced`].
    pub async fn found(&self, members: impl IntoIterator<Item = NodeId>) -> Result<(), FoundError> {
        let known = |state: &RaftState<C>| state.membership_state.effective().nodes().count();
        let known = self.raft().with_raft_state(known).await.map_err(|_| Gone)?;
        let members: BTreeSet<NodeId> = members.into_iter().collect();
        self.check_synced(known.max(members.len()))?;
        if self.raft().is_initialized().await.map_err(|_| Gone)? {
            return Ok(self.elect_alone().await?);
        }
        match self.raft().initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(_) => Err(Gone.into()),
        }
    }

    fn check_synced(&self, members: usize) -> Result<(), NotSynced> {
        let fits = members <= 1 || self.log().syncs_first();
        fits.then_some(()).ok_or(NotSynced { group: self.id().0, members })
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
        self.check_synced(members.len())?;
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
