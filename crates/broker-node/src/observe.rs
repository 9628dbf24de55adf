//! What the node can say of itself at a moment: counters of all threads, sizes of all shards, where its groups are.
//! Read by `/metrics` and `$SYS`; what takes work to find out is looked at every few seconds.

use std::sync::{Arc, Weak};
use std::time::Duration;

use node_routing::counters::Tally;
use node_routing::reach::Reach;
use parking_lot::Mutex;
use raft_consensus::cluster::{Duty, Roster};
use raft_consensus::group::{Gone, Group};
use raft_consensus::machine::Machine;
use raft_consensus::positions::Positions;
use raft_consensus::types::TokioTypes;
use raft_consensus::wal::{Durations, Wal};
use session_store::ShardSizes;
use tokio::sync::watch;

use crate::cluster::{ClusterGroup, ClusterView, Raft};
use crate::counters::{NodeCounters, NodeTotals};
use crate::huge_pages::HugePages;
use crate::process::{DiskSpace, Usage};
use crate::sys::Snapshot;
use crate::worker::Node;

/// Time between two counts of the shards' sizes.
const SIZES_INTERVAL: Duration = Duration::from_secs(2);

/// This node's replica of one group.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    /// Which group, as `quelea ctl` calls it: `cluster`, or a shard's number.
    pub(crate) group: String,
    /// Whether this node leads it.
    pub(crate) leads: bool,
    /// In which term the group is.
    pub(crate) term: u64,
    /// Where the replica is in the group's log.
    pub(crate) at: Positions,
    /// Bytes of the node's log that it keeps.
    pub(crate) log_bytes: u64,
    /// How long entries took that this node proposed.
    pub(crate) commits: Durations,
}

/// What is looked at every few seconds.
#[derive(Debug, Default)]
struct Looked {
    sizes: ShardSizes,
    replicas: Vec<Replica>,
    /// Voters of the group that has the fewest.
    voters_least: usize,
    disk: DiskSpace,
}

/// What an observer sees beside the node itself.
pub(crate) struct Observed<'a> {
    /// The node's log.
    pub(crate) wal: &'a Wal,
    /// The cluster group.
    pub(crate) cluster: &'a ClusterGroup,
    /// What is counted of the way to other nodes.
    pub(crate) peers: Arc<Tally>,
    /// That way; none where there are no others.
    pub(crate) reach: Option<Weak<Reach>>,
}

/// Sees everything that the node counts.
#[derive(Clone)]
pub(crate) struct Observer {
    node: Arc<Node>,
    counters: Arc<[Arc<NodeCounters>]>,
    looked: Arc<Mutex<Looked>>,
    wal: Wal,
    cluster: ClusterView,
    roster: watch::Receiver<Roster>,
    group: Raft,
    peers: Arc<Tally>,
    reach: Option<Weak<Reach>>,
}

impl Observer {
    /// Looks at a node; `counters` are all sets there are.
    pub(crate) fn new(
        node: Arc<Node>,
        counters: Arc<[Arc<NodeCounters>]>,
        Observed { wal, cluster, peers, reach }: Observed<'_>,
    ) -> Self {
        let looked = Arc::default();
        let (group, roster) = (cluster.group(), cluster.roster());
        let (cluster, wal) = (cluster.view().clone(), wal.clone());
        Self { node, counters, looked, wal, cluster, roster, group, peers, reach }
    }

    /// Looks again and again until the node stops.
    pub(crate) async fn run(self) {
        let mut huge_pages = HugePages::Off;
        loop {
            huge_pages.follow(Usage::now().resident);
            let sizes = self.node.shards.sizes().await;
            let (replicas, voters_least) = self.replicas().await.unwrap_or_default();
            let disk = DiskSpace::of(&self.node.settings.node.data_dir);
            *self.looked.lock() = Looked { sizes, replicas, voters_least, disk };
            tokio::time::sleep(SIZES_INTERVAL).await;
        }
    }

    /// The replicas of this node, and the voters of the group that has the fewest.
    async fn replicas(&self) -> Result<(Vec<Replica>, usize), Gone> {
        let cluster = replica(&self.group, "cluster".to_owned()).await?;
        let mut replicas = vec![cluster];
        for (number, group) in self.node.shards.groups().enumerate() {
            replicas.push(replica(&group, number.to_string()).await?);
        }
        let replicas: Vec<(Replica, usize)> = replicas.into_iter().flatten().collect();
        let least = replicas.iter().map(|(_, voters)| *voters).min().unwrap_or_default();
        Ok((replicas.into_iter().map(|(replica, _)| replica).collect(), least))
    }

    /// What the node is and did; whether it is ready is for others to say.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut node = NodeTotals::of(self.counters.iter().map(AsRef::as_ref));
        let (too_often, delayed) = self.node.arrivals.counts();
        node.connects_too_often += too_often;
        node.connects_delayed += delayed;
        let asked = self.node.access.introspected();
        node.introspections += asked.answers;
        node.introspections_remembered += asked.remembered;
        node.introspections_failed += asked.failures;
        let (shard, queue) = self.node.shards.totals();
        let (transient, shared) = self.node.fanout.subscriptions();
        let looked = self.looked.lock();
        Snapshot {
            name: self.node.settings.node.name.clone(),
            number: self.group.me(),
            ready: false,
            overloaded: self.node.overload.cause().is_some(),
            memory_max: self.node.overload.memory_max(),
            uptime_s: self.node.clock.uptime().as_secs(),
            node,
            shard,
            queue,
            sizes: looked.sizes,
            outbox_lagging: self.node.shards.lagging(),
            transient_subscriptions: transient + shared,
            shared_subscriptions: shared,
            sockets: node.connections_opened.saturating_sub(node.connections_closed),
            usage: Usage::now(),
            disk: looked.disk,
            wal: self.wal.counters(),
            wal_syncs: self.wal.sync_times(),
            peers: self.peers.read(),
            peers_up: self.peers_up(),
            wal_bytes: self.wal.bytes_pinned(),
            members: self.roster.borrow().values().filter(|member| member.duty != Duty::Left).count(),
            voters_least: looked.voters_least,
            shards_led: self.node.shards.led(),
            replicas: looked.replicas.clone(),
            routes: self.cluster.routes.routes(),
            holds_lease: self.node.lease.allows(self.cluster.routes.applied()),
            stale: self.node.access.stale(),
            config_stale: self.node.live.is_stale(),
            in_force: *self.node.lease.in_force().borrow(),
        }
    }

    fn peers_up(&self) -> Vec<(u64, bool)> {
        self.reach.as_ref().and_then(Weak::upgrade).map(|reach| reach.up()).unwrap_or_default()
    }
}

/// A replica, and the voters of its group; `None` where this node has none.
async fn replica<M: Machine>(
    group: &Group<TokioTypes, M>,
    name: String,
) -> Result<Option<(Replica, usize)>, Gone> {
    let (members, me) = (group.members().await?, group.me());
    if !(members.voters.contains(&me) || members.learners.contains(&me)) {
        return Ok(None);
    }
    let leadership = group.leadership().now();
    let replica = Replica {
        group: name,
        leads: leadership.leader == Some(me),
        term: leadership.term,
        at: group.positions().await?,
        log_bytes: group.log_bytes(),
        commits: group.commit_times(),
    };
    Ok(Some((replica, members.voters.len())))
}

impl Snapshot {
    /// Of a node that has no groups yet, whose process has run for so long.
    pub(crate) fn early(name: &str, uptime: Duration) -> Self {
        Self { name: name.to_owned(), uptime_s: uptime.as_secs(), usage: Usage::now(), ..Self::default() }
    }
}
