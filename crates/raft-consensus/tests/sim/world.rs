//! Everything of one run: nodes, hosts, the network between nodes, their clocks, and the chance that rules them. What
//! hosts and nodes say to each other takes time and arrives, unless one of them dies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::InstantOf;
use parking_lot::Mutex;
use raft_consensus::disk::{CrashMode, SimDisk};
use raft_consensus::network::MemoryNetwork;
use raft_consensus::types::NodeId;
use session_store::command::{GroupPick, Push, RouteChange};
use session_store::matching::{GroupName, GroupRef};
use session_store::{ConnectionId, Effect, Host, Incarnation, Millis, Source};
use topic_index::Filter;

use crate::chance::Chance;
use crate::clients::retained::Registers;
use crate::history::{History, Promise, Sometimes};
use crate::home::{SHARDS, Unread};
use crate::hosts::HostRun;
use crate::leader;
use crate::relay::{Answered, relay};
use crate::repair::NoStart;
use crate::replica::{NODES, Part, Place, Replica, SimTypes, monotonic_ms};

/// Hosts of clients, by their node number; none of them is a replica.
pub(crate) const HOSTS: [u32; 2] = [11, 12];

/// What right clocks say when a run begins.
const BEGAN_MS: u64 = 1_790_000_000_000;
/// Between two words of a node's clock to the others.
const CLOCKS_EVERY: Duration = Duration::from_millis(50);

/// How long after it is reached again a node hears that what it proposed was in vain, at most.
const REFUSAL_KNOWN_MS: u64 = 1_000;

/// Who leads, as the replicas themselves say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) node: NodeId,
    pub(crate) term: u64,
    pub(crate) refused: u64,
}

struct Inner {
    disks: BTreeMap<NodeId, SimDisk>,
    replicas: Mutex<BTreeMap<NodeId, Replica>>,
    hosts: Mutex<BTreeMap<u32, HostRun>>,
    /// The routes of each shard, as its leaders tell them.
    routes: Vec<Mutex<BTreeMap<Filter, RouteChange>>>,
    answered: Vec<Answered>,
    /// The lowest run of each host that is not dead: what a cluster group would say.
    live: Mutex<BTreeMap<u32, Incarnation>>,
    /// Whose clock is wrong, and by how many milliseconds.
    wrong_clock: Mutex<(NodeId, i64)>,
    registers: Mutex<Registers>,
    /// Members that a shared group had.
    members: Mutex<BTreeSet<&'static str>>,
    qos2_open: AtomicU32,
    stops: AtomicBool,
}

/// Clones are the same.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) history: History,
    pub(crate) network: MemoryNetwork<SimTypes>,
    began: InstantOf<SimTypes>,
    inner: Arc<Inner>,
}

impl World {
    pub(crate) async fn begin(seed: u64) -> Self {
        let inner = Inner {
            disks: NODES.map(|node| (node, SimDisk::new())).into(),
            replicas: Mutex::default(),
            hosts: Mutex::default(),
            routes: (0..SHARDS).map(|_| Mutex::default()).collect(),
            answered: (0..SHARDS).map(|_| Answered::default()).collect(),
            live: Mutex::default(),
            wrong_clock: Mutex::default(),
            registers: Mutex::default(),
            members: Mutex::default(),
            qos2_open: AtomicU32::new(0),
            stops: AtomicBool::new(false),
        };
        let world = Self {
            chance: Chance::new(seed),
            history: History::begin(),
            network: MemoryNetwork::new(seed ^ 0x5EED),
            began: SimTypes::now(),
            inner: Arc::new(inner),
        };
        for node in NODES {
            world.start(node).await;
        }
        for host in HOSTS {
            world.start_host(host, Incarnation(1));
        }
        for shard in 0..SHARDS {
            let _detached = SimTypes::spawn(relay(world.clone(), shard));
        }
        let _detached = SimTypes::spawn(world.clone().tell_time());
        world
    }

    pub(crate) fn disk(&self, node: NodeId) -> &SimDisk {
        &self.inner.disks[&node]
    }

    /// Starts a node with what its disk has, and says whether it would start.
    pub(crate) async fn start(&self, node: NodeId) -> bool {
        let disk = self.disk(node);
        // As the space does that a node keeps for its start.
        disk.set_capacity(None);
        let (network, chance, history) = (&self.network, &self.chance, &self.history);
        let others: Vec<_> = self.replicas().into_iter().map(|(_, replica)| replica.store).collect();
        let others = &others;
        let place = Place { node, disk, network, chance, began: self.began, history, others };
        match Replica::start(&place).await {
            Ok((replica, torn)) => {
                if torn {
                    self.history.saw(Sometimes::TornTailCut);
                }
                for shard in 0..SHARDS {
                    let part = replica.part(shard);
                    let _detached = SimTypes::spawn(self.clone().carry(shard, part.clone()));
                    let _detached = SimTypes::spawn(self.clone().see_refusals(node, part.clone()));
                    let _detached = SimTypes::spawn(leader::lead(self.clone(), (node, shard), part.clone()));
                }
                self.inner.replicas.lock().insert(node, replica);
                true
            }
            Err(NoStart::Waits) => false,
            Err(NoStart::Fails(why)) => {
                self.history.broken(Promise::CrashImages, format!("node {node} does not start: {why}"));
                false
            }
        }
    }

    /// Lets the power of a node go soon, if it runs.
    pub(crate) fn cut_power(&self, node: NodeId) {
        if let Some(replica) = self.replica(node) {
            replica.cut_power(&self.chance);
        }
    }

    /// Ends a node, if it runs.
    pub(crate) fn crash(&self, node: NodeId, mode: CrashMode) {
        let replica = self.inner.replicas.lock().remove(&node);
        if let Some(replica) = replica {
            self.network.leave(node);
            replica.crash(mode, self.chance.next());
        }
    }

    pub(crate) fn replica(&self, node: NodeId) -> Option<Replica> {
        self.inner.replicas.lock().get(&node).cloned()
    }

    pub(crate) fn replicas(&self) -> Vec<(NodeId, Replica)> {
        self.inner.replicas.lock().iter().map(|(node, replica)| (*node, replica.clone())).collect()
    }

    /// The replica that leads a shard in the highest term, as far as replicas know.
    pub(crate) fn leader(&self, shard: u16) -> Option<(View, Part)> {
        let leading = self.replicas().into_iter().filter_map(|(node, replica)| {
            let part = replica.part(shard);
            let now = part.group.leadership().now();
            let view = View { node, term: now.term, refused: now.refused };
            (now.leader == Some(node)).then(|| (view, part.clone()))
        });
        leading.max_by_key(|(view, _)| view.term)
    }

    /// Who leads, of all shards.
    pub(crate) fn views(&self) -> Vec<Option<View>> {
        (0..SHARDS).map(|shard| self.leader(shard).map(|(view, _)| view)).collect()
    }

    /// Cuts a node off from all others; hosts still reach it.
    pub(crate) fn isolate(&self, node: NodeId) {
        self.history.saw(Sometimes::Partition);
        self.network.isolate(node, NODES);
        self.history.cut_off(node);
    }

    /// All nodes reach each other again.
    pub(crate) fn reconnect(&self) {
        self.network.heal();
        self.history.reconnected();
    }

    /// Leaves less space on a node's disk than its log will want, or as much as it likes.
    pub(crate) fn set_full(&self, node: NodeId, full: bool) {
        let disk = self.disk(node);
        disk.set_capacity(full.then(|| disk.used() + 1_024));
        if let Some(replica) = self.replica(node) {
            replica.full.store(full, Ordering::Relaxed);
        }
    }

    /// A node's wall clock is wrong from now on, and those of the others are right.
    pub(crate) fn set_clock(&self, node: NodeId, off_ms: i64) {
        *self.inner.wrong_clock.lock() = (node, off_ms);
    }

    /// What a right clock says.
    pub(crate) fn wall(&self) -> Millis {
        Millis(BEGAN_MS + monotonic_ms(self.began))
    }

    /// Tells the nodes each other's clocks.
    async fn tell_time(self) {
        loop {
            let (wrong, off_ms) = *self.inner.wrong_clock.lock();
            let (at_ms, right_ms) = (monotonic_ms(self.began), self.wall().0);
            let replicas = self.replicas();
            for (_, replica) in &replicas {
                let mut clock = replica.clock.lock();
                for (other, _) in &replicas {
                    let off_ms = if *other == wrong { off_ms } else { 0 };
                    clock.sample(*other, right_ms.saturating_add_signed(off_ms), at_ms);
                }
            }
            SimTypes::sleep(CLOCKS_EVERY).await;
        }
    }

    /// Brings what a replica's machine decides to whom it concerns, in its order.
    async fn carry(self, shard: u16, part: Part) {
        while let Some(effect) = part.outlet.next().await {
            if self.chance.one_in(4) {
                SimTypes::sleep(self.chance.millis(0..4)).await;
            }
            let (to, effect) = match effect {
                Effect::Answer(answer) => match answer.source {
                    Source::Host(host) => (host, Effect::Answer(answer)),
                    Source::Outbox(outbox) => {
                        self.answered(outbox.0).tell(shard, answer.number);
                        continue;
                    }
                },
                Effect::Gap { source: Source::Host(host), .. } => (host, effect),
                Effect::Reply(connection, _) => (connection.host, effect),
                Effect::Push(by, pushes) => (by.host, Effect::Push(by, filled(&part, by, pushes).await)),
                Effect::Route(change) => {
                    // One that has led may be late.
                    if self.leader(shard).is_some_and(|(_, leads)| leads.outlet.is(&part.outlet)) {
                        self.set_route(shard, change);
                    }
                    continue;
                }
                Effect::Scan(client, ask) => {
                    let world = self.clone();
                    let _detached = SimTypes::spawn(leader::look_up(world, part.clone(), client, ask));
                    continue;
                }
                Effect::Gap { .. } | Effect::Outbox(_) => continue,
            };
            let run = self.inner.hosts.lock().get(&to.node.0).cloned();
            if let Some(run) = run.filter(|run| run.host == to) {
                run.hear(shard, effect);
            }
        }
    }

    /// Sees when a replica could not get an entry committed since it was cut off: it led no majority.
    async fn see_refusals(self, node: NodeId, part: Part) {
        let mut leadership = part.group.leadership();
        let mut refused = 0;
        while let Ok(now) = leadership.changed().await {
            if now.refused > refused && self.history.cut_off_for(node, REFUSAL_KNOWN_MS).is_some() {
                self.history.saw(Sometimes::MinorityRefused);
            }
            refused = now.refused;
        }
    }

    pub(crate) fn answered(&self, outbox: u16) -> &Answered {
        &self.inner.answered[usize::from(outbox)]
    }

    /// One of the groups that match a topic are in these shards.
    pub(crate) fn picks(&self, topic: &[u8], choice: u64) -> Vec<(u16, GroupPick)> {
        let mut groups: BTreeMap<GroupRef, ()> = BTreeMap::new();
        for routes in &self.inner.routes {
            for filter in routes.lock().keys() {
                let Filter::Shared { group, filter } = filter else { continue };
                if topic_index::matches(filter, topic) {
                    let name = GroupName { group: group.clone(), filter: filter.clone() };
                    groups.insert(Arc::new(name), ());
                }
            }
        }
        groups.keys().filter_map(|group| self.pick(group, choice)).collect()
    }

    /// A shard with members of a group. The same number picks the same where the members are the same.
    pub(crate) fn pick(&self, group: &GroupRef, choice: u64) -> Option<(u16, GroupPick)> {
        let filter = Filter::Shared { group: group.group.clone(), filter: group.filter.clone() };
        let has = |shard: &u16| {
            let routes = self.inner.routes[usize::from(*shard)].lock();
            routes.get(&filter).is_some_and(|route| route.members.all > 0)
        };
        let shards: Vec<u16> = (0..SHARDS).filter(has).collect();
        let shard = *shards.get((choice % shards.len().max(1) as u64) as usize)?;
        Some((shard, GroupPick { group: Arc::clone(group), choice }))
    }

    fn set_route(&self, shard: u16, change: RouteChange) {
        let mut routes = self.inner.routes[usize::from(shard)].lock();
        if change.qos.is_some() {
            routes.insert(change.filter.clone(), change);
        } else {
            routes.remove(&change.filter);
        }
    }

    /// All routes of a shard, as its new leader has them.
    pub(crate) fn set_routes(&self, shard: u16, all: Vec<RouteChange>) {
        let all = all.into_iter().map(|route| (route.filter.clone(), route));
        *self.inner.routes[usize::from(shard)].lock() = all.collect();
    }

    pub(crate) fn start_host(&self, node: u32, incarnation: Incarnation) {
        let run = HostRun::new(Host { node: session_store::NodeId(node), incarnation });
        self.inner.hosts.lock().insert(node, run.clone());
        self.inner.live.lock().insert(node, incarnation);
        for shard in 0..SHARDS {
            let _detached = SimTypes::spawn(run.clone().drive(self.clone(), shard));
        }
    }

    pub(crate) fn host(&self, node: u32) -> HostRun {
        self.inner.hosts.lock()[&node].clone()
    }

    pub(crate) fn hosts(&self) -> Vec<HostRun> {
        HOSTS.into_iter().map(|host| self.host(host)).collect()
    }

    pub(crate) fn any_host(&self) -> HostRun {
        self.host(HOSTS[self.chance.below(HOSTS.len() as u64) as usize])
    }

    /// A host dies and comes back as another run; the shards are told that the old one is dead.
    pub(crate) fn kill_host(&self, node: u32) {
        let dead = self.host(node);
        dead.die();
        self.history.saw(Sometimes::HostDied);
        self.start_host(node, dead.host.incarnation.next());
    }

    /// The lowest run of each host that is not dead.
    pub(crate) fn live(&self) -> Vec<(session_store::NodeId, Incarnation)> {
        let live = self.inner.live.lock();
        live.iter().map(|(node, incarnation)| (session_store::NodeId(*node), *incarnation)).collect()
    }

    /// Counts QoS 2 exchanges under way, to see what befalls them.
    pub(crate) fn qos2(&self, begins: bool) {
        if begins {
            self.inner.qos2_open.fetch_add(1, Ordering::Relaxed);
        } else {
            self.inner.qos2_open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn qos2_open(&self) -> bool {
        self.inner.qos2_open.load(Ordering::Relaxed) > 0
    }

    /// What was done with retained messages.
    pub(crate) fn registers<R>(&self, look: impl FnOnce(&mut Registers) -> R) -> R {
        look(&mut self.inner.registers.lock())
    }

    /// A client is a member of the shared group.
    pub(crate) fn joins(&self, client: &'static str) {
        self.inner.members.lock().insert(client);
    }

    /// Whether a client was ever a member.
    pub(crate) fn has_joined(&self, client: &str) -> bool {
        self.inner.members.lock().contains(client)
    }

    /// No client begins anything new.
    pub(crate) fn stop_clients(&self) {
        self.inner.stops.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stops(&self) -> bool {
        self.inner.stops.load(Ordering::Relaxed)
    }
}

/// Reads from the node's store what has left its memory.
async fn filled(part: &Part, by: ConnectionId, pushes: Vec<Push>) -> Vec<Push> {
    let mut filled = Vec::new();
    for push in pushes {
        let Push::Stored { packet_id, position, dup, at } = push else {
            filled.push(push);
            continue;
        };
        // A checkpoint that is being written has the page in a moment.
        let found = loop {
            match part.group.look_now(move |state| state.machine().fetch(&at, by)).await {
                Ok(Ok(found)) => break found,
                Ok(Err(Unread)) => SimTypes::sleep(Duration::from_millis(5)).await,
                Err(_gone) => break None,
            }
        };
        let publish = |item| Push::Publish { packet_id: Some(packet_id), position, dup, item };
        filled.extend(found.map(publish));
    }
    filled
}
