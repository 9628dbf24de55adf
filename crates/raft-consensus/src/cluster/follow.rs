//! What a follower of routes, fences and bans is told: which there are, then what each entry changed, with the entry's index.
//! Implemented by the route view; called by the machine, on the thread that applies.

use std::fmt;

use super::route::Change;
use super::state::Cluster;

/// Follows the routes, fences and bans of the cluster group on this node. It is called between two entries, and everything
/// waits for it: it does what is to be done and returns. Whatever acts on an index (a lease, a barrier) may do so only once
/// the call with that index has returned, and everything in it was acted on.
pub trait Follow: fmt::Debug + Send + Sync {
    /// Whatever was known is over: the state is this, as of entry `index`. Comes first, and after each snapshot.
    fn begin(&self, index: u64, state: &Cluster);

    /// The entry `index` was applied, and changed this; nothing for most. The same index may come again, with what was
    /// cleaned up meanwhile.
    fn applied(&self, index: u64, changes: Vec<Change>);
}
