//! What the node can say of itself at a moment: counters of all threads, sizes of all shards, memory.
//! Read by `/metrics` and `$SYS`; sizes are taken every few seconds, since counting them takes work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use node_routing::counters::Tally;
use parking_lot::Mutex;
use raft_consensus::cluster::{Duty, Roster};
use raft_consensus::group::Gone;
use raft_consensus::wal::Wal;
use session_store::ShardSizes;
use tokio::sync::watch;

use crate::cluster::{ClusterGroup, ClusterView, Raft};
use crate::counters::{NodeCounters, NodeTotals};
use crate::huge_pages::HugePages;
use crate::sys::Snapshot;
use crate::worker::Node;

/// Time between two counts of the shards' sizes.
const SIZES_INTERVAL: Duration = Duration::from_secs(2);

/// Sees everything that the node counts.
#[derive(Clone)]
pub(crate) struct Observer {
    node: Arc<Node>,
    counters: Arc<[Arc<NodeCounters>]>,
    sizes: Arc<Mutex<ShardSizes>>,
    wal: Wal,
    cluster: ClusterView,
    roster: watch::Receiver<Roster>,
    group: Raft,
    /// Voters of the group that has the fewest.
    voters_least: Arc<AtomicUsize>,
    peers: Arc<Tally>,
}

impl Observer {
    /// Looks at a node; `counters` are all sets there are.
    pub(crate) fn new(
        node: Arc<Node>,
        counters: Arc<[Arc<NodeCounters>]>,
        wal: &Wal,
        (cluster, peers): (&ClusterGroup, Arc<Tally>),
    ) -> Self {
        let (sizes, voters_least) = (Arc::default(), Arc::default());
        let (group, roster) = (cluster.group(), cluster.roster());
        let (cluster, wal) = (cluster.view().clone(), wal.clone());
        Self { node, counters, sizes, wal, cluster, roster, group, voters_least, peers }
    }

    /// Counts the sizes again and again until the node stops.
    pub(crate) async fn run(self) {
        let mut huge_pages = HugePages::Off;
        loop {
            huge_pages.follow(memory().0);
            let sizes = self.node.shards.sizes().await;
            *self.sizes.lock() = sizes;
            self.voters_least.store(self.count_voters().await.unwrap_or_default(), Ordering::Relaxed);
            tokio::time::sleep(SIZES_INTERVAL).await;
        }
    }

    async fn count_voters(&self) -> Result<usize, Gone> {
        let (me, mut least) = (self.group.me(), self.group.members().await?.voters.len());
        for group in self.node.shards.groups() {
            let members = group.members().await?;
            // A node without a replica does not know them.
            if members.voters.contains(&me) || members.learners.contains(&me) {
                least = least.min(members.voters.len());
            }
        }
        Ok(least)
    }

    /// What the node is and did.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let node = NodeTotals::of(self.counters.iter().map(AsRef::as_ref));
        let (shard, queue) = self.node.shards.totals();
        let (transient, shared) = self.node.fanout.subscriptions();
        Snapshot {
            uptime_s: self.node.clock.uptime().as_secs(),
            node,
            shard,
            queue,
            sizes: *self.sizes.lock(),
            outbox_lagging: self.node.shards.lagging(),
            transient_subscriptions: transient + shared,
            shared_subscriptions: shared,
            sockets: node.connections_opened.saturating_sub(node.connections_closed),
            memory: memory(),
            wal: self.wal.counters(),
            peers: self.peers.read(),
            wal_bytes: self.wal.bytes_pinned(),
            members: self.roster.borrow().values().filter(|member| member.duty != Duty::Left).count(),
            voters_least: self.voters_least.load(Ordering::Relaxed),
            shards_led: self.node.shards.led(),
            routes: self.cluster.routes.routes(),
            holds_lease: self.node.lease.allows(self.cluster.routes.applied()),
            stale: self.node.access.stale(),
            in_force: *self.node.lease.in_force().borrow(),
        }
    }
}

impl Snapshot {
    /// Of a node that has no groups yet, whose process has run for so long.
    pub(crate) fn early(uptime: Duration) -> Self {
        Self { uptime_s: uptime.as_secs(), memory: memory(), ..Self::default() }
    }
}

/// Resident memory of the process now and at most, in bytes; 0 where the system does not tell.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    (kib("VmRSS:").unwrap_or(0) * 1024, kib("VmHWM:").unwrap_or(0) * 1024)
}
