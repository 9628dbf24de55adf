//! The node's time: the wall clock at start, run on by the monotonic one, so that it never goes back.
//! Given to every transition from outside; transitions never read a clock.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use raft_consensus::proposer::WallClock;
use raft_consensus::time::GroupClock;
use raft_consensus::types::NodeId;
use session_store::Millis;

/// A clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall_ms: u64,
    started: Instant,
}

impl Clock {
    /// Starts at the wall clock's time.
    pub(crate) fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall_ms: u64::try_from(wall.as_millis()).unwrap_or(0), started: Instant::now() }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Millis {
        Millis(self.wall_ms.saturating_add(self.run_ms()))
    }

    fn run_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The time that the entries of all groups carry, on a node without peers: its own.
    #[cfg(test)]
    pub(crate) fn of_groups(self, node: NodeId) -> WallClock {
        GroupTime::new(self, node).of_entries()
    }

    /// How long this clock has run.
    pub(crate) fn uptime(&self) -> std::time::Duration {
        self.started.elapsed()
    }
}

/// The time of the cluster's groups on this node: from its own clock and from those of the others, as they are heard.
#[derive(Debug)]
pub(crate) struct GroupTime {
    clock: Clock,
    me: NodeId,
    groups: Mutex<GroupClock>,
}

impl GroupTime {
    /// Of a node that knows of no other.
    pub(crate) fn new(clock: Clock, me: NodeId) -> Arc<Self> {
        Arc::new(Self { clock, me, groups: Mutex::new(GroupClock::new([me])) })
    }

    /// These nodes belong to the cluster, and this one does.
    pub(crate) fn set_members(&self, members: impl IntoIterator<Item = session_store::NodeId>) {
        let members = members.into_iter().map(|node| u64::from(node.0));
        self.groups.lock().set_members(members.chain([self.me]));
    }

    /// Another node's wall clock says so now.
    pub(crate) fn heard(&self, node: session_store::NodeId, wall_ms: u64) {
        let node = u64::from(node.0);
        if node != self.me {
            self.groups.lock().sample(node, wall_ms, self.clock.run_ms());
        }
    }

    /// What this node's own clock says.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.clock.now().0
    }

    /// The time that entries carry.
    pub(crate) fn of_entries(self: &Arc<Self>) -> WallClock {
        let this = Arc::clone(self);
        Arc::new(move || {
            let at_ms = this.clock.run_ms();
            let mut groups = this.groups.lock();
            groups.sample(this.me, this.clock.wall_ms.saturating_add(at_ms), at_ms);
            groups.now_ms(at_ms)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_time_is_that_of_the_cluster_and_not_of_one_clock() {
        let clock = Clock::start();
        let time = GroupTime::new(clock, 1);
        let entries = time.of_entries();
        assert!(entries() >= clock.wall_ms, "alone it is the node's own");
        let others = [2, 3].map(session_store::NodeId);
        time.set_members(others);
        let hour = 3_600_000;
        time.heard(others[0], clock.now().0 + hour);
        time.heard(others[1], clock.now().0 + hour);
        assert!(entries() >= clock.wall_ms + hour, "two of three know better");
        time.heard(session_store::NodeId(1), clock.now().0 + 9 * hour);
        assert!(entries() < clock.wall_ms + 2 * hour, "nobody speaks for this node");
    }
}
