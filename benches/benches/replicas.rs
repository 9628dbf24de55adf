//! Publishes of QoS 1 into persistent sessions, with three replicas in one process: three logs on one disk, synced, and an
//! in-memory network. Prints what `benches/README.md` has; each publisher waits for its acknowledgement.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark may stop, and prints what it found"
)]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use mqtt_codec::{PacketId, QoS, SharedPublish, Text};
use parking_lot::Mutex;
use raft_consensus::checkpoint::Checkpointer;
use raft_consensus::disk::FileDisk;
use raft_consensus::group::{Group, Start, Timing};
use raft_consensus::machine::{BadEntry, Machine, Weight};
use raft_consensus::network::{Dispatcher, Joined, MemoryNetwork, Networks, StoreSnapshots};
use raft_consensus::snapshot::SnapshotData;
use raft_consensus::storage::Storage;
use raft_consensus::types::{NodeId, SnapshotMeta, TokioTypes};
use raft_consensus::wal::{GroupId, WalOptions};
use session_store::command::{
    Command, Connect, Input, Publish, PublishItem, RetainedWanted, Subscribe, SubscribeTo,
};
use session_store::limits::{QueueLimits, QueuePolicy, ShardLimits};
use session_store::matching::Subscribed;
use session_store::store::Changes;
use session_store::{
    ClientId, ConnectionId, Effect, Epoch, Host, Message, MessageRef, Millis, Request, Shard, ShardId,
    ShardNumber, Source, record,
};
use tokio::sync::oneshot;
use topic_index::Filter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: [NodeId; 3] = [1, 2, 3];
const PAYLOAD_BYTES: usize = 200;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(3);

/// The requests of the one host to one shard: who waits for which answer.
#[derive(Default)]
struct Asked {
    answered: u64,
    waiting: VecDeque<oneshot::Sender<()>>,
}

/// A shard that answers.
struct Home {
    shard: Shard,
    asked: Arc<Mutex<Asked>>,
    entries: Arc<AtomicU64>,
    effects: Vec<Effect>,
}

impl Machine for Home {
    type Command = Input;

    fn weight(_: &Input) -> Weight {
        Weight { items: 1, bytes: PAYLOAD_BYTES + 64 }
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn encode(now_ms: u64, commands: &[Input]) -> Bytes {
        record::encode_entry(Millis(now_ms), commands)
    }

    fn apply(&mut self, body: &Bytes, leads: bool) -> Result<(), BadEntry> {
        let entry = record::decode_entry(body.clone()).map_err(|bad| BadEntry(bad.to_string()))?;
        for input in entry.inputs {
            self.shard.apply(entry.now, input, &mut self.effects);
        }
        let answers = self.effects.drain(..).filter(|effect| matches!(effect, Effect::Answer(_))).count();
        if leads {
            self.entries.fetch_add(1, Ordering::Relaxed);
            let mut asked = self.asked.lock();
            asked.answered += answers as u64;
            for waits in asked.waiting.drain(..answers) {
                let _publisher_gone = waits.send(());
            }
        }
        Ok(())
    }

    fn install(&mut self, _: SnapshotData) -> Result<(), BadEntry> {
        Err(BadEntry("no replica here lags so far behind".to_owned()))
    }

    fn take_changes(&mut self) -> Changes {
        self.shard.take_changes()
    }

    fn next_due_ms(&self) -> Option<u64> {
        None
    }

    fn now_ms(&self) -> u64 {
        self.shard.now().0
    }
}

/// One group with its leader here.
#[derive(Clone)]
struct Led {
    group: Group<TokioTypes, Home>,
    asked: Arc<Mutex<Asked>>,
    entries: Arc<AtomicU64>,
}

impl Led {
    async fn ask(&self, command: Command) {
        let input = |number| {
            let source = Source::Host(Host::default());
            Input::from(Request { source, number, done_below: number.saturating_sub(1_000), command })
        };
        let room = self.group.room().await.unwrap();
        let (waits, answer) = oneshot::channel();
        {
            let mut asked = self.asked.lock();
            asked.waiting.push_back(waits);
            room.propose(input(asked.answered + asked.waiting.len() as u64));
        }
        answer.await.unwrap();
    }

    /// A client that subscribes to everything, whose queue drops the oldest.
    async fn subscribe(&self) {
        let client = ClientId::new("subscriber");
        let connection = ConnectionId { host: Host::default(), number: 1 };
        self.ask(Command::Connect(Connect {
            client: client.clone(),
            connection,
            clean_start: true,
            expiry_s: 3_600,
            receive_maximum: 1,
            will: None,
        }))
        .await;
        let filter = Filter::parse("#", 9).unwrap();
        let subscribed =
            Subscribed { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
        let filters = vec![(0, SubscribeTo { filter, subscribed, retained: RetainedWanted::Never })];
        let packet_id = PacketId::MIN;
        self.ask(Command::Subscribe(Subscribe { client, epoch: Epoch(1), packet_id, filters })).await;
    }

    async fn publish(&self, message: &MessageRef) {
        let item = PublishItem {
            number: 1,
            message: Arc::clone(message),
            sessions: true,
            store_retained: false,
            groups: Vec::new(),
        };
        let publisher = ClientId::new("publisher");
        self.ask(Command::Publish(Publish { reply_to: None, publisher, items: vec![item] })).await;
    }
}

/// A node with a replica of each group.
struct Node {
    storage: Storage,
    groups: Vec<Led>,
}

fn limits() -> ShardLimits {
    let queue = QueueLimits { messages_max: 100_000, bytes_max: 256 << 20, policy: QueuePolicy::DropOldest };
    ShardLimits { queue, ..ShardLimits::default() }
}

fn clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

async fn start(node: NodeId, of: u16, root: &Path, network: &MemoryNetwork<TokioTypes>) -> Node {
    let directory = root.join(node.to_string());
    std::fs::create_dir_all(&directory).unwrap();
    let storage = Storage::open(&directory, WalOptions::default()).unwrap();
    let disk: Arc<FileDisk> = Arc::new(FileDisk::new(&directory).unwrap());
    let files = Arc::new(StoreSnapshots::new(Arc::clone(storage.store()), directory));
    let dispatcher = Dispatcher::new(node, disk.clone(), files.clone());
    let transport = Arc::new(network.transport(node));
    network.join(node, dispatcher.clone());
    let networks = Joined { node, transport, disk, files, dispatcher };
    let mut groups = Vec::new();
    for number in 0..of {
        let (id, me) = (GroupId(u32::from(number) + 1), ShardNumber { number: ShardId(number), of });
        let (asked, entries): (Arc<Mutex<Asked>>, Arc<AtomicU64>) = Default::default();
        let machine = Home {
            shard: Shard::new(me, limits()),
            asked: Arc::clone(&asked),
            entries: Arc::clone(&entries),
            effects: Vec::new(),
        };
        let (group, _task) = Group::start(Start {
            node,
            group: id,
            timing: Timing::ZONES,
            log: storage.log(id).unwrap(),
            room: storage.wal().room(),
            network: Networks::<TokioTypes>::network(&networks, id),
            machine,
            checkpoint: SnapshotMeta::default(),
            clock: Arc::new(clock_ms),
        })
        .await
        .unwrap();
        networks.started(&group).unwrap();
        groups.push(Led { group, asked, entries });
    }
    let mut checkpoints = Checkpointer::new(Arc::clone(storage.store()), storage.wal().clone());
    groups.iter().for_each(|led| checkpoints.watch(led.group.clone()));
    tokio::spawn(async move { checkpoints.run().await });
    Node { storage, groups }
}

/// Gives each group's leadership to one node, in turn.
async fn spread(nodes: &[Node], groups: u16) -> Vec<Led> {
    let mut led = Vec::new();
    for number in 0..usize::from(groups) {
        let wanted = number % nodes.len();
        loop {
            let leader = nodes.iter().position(|node| {
                let leadership = node.groups[number].group.leadership().now();
                leadership.leader.is_some_and(|leader| Some(&leader) == NODES.get(wanted))
            });
            if leader.is_some() && nodes[wanted].groups[number].group.caught_up().await.is_ok() {
                break;
            }
            for node in nodes {
                node.groups[number].group.hand_over(NODES[wanted]).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        led.push(nodes[wanted].groups[number].clone());
    }
    led
}

/// Publishes without pause until told to stop; gives the latencies of what was measured, in microseconds.
async fn publish(
    led: Led,
    message: MessageRef,
    (measures, stops): (Arc<AtomicBool>, Arc<AtomicBool>),
) -> Vec<u32> {
    let mut latencies = Vec::new();
    while !stops.load(Ordering::Relaxed) {
        let (measured, begun) = (measures.load(Ordering::Relaxed), Instant::now());
        led.publish(&message).await;
        if measured {
            latencies.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
    latencies
}

fn counted(nodes: &[Node], led: &[Led]) -> (u64, u64) {
    let syncs = nodes.iter().map(|node| node.storage.wal().counters().wal_syncs).sum();
    (syncs, led.iter().map(|led| led.entries.load(Ordering::Relaxed)).sum())
}

async fn run(groups: u16, publishers: usize) {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let network = MemoryNetwork::new(1);
    let mut nodes = Vec::new();
    for node in NODES {
        nodes.push(start(node, groups, root.path(), &network).await);
    }
    for led in &nodes[0].groups {
        led.group.found(NODES).await.unwrap();
    }
    let led = spread(&nodes, groups).await;
    for led in &led {
        led.subscribe().await;
    }
    let topic = Text::from_static("plant/7/line/3");
    let body = SharedPublish::new(&topic, &Bytes::new(), &Bytes::from(vec![7; PAYLOAD_BYTES]));
    let message = Arc::new(Message { body, qos: QoS::AtLeastOnce, retain: false, expires_at: None });
    let flags: (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
    let tasks: Vec<_> = (0..publishers)
        .map(|number| {
            let led = led[number % led.len()].clone();
            tokio::spawn(publish(led, Arc::clone(&message), flags.clone()))
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    let (before, begun) = (counted(&nodes, &led), Instant::now());
    flags.0.store(true, Ordering::Relaxed);
    tokio::time::sleep(MEASURED).await;
    flags.0.store(false, Ordering::Relaxed);
    let (after, took) = (counted(&nodes, &led), begun.elapsed().as_secs_f64());
    flags.1.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    latencies.sort_unstable();
    let count = latencies.len();
    let at = |part: f64| f64::from(latencies[((count - 1) as f64 * part) as usize]) / 1_000.0;
    println!(
        "| {groups} | {publishers} | {:.0} | {:.2} / {:.2} | {:.0} | {:.0} |",
        count as f64 / took,
        at(0.5),
        at(0.99),
        count as f64 / (after.1 - before.1).max(1) as f64,
        (after.0 - before.0) as f64 / took / NODES.len() as f64,
    );
    for node in &nodes {
        for led in &node.groups {
            led.group.stop().await;
        }
    }
    nodes.into_iter().for_each(|node| node.storage.close());
}

#[tokio::main]
async fn main() {
    // `cargo test --benches` only sees that it starts.
    let short = !std::env::args().any(|argument| argument == "--bench");
    println!("| groups | publishers | publishes/s | p50 / p99 ms | publishes/entry | syncs/s of a node |");
    println!("|---|---|---|---|---|---|");
    if short {
        return run(1, 1).await;
    }
    for (groups, publishers) in [(1, 1), (1, 100), (1, 1_000), (3, 1), (3, 100), (3, 1_000), (6, 1_000)] {
        run(groups, publishers).await;
    }
}
