//! The composition root: what a node consists of, in the order in which it starts; it stops in reverse.
//! Called by `cli` with checked settings. Does no work of its own.

use crate::{
    clock::Clock,
    config::Settings,
    connection::Connections,
    counters::NodeCounters,
    data_dir::DataDir,
    fanout::Fanout,
    http::{self, Endpoints},
    listener::{Bound, Listeners, Slots},
    metrics::Exporter,
    observe::Observer,
    shard::Shards,
    stop::{Stop, stop_pair},
    sys,
    worker::Node,
};
use mqtt_codec::ReasonCode;
use std::{
    io, process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
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
const DESCRIPTORS_KEPT: usize = 64 + http::CONNECTIONS_MAX;
/// Descriptors that the runtime of a worker thread uses.
const DESCRIPTORS_PER_WORKER: usize = 4;
/// Descriptors of a listener: its sockets, and on each a connection that waits for a place.
const DESCRIPTORS_PER_LISTENER: usize = 4;
/// An open-file limit below this is worth a word to the operator.
const DESCRIPTORS_FEW: u64 = 10_000;
/// Exit code after a second signal.
const EXIT_IMPATIENT: i32 = 130;

/// Runs a node until it is told to stop.
///
/// # Errors
/// Where it cannot start, saying what to do.
pub(crate) fn run(settings: Settings) -> anyhow::Result<()> {
    let _data = DataDir::open(&settings.node.data_dir)?;
    let slots = Slots::new(connections_max(&settings));
    // The main runtime accepts and does housekeeping; connections have their own threads.
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .event_interval(EVENT_INTERVAL)
        .thread_name("main-runtime")
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(Arc::new(settings), slots));
    // What has not ended in time is not waited for.
    runtime.shutdown_background();
    served
}

async fn serve(settings: Arc<Settings>, slots: Slots) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let (stopper, stop) = stop_pair();
    let ready = Arc::new(AtomicBool::new(false));
    let bound = Bound::new(&settings)?;
    let exporter = Exporter::install()?;
    let counters = counters(&settings);
    let (node, mut tasks) = start_shards(&settings, &counters);
    let observer = Observer::new(Arc::clone(&node), Arc::clone(&counters));
    tasks.spawn(observer.clone().run());
    let sys_counters = counters.last().cloned().unwrap_or_default();
    tasks.spawn(sys::run(Arc::clone(&node), observer.clone(), sys_counters));
    let http = start_http(&settings, (exporter, observer), &ready, &stop)?;
    let connections = Connections::new(Arc::clone(&node), counters, stop.clone());
    let listeners = Listeners::start(bound, &settings, slots, connections, &stop)?;
    ready.store(true, Ordering::Relaxed);
    info!(target: "quelea", node = settings.node.name, "ready");
    let signal = signals.next().await;
    info!(target: "quelea", signal, "stopping");
    ready.store(false, Ordering::Relaxed);
    stopper.stop();
    node.shards.end_connections(ReasonCode::ServerShuttingDown).await;
    end(listeners, http, signals).await;
    tasks.shutdown().await;
    Ok(())
}

/// Sets of counters: one for each worker thread, behind these two for each shard, and one for `$SYS`.
fn counters(settings: &Settings) -> Arc<[Arc<NodeCounters>]> {
    (0..settings.worker_threads() + 2 * usize::from(SHARDS) + 1).map(|_| Arc::default()).collect()
}

fn start_shards(settings: &Arc<Settings>, counters: &[Arc<NodeCounters>]) -> (Arc<Node>, JoinSet<()>) {
    let clock = Clock::start();
    let fanout = Arc::new(Fanout::new(settings.mqtt.shared_strategy));
    let shard_counters = counters.get(settings.worker_threads()..).unwrap_or(&[]);
    let limits = settings.shard_limits(SHARDS);
    let (shards, tasks) = Shards::start(SHARDS, limits, &fanout, clock, shard_counters);
    let node = Node::new(Arc::clone(settings), fanout, shards, clock);
    (Arc::new(node), tasks)
}

/// Stops in reverse order; returns when all connections have ended or their time is over.
async fn end(listeners: Listeners, mut http: JoinSet<()>, mut signals: Signals) {
    tokio::select! {
        ended = timeout(STOP_TIMEOUT, listeners.finish()) => match ended {
            Ok(()) => info!(target: "quelea", "stopped"),
            Err(_) => warn!(target: "quelea", "stopped, with connections that did not end in time"),
        },
        signal = signals.next() => {
            warn!(target: "quelea", signal, "stopped at once");
            process::exit(EXIT_IMPATIENT);
        }
    }
    http.shutdown().await;
}

fn start_http(
    settings: &Settings,
    (exporter, observer): (Exporter, Observer),
    ready: &Arc<AtomicBool>,
    stop: &Stop,
) -> anyhow::Result<JoinSet<()>> {
    let Some(address) = settings.http.listen_address()? else { return Ok(JoinSet::new()) };
    let ready = Arc::clone(ready);
    let endpoints = Endpoints {
        metrics: Arc::new(move || exporter.render(&observer.snapshot())),
        ready: Arc::new(move || ready.load(Ordering::Relaxed)),
    };
    Ok(http::start(&address, &endpoints, stop)?)
}

/// The signals that a node knows.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Means that certificates are read again, which the listeners hear themselves; without TLS it means nothing.
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
                _ = self.hangup.recv() => info!(target: "quelea", signal = "SIGHUP", "reloading certificates"),
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
