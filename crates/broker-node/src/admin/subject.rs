//! The node that the admin API and `/metrics` tell of, as far as it has come: told by the composition root while it starts, and
//! asked by whoever answers. It holds what there is, and does nothing with it.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use raft_consensus::cluster::{ClusterId, Roster};
use session_store::NodeId;
use tokio::sync::watch;

use crate::cluster::{Asks, ClusterView, Raft, Seeds};
use crate::counters::NodeCounters;
use crate::observe::Observer;
use crate::readiness::Readiness;
use crate::sys::Snapshot;
use crate::worker::Node;

/// A node, as far as it has come. Clones are the same.
#[derive(Clone)]
pub(crate) struct Subject(Arc<Parts>);

struct Parts {
    name: String,
    begun: Instant,
    readiness: Readiness,
    /// Whom it asks for a cluster, while it looks for one or for the way to its own.
    seeds: Mutex<Option<Seeds>>,
    cluster: OnceLock<ClusterId>,
    belongs: OnceLock<Belongs>,
    running: OnceLock<Running>,
}

/// A node whose run has begun in its cluster.
pub(crate) struct Belongs {
    /// Its number.
    pub(crate) me: NodeId,
    /// Shards of the cluster.
    pub(crate) shards: u16,
    /// The cluster group here.
    pub(crate) group: Raft,
    /// Who belongs to the cluster.
    pub(crate) roster: watch::Receiver<Roster>,
    /// What it follows of the cluster.
    pub(crate) view: ClusterView,
    /// The way of commands to the cluster group, and to other nodes.
    pub(crate) asks: Asks,
}

/// A node that has its shards.
pub(crate) struct Running {
    /// What it counts.
    pub(crate) observer: Observer,
    /// What serves its clients.
    pub(crate) node: Arc<Node>,
    /// What is counted of messages that whoever administers it publishes; one writes at a time.
    pub(crate) publishes: Arc<Mutex<Arc<NodeCounters>>>,
    /// Its listeners by name, and where they are.
    pub(crate) listeners: Vec<(String, String)>,
}

impl Subject {
    /// A node of this name that has just started.
    pub(crate) fn new(name: &str) -> Self {
        Self(Arc::new(Parts {
            name: name.to_owned(),
            begun: Instant::now(),
            readiness: Readiness::default(),
            seeds: Mutex::default(),
            cluster: OnceLock::new(),
            belongs: OnceLock::new(),
            running: OnceLock::new(),
        }))
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it serves clients.
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.0.readiness
    }

    /// Seconds since it started.
    pub(super) fn uptime_s(&self) -> u64 {
        self.0.begun.elapsed().as_secs()
    }

    /// It asks these, and whoever else it is told to.
    pub(crate) fn seeks(&self, seeds: &Seeds) {
        *self.0.seeds.lock() = Some(seeds.clone());
    }

    /// Whom it can be told to ask; nobody once its run has begun.
    pub(super) fn seeds(&self) -> Option<Seeds> {
        self.0.seeds.lock().clone().filter(|_| self.belongs().is_none())
    }

    /// It is a node of this cluster.
    pub(crate) fn is_of(&self, cluster: ClusterId) {
        // It never changes.
        let _said = self.0.cluster.set(cluster);
    }

    /// The cluster that it is a node of, once it is.
    pub(super) fn cluster(&self) -> Option<ClusterId> {
        self.0.cluster.get().copied()
    }

    /// Its run has begun.
    pub(crate) fn belongs_by(&self, belongs: Belongs) {
        let _once = self.0.belongs.set(belongs);
    }

    /// Its part in its cluster, once its run has begun.
    pub(super) fn belongs(&self) -> Option<&Belongs> {
        self.0.belongs.get()
    }

    /// It has its shards.
    pub(crate) fn runs(&self, running: Running) {
        let _once = self.0.running.set(running);
    }

    /// What it has besides once it has its shards.
    pub(super) fn running(&self) -> Option<&Running> {
        self.0.running.get()
    }

    /// What it is and did.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let now = match self.running() {
            Some(running) => running.observer.snapshot(),
            None => Snapshot::early(self.name(), self.0.begun.elapsed()),
        };
        Snapshot { ready: self.readiness().now().is_ok(), ..now }
    }
}
