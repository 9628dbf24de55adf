//! Starts the shards of a node: a replica of each with what its log and its checkpoint have, and the tasks around it.
//! Called by the composition root, once.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use raft_consensus::group::{Group, Start, Timing};
use raft_consensus::network::Networks;
use raft_consensus::proposer::{Ended, WallClock};
use raft_consensus::storage::Storage;
use raft_consensus::types::{NodeId, SnapshotMeta, TokioTypes};
use raft_consensus::wal::GroupId;
use session_store::limits::ShardLimits;
use session_store::{Host, Incarnation, NodeId as NodeNumber, Shard, ShardId, ShardNumber};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::announces::Announces;
use super::backlog::Backlog;
use super::courier::Courier;
use super::delivery::{Delivery, node_of};
use super::drains::Drains;
use super::home::Home;
use super::leader::Leader;
use super::machine;
use super::overtaken::Overtaken;
use super::pages::StoredPages;
use super::peers::{Peers, Word};
use super::relay::Relay;
use super::sending::Sending;
use super::{Inner, Replica, ShardGroup, ShardMachine, Shards};
use crate::clock::Clock;
use crate::cluster::{ClusterView, Heard as HeardOfLeaders, Hearsay};
use crate::counters::NodeCounters;
use crate::failure::Fails;
use crate::fanout::Fanout;
use crate::others::Others;

/// How long a group may take until it has a leader and has applied its log, at start.
const READY_TIMEOUT: Duration = Duration::from_secs(600);

/// Between two times that a node whose start waits gives away what it was elected to lead.
const GIVE_WAY_EVERY: Duration = Duration::from_secs(3);

/// What other nodes say to one shard.
type Heard = mpsc::Receiver<Word>;

/// What shards are started with.
pub(crate) struct StartShards<'a, N> {
    /// The present run of the node.
    pub(crate) host: Host,
    /// The last run whose beginning they all have.
    pub(crate) logged: Incarnation,
    /// How many there are.
    pub(crate) of: u16,
    /// Where their logs and checkpoints are.
    pub(crate) storage: &'a Storage,
    /// Hears of a store that cannot be read.
    pub(crate) fails: Fails,
    /// Bounds of one shard.
    pub(crate) limits: ShardLimits,
    /// Who gets a message.
    pub(crate) fanout: &'a Arc<Fanout>,
    /// The node's time.
    pub(crate) clock: Clock,
    /// Two sets for each shard: for its deliveries and for its relay.
    pub(crate) counters: &'a [Arc<NodeCounters>],
    /// What the cluster group tells.
    pub(crate) cluster: ClusterView,
    /// Who has a replica of them, and how these reach each other.
    pub(crate) members: Members<'a, N>,
}

/// The nodes that have replicas of the shards.
pub(crate) struct Members<'a, N> {
    /// All of them that are known, this one included: asked for what was lost.
    pub(crate) nodes: Vec<NodeId>,
    /// Those that the groups are founded with, where that was not done yet; empty where somebody else does it.
    pub(crate) founders: Vec<NodeId>,
    /// No other node has a replica, nor will have.
    pub(crate) alone: bool,
    /// How their groups reach each other.
    pub(crate) networks: &'a N,
    /// How their shards' leaders and hosts do.
    pub(crate) peers: Peers,
    /// What a node with peers has besides; it has joined the fan-out.
    pub(crate) others: Option<Others>,
    /// Where other nodes say which shards they lead: not every node has a replica of each.
    pub(crate) hearsay: Option<Hearsay>,
    /// The times of their groups.
    pub(crate) timing: Timing,
}

/// Gives away what this node is elected to lead while its start waits. It serves nobody before that is over, and waits for
/// as long as it does not reach the leader of one shard, while it may well be elected by whom it does reach.
async fn give_way(replicas: &[Replica]) -> Infallible {
    loop {
        sleep(GIVE_WAY_EVERY).await;
        for Replica { group } in replicas {
            let Ok(members) = group.members().await else { continue };
            let can_lead =
                |node: &&NodeId| **node != group.me() && group.have_caught_up(&BTreeSet::from([**node]));
            if let Some(heir) = members.voters.iter().find(can_lead) {
                tracing::debug!(target: "quelea", group = group.id().0, node = heir, "another node is to lead a group");
                let _ended = group.hand_over(*heir).await;
            }
        }
    }
}

impl<N: Networks<TokioTypes>> StartShards<'_, N> {
    /// Starts the shards, each with what its log and its checkpoint have, and waits until this host has a way to the
    /// leader of each. Tasks that end before the node stops are failures.
    ///
    /// # Errors
    /// A log or a checkpoint cannot be read or written, or they do not belong together.
    pub(crate) async fn start(self) -> anyhow::Result<(Shards, JoinSet<Ended>)> {
        let mut tasks = JoinSet::new();
        let (homes, words) = self.homes()?;
        let mut replicas = Vec::new();
        for number in 0..self.of {
            let (replica, task) = self.start_replica(number, &homes).await?;
            self.members.networks.started(&replica.group)?;
            replicas.push(replica);
            tasks.spawn(async move { task.await.unwrap_or_else(|error| Ended::Failed(error.to_string())) });
        }
        self.members.peers.join(node_of(self.host), &homes);
        let room = self.storage.wal().room();
        let peers = self.members.peers.clone();
        let stored = StoredPages::new(self.storage.store().lock().reader(), self.fails.clone());
        let (among, others) = (self.cluster.among.clone(), self.members.others.clone());
        let drains = Drains::new(self.storage.wal().options().segment_bytes);
        let inner = Inner { host: self.host, replicas, homes, peers, room, drains, stored, among, others };
        let shards = Shards { inner: Arc::new(inner) };
        tokio::select! {
            begun = self.begin(&shards, words, &mut tasks) => begun?,
            never = give_way(&shards.inner.replicas) => match never {},
        }
        Ok((shards, tasks))
    }

    /// Waits for the replicas, has them served, and waits until this host has a way to all leaders.
    async fn begin(
        &self,
        shards: &Shards,
        words: Vec<Heard>,
        tasks: &mut JoinSet<Ended>,
    ) -> anyhow::Result<()> {
        for replica in &shards.inner.replicas {
            if !self.members.founders.is_empty() {
                replica.group.found(self.members.founders.iter().copied()).await?;
            }
            self.until_ready(replica).await?;
            replica.check_run((self.host, self.members.alone), self.logged).await?;
        }
        for (number, words) in (0..self.of).zip(words) {
            self.spawn_tasks(tasks, shards, (number, words))?;
        }
        if let Some(among) = self.cluster.among.clone() {
            spawn(tasks, shards.clone().heed_fences(among));
        }
        for home in shards.inner.homes.iter() {
            tokio::select! {
                () = home.link.until_open() => {}
                // Nobody else looks at them before all are there.
                Some(ended) = tasks.join_next() => bail!(ended?),
            }
        }
        Ok(())
    }

    /// Waits until a replica has what was acknowledged before the node started, or until it is known that this node has none.
    async fn until_ready(&self, replica: &Replica) -> anyhow::Result<()> {
        let group = replica.group.id().0;
        tokio::select! {
            ready = replica.group.ready(READY_TIMEOUT) => Ok(ready?),
            () = until_elsewhere(group, self.host.node, self.members.hearsay.as_ref()) => Ok(()),
        }
    }

    fn homes(&self) -> anyhow::Result<(Arc<[Home]>, Vec<Heard>)> {
        let (mut homes, mut words) = (Vec::new(), Vec::new());
        let sending = Sending::new(self.of);
        for (number, counters) in (0..self.of).zip(self.counters.chunks(2)) {
            let [counters, _] = counters else { bail!("a shard has two sets of counters") };
            let (home, heard) = Home::new((number, self.host), counters, (self.fanout, &sending));
            homes.push(home);
            words.push(heard);
        }
        Ok((homes.into(), words))
    }

    async fn start_replica(
        &self,
        number: u16,
        homes: &Arc<[Home]>,
    ) -> anyhow::Result<(Replica, JoinHandle<Ended>)> {
        let me = ShardNumber { number: ShardId(number), of: self.of };
        let id = GroupId(u32::from(number) + 1);
        let Members { nodes, networks, .. } = &self.members;
        networks.fetch_missing(self.storage, id, nodes).await?;
        let restored = self.storage.restore(id, |records| machine::restore(me, records))?;
        let (state, checkpoint) =
            restored.unwrap_or_else(|| (Shard::new(me, ShardLimits::default()), SnapshotMeta::default()));
        let delivery = Delivery::new((number, self.host), self.fanout, (homes, &self.members.peers));
        let totals = homes.get(usize::from(number)).map(|home| Arc::clone(&home.totals));
        let index = checkpoint.last_log_id.map_or(0, |id| id.index);
        let machine = ShardMachine::new(
            (state, index),
            self.storage.checkpoints(id),
            delivery,
            self.clock,
            totals.unwrap_or_default(),
        );
        let (group, task) = Group::start(Start {
            node: node_of(self.host),
            group: id,
            timing: self.members.timing,
            log: self.storage.log(id)?,
            room: self.storage.wal().room(),
            network: self.members.networks.network(id),
            machine,
            checkpoint,
            clock: WallClock::clone(&self.cluster.time),
        })
        .await?;
        Ok((Replica { group }, task))
    }

    fn spawn_tasks(
        &self,
        tasks: &mut JoinSet<Ended>,
        shards: &Shards,
        (number, words): (u16, Heard),
    ) -> anyhow::Result<()> {
        let Some(group) = shards.group(number).cloned() else { bail!("shard {number} was not started") };
        let counters = self.counters.get(2 * usize::from(number) + 1).cloned().unwrap_or_default();
        let (leads, leading) = watch::channel(None);
        if let Some(among) = self.cluster.among.clone() {
            let (shards, group, leads) = (shards.clone(), group.clone(), leading.clone());
            spawn(tasks, Overtaken { number, shards, group, among, leads }.run());
        }
        if let Some(others) = &self.members.others {
            let (shards, group, leads) = (shards.clone(), group.clone(), leading.clone());
            let cluster = Arc::clone(&others.cluster);
            spawn(tasks, Announces { number, shards, group, cluster, leads }.run());
        }
        if let Some(hearsay) = &self.members.hearsay {
            spawn(tasks, hear_of_leaders(group.clone(), hearsay.heard()));
        }
        let courier = Courier { number, shards: shards.clone(), leadership: group.leadership() };
        let backlog = Backlog { number, shards: shards.clone(), group: group.clone() };
        let relay = Relay {
            number,
            shards: shards.clone(),
            group: group.clone(),
            fanout: Arc::clone(self.fanout),
            counters,
            leads: leading,
        };
        let leader = Leader {
            shards: shards.clone(),
            number,
            group,
            limits: self.limits,
            cluster: self.cluster.clone(),
            words,
            leads,
        };
        spawn(tasks, leader.run());
        spawn(tasks, courier.run());
        spawn(tasks, backlog.run());
        spawn(tasks, relay.run());
        spawn(tasks, shards.clone().unpark(number));
        Ok(())
    }
}

/// Waits until whoever leads a shard says that others have its replicas, and not this node. It may get one any time.
async fn until_elsewhere(group: u32, me: NodeNumber, hearsay: Option<&Hearsay>) {
    let Some(mut heard) = hearsay.map(Hearsay::heard) else { return std::future::pending().await };
    let elsewhere =
        |heard: &HeardOfLeaders| heard.leads.get(&group).is_some_and(|(_, led)| !led.members.contains(&me));
    if heard.wait_for(elsewhere).await.is_err() {
        std::future::pending().await
    }
}

/// Tells a group who leads it, as other nodes say.
async fn hear_of_leaders(group: ShardGroup, mut heard: watch::Receiver<HeardOfLeaders>) {
    loop {
        let led = heard.borrow_and_update().leads.get(&group.id().0).map(|(node, led)| (*node, led.term));
        if let Some((leader, term)) = led {
            group.hear_of_leader(leader, term);
        }
        if heard.changed().await.is_err() {
            return;
        }
    }
}

fn spawn(tasks: &mut JoinSet<Ended>, work: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        work.await;
        Ended::Stopped
    });
}
