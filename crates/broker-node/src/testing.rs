//! A whole node inside a test's process, but for signals, the metrics recorder and the HTTP server: storage, shards,
//! connections and one plain listener. Unit tests alone use it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use node_routing::asking::{AnswersAsking, AnswersQuestions};
use node_routing::join::{Admits, Founds, Standing, Stranger};
use node_routing::presence::{AnswersTouch, Outcome, Touch, Touched};
use raft_consensus::checkpoint::Checkpointer;
use raft_consensus::cluster::LowestLive;
use raft_consensus::group::Timing;
use raft_consensus::network::{Alone, Networks, Refusal};
use raft_consensus::proposer::Ended;
use raft_consensus::storage::Storage;
use raft_consensus::types::TokioTypes;
use session_store::authentication::Method;
use session_store::{Host, Incarnation, NodeId};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::access::{Access, Shown};
use crate::clock::Clock;
use crate::cluster::{ClusterView, Following};
use crate::config::{ListenerSettings, Protocol, Settings};
use crate::connection::Connections;
use crate::counters::{NodeCounters, NodeTotals};
use crate::failure::failure_pair;
use crate::fanout::Fanout;
use crate::lease::Lease;
use crate::listener::{Bound, Listeners, Slots};
use crate::others::JoinOthers;
use crate::routes::AsksCluster;
use crate::shard::{Members, Peers, Shards, StartShards};
use crate::stop::{Stopper, stop_pair};
use crate::streams::HostPeers;
use crate::worker::Node;

/// Shards of a node of the tests.
pub(crate) const SHARDS: u16 = 2;

/// The first run of a node.
pub(crate) fn first_run(node: u32) -> Host {
    Host { node: NodeId(node), incarnation: Incarnation(1) }
}

/// Settings for a node of a test: small, and with one listener on a free port.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.node.worker_threads = 1;
    // On a busy machine a leader may take its time.
    settings.limits.connect_timeout = Duration::from_secs(60);
    settings.storage.segment_size = 1 << 20;
    let listener =
        ListenerSettings { address: "127.0.0.1:0".into(), protocol: Protocol::Tcp, ..Default::default() };
    settings.listener.insert("test".into(), listener);
    settings
}

/// What a run of a node of a test follows.
pub(crate) struct TestRun {
    pub(crate) host: Host,
    pub(crate) clock: Clock,
    pub(crate) cluster: ClusterView,
    pub(crate) lease: Lease,
    /// The cluster group, and the other hosts, of a node that has some.
    pub(crate) joins: Option<(Arc<dyn AsksCluster>, HostPeers)>,
}

/// Who answers where a test asks for nothing.
pub(crate) struct Nobody;

impl Admits for Nobody {
    fn standing(&self) -> Standing {
        Standing::Stranger(Stranger { name: String::new(), token: 0, founds: Founds::Never })
    }

    fn admit(&self, _token: u64) -> BoxFuture<'static, Result<raft_consensus::types::NodeId, String>> {
        Box::pin(std::future::ready(Err("nobody is let in".to_owned())))
    }
}

impl AnswersAsking for Nobody {
    fn asked(&self, _command: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(std::future::ready(Err(Refusal::Ended)))
    }
}

impl AnswersQuestions for Nobody {
    fn questioned(&self, _question: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(std::future::ready(Err(Refusal::Ended)))
    }
}

impl AnswersTouch for Nobody {
    fn touched(&self, _by: Host, _touch: Touch) -> Touched {
        Touched { outcome: Outcome::NotLeading, in_force: 0, wall_ms: 0, left: false }
    }

    fn announced(&self, _in_force: u64) {}
}

/// What a node of a test is made of.
pub(crate) struct TestNode {
    /// Where clients connect to.
    pub(crate) address: String,
    pub(crate) counters: Arc<[Arc<NodeCounters>]>,
    pub(crate) shards: Shards,
    stopper: Stopper,
    listeners: Listeners,
    tasks: JoinSet<Ended>,
    checkpoints: AbortHandle,
    storage: Storage,
}

impl TestNode {
    /// A node alone in its cluster, with methods of enhanced authentication.
    pub(crate) async fn alone(data: &Path, settings: Settings, methods: Vec<Arc<dyn Method<Shown>>>) -> Self {
        Self::alone_under(data, (settings, methods), Lease::alone).await
    }

    /// The same under a lease of the test's own.
    pub(crate) async fn alone_under(
        data: &Path,
        (settings, methods): (Settings, Vec<Arc<dyn Method<Shown>>>),
        lease: impl FnOnce(&ClusterView) -> Lease,
    ) -> Self {
        let host = first_run(1);
        let (_, lowest_live) = watch::channel(LowestLive::from([(host.node, host.incarnation)]));
        let (_, live) = watch::channel(vec![host]);
        let storage = open(data, &settings);
        let clock = Clock::start();
        let cluster = ClusterView::told(
            (lowest_live, live),
            clock.of_groups(1),
            &Following::new(host, &Arc::default()),
        );
        let run = TestRun { host, clock, lease: lease(&cluster), cluster, joins: None };
        let members = Members {
            nodes: vec![1],
            founders: vec![1],
            alone: true,
            networks: &Alone,
            peers: Peers::default(),
            others: None,
            hearsay: None,
            timing: Timing::ZONES,
        };
        Self::start(run, (storage, settings), members, methods).await.unwrap()
    }

    /// A node as one of several.
    ///
    /// # Errors
    /// Its shards do not start.
    pub(crate) async fn start<N: Networks<TokioTypes>>(
        run: TestRun,
        (storage, settings): (Storage, Settings),
        mut members: Members<'_, N>,
        methods: Vec<Arc<dyn Method<Shown>>>,
    ) -> anyhow::Result<Self> {
        let TestRun { host, clock, cluster, lease, joins } = run;
        let settings = Arc::new(settings);
        let counters: Arc<[Arc<NodeCounters>]> =
            (0..=2 * usize::from(SHARDS) + 2).map(|_| Arc::default()).collect();
        let fanout = Arc::new(Fanout::new(settings.mqtt.shared_strategy));
        members.others = joins.map(|(group, peers)| {
            let others = JoinOthers {
                me: host,
                fanout: &fanout,
                view: &cluster,
                cluster: group,
                says: Arc::new(peers),
                lease: lease.clone(),
                counters: [1, 2].map(|back| Arc::clone(&counters[counters.len() - back])),
            };
            others.join()
        });
        let others = members.others.clone();
        let start = StartShards {
            host,
            logged: Incarnation::default(),
            of: SHARDS,
            storage: &storage,
            fails: failure_pair().0,
            limits: settings.shard_limits(SHARDS),
            fanout: &fanout,
            clock,
            counters: &counters[1..],
            cluster: cluster.clone(),
            members,
        };
        let (shards, mut tasks) = Box::pin(start.start()).await?;
        others.into_iter().for_each(|others| others.start(&shards, &mut tasks));
        let mut checkpoints = Checkpointer::new(Arc::clone(storage.store()), storage.wal().clone());
        for group in shards.groups() {
            checkpoints.watch(group);
        }
        let checkpoints = tasks.spawn(async move {
            let Err(why) = checkpoints.run().await;
            Ended::Failed(why.to_string())
        });
        let access = Arc::new(Access::open(&settings).unwrap());
        let mut node = Node::new(Arc::clone(&settings), fanout, (shards.clone(), lease), clock, access);
        node.methods.extend(methods);
        let (stopper, stop) = stop_pair();
        let bound = Bound::new(&settings).unwrap();
        let address = bound.addresses().pop().unwrap().1;
        let places = (Slots::new(1_000), Arc::clone(&node.arrivals));
        let connections = Connections::new(Arc::new(node), Arc::clone(&counters), stop.clone());
        let listeners = Listeners::start(bound, &settings, places, connections, &stop).unwrap();
        Ok(Self { address, counters, shards, stopper, listeners, tasks, checkpoints, storage })
    }

    /// What it has counted.
    pub(crate) fn totals(&self) -> NodeTotals {
        NodeTotals::of(self.counters.iter().map(|set| &**set))
    }

    /// Ends as it is: its connections are cut, and its groups hear nothing any more.
    pub(crate) async fn kill(mut self) {
        self.checkpoints.abort();
        drop(self.listeners);
        self.shards.stop().await;
        self.tasks.shutdown().await;
        drop(self.shards);
        self.storage.close();
    }

    /// Tells its clients to go, and waits until they have gone.
    pub(crate) async fn end_clients(self) -> NodeTotals {
        self.stopper.stop();
        self.listeners.finish().await;
        NodeTotals::of(self.counters.iter().map(|set| &**set))
    }
}

/// Opens what is in a data directory, or begins it.
fn open(data: &Path, settings: &Settings) -> Storage {
    let (fails, _failure) = failure_pair();
    Storage::open(data, settings.log_options(fails)).unwrap()
}

/// The same for a node that has peers.
pub(crate) fn open_replica(data: &Path, settings: &Settings) -> Storage {
    let (fails, _failure) = failure_pair();
    Storage::open_replica(data, settings.log_options(fails)).unwrap()
}

/// Fails where a file of the repository, by its path from the root, is not this text; with `QUELEA_WRITE_DOCS` set it is
/// written instead.
pub(crate) fn page_is(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("QUELEA_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = found.lines().zip(text.lines()).find(|(found, made)| found != made);
    assert!(
        found == text,
        "{path} is not up to date: make it anew with QUELEA_WRITE_DOCS=1; first: {differs:#?}"
    );
}
