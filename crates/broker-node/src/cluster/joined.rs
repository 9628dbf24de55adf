//! The cluster group of a node with peers: answers them, keeps the node's lease, and has its run begin wherever the group is
//! led. Called by the composition root in the place of the start of a node without peers.

use std::sync::Arc;

use anyhow::bail;
use node_routing::lease::Profile;
use node_routing::server::Server;
use raft_consensus::cluster::GROUP;
use raft_consensus::network::Networks;
use raft_consensus::types::{NodeId, TokioTypes};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tracing::info;

use super::leaving::{self, Leaving};
use super::{
    Among, ClusterGroup, Of, Opened, Placing, Port, REFUSING, Raft, Runs, StartCluster, Succeeding, Way, fits,
};
use crate::admin::Subject;
use crate::clock::GroupTime;
use crate::lease::{Granting, Keep, Lease};

/// The node is none of the cluster's any more.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "this node has left the cluster and does not come back: for a new node use an empty node.data_dir (this one can be deleted)"
)]
struct HasLeft;

/// What the group of a node with peers is started with.
pub(crate) struct StartJoined<'a> {
    /// As for a node without them.
    pub(crate) start: StartCluster<'a>,
    /// The way to them.
    pub(crate) way: &'a mut Way,
    /// Where they reach this node.
    pub(crate) port: &'a Port,
    /// The cluster's times.
    pub(crate) profile: Profile,
    /// The time of the groups.
    pub(crate) time: Arc<GroupTime>,
    /// Who answers what the others ask for whoever administers the cluster.
    pub(crate) subject: &'a Subject,
}

/// What goes on for as long as this is there.
pub(crate) struct Kept {
    /// What the node may acknowledge.
    pub(crate) lease: Lease,
    /// Says which nodes broke their connections and refuse new ones.
    pub(crate) refusing: broadcast::Sender<NodeId>,
    _server: Server,
    _tasks: JoinSet<()>,
}

impl StartJoined<'_> {
    /// Starts the group with what its log and its checkpoint have, answers the other nodes, and returns once the node's run
    /// has begun, which takes a majority of the voters.
    ///
    /// # Errors
    /// The log or the checkpoint cannot be read or written, or does not fit to `node.json`, or the run may not begin.
    pub(crate) async fn start(self) -> anyhow::Result<(ClusterGroup, Runs, Kept)> {
        let Self { start, way, port, profile, time, subject } = self;
        let me = NodeId::from(start.identity.host().node.0);
        let others = if start.storage.has_lost(GROUP) { way.find(port).await } else { Vec::new() };
        let networks = &way.networks;
        Networks::<TokioTypes>::fetch_missing(networks, start.storage, GROUP, &others).await?;
        let mut opened = start.open(networks, (profile.timing(), Some(way.asker()))).await?;
        let known = opened.group.look_now(|state| state.machine().state().founding()).await?;
        fits::check_founding(known, start.identity)?;
        Networks::<TokioTypes>::started(&way.networks, &opened.group)?;
        let kept = keep((&start, subject), way, (port, profile, time), &mut opened)?;
        if start.identity.is_founder() {
            opened.group.found([me]).await?;
        }
        let (roster, hearsay) = (opened.roster.clone(), opened.hearsay.clone());
        let (group, runs) = tokio::select! {
            begun = opened.begin(start.commands(), start.storage.wal().room()) => begun?,
            () = leaving::left(start.identity.host().node, roster, &hearsay) => bail!(HasLeft),
        };
        Ok((group, runs, kept))
    }
}

/// Begins what goes on beside the group.
fn keep(
    (start, subject): (&StartCluster<'_>, &Subject),
    way: &mut Way,
    (port, profile, time): (&Port, Profile, Arc<GroupTime>),
    opened: &mut Opened,
) -> anyhow::Result<Kept> {
    let host = start.identity.host();
    let hearsay = opened.hearsay.clone();
    let talk = (Arc::clone(&time), hearsay.clone(), opened.roster.clone());
    let granting = Granting::new(profile, host.node, talk);
    let lease = Lease::none_yet(&opened.view, &profile, (&granting, way.toucher().refused_as_dead()));
    let (asks, routes) = (opened.asks.clone(), Arc::clone(&opened.view.routes));
    opened.view.among = Some(Among { asks, lease: lease.clone(), routes });
    let founding = (start.identity.founding(), opened.view.level.clone());
    let server = way.answer(port, &opened.asks, (granting.clone(), Arc::new(subject.clone())), founding)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(way.follow(opened.roster.clone()));
    tasks.spawn(way.seek(port, opened.roster.clone()));
    tasks.spawn(way.keep_in_touch());
    tasks.spawn(tell_leader(opened.group.clone()));
    let (group, roster) = (opened.group.clone(), opened.roster.clone());
    let leaving = Leaving {
        me: host.node,
        group: group.clone(),
        asks: opened.asks.clone(),
        roster: roster.clone(),
        hearsay: hearsay.clone(),
    };
    tasks.spawn(Placing { group, of: Of::Cluster, roster, hearsay: hearsay.clone() }.run());
    tasks.spawn(leaving.run());
    let (group, timing) = (opened.group.clone(), profile.timing());
    let refusing = broadcast::Sender::new(REFUSING);
    tasks.spawn(Succeeding { group, refusing: refusing.subscribe(), timing }.run());
    let keep = Keep {
        me: host,
        profile,
        lease: lease.clone(),
        granting,
        hearsay,
        time,
        group: opened.group.clone(),
        applied: opened.view.applied.clone(),
        live: watch::Receiver::clone(&opened.live),
        peers: way.watch(),
        toucher: way.toucher(),
        refusing: refusing.clone(),
    };
    if let Some(gone) = way.take_gone() {
        tasks.spawn(keep.run(gone));
    }
    Ok(Kept { lease, refusing, _server: server, _tasks: tasks })
}

/// Tells the operator who leads the cluster group.
async fn tell_leader(group: Raft) {
    let mut leadership = group.leadership();
    let mut told = None;
    loop {
        let now = leadership.now();
        if let Some(leader) = now.leader
            && told != Some((leader, now.term))
        {
            told = Some((leader, now.term));
            info!(target: "quelea", node = leader, term = now.term, "leads the cluster group");
        }
        if leadership.changed().await.is_err() {
            return;
        }
    }
}
