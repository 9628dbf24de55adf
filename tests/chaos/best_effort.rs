//! G20: QoS 0 that nobody takes fast enough holds up nothing else, and each message that is dropped is counted, by the node
//! that drops it. What two subscribers got, by sequence, is held against the metrics.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::nodes::PATIENCE;
use e2e_tests::random::Random;
use e2e_tests::wire::{Version, kind};
use e2e_tests::{Props, Publish, RawClient, packets, pause};

use crate::proxy::Fate;
use crate::run::Cluster;
use crate::subscriber::answer;
use crate::world::session;

const V5: Version = Version::V5;
/// Bytes of a message of QoS 0.
const SIZE: usize = 16 << 10;
/// How many are sent while one subscriber does not read: 40 MiB, more than its queue and all buffers on the way take.
const UNREAD: u32 = 2_560;
/// Between two messages that are waited for.
const EVERY: u32 = 64;
/// How many are sent at once over a slow way: 24 MiB, three times what may be under way.
const AT_ONCE: u32 = 1_536;
/// How often it is tried: a connection may break, or a node die for its slowness.
const ATTEMPTS: u32 = 5;

/// What came to a subscriber.
#[derive(Default)]
struct Came {
    best_effort: HashSet<u32>,
    sure: HashSet<u32>,
    wrong: Vec<String>,
    closed: bool,
}

/// A subscriber that reads in a thread of its own, once it may.
struct Reader {
    came: Arc<Mutex<Came>>,
    reads: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn new(mut client: RawClient, reads: bool) -> Self {
        let came: Arc<Mutex<Came>> = Arc::default();
        let (reads, ends) = (Arc::new(AtomicBool::new(reads)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (came, reads, ends) = (Arc::clone(&came), Arc::clone(&reads), Arc::clone(&ends));
            thread::spawn(move || {
                while !ends.load(Ordering::Acquire) {
                    if !reads.load(Ordering::Acquire) {
                        pause(Duration::from_millis(5));
                        continue;
                    }
                    match client.read(Duration::from_millis(20)) {
                        Read::Packet(packet) if packet.kind() == kind::PUBLISH => {
                            let publish = packet.publish(V5);
                            if publish.qos == 1 {
                                client.send(&packets::ack(kind::PUBACK, publish.packet_id));
                            }
                            came.lock().unwrap().takes(publish.qos, &publish.payload);
                        }
                        Read::Closed => {
                            came.lock().unwrap().closed = true;
                            return;
                        }
                        Read::Packet(_) | Read::Nothing => {}
                    }
                }
            })
        };
        Self { came, reads, ends, thread: Some(thread) }
    }

    fn see<T>(&self, look: impl FnOnce(&Came) -> T) -> T {
        look(&self.came.lock().unwrap())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}

impl Came {
    fn takes(&mut self, qos: u8, payload: &[u8]) {
        let number: u32 = String::from_utf8_lossy(payload).trim_end_matches('.').parse().unwrap_or(u32::MAX);
        let of = if qos == 0 { &mut self.best_effort } else { &mut self.sure };
        if !of.insert(number) {
            self.wrong.push(format!("{number} came twice at QoS {qos}"));
        }
    }
}

/// Somebody who publishes at QoS 0 and now and then at QoS 1.
struct Flood {
    client: RawClient,
    best_effort: u32,
    sure: u32,
}

impl Flood {
    fn sends(&mut self) {
        self.best_effort += 1;
        let mut payload = self.best_effort.to_string();
        payload.extend(std::iter::repeat_n('.', SIZE));
        self.client.send(&Publish::new(V5, "flood/best", payload).bytes());
    }

    /// Publishes at QoS 1 and waits for the acknowledgement; false where none comes.
    fn makes_sure(&mut self) -> bool {
        self.sure += 1;
        let publish = Publish::new(V5, "flood/sure", self.sure.to_string()).qos(1, self.client.fresh_id());
        self.client.send(&publish.bytes());
        answer(&mut self.client, kind::PUBACK).is_some()
    }
}

/// Dropped by any node: because a subscriber reads too slowly, and because another node takes too little.
fn dropped(cluster: &Cluster) -> [u64; 2] {
    ["slow_reader", "node_slow"]
        .map(|reason| format!("quelea_messages_dropped_total{{session=\"any\",reason=\"{reason}\"}}"))
        .map(|name| cluster.nodes.up.values().map(|node| node.metric(&name) as u64).sum())
}

fn subscriber(cluster: &Cluster, name: &str, reads: bool) -> Option<Reader> {
    let (mut client, _) = cluster.world.try_connect(3, &session(V5, name, false))?;
    client.send(&packets::subscribe(V5, 1, &[("flood/best", 0), ("flood/sure", 1)], &Props::new()));
    answer(&mut client, kind::SUBACK)?;
    Some(Reader::new(client, reads))
}

/// One attempt; `None` where a connection broke, a node died and its counts with it, or nothing was dropped at one of both
/// places.
fn attempt(cluster: &Cluster, number: u32) -> Option<()> {
    let before = dropped(cluster);
    let deaths = cluster.deaths().len();
    let ready = subscriber(cluster, &format!("reads {number}"), true)?;
    let slow = subscriber(cluster, &format!("reads late {number}"), false)?;
    let (client, _) = cluster.world.try_connect(1, &session(V5, &format!("floods {number}"), false))?;
    let mut flood = Flood { client, best_effort: 0, sure: 0 };
    let is_over =
        || ready.see(|came| came.closed) || slow.see(|came| came.closed) || cluster.deaths().len() > deaths;

    // While one does not read, what is waited for comes to the other, and is acknowledged.
    for _ in 0..UNREAD / EVERY {
        (0..EVERY).for_each(|_| flood.sends());
        flood.makes_sure().then_some(())?;
    }
    until(is_over, || ready.see(|came| came.sure.len() as u32 == flood.sure))?;
    let of_unread = dropped(cluster)[0] - before[0];
    // Over a slow way what has no room is dropped, and what is waited for comes all the same.
    cluster.network.set(1, 3, Fate::Slow(Duration::from_millis(20)));
    (0..AT_ONCE).for_each(|_| flood.sends());
    flood.makes_sure().then_some(())?;
    cluster.network.heal();
    slow.reads.store(true, Ordering::Release);
    for reader in [&ready, &slow] {
        until(is_over, || reader.see(|came| came.sure.len() as u32 == flood.sure))?;
    }

    let count = || {
        let [slowly, streams] = dropped(cluster);
        // Both are on the node for which there was no room.
        slowly - before[0] + 2 * (streams - before[1])
    };
    let missing = || -> u64 {
        let of =
            |reader: &Reader| u64::from(flood.best_effort) - reader.see(|came| came.best_effort.len() as u64);
        of(&ready) + of(&slow)
    };
    until(is_over, || missing() <= count())?;
    pause(Duration::from_millis(300));
    let streams = dropped(cluster)[1] - before[1];
    let (missing, counted) = (missing(), count());
    if is_over() {
        return None;
    }
    println!(
        "{} sent to two, {missing} missing, {counted} counted, {of_unread} unread, {streams} between nodes",
        flood.best_effort
    );
    assert_eq!(missing, counted, "G20: each message that is dropped is counted once");
    for reader in [&ready, &slow] {
        reader.see(|came| assert!(came.wrong.is_empty(), "{:?}", came.wrong));
    }
    // On a machine that sends slowly enough nothing is dropped.
    (of_unread > 0 && streams > 0).then_some(())
}

/// Waits until something is so; `None` where it is over before.
fn until(is_over: impl Fn() -> bool, is_so: impl Fn() -> bool) -> Option<()> {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        if is_over() {
            return None;
        }
        assert!(Instant::now() < until, "G20: what was acknowledged, or counted, does not come");
        pause(Duration::from_millis(20));
    }
    Some(())
}

#[test]
fn g20_best_effort_holds_up_nothing_and_each_drop_is_counted() {
    let seed = u64::from(std::process::id());
    let cluster = Cluster::started(Random::new(seed).number(), None);
    let found = (1..=ATTEMPTS).find_map(|number| {
        let done = attempt(&cluster, number);
        cluster.network.heal();
        done
    });
    assert!(found.is_some(), "each time a connection or a node was lost, or nothing was dropped");
}
