//! Which changes of routes are in force, of this host and of all shards: what a SUBACK waits for. Told of each entry of the
//! cluster group's log as this node applies it, and of what is in force; waits for nothing itself.

use std::collections::BTreeMap;

use node_routing::lease::{Applied, Barrier};
use parking_lot::Mutex;
use raft_consensus::cluster::{Change, Cluster, Owner};
use session_store::Host;
use tokio::sync::{Notify, watch};

/// The barriers of one node.
#[derive(Debug)]
pub(crate) struct Barriers {
    me: Host,
    owners: Mutex<Owners>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Owners {
    barriers: BTreeMap<Owner, Barrier>,
    in_force: u64,
}

impl Barriers {
    /// Of this run of the node.
    pub(crate) fn new(me: Host) -> Self {
        Self { me, owners: Mutex::default(), changed: Notify::new() }
    }

    /// Nobody here waits for what other hosts announce.
    fn concerns(&self, owner: Owner) -> bool {
        matches!(owner, Owner::Shard(_)) || owner == Owner::Host(self.me)
    }

    fn applied(&self, index: u64, numbers: impl Iterator<Item = (Owner, u64)>) {
        let mut owners = self.owners.lock();
        let in_force = owners.in_force;
        for (owner, number) in numbers.filter(|(owner, _)| self.concerns(*owner)) {
            let barrier = owners.barriers.entry(owner).or_default();
            barrier.in_force(in_force);
            barrier.applied(Applied { number, index });
        }
        drop(owners);
        self.changed.notify_waiters();
    }

    /// The state of the cluster group is this as of an entry, and that is visible to all threads.
    pub(crate) fn began(&self, index: u64, state: &Cluster) {
        self.applied(index, state.owners().map(|owner| (owner, state.last_routes(owner))));
    }

    /// The numbers of the routes that an entry changed.
    pub(crate) fn numbers(changes: &[Change]) -> Vec<(Owner, u64)> {
        let number = |change: &Change| match change {
            Change::Routes(routes) => Some((routes.owner, routes.number)),
            _ => None,
        };
        changes.iter().filter_map(number).collect()
    }

    /// An entry is visible to all threads, and changed routes up to these numbers.
    pub(crate) fn entered(&self, index: u64, numbers: Vec<(Owner, u64)>) {
        if !numbers.is_empty() {
            self.applied(index, numbers.into_iter());
        }
    }

    /// Follows what is in force, until nobody says so any more.
    pub(crate) async fn follow(&self, mut in_force: watch::Receiver<u64>) {
        loop {
            let index = *in_force.borrow_and_update();
            self.in_force(index);
            if in_force.changed().await.is_err() {
                return;
            }
        }
    }

    fn in_force(&self, index: u64) {
        let mut owners = self.owners.lock();
        owners.in_force = index.max(owners.in_force);
        owners.barriers.values_mut().for_each(|barrier| barrier.in_force(index));
        drop(owners);
        self.changed.notify_waiters();
    }

    fn has_reached(&self, owner: Owner, number: u64) -> bool {
        number == 0
            || self.owners.lock().barriers.get(&owner).is_some_and(|barrier| barrier.reached() >= number)
    }

    /// Waits until an owner's changes up to this number are in force.
    pub(crate) async fn reached(&self, owner: Owner, number: u64) {
        loop {
            let changed = self.changed.notified();
            if self.has_reached(owner, number) {
                return;
            }
            changed.await;
        }
    }

    /// The same for this host.
    pub(crate) async fn reached_here(&self, number: u64) {
        self.reached(Owner::Host(self.me), number).await;
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use raft_consensus::cluster::Routes;
    use session_store::{Incarnation, NodeId, ShardId};

    use super::*;

    const ME: Host = Host { node: NodeId(1), incarnation: Incarnation(2) };

    fn routes(owner: Owner, number: u64) -> Change {
        let (predecessor, removes, adds) = (number - 1, Vec::new(), Vec::new());
        Change::Routes(Routes { owner, number, predecessor, removes, adds })
    }

    fn waits(barriers: &Barriers, owner: Owner, number: u64) -> bool {
        let waiting = std::pin::pin!(barriers.reached(owner, number));
        waiting.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[test]
    fn a_change_counts_when_it_is_in_force_whichever_is_heard_of_first() {
        let (me, shard) = (Owner::Host(ME), Owner::Shard(ShardId(4)));
        let barriers = Barriers::new(ME);
        let enter = |index, change| barriers.entered(index, Barriers::numbers(&[change]));
        assert!(!waits(&barriers, me, 0) && waits(&barriers, me, 1));
        enter(5, routes(me, 1));
        barriers.in_force(4);
        assert!(waits(&barriers, me, 1));
        barriers.in_force(5);
        assert!(!waits(&barriers, me, 1) && waits(&barriers, me, 2));
        barriers.in_force(9);
        enter(8, routes(shard, 7));
        assert!(!waits(&barriers, shard, 7) && waits(&barriers, shard, 8));
    }
}
