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
    pub(crate) fn of_groups(self, node: NodeId) -> WallClock {
        let groups = Mutex::new(GroupClock::new([node]));
        Arc::new(move || {
            let at_ms = self.run_ms();
            let mut groups = groups.lock();
            groups.sample(node, self.wall_ms.saturating_add(at_ms), at_ms);
            groups.now_ms(at_ms)
        })
    }

    /// How long this clock has run.
    pub(crate) fn uptime(&self) -> std::time::Duration {
        self.started.elapsed()
    }
}
