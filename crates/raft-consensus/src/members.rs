//! Who the members of a group are: how it is founded, and how a node takes the place of another. Called by whoever decides
//! about placement; it decides nothing itself.

use std::collections::BTreeSet;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, InitializeError, RaftError};
use openraft::{ChangeMembers, EmptyNode, RaftState};

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

/// Entries that a member may lack when it gets its vote: few, since from then on what is acknowledged may have to wait for
/// it.
const LAG_MAX: u64 = 64;

/// Who the members of a group are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Those with a vote.
    pub voters: BTreeSet<NodeId>,
    /// Those who hear everything and have none.
    pub learners: BTreeSet<NodeId>,
    /// A change of the votes has begun and is not done: it takes a majority of those before it and of those behind it (section 4.3
    /// of the Raft dissertation). Where its leader died it stays so until the votes are set again.
    pub changing: bool,
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
        let me = self.me();
        let alone = move |state: &RaftState<C>| state.membership_state.effective().voter_ids().eq([me]);
        if self.raft().with_raft_state(alone).await.map_err(|_| Gone)? {
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

    /// A leader that has given its vote away leads until the others know, and changes nothing any more: openraft would take a
    /// change of its for one of a follower.
    async fn check_votes(&self) -> Result<(), ChangeError> {
        let me = self.me();
        let votes =
            move |state: &RaftState<C>| state.membership_state.effective().voter_ids().any(|node| node == me);
        if self.raft().with_raft_state(votes).await.map_err(|_| Gone)? {
            return Ok(());
        }
        let reason = format!("node {me} has no vote in it any more");
        Err(ChangeError::Refused { group: self.id().0, reason })
    }

    /// Who the members are, as far as this node has applied the log.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn members(&self) -> Result<Membership, Gone> {
        let known = self.look_now(|state| state.applied().last_membership.membership().clone()).await?;
        let (voters, learners) = (known.voter_ids().collect(), known.learner_ids().collect());
        Ok(Membership { voters, learners, changing: known.get_joint_config().len() > 1 })
    }

    /// Whether another node votes, as far as this one has heard.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn has_other_voters(&self) -> Result<bool, Gone> {
        let me = self.me();
        let others =
            move |state: &RaftState<C>| state.membership_state.effective().voter_ids().any(|node| node != me);
        self.raft().with_raft_state(others).await.map_err(|_| Gone)
    }

    /// Has a node hear everything from now on, without a vote, where this node leads. Does not wait until it has
    /// caught up, nor for it to be there.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub async fn add_learner(&self, node: NodeId) -> Result<(), ChangeError> {
        self.check_synced(2)?;
        self.check_votes().await?;
        let added = self.raft().add_learner(node, EmptyNode {}, false).await;
        added.map(|_| ()).map_err(|error| self.unchanged(error))
    }

    /// Whether members have, as the leader knows, nearly everything that it has itself; `false` on any other node.
    #[must_use]
    pub fn have_caught_up(&self, nodes: &BTreeSet<NodeId>) -> bool {
        let metrics = self.raft().metrics();
        let now = metrics.borrow_watched();
        let Some(matched) = &now.replication else { return false };
        let last = now.last_log_index.unwrap_or(0);
        let has = |node: &NodeId| {
            let known = matched.get(node).and_then(|known| *known);
            *node == now.id || known.is_some_and(|known| known.index + LAG_MAX >= last)
        };
        nodes.iter().all(has)
    }

    /// Gives the votes to these members and to nobody else, where this node leads the group. Who loses its vote is no
    /// member any more.
    ///
    /// # Errors
    /// As for [`Self::change_members`].
    pub async fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), ChangeError> {
        self.check_synced(voters.len())?;
        self.check_votes().await?;
        let changed = self.raft().change_membership(voters, false).await;
        changed.map(|_| ()).map_err(|error| self.unchanged(error))
    }

    /// Takes the replicas of nodes without a vote, where this node leads the group.
    ///
    /// # Errors
    /// As for [`Self::change_members`].
    pub async fn remove_learners(&self, nodes: BTreeSet<NodeId>) -> Result<(), ChangeError> {
        self.check_votes().await?;
        let changed = self.raft().change_membership(ChangeMembers::RemoveNodes(nodes), false).await;
        changed.map(|_| ()).map_err(|error| self.unchanged(error))
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.raft().metrics().borrow_watched().id
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
