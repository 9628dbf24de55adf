//! What a node with peers has besides its own parts: the streams to the other hosts, the barriers of routes, what it may
//! acknowledge, and the cluster group that routes are brought into. Composed at start; does no work of its own.

use std::sync::Arc;

use raft_consensus::cluster::Live;
use raft_consensus::proposer::Ended;
use session_store::Host;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::ClusterView;
use crate::counters::NodeCounters;
use crate::fanout::{Elsewhere, Fanout};
use crate::latest::Latest;
use crate::lease::Lease;
use crate::routes::{AsksCluster, Barriers, HostRoutes};
use crate::shard::Shards;
use crate::streams::{SaysToHosts, StartStreams, Streams};

/// What a node with peers has besides. Clones are the same.
#[derive(Clone)]
pub(crate) struct Others {
    /// Publishes for and from other hosts.
    pub(crate) streams: Streams,
    /// What of the routes is in force.
    pub(crate) barriers: Arc<Barriers>,
    /// What is announced of this host.
    pub(crate) announced: Arc<HostRoutes>,
    /// What may be acted on.
    pub(crate) lease: Lease,
    /// Where routes are brought.
    pub(crate) cluster: Arc<dyn AsksCluster>,
    /// The runs that live.
    pub(crate) live: watch::Receiver<Live>,
    /// The latest connections of publishers.
    pub(crate) latest: Latest,
    me: Host,
    says: Arc<dyn SaysToHosts>,
}

/// What it is made of.
pub(crate) struct JoinOthers<'a> {
    /// This run of the node.
    pub(crate) me: Host,
    /// Who gets a message: from now on on other nodes too.
    pub(crate) fanout: &'a Arc<Fanout>,
    /// What the node follows of the cluster group.
    pub(crate) view: &'a ClusterView,
    /// The cluster group itself.
    pub(crate) cluster: Arc<dyn AsksCluster>,
    /// How other hosts are spoken to.
    pub(crate) says: Arc<dyn SaysToHosts>,
    /// What may be acted on.
    pub(crate) lease: Lease,
    /// What the streams alone count, and what counts messages that come too late.
    pub(crate) counters: [Arc<NodeCounters>; 2],
}

impl JoinOthers<'_> {
    /// Joins the others, before the node has any subscriber and before its shards start.
    pub(crate) fn join(self) -> Others {
        let Self { me, fanout, view, cluster, says, lease, counters } = self;
        let announced = Arc::new(HostRoutes::new(me));
        fanout.join(Elsewhere::new(me, Arc::clone(&view.routes), Arc::clone(&announced)));
        let [counters, of_late] = counters;
        let latest = Latest::new(of_late);
        let streams = Streams::new(StartStreams {
            me,
            fanout: Arc::clone(fanout),
            routes: Arc::clone(&view.routes),
            live: view.lowest_live.clone(),
            says: Arc::clone(&says),
            lease: lease.clone(),
            latest: latest.clone(),
            counters,
        });
        let (barriers, live) = (Arc::clone(&view.barriers), view.live.clone());
        Others { streams, barriers, announced, lease, cluster, live, latest, me, says }
    }
}

impl Others {
    /// Starts what goes on by itself, once there are shards; it ends with the node.
    pub(crate) fn start(&self, shards: &Shards, tasks: &mut JoinSet<Ended>) {
        let (streams, shards) = (self.streams.clone(), shards.downgrade());
        let (barriers, in_force) = (Arc::clone(&self.barriers), self.lease.in_force());
        let (announced, cluster) = (Arc::clone(&self.announced), Arc::clone(&self.cluster));
        let hears = self.says.hear(self.me.node, streams.clone());
        tasks.spawn(async move {
            let announces = announced.announce(&*cluster);
            tokio::join!(hears, streams.run(shards), barriers.follow(in_force), announces);
            Ended::Stopped
        });
    }
}
