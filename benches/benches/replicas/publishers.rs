//! Publishers that each wait for their acknowledgement before the next publish, into one persistent session a shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use session_store::limits::{QueueLimits, QueuePolicy, ShardLimits};
use session_store::{ClientId, MessageRef};

use crate::host::{Led, message};
use crate::node::{Cluster, NODES, counted, stop};

/// Groups and publishers.
pub(crate) const ROWS: [(u16, usize); 7] =
    [(1, 1), (1, 100), (1, 1_000), (3, 1), (3, 100), (3, 1_000), (6, 1_000)];

const PAYLOAD_BYTES: usize = 200;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(3);

fn limits() -> ShardLimits {
    let queue = QueueLimits { messages_max: 100_000, bytes_max: 256 << 20, policy: QueuePolicy::DropOldest };
    ShardLimits { queue, ..ShardLimits::default() }
}

/// Measures and prints these.
pub(crate) async fn rows(rows: &[(u16, usize)]) {
    println!("| groups | publishers | publishes/s | p50 / p99 ms | publishes/entry | syncs/s of a node |");
    println!("|---|---|---|---|---|---|");
    for (groups, publishers) in rows {
        row(*groups, *publishers).await;
    }
}

async fn row(groups: u16, publishers: usize) {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cluster = Cluster { root: root.path(), groups, limits: limits(), run: 0 };
    let (nodes, led) = cluster.start().await;
    let subscriber = ClientId::new("subscriber");
    for led in &led {
        // It acknowledges nothing, so that its queue drops the oldest.
        let (_, connected) = led.connect(&subscriber, (1, true, 1)).await;
        led.subscribe(&subscriber, connected.epoch, "#").await;
    }
    let message = message("plant/7/line/3", PAYLOAD_BYTES);
    let flags: (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
    let tasks: Vec<_> = (0..publishers)
        .map(|number| {
            let led = led[number % led.len()].clone();
            tokio::spawn(publish(led, Arc::clone(&message), flags.clone()))
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    let (before, begun) = (counted(&nodes), Instant::now());
    flags.0.store(true, Ordering::Relaxed);
    tokio::time::sleep(MEASURED).await;
    flags.0.store(false, Ordering::Relaxed);
    let (after, took) = (counted(&nodes), begun.elapsed().as_secs_f64());
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
    drop(led);
    stop(nodes).await;
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
