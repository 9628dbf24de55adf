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
