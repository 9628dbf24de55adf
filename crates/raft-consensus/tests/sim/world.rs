//! Everything of one run: replicas, hosts, the network between replicas, and the chance that rules them. What hosts and
//! replicas say to each other takes time and arrives, unless one of them dies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::InstantOf;
use parking_lot::Mutex;
use raft_consensus::disk::{CrashMode, SimDisk};
use raft_consensus::network::MemoryNetwork;
use raft_consensus::types::NodeId;
use session_store::command::{Command, Input, Publish, PublishItem, Push};
use session_store::{ConnectionId, Effect, Host, Incarnation, Request, ShardId, Source};

use crate::chance::Chance;
use crate::history::{History, Promise, Sometimes};
use crate::home::Unread;
use crate::hosts::HostRun;
use crate::replica::{NODES, Place, Replica, SimTypes};

/// Hosts of clients, by their node number; none of them is a replica.
pub(crate) const HOSTS: [u32; 2] = [11, 12];

/// Who leads, as the replicas themselves say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    node: NodeId,
    term: u64,
    refused: u64,
}

struct Inner {
    disks: BTreeMap<NodeId, SimDisk>,
    replicas: Mutex<BTreeMap<NodeId, Replica>>,
    hosts: Mutex<BTreeMap<u32, HostRun>>,
    qos2_open: AtomicU32,
    stops: AtomicBool,
}

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
            qos2_open: AtomicU32::new(0),
            stops: AtomicBool::new(false),
        };
        let world = Self {
            chance: Chance::new(seed),
            history: History::default(),
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
        let _detached = SimTypes::spawn(world.clone().relay());
        world
    }

    pub(crate) async fn start(&self, node: NodeId) {
        let disk = &self.inner.disks[&node];
        let (network, chance, history) = (&self.network, &self.chance, &self.history);
        let place = Place { node, disk, network, chance, began: self.began, history };
        match Replica::start(&place).await {
            Ok((replica, torn)) => {
                if torn {
                    self.history.saw(Sometimes::TornTailCut);
                }
                let _detached = SimTypes::spawn(self.clone().carry(replica.clone()));
                let _detached = SimTypes::spawn(self.clone().see_refusals(replica.clone()));
                self.inner.replicas.lock().insert(node, replica);
            }
            Err(error) => {
                self.history.broken(Promise::Agreement, format!("node {node} does not start: {error}"))
            }
        }
    }

    /// Lets the power of a node go soon, if it runs.
    pub(crate) fn cut_power(&self, node: NodeId) {
        if let Some(replica) = self.inner.replicas.lock().get(&node) {
            replica.cut_power(&self.chance);
        }
    }

    /// Whether a running node has noticed that its power is off.
    pub(crate) fn is_powerless(&self, node: NodeId) -> bool {
        self.inner.replicas.lock().get(&node).is_some_and(Replica::is_powerless)
    }

    /// Ends a node, if it runs.
    pub(crate) fn crash(&self, node: NodeId, mode: CrashMode) {
        let replica = self.inner.replicas.lock().remove(&node);
        if let Some(replica) = replica {
            self.network.leave(node);
            replica.crash(mode, self.chance.next());
        }
    }

    pub(crate) fn runs(&self, node: NodeId) -> bool {
        self.inner.replicas.lock().contains_key(&node)
    }

    pub(crate) fn leads(&self, node: NodeId) -> bool {
        self.leader().is_some_and(|(view, _)| view.node == node)
    }

    pub(crate) fn replicas(&self) -> Vec<(NodeId, Replica)> {
        self.inner.replicas.lock().iter().map(|(node, replica)| (*node, replica.clone())).collect()
    }

    /// The replica that leads in the highest term, as far as replicas know.
    pub(crate) fn leader(&self) -> Option<(View, Replica)> {
        let leading = self.replicas().into_iter().filter_map(|(node, replica)| {
            let now = replica.group.leadership().now();
            (now.leader == Some(node))
                .then_some((View { node, term: now.term, refused: now.refused }, replica))
        });
        leading.max_by_key(|(view, _)| view.term)
    }

    /// Brings what a replica's machine decides to the hosts, in its order.
    async fn carry(self, replica: Replica) {
        while let Some(effect) = replica.outlet.next().await {
            if self.chance.one_in(4) {
                SimTypes::sleep(self.chance.millis(0..4)).await;
            }
            let to = match &effect {
                Effect::Answer(answer) => match answer.source {
                    Source::Host(host) => Some(host),
                    Source::Outbox(_) => None,
                },
                Effect::Gap { source: Source::Host(host), .. } => Some(*host),
                Effect::Reply(connection, _) | Effect::Push(connection, _) => Some(connection.host),
                _ => None,
            };
            let effect = match effect {
                Effect::Push(by, pushes) => Effect::Push(by, filled(&replica, by, pushes).await),
                other => other,
            };
            let run = to.and_then(|to| self.inner.hosts.lock().get(&to.node.0).cloned());
            if let Some(run) = run.filter(|run| Some(run.host) == to) {
                run.hear(effect);
            }
        }
    }

    /// Sees when a replica could not get an entry committed: it led no majority.
    async fn see_refusals(self, replica: Replica) {
        let mut leadership = replica.group.leadership();
        let mut refused = 0;
        while let Ok(now) = leadership.changed().await {
            if now.refused > refused {
                self.history.saw(Sometimes::MinorityRefused);
            }
            refused = now.refused;
        }
    }

    pub(crate) fn start_host(&self, node: u32, incarnation: Incarnation) {
        let run = HostRun::new(Host { node: session_store::NodeId(node), incarnation });
        self.inner.hosts.lock().insert(node, run.clone());
        let _detached = SimTypes::spawn(run.drive(self.clone()));
    }

    pub(crate) fn host(&self, node: u32) -> HostRun {
        self.inner.hosts.lock()[&node].clone()
    }

    pub(crate) fn any_host(&self) -> HostRun {
        self.host(HOSTS[self.chance.below(HOSTS.len() as u64) as usize])
    }

    /// A host dies and comes back as another run; the home is told that the old one is dead.
    pub(crate) fn kill_host(&self, node: u32) {
        let dead = self.host(node);
        dead.die();
        self.history.saw(Sometimes::HostDied);
        self.start_host(node, dead.host.incarnation.next());
        let world = self.clone();
        let _detached = SimTypes::spawn(async move { world.down(dead.host).await });
    }

    /// Until the home knows.
    async fn down(&self, host: Host) {
        loop {
            if let Some((_, replica)) = self.leader() {
                let looked = SimTypes::timeout(Duration::from_millis(500), async {
                    replica.group.room().await.ok()?.propose(Input::Down(host));
                    replica.group.look(move |home| home.shard.is_dead(host)).await.ok()
                });
                if looked.await == Ok(Some(true)) {
                    return;
                }
            }
            SimTypes::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Sends what the shard itself has to send: to itself, as the only shard there is.
    async fn relay(self) {
        loop {
            SimTypes::sleep(Duration::from_millis(10)).await;
            let Some((_, replica)) = self.leader() else { continue };
            let _ = SimTypes::timeout(Duration::from_millis(500), relay_some(&replica)).await;
        }
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

    /// No publisher begins anything new.
    pub(crate) fn stop_publishers(&self) {
        self.inner.stops.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stops(&self) -> bool {
        self.inner.stops.load(Ordering::Relaxed)
    }
}

/// Reads from the replica's store what has left its memory.
async fn filled(replica: &Replica, by: ConnectionId, pushes: Vec<Push>) -> Vec<Push> {
    let mut filled = Vec::new();
    for push in pushes {
        let Push::Stored { packet_id, position, dup, at } = push else {
            filled.push(push);
            continue;
        };
        // A checkpoint that is being written has the page in a moment.
        let found = loop {
            match replica.group.look_now(move |state| state.machine().fetch(&at, by)).await {
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

/// `None` where the group has ended.
async fn relay_some(replica: &Replica) -> Option<()> {
    let items = replica.group.look_now(|state| {
        let outbox = state.machine().shard.outbox();
        let first = outbox.first();
        outbox.from(first).take(16).map(|(position, item)| (position, item.clone())).collect::<Vec<_>>()
    });
    let items = items.await.ok()?;
    let last = items.last()?.0;
    let mut before = 0;
    for (position, item) in items {
        let publish = Publish {
            reply_to: None,
            publisher: item.publisher,
            items: vec![PublishItem {
                number: position,
                message: item.message,
                sessions: true,
                store_retained: false,
                groups: Vec::new(),
            }],
        };
        let source = Source::Outbox(ShardId(0));
        let command = Command::Publish(publish);
        let request = Request { source, number: position, done_below: before, command };
        before = position;
        replica.group.room().await.ok()?.propose(Input::from(request));
    }
    // Behind the items in the log, but only where the log has taken those.
    let refused = replica.group.leadership().now().refused;
    replica.group.look(|_| ()).await.ok()?;
    if replica.group.leadership().now().refused == refused {
        replica.group.room().await.ok()?.propose(Input::Relayed(last));
    }
    Some(())
}
