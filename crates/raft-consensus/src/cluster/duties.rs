//! What the members of the cluster are there for: to serve, to be empty for a while, or to go for good. A part of the
//! cluster group's state, called by that; who moves what away is not decided here.

use session_store::{Host, NodeId};

use super::LEFT_MAX;
use super::command::{Command, Refusal};
use super::route::Change;
use super::state::{Cluster, Member};

/// What a member is there for. It outlives its runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Duty {
    /// It has replicas, leads, and takes clients.
    #[default]
    Serves,
    /// It keeps its replicas, leads nothing that another can lead, and takes no clients.
    Drains,
    /// Like [`Self::Drains`], and its replicas go to others; then it has left.
    Leaves,
    /// It belongs to the cluster no more. Its number is not given again, and none of its runs is let in.
    Left,
}

impl Cluster {
    /// Whether a node belonged to the cluster and does not any more.
    #[must_use]
    pub fn has_left(&self, node: NodeId) -> bool {
        match self.members.get(&node) {
            Some(member) => member.duty == Duty::Left,
            // As far as it is known who left long ago: whoever never came for its number is refused with them.
            None => node.0 > 0 && node <= self.last_forgotten && !self.admitted.contains_key(&node),
        }
    }

    /// A node that has another one's name and came later: it has lost its disk, and is there in the other one's place.
    #[must_use]
    pub fn replaced_by(&self, node: NodeId) -> Option<NodeId> {
        let name = &self.members.get(&node)?.name;
        let mut later = self.members.range(node..).skip(1);
        let same = |member: &Member| !name.is_empty() && member.name == *name && member.duty != Duty::Left;
        later.find(|(_, member)| same(member)).map(|(later, _)| *later)
    }

    /// Whether a member's duty is as a command says, or can become so.
    pub(super) fn decide_duty(&self, command: &Command) -> Result<bool, Refusal> {
        let (node, wanted) = match command {
            Command::Drain(node) => (*node, Duty::Drains),
            Command::Undrain(node) => (*node, Duty::Serves),
            Command::Leave(node) => (*node, Duty::Leaves),
            Command::Left(node) if self.has_left(*node) => return Ok(true),
            Command::Left(node) => (*node, Duty::Left),
            _ => return Ok(true),
        };
        let member = self.members.get(&node).ok_or(Refusal::NoMember(node))?;
        match (member.duty, wanted) {
            (now, wanted) if now == wanted => Ok(true),
            (Duty::Left, _) => Err(Refusal::Left(node)),
            (Duty::Leaves, Duty::Drains) => Err(Refusal::Leaves(node)),
            (_, Duty::Leaves) if self.serving_besides(node) == 0 => Err(Refusal::LastNode),
            (now, Duty::Left) if now != Duty::Leaves && self.replaced_by(node).is_none() => {
                Err(Refusal::NotLeaving(node))
            }
            _ => Ok(false),
        }
    }

    /// How many members stay when this one leaves.
    fn serving_besides(&self, node: NodeId) -> usize {
        let stays = |(other, member): &(&NodeId, &Member)| {
            **other != node && !matches!(member.duty, Duty::Leaves | Duty::Left)
        };
        self.members.iter().filter(stays).count()
    }

    /// Makes a member's duty as a command says that was not refused.
    pub(super) fn change_duty(&mut self, command: &Command, tell: &mut dyn FnMut(Change)) {
        match command {
            Command::Drain(node) => self.set_duty(*node, Duty::Drains),
            Command::Undrain(node) => self.set_duty(*node, Duty::Serves),
            Command::Leave(node) => self.set_duty(*node, Duty::Leaves),
            Command::Left(node) => self.leave(*node, tell),
            _ => {}
        }
    }

    fn set_duty(&mut self, node: NodeId, duty: Duty) {
        if let Some(member) = self.members.get_mut(&node) {
            member.duty = duty;
            self.touched.insert(node);
        }
    }

    fn leave(&mut self, node: NodeId, tell: &mut dyn FnMut(Change)) {
        self.set_duty(node, Duty::Left);
        self.admitted.remove(&node);
        if let Some(member) = self.members.get_mut(&node) {
            member.address = "".into();
            let last = Host { node, incarnation: member.begun };
            if !member.is_dead(member.begun) {
                member.lowest_live = member.begun.next();
                tell(self.owners.drop_run(last));
            }
        }
        self.forget_one();
    }

    /// Those that left are kept for a while, so that every shard hears that their runs are dead.
    fn forget_one(&mut self) {
        let left = |(node, member): (&NodeId, &Member)| (member.duty == Duty::Left).then_some(*node);
        let mut left = self.members.iter().filter_map(left);
        let (first, more) = (left.next(), left.count());
        if let Some(first) = first.filter(|_| more >= LEFT_MAX) {
            self.members.remove(&first);
            self.last_forgotten = self.last_forgotten.max(first);
            self.touched.insert(first);
        }
    }
}
