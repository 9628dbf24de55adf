//! Who has a replica of a group, and who of them a vote: each node of the cluster has one, and 1, 3 or 5 of them vote. A
//! task for each group on each node, which acts while its node leads. It makes one change at a time, and gives a vote only
//! to who has nearly everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use raft_consensus::cluster::Roster;
use raft_consensus::group::{Gone, Group};
use raft_consensus::leadership::LeadershipWatch;
use raft_consensus::machine::Machine;
use raft_consensus::members::{ChangeError, Membership};
use raft_consensus::types::{NodeId, TokioTypes};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info};

/// Voters of the cluster group at most.
pub(crate) const CLUSTER_VOTERS: usize = 5;
/// Voters of a shard at most.
pub(crate) const SHARD_VOTERS: usize = 3;
/// Between two looks while something is not yet as it should be.
const AGAIN: Duration = Duration::from_millis(200);

/// Sees to the members of one group.
pub(crate) struct Placing<M: Machine> {
    pub(crate) group: Group<TokioTypes, M>,
    pub(crate) roster: watch::Receiver<Roster>,
    pub(crate) voters_max: usize,
}

impl<M: Machine> Placing<M> {
    /// Runs until the group ends.
    pub(crate) async fn run(mut self) {
        let mut leadership: LeadershipWatch<TokioTypes> = self.group.leadership();
        let me = self.group.me();
        loop {
            let leads = leadership.now().leader == Some(me);
            let done = if leads {
                match self.step().await {
                    Ok(done) => done,
                    Err(ChangeError::Gone(Gone)) => return,
                    Err(refused) => {
                        debug!(%refused, "the members of a group were not changed");
                        false
                    }
                }
            } else {
                true
            };
            tokio::select! {
                changed = leadership.changed() => if changed.is_err() { return },
                changed = self.roster.changed() => if changed.is_err() { return },
                () = sleep(AGAIN), if !done => {}
            }
        }
    }

    /// Makes the next change; says whether all is as it should be.
    async fn step(&mut self) -> Result<bool, ChangeError> {
        let wanted = candidates(&self.roster.borrow_and_update(), self.group.me());
        let members = self.group.members().await?;
        for node in &wanted {
            if !members.voters.contains(node) && !members.learners.contains(node) {
                info!(target: "quelea", group = self.group.id().0, node, "a node gets a replica");
                self.group.add_learner(*node).await?;
            }
        }
        let caught_up = |node: &NodeId| self.group.have_caught_up(&BTreeSet::from([*node]));
        let ready: BTreeSet<NodeId> =
            wanted.iter().filter(|node| members.voters.contains(node) || caught_up(node)).copied().collect();
        let voters = voters(&members, &ready, self.voters_max);
        if voters != members.voters {
            self.group.set_voters(voters.clone()).await?;
            info!(target: "quelea", group = self.group.id().0, ?voters, "the votes of a group have changed");
            return Ok(false);
        }
        Ok(wanted.is_subset(&ready))
    }
}

/// The nodes that are to have replicas: those that can be reached, and of those with one name the last. An earlier one has
/// lost its disk.
fn candidates(roster: &Roster, me: NodeId) -> BTreeSet<NodeId> {
    let mut by_name = BTreeMap::new();
    let mut nodes = BTreeSet::new();
    for (node, member) in roster {
        let node = NodeId::from(node.0);
        if member.address.is_empty() && node != me {
            continue;
        }
        nodes.insert(node);
        if !member.name.is_empty()
            && let Some(earlier) = by_name.insert(member.name.clone(), node)
        {
            nodes.remove(&earlier);
        }
    }
    nodes
}

/// Who votes: those who did, as far as they are still wanted, and others in the order of their numbers, up to an odd number.
/// There are never fewer than before.
fn voters(members: &Membership, ready: &BTreeSet<NodeId>, max: usize) -> BTreeSet<NodeId> {
    let size = [5, 3, 1].into_iter().find(|size| *size <= max && *size <= ready.len()).unwrap_or(0);
    let stay = members.voters.intersection(ready);
    let new = ready.difference(&members.voters);
    let voters: BTreeSet<NodeId> = stay.chain(new).take(size).copied().collect();
    if voters.len() < members.voters.len() { members.voters.clone() } else { voters }
}

#[cfg(test)]
mod tests {
    use raft_consensus::cluster::{Begin, Cluster, ClusterId, Command, Founding};
    use session_store::{Host, Incarnation, Millis};

    use super::*;

    fn set(nodes: &[NodeId]) -> BTreeSet<NodeId> {
        nodes.iter().copied().collect()
    }

    fn next(voters_now: &[NodeId], ready: &[NodeId], max: usize) -> Vec<NodeId> {
        let members = Membership { voters: set(voters_now), learners: BTreeSet::new() };
        voters(&members, &set(ready), max).into_iter().collect()
    }

    #[test]
    fn voters_are_one_three_or_five_and_never_two() {
        assert_eq!(next(&[1], &[1], 5), [1]);
        assert_eq!(next(&[1], &[1, 2], 5), [1]);
        assert_eq!(next(&[1], &[1, 2, 3], 5), [1, 2, 3]);
        assert_eq!(next(&[1, 2, 3], &[1, 2, 3, 4], 5), [1, 2, 3]);
        assert_eq!(next(&[1, 2, 4], &[1, 2, 3, 4, 5], 5), [1, 2, 3, 4, 5]);
        assert_eq!(next(&[1, 2, 4], &[1, 2, 3, 4, 5], 3), [1, 2, 4], "who has a vote keeps it");
    }

    #[test]
    fn who_is_not_wanted_any_more_is_replaced_once_another_is_ready() {
        assert_eq!(next(&[1, 2, 3], &[2, 3], 5), [1, 2, 3], "never fewer");
        assert_eq!(next(&[1, 2, 3], &[2, 3, 4], 5), [2, 3, 4]);
    }

    #[test]
    fn of_nodes_with_one_name_the_last_counts_and_who_has_no_address_does_not() {
        let mut cluster = Cluster::default();
        let founding = Founding { cluster: ClusterId([1; 16]), shards: 1 };
        cluster.apply(Millis(1), &Command::Found(founding)).unwrap();
        for (node, name, address) in
            [(1, "a", ""), (2, "b", "b:1"), (3, "c", "c:1"), (4, "b", "b:1"), (5, "", "")]
        {
            let host = Host { node: session_store::NodeId(node), incarnation: Incarnation(1) };
            let (name, address) = (name.into(), address.into());
            let begin = Begin { host, token: 1, name, address, knows_level: 1 };
            cluster.apply(Millis(1), &Command::Begin(begin)).unwrap();
        }
        let roster: Roster = cluster.members().map(|(node, member)| (node, member.clone())).collect();
        assert_eq!(candidates(&roster, 1), set(&[1, 3, 4]));
        assert_eq!(candidates(&roster, 3), set(&[3, 4]));
    }
}
