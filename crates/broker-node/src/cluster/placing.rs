//! Sees to it that a group's replicas, votes and leadership are where they belong (`raft_consensus::placement` says where). A
//! task for each group on each node, which acts while its node leads: one change at a time, and nobody gets a vote who does not have
//! nearly everything.

use std::collections::BTreeSet;
use std::time::Duration;

use node_routing::presence::Led;
use raft_consensus::cluster::{Duty, Member, Roster};
use raft_consensus::group::{Gone, Group};
use raft_consensus::leadership::LeadershipWatch;
use raft_consensus::machine::Machine;
use raft_consensus::members::{ChangeError, Membership};
use raft_consensus::placement::{self, Step};
use raft_consensus::types::{NodeId, TokioTypes};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::Hearsay;

/// Voters of the cluster group at most.
const CLUSTER_VOTERS: usize = 5;
/// Replicas of a shard, where there are as many nodes.
const SHARD_COPIES: usize = 3;
/// Between two looks while something is not yet as it should be.
const AGAIN: Duration = Duration::from_millis(200);
/// A leadership was handed over so long ago, and nothing came of it.
const HAND_OVER_AGAIN: Duration = Duration::from_secs(1);
/// So long nothing may have changed before a leadership goes to where it belongs: after a fault there is more to do.
const CALM: Duration = Duration::from_secs(3);
/// So long who has left still hears of it by the cluster group's log.
const FAREWELL: Duration = Duration::from_secs(5);

/// Which group.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    /// The cluster group: each node has a replica.
    Cluster,
    /// A shard.
    Shard {
        /// Which.
        number: u16,
        /// How many there are.
        of: u16,
    },
}

/// Sees to one group.
pub(crate) struct Placing<M: Machine> {
    pub(crate) group: Group<TokioTypes, M>,
    pub(crate) of: Of,
    pub(crate) roster: watch::Receiver<Roster>,
    pub(crate) hearsay: Hearsay,
}

impl<M: Machine> Placing<M> {
    /// Runs until the group ends.
    pub(crate) async fn run(mut self) {
        let mut leadership: LeadershipWatch<TokioTypes> = self.group.leadership();
        let (mut heard, mut own) = (self.hearsay.heard(), self.hearsay.own());
        let mut calm_since = Instant::now();
        loop {
            let now = leadership.now();
            let next = if now.leader == Some(self.group.me()) {
                match self.lead(now.term, calm_since.elapsed()).await {
                    Ok(next) => next,
                    Err(ChangeError::Gone(Gone)) => return,
                    Err(refused) => {
                        debug!(%refused, "the members of a group were not changed");
                        Some(AGAIN)
                    }
                }
            } else {
                self.hearsay.set_led(self.group.id().0, None);
                None
            };
            tokio::select! {
                changed = leadership.changed() => if changed.is_err() { return },
                changed = self.roster.changed() => if changed.is_err() { return },
                changed = heard.changed() => if changed.is_err() { return },
                // Also what other groups of this node say: nothing to wait for calm again.
                _own = own.changed() => continue,
                () = sleep(next.unwrap_or_default()), if next.is_some() => continue,
            }
            calm_since = Instant::now();
        }
    }

    /// Does what is to be done next, and says when to look again if nothing changes.
    async fn lead(&mut self, term: u64, calm: Duration) -> Result<Option<Duration>, ChangeError> {
        let (me, members) = (self.group.me(), self.group.members().await?);
        self.say(term, &members);
        let roster = self.roster.borrow_and_update().clone();
        let able = self.able(&roster);
        if !able.contains(&me)
            && let Some(heir) = self.heir(&members, &able)
        {
            return self.hand_over(heir).await;
        }
        let wanted = self.wanted(&roster);
        match placement::step(&members, &wanted, &self.ready(&members, &wanted), self.voters_max()) {
            Step::Done => self.settle((&roster, &able), &members, calm).await,
            Step::Wait => Ok(Some(AGAIN)),
            Step::Remove(_) if matches!(self.of, Of::Cluster) && calm < FAREWELL => Ok(Some(AGAIN)),
            step => self.change(step, &able).await,
        }
    }

    async fn change(&self, step: Step, able: &BTreeSet<NodeId>) -> Result<Option<Duration>, ChangeError> {
        let group = self.group.id().0;
        match step {
            Step::Add(node) => {
                info!(target: "quelea", group, node, "a node gets a replica");
                self.group.add_learner(node).await?;
            }
            Step::Vote(voters) => {
                let stays = Membership { voters: voters.clone(), ..Membership::default() };
                if !voters.contains(&self.group.me())
                    && let Some(heir) = self.heir(&stays, able)
                    && self.group.members().await?.voters.contains(&heir)
                {
                    return self.hand_over(heir).await;
                }
                self.group.set_voters(voters.clone()).await?;
                info!(target: "quelea", group, ?voters, "the votes of a group have changed");
            }
            Step::Remove(nodes) => {
                self.group.remove_learners(nodes.clone()).await?;
                info!(target: "quelea", group, ?nodes, "nodes have no replica any more");
            }
            Step::Wait | Step::Done => {}
        }
        Ok(Some(Duration::ZERO))
    }

    /// The replicas are where they belong; the leadership follows once all is calm.
    async fn settle(
        &self,
        (roster, able): (&Roster, &BTreeSet<NodeId>),
        members: &Membership,
        calm: Duration,
    ) -> Result<Option<Duration>, ChangeError> {
        let Of::Shard { number, of } = self.of else { return Ok(None) };
        let replicas = placement::replicas(&candidates(roster, self.group.me()), of, SHARD_COPIES);
        let leader = placement::leaders(&replicas, able).get(usize::from(number)).copied().flatten();
        match leader {
            Some(leader) if leader != self.group.me() && members.voters.contains(&leader) => {
                match CALM.checked_sub(calm) {
                    Some(pause) if !pause.is_zero() => Ok(Some(pause)),
                    _ if self.has_caught_up(leader) => self.hand_over(leader).await,
                    _ => Ok(Some(HAND_OVER_AGAIN)),
                }
            }
            _ => Ok(None),
        }
    }

    async fn hand_over(&self, to: NodeId) -> Result<Option<Duration>, ChangeError> {
        debug!(target: "quelea", group = self.group.id().0, node = to, "another node is to lead a group");
        self.group.hand_over(to).await?;
        Ok(Some(HAND_OVER_AGAIN))
    }

    /// Whoever can lead in this node's place at once.
    fn heir(&self, members: &Membership, able: &BTreeSet<NodeId>) -> Option<NodeId> {
        let mut heirs = members.voters.intersection(able);
        heirs.find(|node| **node != self.group.me() && self.has_caught_up(**node)).copied()
    }

    fn has_caught_up(&self, node: NodeId) -> bool {
        self.group.have_caught_up(&BTreeSet::from([node]))
    }

    fn ready(&self, members: &Membership, wanted: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let ready = |node: &&NodeId| members.voters.contains(node) || self.has_caught_up(**node);
        wanted.iter().filter(ready).copied().collect()
    }

    /// The others hear by this who leads a shard, and who has a replica.
    fn say(&self, term: u64, members: &Membership) {
        let Of::Shard { .. } = self.of else { return };
        let nodes = members.voters.union(&members.learners);
        let members = nodes.filter_map(|node| u32::try_from(*node).ok().map(session_store::NodeId)).collect();
        let group = self.group.id().0;
        self.hearsay.set_led(group, Some(Led { group, term, members }));
    }

    fn voters_max(&self) -> usize {
        match self.of {
            Of::Cluster => CLUSTER_VOTERS,
            Of::Shard { .. } => SHARD_COPIES,
        }
    }

    fn wanted(&self, roster: &Roster) -> BTreeSet<NodeId> {
        let candidates = candidates(roster, self.group.me());
        match self.of {
            Of::Cluster => candidates,
            Of::Shard { number, of } => {
                let mut replicas = placement::replicas(&candidates, of, SHARD_COPIES);
                replicas.get_mut(usize::from(number)).map(std::mem::take).unwrap_or_default()
            }
        }
    }

    /// Those that are able to lead.
    fn able(&self, roster: &Roster) -> BTreeSet<NodeId> {
        let (me, heard) = (self.group.me(), self.hearsay.heard());
        let heard = heard.borrow();
        let yields = |node: NodeId| {
            if node == me { self.hearsay.gives_away() } else { heard.yield_now.contains(&node) }
        };
        let serves = |node: NodeId| {
            let member = u32::try_from(node).ok().and_then(|node| roster.get(&session_store::NodeId(node)));
            member.is_some_and(|member| member.duty == Duty::Serves && member.lives())
        };
        candidates(roster, me).into_iter().filter(|node| serves(*node) && !yields(*node)).collect()
    }
}

/// The nodes that are to have replicas: those that stay and can be reached, and of those with one name the last. An earlier
/// one has lost its disk.
fn candidates(roster: &Roster, me: NodeId) -> BTreeSet<NodeId> {
    let stays = |node: NodeId, member: &Member| {
        (!member.address.is_empty() || node == me) && !matches!(member.duty, Duty::Leaves | Duty::Left)
    };
    let staying = roster.iter().map(|(node, member)| (NodeId::from(node.0), member));
    let staying: Vec<(NodeId, &Member)> = staying.filter(|(node, member)| stays(*node, member)).collect();
    let last = |node: NodeId, name: &str| {
        name.is_empty() || !staying.iter().any(|(later, member)| *later > node && &*member.name == name)
    };
    staying.iter().filter(|(node, member)| last(*node, &member.name)).map(|(node, _)| *node).collect()
}

#[cfg(test)]
mod tests {
    use raft_consensus::cluster::{Begin, Cluster, ClusterId, Command, Founding};
    use session_store::{Host, Incarnation, Millis};

    use super::*;

    fn set(nodes: &[NodeId]) -> BTreeSet<NodeId> {
        nodes.iter().copied().collect()
    }

    #[test]
    fn who_is_to_have_replicas() {
        let mut cluster = Cluster::default();
        let founding = Founding { cluster: ClusterId([1; 16]), shards: 1 };
        cluster.apply(Millis(1), &Command::Found(founding)).unwrap();
        for (node, name, address) in
            [(1, "a", ""), (2, "b", "b:1"), (3, "c", "c:1"), (4, "b", "b:1"), (5, "", ""), (6, "d", "d:1")]
        {
            let host = Host { node: session_store::NodeId(node), incarnation: Incarnation(1) };
            let (name, address) = (name.into(), address.into());
            let begin = Begin { host, token: 1, name, address, knows_level: 1 };
            cluster.apply(Millis(1), &Command::Begin(begin)).unwrap();
        }
        let roster = |cluster: &Cluster| -> Roster {
            cluster.members().map(|(node, member)| (node, member.clone())).collect()
        };
        let told = |cluster: &mut Cluster, command: Command| cluster.apply(Millis(2), &command).unwrap();
        assert_eq!(
            candidates(&roster(&cluster), 1),
            set(&[1, 3, 4, 6]),
            "not who was replaced, nor whom nobody reaches"
        );
        assert_eq!(candidates(&roster(&cluster), 3), set(&[3, 4, 6]));
        told(&mut cluster, Command::Leave(session_store::NodeId(6)));
        told(&mut cluster, Command::Drain(session_store::NodeId(3)));
        assert_eq!(candidates(&roster(&cluster), 3), set(&[3, 4]), "who drains keeps its replicas");
        told(&mut cluster, Command::Leave(session_store::NodeId(4)));
        assert_eq!(candidates(&roster(&cluster), 3), set(&[2, 3]));
    }
}
