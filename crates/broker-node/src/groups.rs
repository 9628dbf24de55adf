//! The groups of a node, alone or with peers, in the order in which they start. Called by the composition root; it decides
//! nothing.

use std::sync::{Arc, Weak};

use node_routing::reach::Reach;
use raft_consensus::group::Timing;
use raft_consensus::network::{Alone, Networks};
use raft_consensus::proposer::Ended;
use raft_consensus::storage::Storage;
use raft_consensus::types::{NodeId, TokioTypes};
use tokio::task::JoinSet;
use tracing::info;

use crate::access::Access;
use crate::admin::{Belongs, Subject};
use crate::clock::{Clock, GroupTime};
use crate::cluster::{
    ClusterGroup, ClusterView, Kept, Of, Placing, Port, StartCluster, StartJoined, Succeeding, Way,
};
use crate::config::{Settings, Source};
use crate::counters::NodeCounters;
use crate::failure::Fails;
use crate::fanout::Fanout;
use crate::identity::Identity;
use crate::lease::{self, Lease};
use crate::others::JoinOthers;
use crate::shard::{Members, Peers, StartShards};
use crate::streams::SaysToHosts;
use crate::worker::Node;

/// What was found of the node, or made, before it starts.
#[derive(Clone, Copy)]
pub(crate) struct Data<'a> {
    /// Who it is.
    pub(crate) identity: &'a Identity,
    /// Its log and checkpoints.
    pub(crate) storage: &'a Storage,
    /// Who may connect, and do what.
    pub(crate) access: &'a Arc<Access>,
    /// `None` for a node that stays alone.
    pub(crate) port: Option<&'a Port>,
    /// Who is told how far it has come.
    pub(crate) subject: &'a Subject,
    /// Where its settings are read from again.
    pub(crate) source: &'a Source,
}

/// The groups of a node, and what goes on beside them.
pub(crate) struct Started {
    /// The cluster group.
    pub(crate) cluster: ClusterGroup,
    /// What connections share.
    pub(crate) node: Arc<Node>,
    /// The tasks of the groups; one that ends before the node stops is a failure.
    pub(crate) groups: JoinSet<Ended>,
    /// What goes on beside them.
    pub(crate) tasks: JoinSet<()>,
    /// The way to other nodes, on a node with peers.
    pub(crate) reach: Option<Weak<Reach>>,
    /// What answers other nodes, until it is dropped.
    pub(crate) kept: Option<Kept>,
}

/// Starts the groups. The cluster group comes before the shards: it says how many there are, and whether this run of the
/// node may begin.
///
/// # Errors
/// A log or a checkpoint cannot be used, they do not belong together, or the cluster does not take the node.
pub(crate) async fn start(
    settings: &Arc<Settings>,
    counters: &[Arc<NodeCounters>],
    data: Data<'_>,
    fails: Fails,
) -> anyhow::Result<Started> {
    let (clock, me) = (Clock::start(), NodeId::from(data.identity.host().node.0));
    let time = GroupTime::new(clock, me);
    let start = StartCluster {
        identity: data.identity,
        name: &settings.node.name,
        address: data.port.map_or("", |port| &port.address),
        storage: data.storage,
        time: time.of_entries(),
        access: data.access.stored(),
    };
    let Some(port) = data.port else {
        let (cluster, runs) = start.start().await?;
        belongs(&cluster, data);
        let lease = Lease::alone(cluster.view());
        let shards =
            ShardsOf { settings, counters, data, fails, clock, cluster: cluster.view(), hosts: None };
        let (node, mut groups) = shards.start(Members::alone(me), lease).await?;
        groups.spawn(runs);
        return Ok(Started { cluster, node, groups, tasks: JoinSet::new(), reach: None, kept: None });
    };
    let way = Way::open(data.identity, port, (data.storage, &settings.node.data_dir))?;
    let refused = way.toucher().refused_as_dead();
    tokio::select! {
        started = with_peers((settings, counters, fails), data, (start, clock, time), (way, port)) => started,
        // Whoever takes long to start may be taken for dead meanwhile, and nobody would answer it any more.
        dead = lease::refused(refused) => Err(dead.into()),
    }
}

/// The groups of a node with peers.
async fn with_peers(
    (settings, counters, fails): (&Arc<Settings>, &[Arc<NodeCounters>], Fails),
    data: Data<'_>,
    (start, clock, time): (StartCluster<'_>, Clock, Arc<GroupTime>),
    (mut way, port): (Way, &Port),
) -> anyhow::Result<Started> {
    let me = NodeId::from(data.identity.host().node.0);
    let profile = settings.profile()?;
    data.subject.readiness().waits("joins its cluster: its run has not begun there, which takes a majority");
    let joined = StartJoined { start, way: &mut way, port, profile, time, subject: data.subject };
    let (cluster, runs, kept) = joined.start().await?;
    belongs(&cluster, data);
    let nodes = cluster.roster().borrow().keys().map(|node| NodeId::from(node.0)).collect();
    let members = Members {
        nodes,
        founders: if data.identity.is_founder() { vec![me] } else { Vec::new() },
        alone: false,
        networks: &way.networks,
        peers: way.peers.clone(),
        timing: profile.timing(),
        others: None,
        hearsay: Some(cluster.hearsay().clone()),
    };
    let shards = ShardsOf {
        settings,
        counters,
        data,
        fails,
        clock,
        cluster: cluster.view(),
        hosts: Some(Arc::clone(&way.hosts)),
    };
    let (node, mut groups) = shards.start(members, kept.lease.clone()).await?;
    groups.spawn(runs);
    let mut tasks = JoinSet::new();
    for (number, group) in (0..).zip(node.shards.groups()) {
        let (refusing, timing) = (kept.refusing.subscribe(), profile.timing());
        tasks.spawn(Succeeding { group: group.clone(), refusing, timing }.run());
        let (roster, hearsay) = (cluster.roster(), cluster.hearsay().clone());
        let of = Of::Shard { number, of: data.identity.shards };
        tasks.spawn(Placing { group, of, roster, hearsay }.run());
    }
    Ok(Started { cluster, node, groups, tasks, reach: Some(way.reach()), kept: Some(kept) })
}

/// Says that the node's run has begun; what is left are its shards.
fn belongs(cluster: &ClusterGroup, data: Data<'_>) {
    data.subject.belongs_by(Belongs {
        me: data.identity.host().node,
        shards: data.identity.shards,
        group: cluster.group(),
        roster: cluster.roster(),
        view: cluster.view().clone(),
        asks: cluster.asks().clone(),
    });
    data.subject.readiness().waits("starts its shards: they replay their logs, and wait for their leaders");
}

/// Those of the shards, and that of the streams.
fn shard_counters<'a>(
    settings: &Settings,
    counters: &'a [Arc<NodeCounters>],
    shards: u16,
) -> (&'a [Arc<NodeCounters>], [Arc<NodeCounters>; 2]) {
    let behind = counters.get(settings.worker_threads()..).unwrap_or(&[]);
    let (of_shards, others) = behind.split_at_checked(2 * usize::from(shards)).unwrap_or((behind, &[]));
    let mut others = others.iter().cloned();
    (of_shards, std::array::from_fn(|_| others.next().unwrap_or_default()))
}

/// What the shards are started with, whoever else has replicas of them.
struct ShardsOf<'a> {
    settings: &'a Arc<Settings>,
    counters: &'a [Arc<NodeCounters>],
    data: Data<'a>,
    fails: Fails,
    clock: Clock,
    cluster: &'a ClusterView,
    /// The way to other hosts, on a node with peers.
    hosts: Option<Arc<dyn SaysToHosts>>,
}

impl ShardsOf<'_> {
    async fn start<N: Networks<TokioTypes>>(
        self,
        mut members: Members<'_, N>,
        lease: Lease,
    ) -> anyhow::Result<(Arc<Node>, JoinSet<Ended>)> {
        let Self { settings, counters, data, fails, clock, cluster, hosts } = self;
        let Data { identity, storage, access, .. } = data;
        let fanout = Arc::new(Fanout::new(settings.mqtt.shared_strategy));
        let host = identity.host();
        let (of_shards, of_others) = shard_counters(settings, counters, identity.shards);
        let others = cluster.among.as_ref().zip(hosts).map(|(among, says)| {
            let (asks, lease) = (Arc::new(among.asks.clone()), among.lease.clone());
            let (fanout, counters) = (&fanout, of_others);
            JoinOthers { me: host, fanout, view: cluster, cluster: asks, says, lease, counters }.join()
        });
        members.others.clone_from(&others);
        let start = StartShards {
            host,
            logged: identity.logged(),
            of: identity.shards,
            storage,
            fails,
            limits: settings.shard_limits(identity.shards),
            fanout: &fanout,
            clock,
            cluster: cluster.clone(),
            counters: of_shards,
            members,
        };
        let (shards, mut groups) = start.start().await?;
        others.into_iter().for_each(|others| others.start(&shards, &mut groups));
        let took_ms = clock.uptime().as_millis();
        let incarnation = host.incarnation.0;
        info!(target: "quelea", cluster = %identity.cluster, incarnation, shards = identity.shards, took_ms, "shards are ready");
        let node = Node::new(Arc::clone(settings), fanout, (shards, lease), clock, Arc::clone(access));
        Ok((Arc::new(node), groups))
    }
}

impl Members<'static, Alone> {
    /// Of a node without peers.
    fn alone(me: NodeId) -> Self {
        // A node without peers waits for nobody: the slower its groups tick, the less it does when idle.
        let (networks, peers, timing) = (&Alone, Peers::default(), Timing::ZONES);
        Self {
            nodes: vec![me],
            founders: vec![me],
            alone: true,
            networks,
            peers,
            timing,
            others: None,
            hearsay: None,
        }
    }
}
