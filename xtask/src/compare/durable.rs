//! `cargo xtask durable`: what one node of Quelea does that syncs what it acknowledges to a disk.
//! Called by `main`. It prints numbers, and never says that one is good enough. Every load bounds its own time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::broker::{Broker, Kind, Needs, Running};
use super::listing::{self, Row};
use super::load::{Load, Shown};
use super::options::number;
use super::process::{get, wait};
use crate::gate;
use crate::runner::Runner;
use crate::scratch::Scratch;

const MINUTES_MAX: u64 = 30;
/// Any load is over after this.
const PATIENCE_S: u64 = 240;
/// Time for a checkpoint to be made of what was just done, and for queues to leave memory after it.
const REST: Duration = Duration::from_secs(3);
/// Sessions that are made at once, connected: a process may not have many more files open.
const BATCH: u64 = 10_000;
/// Publishers, and what each has under way.
const PUBLISHERS: [(u32, u32); 4] = [(1, 1), (1, 100), (100, 10), (1000, 10)];
const NEEDS: Needs = Needs {
    tls: false,
    file: false,
    http: true,
    settings: "[session]\nqueue_messages_max = 10000000\nqueue_bytes_max = \"16GiB\"\n",
};

/// How much to do.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    seconds: u64,
    messages: u64,
    sessions: u64,
    json: bool,
}

/// The node and its load.
struct Node {
    broker: Broker,
    quelea: PathBuf,
    folder: PathBuf,
}

/// Runs all of it.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    let options = parse(arguments)?;
    gate::raise_descriptor_limit();
    let root = gate::root()?;
    let target = gate::target_folder(&root);
    let runner = Runner::new(&root, Instant::now() + Duration::from_secs(MINUTES_MAX * 60))?;
    let quelea = super::quelea(&runner, &root, &target)?;
    let disk = Scratch::below(&target)?;
    let broker = Broker::new(Kind::Quelea, quelea.clone());
    let node = Node { broker, quelea, folder: disk.path().join("node") };
    let rows = measure(&node, &options);
    if options.json {
        println!("{}", listing::as_json(&rows)?);
    } else {
        println!("{}", listing::markdown(&rows, "durable", arguments));
    }
    Ok(rows.len() == PUBLISHERS.len() + 2)
}

/// All rows that could be measured, each told as it comes.
fn measure(node: &Node, options: &Options) -> Vec<Row> {
    let publishers =
        PUBLISHERS.iter().map(|(publishers, window)| publish(node, *publishers, *window, options.seconds));
    let others = [queue as fn(&Node, u64) -> Result<Row>, sessions]
        .into_iter()
        .zip([options.messages, options.sessions]);
    let rows = publishers.chain(others.map(|(measure, count)| measure(node, count)));
    rows.filter_map(|row| match row {
        Ok(row) => {
            eprint!("{}", listing::lines(&row));
            Some(row)
        }
        Err(error) => {
            eprintln!("could not be measured: {error:#}");
            None
        }
    })
    .collect()
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options { seconds: 5, messages: 1_000_000, sessions: 100_000, json: false };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options = Options { seconds: 2, messages: 50_000, sessions: 5000, ..options },
            "--json" => options.json = true,
            "--seconds" => options.seconds = number(argument, arguments.next(), PATIENCE_S)?,
            "--messages" => options.messages = number(argument, arguments.next(), 5_000_000)?,
            "--sessions" => options.sessions = number(argument, arguments.next(), 1_000_000)?,
            other => bail!(
                "unknown argument `{other}`: expected --quick, --seconds, --messages, --sessions or --json"
            ),
        }
    }
    Ok(options)
}

/// QoS 1 into one persistent session whose client is there.
fn publish(node: &Node, publishers: u32, window: u32, seconds: u64) -> Result<Row> {
    let running = node.start()?;
    let (before, syncs) = (running.process.usage()?, syncs(&running)?);
    let shown = node.load(
        &running,
        &format!(
            "fan-in --publishers {publishers} --subscribers 1 --persistent=subscribers --qos 1 --size 256 \
             --window {window} --duration {seconds}s"
        ),
    )?;
    let cpu_s = running.process.usage()?.cpu_s - before.cpu_s;
    let acknowledged = shown.number("acknowledged")?;
    ensure!(acknowledged > 0.0, "nothing was acknowledged");
    let title = format!("QoS 1, 256 B, into a persistent session: {publishers} x {window} under way");
    Ok(Row::new(
        title,
        [
            ("messages/s", shown.number("published_per_s")?),
            ("acknowledged, p50 us", shown.number("acknowledge_us.p50")?),
            ("acknowledged, p99 us", shown.number("acknowledge_us.p99")?),
            ("syncs per message", (self::syncs(&running)? - syncs) / acknowledged),
            ("CPU s per million", cpu_s / acknowledged * 1e6),
        ],
    ))
}

/// A long queue of one absent session.
fn queue(node: &Node, messages: u64) -> Result<Row> {
    let running = node.start()?;
    let subscribe = "sub --filter queue --qos 1 --persistent";
    node.load(&running, &format!("{subscribe} --duration 100ms"))?;
    let (empty, syncs) = (running.process.usage()?, syncs(&running)?);
    let load = format!("--qos 1 --count {messages} --duration {PATIENCE_S}s");
    let filled = node.load(&running, &format!("pub --topic queue --publishers 10 --size 256 {load}"))?;
    let acknowledged = filled.number("acknowledged")?;
    ensure!(acknowledged >= messages as f64, "{acknowledged} of {messages} messages were acknowledged");
    let syncs = (self::syncs(&running)? - syncs) / acknowledged;
    let full = running.process.usage()?;
    wait(REST);
    let rested = running.process.usage()?;
    let drained = node.load(&running, &format!("{subscribe} --count {messages} --duration {PATIENCE_S}s"))?;
    let delivered = drained.number("delivered")?;
    ensure!(delivered >= messages as f64, "{delivered} of {messages} messages came");
    wait(REST);
    let title =
        format!("{messages} messages of 256 B, QoS 1, into an absent session by 10 publishers, and drained");
    let over_empty = |kib: f64| (kib - empty.resident_kib) / 1024.0;
    Ok(Row::new(
        title,
        [
            ("filled in s", filled.number("seconds")?),
            ("filled, messages/s", filled.number("published_per_s")?),
            ("syncs per message", syncs),
            ("memory when filled, MiB", over_empty(full.resident_kib)),
            ("3 s later, MiB", over_empty(rested.resident_kib)),
            ("drained in s", drained.number("subscribed_seconds")?),
            ("3 s after the drain, MiB", over_empty(running.process.usage()?.resident_kib)),
        ],
    ))
}

/// Many persistent sessions with a subscription each, and a restart with them.
fn sessions(node: &Node, sessions: u64) -> Result<Row> {
    let running = node.start()?;
    let empty = running.process.usage()?;
    let start = Instant::now();
    for first in (0..sessions).step_by(usize::try_from(BATCH)?) {
        let count = BATCH.min(sessions - first);
        node.load(&running, &batch(first, count, "--duration 100ms"))?;
    }
    let made_s = start.elapsed().as_secs_f64();
    wait(REST);
    let full = running.process.usage()?;
    let start = Instant::now();
    let running = node.broker.kill_and_start(running)?;
    ready(&running)?;
    let ready_s = start.elapsed().as_secs_f64();
    let resident_kib = running.process.usage()?.resident_kib;
    // Sessions that are gone would make a restart fast.
    let few = BATCH.min(sessions).min(100);
    node.load(&running, &format!("pub --topic s/0/%i --publishers {few} --qos 1 --count {few}"))?;
    let heard = node.load(&running, &batch(0, few, &format!("--count {few} --duration 20s")))?;
    ensure!(heard.number("delivered")? >= few as f64, "sessions did not survive the restart");
    let each = |kib: f64| (kib - empty.resident_kib) / sessions as f64;
    Ok(Row::new(
        format!("{sessions} persistent sessions with a subscription each"),
        [
            ("made in s", made_s),
            ("KiB per session", each(full.resident_kib)),
            ("from start to ready after kill -9, s", ready_s),
            ("KiB per session after it", each(resident_kib)),
        ],
    ))
}

/// Subscribers `count` from `first` on, each with its filter and its session.
fn batch(first: u64, count: u64, end: &str) -> String {
    format!("sub --subscribers {count} --filter s/{first}/%i --qos 1 --persistent --client-id s{first} {end}")
}

impl Node {
    fn start(&self) -> Result<Running> {
        let running = self.broker.start(&self.folder, NEEDS)?;
        ready(&running)?;
        wait(Duration::from_millis(300));
        Ok(running)
    }

    fn load(&self, running: &Running, line: &str) -> Result<Shown> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Load::start(&self.quelea, &words, running)?.finish().with_context(|| line.to_owned())
    }
}

/// Waits until the node says that it is ready.
fn ready(running: &Running) -> Result<()> {
    let start = Instant::now();
    while !get(running.http, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
        ensure!(start.elapsed() < Duration::from_secs(60), "the node is not ready after a minute");
        wait(Duration::from_millis(10));
    }
    Ok(())
}

/// How often the log was synced so far.
fn syncs(running: &Running) -> Result<f64> {
    let metrics = get(running.http, "/metrics")?;
    let value = metrics.lines().find_map(|line| line.strip_prefix("quelea_wal_syncs_total "));
    Ok(value.context("expected quelea_wal_syncs_total in /metrics")?.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_options() {
        let parsed = |line: &str| parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let options = parsed("--quick --messages 7 --json").unwrap();
        assert_eq!(options, Options { seconds: 2, messages: 7, sessions: 5000, json: true });
        for line in ["--fast", "--messages", "--messages 0", "--sessions x", "--seconds 241"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
