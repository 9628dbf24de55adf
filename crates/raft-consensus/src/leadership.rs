//! Who leads a group, and whether it took what it was asked to propose: told by the group's proposer to whoever waits
//! for the effects of a proposal. Only as this node knows it: another may know better.

use openraft::async_runtime::watch::WatchReceiver;
use openraft::type_config::alias::WatchReceiverOf;

use crate::group::Gone;
use crate::types::{NodeId, Types};

/// Who leads a group. A proposal of this node that was made under another value than the present one may have been
/// refused, or lost: whoever waits for it repeats it, to the leader that there is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Who leads; nobody during an election.
    pub leader: Option<NodeId>,
    /// In which term.
    pub term: u64,
    /// How many entries of this node were refused, or lost, since it started.
    pub refused: u64,
}

/// Who leads a group in which term, as another node says: for nodes that have no replica, whom the leader tells nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    leader: NodeId,
    /// 0 where nobody has said anything.
    term: u64,
}

impl Heard {
    /// Somebody leads. What is older than what is known changes nothing, which is told.
    pub(crate) fn note(&mut self, leader: NodeId, term: u64) -> bool {
        let newer = term > self.term;
        if newer {
            *self = Self { leader, term };
        }
        newer
    }

    /// Who leads, beside what this node's replica knows: whoever has the higher term.
    pub(crate) fn unless_known(self, leader: Option<NodeId>, term: u64) -> (Option<NodeId>, u64) {
        let newer = self.term > term || (self.term == term && leader.is_none());
        if newer && self.term > 0 { (Some(self.leader), self.term) } else { (leader, term) }
    }
}

/// Follows the leadership of a group.
#[derive(Clone)]
pub struct LeadershipWatch<C: Types> {
    watch: WatchReceiverOf<C, Leadership>,
}

impl<C: Types> LeadershipWatch<C> {
    pub(crate) fn new(watch: WatchReceiverOf<C, Leadership>) -> Self {
        Self { watch }
    }

    /// How it is now.
    #[must_use]
    pub fn now(&self) -> Leadership {
        *self.watch.borrow_watched()
    }

    /// Waits until it is not any more what [`Self::now`] said at last, and says how it is.
    ///
    /// # Errors
    /// The group has ended.
    pub async fn changed(&mut self) -> Result<Leadership, Gone> {
        self.watch.changed().await.map_err(|_| Gone)?;
        Ok(self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_term_says_who_leads() {
        let mut heard = Heard::default();
        assert_eq!(heard.unless_known(None, 0), (None, 0));
        assert!(heard.note(2, 4) && !heard.note(3, 4) && !heard.note(3, 1));
        assert_eq!(heard.unless_known(None, 0), (Some(2), 4), "a node without a replica");
        assert_eq!(
            heard.unless_known(Some(1), 3),
            (Some(2), 4),
            "a replica that nobody tells anything any more"
        );
        assert_eq!(heard.unless_known(None, 4), (Some(2), 4));
        assert_eq!(heard.unless_known(None, 5), (None, 5), "there is an election");
        assert_eq!(heard.unless_known(Some(1), 5), (Some(1), 5));
        assert!(heard.note(3, 5));
    }
}
