//! The composition root: what a node consists of, in the order in which it starts; it stops in reverse.
//! Called by `cli` with checked settings. Does no work of its own.

use crate::{
    access::{self, Access},
    admin::{self, Running},
    ballast,
    cluster::{self, ClusterGroup, Port},
    config::{DurabilitySetting, Settings, Source},
    connection::Connections,
    counters::NodeCounters,
    data_dir::DataDir,
    drain::Drain,
    failure::{Fails, Failure, failure_pair, why_ended},
    front::Front,
    groups::{self, Data, Started},
    http,
    identity::Identity,
    lease::{self, TakenForDead},
    listener::{Bound, Listeners, Slots},
    observe::{Observed, Observer},
    stop::stop_pair,
    sys,
    worker::Node,
};
use mqtt_codec::ReasonCode;
use parking_lot::Mutex;
use raft_consensus::{
    checkpoint::{CheckpointError, Checkpointer},
    proposer::Ended,
    storage::Storage,
};
use std::{env, io, os::unix::process::CommandExt, process, sync::Arc, time::Duration};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::timeout,
};
use tracing::{info, warn};

/// Shards of a node. Part of what places a client, so it is no setting; more than the cores of a small
/// machine, few enough to be cheap when idle.
const SHARDS: u16 = 6;
/// Tasks that the main runtime runs before it looks for sockets and timers: few, since a shard's turn is long.
const EVENT_INTERVAL: u32 = 7;
/// How long clients have to go when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Descriptors kept for what is neither an MQTT connection nor counted with something else: files, the main runtime.
const DESCRIPTORS_KEPT: usize = 64 + http::CONNECTIONS_MAX + admin::CONNECTIONS_MAX;
/// Descriptors that the runtime of a worker thread uses.
const DESCRIPTORS_PER_WORKER: usize = 4;
/// Descriptors of a listener: its sockets, and on each a connection that waits for a place.
const DESCRIPTORS_PER_LISTENER: usize = 4;
/// An open-file limit below this is worth a word to the operator.
const DESCRIPTORS_FEW: u64 = 10_000;
/// Exit code after a second signal.
const EXIT_IMPATIENT: i32 = 130;

/// Runs a node until it is told to stop; its settings are read again from where they came.
///
/// # Errors
/// Where it cannot start, saying what to do.
pub(crate) fn run(settings: Settings, source: Source) -> anyhow::Result<()> {
    #[cfg(feature = "failpoints")]
    if let Ok(point) = std::env::var("QUELEA_FAILPOINT") {
        session_store::failpoint::arm(&point).map_err(anyhow::Error::msg)?;
    }
    let access = Arc::new(Access::open(&settings)?);
    let _data = DataDir::open(&settings.node.data_dir)?;
    // The main runtime accepts and does housekeeping; connections have their own threads.
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .event_interval(EVENT_INTERVAL)
        .thread_name("main-runtime")
        .enable_all()
        .build()?;
    let front = runtime.block_on(async { Front::open(&settings) })?;
    let subject = &front.subject;
    let port = Port::bind(&settings)?;
    port.iter().for_each(|port| subject.seeks(&port.seeds));
    if let Some(keys) = port.as_ref().and_then(|port| port.keys.clone()) {
        runtime.spawn(keys.watch());
    }
    if let Some(port) = &port
        && !Identity::exists(&settings.node.data_dir)?
    {
        runtime.block_on(cluster::form(&settings, port, SHARDS, subject))?;
    }
    subject.readiness().waits("reads its log");
    let (failed, failure) = failure_pair();
    let (identity, storage) = ballast::with_room(&settings.node.data_dir, || {
        let identity = Identity::begin_run(&settings.node.data_dir, SHARDS)?;
        let options = settings.log_options(failed.clone());
        let open = if port.is_some() { Storage::open_replica } else { Storage::open };
        Ok((identity, open(&settings.node.data_dir, options)?))
    })?;
    let slots = Slots::new(connections_max(&settings));
    subject.is_of(identity.cluster);
    let port = port.as_ref();
    let data =
        Data { identity: &identity, storage: &storage, access: &access, port, subject, source: &source };
    let served = runtime.block_on(serve(Arc::new(settings), slots, data, (failed, failure)));
    runtime.block_on(front.close());
    // What has not ended in time is not waited for.
    runtime.shutdown_background();
    storage.close();
    match served {
        Ok(()) => info!(target: "quelea", "stopped"),
        Err(why) if why.is::<TakenForDead>() => return Err(begin_again(why)),
        Err(why) => return Err(why),
    }
    Ok(())
}

/// Replaces this process by one that begins the node's next run, with the same number and arguments: what this one has in
/// memory counts for nothing any more. Returns only where that is not possible.
fn begin_again(why: anyhow::Error) -> anyhow::Error {
    warn!(target: "quelea", %why, "the node begins another run");
    let replaced =
        env::current_exe().map(|binary| process::Command::new(binary).args(env::args_os().skip(1)).exec());
    match replaced {
        Ok(error) | Err(error) => why.context(error),
    }
}

async fn serve(
    settings: Arc<Settings>,
    slots: Slots,
    data: Data<'_>,
    (fails, mut failure): (Fails, Failure),
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let (stopper, stop) = stop_pair();
    let bound = Bound::new(&settings)?;
    let listeners_at = bound.addresses();
    let counters = counters(&settings, data.identity.shards);
    let started = tokio::select! {
        started = groups::start(&settings, &counters, data, fails) => started?,
        // Others may have to come for that.
        _signal = signals.next() => return Ok(()),
    };
    let Started { cluster, node, groups, mut tasks, reach, kept: _kept } = started;
    let mut checkpoints = checkpoints(&cluster, &node, data.storage);
    let tally = data.port.map(|port| Arc::clone(&port.tally)).unwrap_or_default();
    let observed = Observed { wal: data.storage.wal(), cluster: &cluster, peers: tally, reach };
    let observer = Observer::new(Arc::clone(&node), Arc::clone(&counters), observed);
    tasks.spawn(observer.clone().run());
    tasks.spawn(node.shards.clone().end_held());
    tasks.spawn(watch_access(Arc::clone(&node)));
    tasks.spawn(watch_overload(Arc::clone(&node)));
    tasks.spawn(Arc::clone(&node.live).watch(data.source.clone())?);
    tasks.spawn(settle_in(Arc::clone(&node), data.identity.clone()));
    let [publishes, sys_counters] = own_counters(&counters);
    tasks.spawn(sys::run(Arc::clone(&node), observer.clone(), sys_counters));
    let lease = node.lease.clone();
    let publishes = Arc::new(Mutex::new(publishes));
    data.subject.runs(Running { observer, node: Arc::clone(&node), publishes, listeners: listeners_at });
    let drain = data.port.map(|_| drain(&cluster, &node, data));
    drain.clone().into_iter().for_each(|drain| drop(tasks.spawn(drain.follow())));
    let connections = Connections::new(Arc::clone(&node), counters, stop.clone());
    node.access.announce();
    let places = (slots, Arc::clone(&node.arrivals));
    let listeners = Listeners::start(bound, &settings, places, connections, &stop)?;
    let readiness = data.subject.readiness();
    readiness.serves(lease);
    info!(target: "quelea", node = settings.node.name, "ready");
    let mut groups = groups;
    let signal = tokio::select! {
        signal = signals.next() => signal,
        why = failed(&mut groups, &mut checkpoints, &mut failure) => return Err(why),
        dead = lease::watch(&node.lease, (&node.shards, data.identity.host()), cluster.view().lowest_live.clone()) => {
            if !cluster.has_given_all(data.identity.host().node) {
                return Err(dead.into());
            }
            // Whoever has left is dead to the others, who do not say more to it.
            "the node has left the cluster"
        }
        () = cluster.left(data.identity.host().node) => "the node has left the cluster",
    };
    info!(target: "quelea", signal, "stopping");
    readiness.stops();
    if let Some(drain) = drain {
        tokio::select! {
            () = drain.before_stop() => {}
            why = failed(&mut groups, &mut checkpoints, &mut failure) => return Err(why),
            signal = signals.next() => stop_at_once(signal),
        }
    }
    stopper.stop();
    node.shards.end_connections(ReasonCode::ServerShuttingDown);
    end(listeners, &mut signals).await;
    tasks.shutdown().await;
    tokio::select! {
        biased;
        why = failure.wait() => Err(why),
        kept = keep(&cluster, &node, &mut checkpoints) => kept,
        signal = signals.next() => stop_at_once(signal),
    }
}

/// The last checkpoints, and the end of the groups. Where the log has no room, what it holds back was not acknowledged
/// and is not waited for.
async fn keep(cluster: &ClusterGroup, node: &Node, checkpoints: &mut Checkpointer) -> anyhow::Result<()> {
    checkpoints.finish().await?;
    if timeout(STOP_TIMEOUT, node.shards.stop()).await.is_err() {
        warn!(target: "quelea", "requests that were not acknowledged are dropped: the log took them not in time");
    }
    cluster.stop().await;
    Ok(())
}

/// Waits until something that the node cannot go on without has failed. Its data is as it was acknowledged; no
/// connection is told anything, since nothing may be acknowledged any more.
async fn failed(
    groups: &mut JoinSet<Ended>,
    checkpoints: &mut Checkpointer,
    failure: &mut Failure,
) -> anyhow::Error {
    tokio::select! {
        biased;
        why = failure.wait() => why,
        why = why_ended(groups) => why,
        ended = checkpoints.run() => match ended {
            Err(CheckpointError::Gone(_)) => why_ended(groups).await,
            Err(why) => why.into(),
        },
    }
}

/// Has what users and rules say now take effect on connections that are there.
async fn watch_access(node: Arc<Node>) {
    access::watch(Arc::clone(&node.access), || node.shards.wake_connections()).await;
}

/// Looks whether the node has too much to do; this runs where the shards do.
async fn watch_overload(node: Arc<Node>) {
    tokio::join!(node.overload.watch_memory(), node.overload.watch_loop());
}

/// What a start leaves for when the node runs: it may have to wait for space.
async fn settle_in(node: Arc<Node>, identity: Identity) {
    let begun = node.shards.applied().await;
    // Without a sync before it counts, a power cut may take the run's beginning out of the log again.
    // A replica may lag behind, and the others know of the run.
    let alone = node.settings.cluster.listen_address().is_ok_and(|address| address.is_none());
    let logged = begun && alone && node.settings.storage.durability == DurabilitySetting::Always;
    let settled = tokio::task::spawn_blocking(move || {
        let directory = &node.settings.node.data_dir;
        if logged && let Err(error) = identity.note_logged(directory) {
            warn!(target: "quelea", %error, "the run was not noted");
        }
        ballast::renew(directory);
    });
    let _stopping = settled.await;
}

/// What a node with peers drains by.
fn drain(cluster: &ClusterGroup, node: &Arc<Node>, data: Data<'_>) -> Drain {
    Drain {
        node: Arc::clone(node),
        me: data.identity.host().node,
        readiness: data.subject.readiness().clone(),
        group: cluster.group(),
        roster: cluster.roster(),
        yields: cluster.hearsay().yields(),
        away: Arc::default(),
    }
}

fn checkpoints(cluster: &ClusterGroup, node: &Node, storage: &Storage) -> Checkpointer {
    let mut checkpoints = Checkpointer::new(Arc::clone(storage.store()), storage.wal().clone());
    checkpoints.watch(cluster.group());
    for group in node.shards.groups() {
        checkpoints.watch(group);
    }
    checkpoints
}

/// Sets of counters: one for each worker thread, behind these two for each shard, one for the streams from and to other
/// hosts, one for what comes from these too late, one for what the admin API publishes, and one for `$SYS`.
fn counters(settings: &Settings, shards: u16) -> Arc<[Arc<NodeCounters>]> {
    (0..settings.worker_threads() + 2 * usize::from(shards) + 4).map(|_| Arc::default()).collect()
}

/// Those of what the admin API publishes, and of `$SYS`.
fn own_counters(counters: &[Arc<NodeCounters>]) -> [Arc<NodeCounters>; 2] {
    let mut last = counters.iter().rev().cloned();
    let sys = last.next().unwrap_or_default();
    [last.next().unwrap_or_default(), sys]
}

/// Stops in reverse order; returns when all connections have ended or their time is over.
async fn end(listeners: Listeners, signals: &mut Signals) {
    tokio::select! {
        ended = timeout(STOP_TIMEOUT, listeners.finish()) => if ended.is_err() {
            warn!(target: "quelea", "some connections did not end in time");
        },
        signal = signals.next() => stop_at_once(signal),
    }
}

/// After a second signal. The data is as after kill -9: nothing that was acknowledged is lost.
fn stop_at_once(signal: &'static str) -> ! {
    warn!(target: "quelea", signal, "stopped at once");
    process::exit(EXIT_IMPATIENT);
}

/// The signals that a node knows.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Means that the configuration, certificates, users and rules are read again, which those hear themselves who have some.
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let [terminate, interrupt, hangup] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self { terminate: terminate?, interrupt: interrupt?, hangup: hangup? })
    }

    /// The next one that means stop.
    async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => info!(target: "quelea", signal = "SIGHUP", "reloading configuration, certificates, users and rules"),
            }
        }
    }
}

/// `limits.connections_max`, lowered to what the open-file limit allows after raising that as far as it goes.
fn connections_max(settings: &Settings) -> u32 {
    let wanted = settings.limits.connections_max;
    let descriptors = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(descriptors) => descriptors,
        Err(error) => {
            warn!(target: "quelea", %error, "the open-file limit cannot be raised");
            rlimit::Resource::NOFILE.get_soft().unwrap_or(DESCRIPTORS_FEW)
        }
    };
    if descriptors < DESCRIPTORS_FEW {
        warn!(target: "quelea", limit = descriptors, "few open files are allowed: raise the limit (ulimit -n) for more clients");
    }
    let kept = DESCRIPTORS_KEPT
        + DESCRIPTORS_PER_WORKER * settings.worker_threads()
        + DESCRIPTORS_PER_LISTENER * settings.listener.len();
    // Where the limit is so low that they would be most of it, clients still get half.
    let room = descriptors.saturating_sub(kept as u64).max(descriptors / 2).max(1);
    wanted.min(u32::try_from(room).unwrap_or(u32::MAX))
}
