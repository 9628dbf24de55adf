//! Many persistent sessions with a subscription each, whose clients are away, and a start of all three nodes with them.

use std::time::{Duration, Instant};

use session_store::ClientId;
use session_store::limits::ShardLimits;

use crate::host::Led;
use crate::node::{Cluster, NODES, resident_mib, stop};

const GROUPS: u16 = 3;
/// Clients that come at the same time.
const AT_ONCE: u64 = 600;
/// Time for checkpoints to be made of what was just done.
const REST: Duration = Duration::from_secs(3);

/// Measures and prints it, for so many sessions.
pub(crate) async fn rows(sessions: u64) {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cluster = Cluster { root: root.path(), groups: GROUPS, limits: ShardLimits::default(), run: 0 };
    let (nodes, led) = cluster.start().await;
    let (empty, begun) = (resident_mib(), Instant::now());
    make(&led, sessions).await;
    let made_s = begun.elapsed().as_secs_f64();
    tokio::time::sleep(REST).await;
    let kib = (resident_mib() - empty) * 1024.0 / sessions as f64 / NODES.len() as f64;
    drop(led);
    stop(nodes).await;
    let begun = Instant::now();
    let (nodes, led) = Cluster { run: 1, ..cluster }.start().await;
    let started_s = begun.elapsed().as_secs_f64();
    for number in 0..sessions.min(100) {
        let (led, client) = home(&led, number);
        let (_, connected) = led.connect(&client, (number, false, 1)).await;
        assert!(connected.session_present, "session {number} is gone");
    }
    println!("\n{sessions} persistent sessions with a subscription each, {GROUPS} groups\n");
    println!("| | |\n|---|---|");
    println!("| made in s | {made_s:.2} |");
    println!("| KiB per session and replica | {kib:.2} |");
    println!("| from the start of three nodes to all groups led, s | {started_s:.2} |");
    drop(led);
    stop(nodes).await;
}

fn home(led: &[Led], number: u64) -> (Led, ClientId) {
    (led[(number % led.len() as u64) as usize].clone(), ClientId::new(&format!("client-{number}")))
}

async fn make(led: &[Led], sessions: u64) {
    let tasks: Vec<_> = (0..AT_ONCE.min(sessions))
        .map(|first| {
            let led = led.to_vec();
            tokio::spawn(async move {
                for number in (first..sessions).step_by(AT_ONCE as usize) {
                    let (led, client) = home(&led, number);
                    let (_, connected) = led.connect(&client, (number, true, 1)).await;
                    led.subscribe(&client, connected.epoch, &format!("s/{number}")).await;
                    led.end(&client, connected.epoch).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
