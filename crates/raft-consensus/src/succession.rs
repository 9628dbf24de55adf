//! Who leads a group after a node whose process has ended: the other voters elect one of them at once, where Raft alone
//! would wait until nobody was heard for a while. Called by the node when a leader breaks its connections and refuses new
//! ones. It ends no lease, and moves no leadership that a majority still hears.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::raft::TransferLeaderRequest;
use openraft::type_config::TypeConfigExt;

use crate::group::{Gone, Group, Timing};
use crate::machine::Machine;
use crate::types::{NodeId, Types, Vote};
use crate::wal::GroupId;

/// A turn is this part of the time between two heartbeats: longer than a round trip, which is shorter than a heartbeat.
const TURNS_IN_A_HEARTBEAT: u64 = 4;

/// When a survivor stands for election, in turns from the beginning, and after how many turns again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    first: u32,
    of: u32,
}

/// The place of `me` among those who survive `gone`. They do not stand together, since votes could be split; and who is the
/// first differs between groups, so that not all of them end up with one node.
fn place(me: NodeId, gone: NodeId, voters: &BTreeSet<NodeId>, group: GroupId) -> Option<Place> {
    let survivors = || voters.iter().filter(move |node| **node != gone);
    let (at, of) = (survivors().position(|node| *node == me)?, survivors().count());
    let first = (at + usize::try_from(group.0).ok()?) % of;
    Some(Place { first: u32::try_from(first).ok()?, of: u32::try_from(of).ok()? })
}

impl<C: Types, M: Machine> Group<C, M> {
    /// Takes `gone` for a node whose process has ended. Where it leads the group and this node votes there, this node does
    /// not wait for its word any more, and stands for election in its turn, until somebody else leads; for two of the
    /// longest election timeouts at most, in which Raft alone finds a leader. Each time it asks first whether a majority
    /// would vote for it: those who still hear the leader would not.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn succeed(&self, gone: NodeId, timing: Timing) -> Result<(), Gone> {
        let turn = Duration::from_millis(timing.heartbeat_ms / TURNS_IN_A_HEARTBEAT);
        let until = C::now() + Duration::from_millis(2 * timing.election_max_ms);
        let mut stood = false;
        while let Some((vote, place)) = self.vacancy(gone) {
            if C::now() >= until {
                return Ok(());
            }
            // openraft has this word alone for a leader that is not waited for: that it asks another to lead. Nobody
            // stands for election by it.
            let gives_way = TransferLeaderRequest::new(vote, gone, None);
            let _taken = self.raft().handle_transfer_leader(gives_way).await.map_err(|_| Gone)?;
            if stood {
                C::sleep(turn * place.of).await;
            } else {
                C::sleep(turn * place.first).await;
            }
            stood = true;
            if self.vacancy(gone).is_some() {
                self.raft().trigger().elect(true).await.map_err(|_| Gone)?;
            }
        }
        Ok(())
    }

    /// What `gone` leads by, and this node's place among those who may follow it; `None` where it does not lead, or this
    /// node does not vote.
    fn vacancy(&self, gone: NodeId) -> Option<(Vote, Place)> {
        let metrics = self.raft().metrics();
        let now = metrics.borrow_watched();
        let voters: BTreeSet<NodeId> = now.membership_config.voter_ids().collect();
        let place = place(now.id, gone, &voters, self.id())?;
        (now.current_leader == Some(gone)).then_some((now.vote, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firsts(voters: &[NodeId], gone: NodeId, group: u32) -> Vec<Option<u32>> {
        let voters = voters.iter().copied().collect();
        (1..=5).map(|me| Some(place(me, gone, &voters, GroupId(group))?.first)).collect()
    }

    #[test]
    fn survivors_stand_one_after_the_other_and_another_one_is_the_first_in_the_next_group() {
        assert_eq!(firsts(&[1, 2, 3], 2, 0), [Some(0), None, Some(1), None, None]);
        assert_eq!(firsts(&[1, 2, 3], 2, 1), [Some(1), None, Some(0), None, None]);
        assert_eq!(firsts(&[1, 2, 3, 4, 5], 5, 6), [Some(2), Some(3), Some(0), Some(1), None]);
    }

    #[test]
    fn who_does_not_vote_does_not_stand_and_a_single_survivor_need_not_wait() {
        assert_eq!(firsts(&[1, 2, 3], 1, 1), [None, Some(1), Some(0), None, None]);
        assert_eq!(firsts(&[4], 1, 7), [None, None, None, Some(0), None]);
        assert_eq!(firsts(&[1], 1, 7), [None; 5]);
    }
}
