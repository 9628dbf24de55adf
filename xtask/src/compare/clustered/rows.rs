//! What is measured of a cluster: each with three fresh nodes. Called by `clustered`. Where nothing else is said the nodes
//! have the times of the profile `lan`.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::listing::Row;
use super::super::process::wait;
use super::Options;
use super::client::Client;
use super::trio::Trio;

/// One thing that is measured.
pub(super) struct Measurement {
    /// For `--only`.
    pub(super) name: &'static str,
    pub(super) run: fn(&Setup<'_>) -> Result<Vec<Row>>,
}

/// What every measurement can see.
pub(super) struct Setup<'a> {
    pub(super) quelea: &'a Path,
    pub(super) folder: &'a Path,
    pub(super) options: &'a Options,
}

/// All of them, in the order in which they are measured.
pub(super) const MEASUREMENTS: [Measurement; 8] = [
    Measurement { name: "idle", run: idle },
    Measurement { name: "messages", run: messages },
    Measurement { name: "persistent", run: persistent },
    Measurement { name: "shared", run: shared },
    Measurement { name: "connects", run: connects },
    Measurement { name: "failover-lan", run: |setup| failover(setup, "lan") },
    Measurement { name: "failover-zones", run: |setup| failover(setup, "zones") },
    Measurement { name: "filters", run: filters },
];

const LAN: &str = "lan";
/// Any answer comes before that, or is a failure.
const WITHIN: Duration = Duration::from_secs(60);
/// How long idle nodes are looked at.
const IDLE: Duration = Duration::from_secs(10);
/// Messages a second where latency is measured, by all publishers together.
const STEADY: u64 = 2_000;
/// Sessions that get each message whose acknowledgement is waited for: some in every shard.
const SESSIONS: usize = 24;
/// Before each trial of a failover: leaderships go to where they belong three seconds after the last change, so that whoever is
/// killed leads shards too.
const TRIAL_REST: Duration = Duration::from_secs(8);
/// Filters of one connection, and of one SUBSCRIBE.
const OF_CONNECTION: u64 = 10_000;
const OF_SUBSCRIBE: usize = 250;
/// Messages by which the cost of a match is measured.
const MATCHED: u64 = 200_000;

impl Setup<'_> {
    fn start(&self, profile: &str) -> Result<Trio<'_>> {
        Trio::start(self.quelea, self.folder, profile)
    }
}

fn idle(setup: &Setup<'_>) -> Result<Vec<Row>> {
    let trio = setup.start(LAN)?;
    let nodes = trio.nodes.len() as f64;
    let (before, begun) = (trio.usage()?.0, Instant::now());
    wait(IDLE);
    let (cpu_s, kib) = trio.usage()?;
    let share = (cpu_s - before) / begun.elapsed().as_secs_f64() / nodes * 100.0;
    let values = [("CPU of a node, % of a core", share), ("memory of a node, MiB", kib / 1024.0 / nodes)];
    Ok(vec![Row::new("idle, no clients", values)])
}

/// Each publisher's subscriber is on another node: connections take the three in turn.
fn messages(setup: &Setup<'_>) -> Result<Vec<Row>> {
    pairs(setup, "", "from node to node")
}

fn persistent(setup: &Setup<'_>) -> Result<Vec<Row>> {
    pairs(setup, "--persistent=subscribers", "into persistent sessions, client on another node")
}

fn pairs(setup: &Setup<'_>, sessions: &str, title: &str) -> Result<Vec<Row>> {
    let (trio, seconds) = (setup.start(LAN)?, setup.options.seconds);
    let mut rows = Vec::new();
    for qos in 0..=2 {
        let load = format!("pairs --pairs 10 --qos {qos} {sessions} --duration {seconds}s");
        let before = trio.usage()?.0;
        let full = trio.load(&load)?;
        let cpu_s = trio.usage()?.0 - before;
        let steady = trio.load(&format!("{load} --rate {STEADY}"))?;
        let delivered = full.number("delivered")?;
        let values = [
            ("messages/s", full.number("delivered_per_s")?),
            ("CPU s of all nodes per million", cpu_s / delivered.max(1.0) * 1e6),
            ("at 2,000/s, p50 us", steady.number("latency_us.p50")?),
            ("at 2,000/s, p99 us", steady.number("latency_us.p99")?),
            ("at 2,000/s, p99.9 us", steady.number("latency_us.p99_9")?),
        ];
        rows.push(Row::new(format!("10 pairs {title}, QoS {qos}, 64 B"), values));
    }
    Ok(rows)
}

fn shared(setup: &Setup<'_>) -> Result<Vec<Row>> {
    let (trio, seconds) = (setup.start(LAN)?, setup.options.seconds);
    let row = |members: u32| {
        let load = format!("shared --publishers 10 --members {members} --qos 1 --duration {seconds}s");
        let shown = trio.load(&load)?;
        let values = [
            ("messages/s", shown.number("delivered_per_s")?),
            ("most - fewest, % of mean", shown.number("spread_percent")?),
        ];
        Ok(Row::new(format!("10 publishers to a shared group of {members}, QoS 1"), values))
    };
    [1, 3, 10, 100].into_iter().map(row).collect()
}

/// New connections, and connections of a client that is connected elsewhere.
fn connects(setup: &Setup<'_>) -> Result<Vec<Row>> {
    let trio = setup.start(LAN)?;
    let count = 1_000 * setup.options.seconds;
    let shown = trio.load(&format!("conn --count {count} --close"))?;
    let all = [
        ("connections/s", shown.number("connected_per_s")?),
        ("p50 us", shown.number("connect_us.p50")?),
        ("p99 us", shown.number("connect_us.p99")?),
    ];
    let mut taken_over = Vec::new();
    let mut before: Option<Client> = None;
    for node in trio.nodes.iter().cycle().take(usize::try_from(50 * setup.options.seconds)?) {
        let begun = Instant::now();
        let client = Client::connect(node.mqtt, "flies", false, WITHIN)?;
        if before.replace(client).is_some() {
            taken_over.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    let taken_over = Sorted::of(taken_over)?;
    let over = [("p50 ms", taken_over.at(50)), ("p99 ms", taken_over.at(99))];
    Ok(vec![
        Row::new(format!("{count} connections over three nodes, opened and closed"), all),
        Row::new("takeover by the next node, from CONNECT to CONNACK", over),
    ])
}

/// From the death of the node that leads the cluster group to the acknowledgement of what is published then, for sessions
/// in all shards.
fn failover(setup: &Setup<'_>, profile: &str) -> Result<Vec<Row>> {
    let mut trio = setup.start(profile)?;
    for number in 0..SESSIONS {
        let node = trio.nodes.get(number % 3).context("there are three nodes")?;
        let mut client = Client::connect(node.mqtt, &format!("away-{number}"), false, WITHIN)?;
        client.subscribe(["failover"])?;
        client.disconnect()?;
    }
    let mut took = Vec::new();
    for trial in 0..setup.options.trials {
        wait(TRIAL_REST);
        let leader = trio.leader()?;
        let other = trio.nodes.get((leader + 1 + trial % 2) % 3).context("there are three nodes")?;
        let mut publisher = Client::connect(other.mqtt, "publisher", true, WITHIN)?;
        publisher.publish("failover", b"before")?;
        // The process may take a while to end.
        let begun = Instant::now();
        trio.kill(leader)?;
        publisher.publish("failover", b"after")?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        trio.revive(leader)?;
    }
    let took = Sorted::of(took)?;
    let values = [("median ms", took.at(50)), ("least ms", took.at(0)), ("most ms", took.at(100))];
    let title = format!(
        "kill -9 of the cluster group's leader, to the next PUBACK for sessions in all shards, profile {profile}, {} trials",
        setup.options.trials
    );
    Ok(vec![Row::new(title, values)])
}

/// Distinct filters of clients on all nodes: what they cost to make and to keep, and what publishes cost that match none.
fn filters(setup: &Setup<'_>) -> Result<Vec<Row>> {
    let (trio, filters) = (setup.start(LAN)?, setup.options.filters);
    let cost_before = match_cost(&trio)?;
    let (kib_before, begun) = (trio.usage()?.1, Instant::now());
    let ports: Vec<u16> = trio.nodes.iter().map(|node| node.mqtt).collect();
    let subscribers: Vec<_> = (0..filters.div_ceil(OF_CONNECTION))
        .zip(ports.iter().copied().cycle())
        .map(|(number, port)| {
            let of = number * OF_CONNECTION..filters.min((number + 1) * OF_CONNECTION);
            thread::spawn(move || subscriber(port, number, of))
        })
        .collect();
    let mut connected = Vec::new();
    for subscriber in subscribers {
        connected.push(subscriber.join().ok().context("a subscriber panicked")??);
    }
    let took_s = begun.elapsed().as_secs_f64();
    wait(Duration::from_secs(3));
    let kib = trio.usage()?.1 - kib_before;
    let cost = match_cost(&trio)?;
    drop(connected);
    let values = [
        ("filters/s", filters as f64 / took_s),
        ("memory of all nodes, MiB", kib / 1024.0),
        ("bytes per filter and node", kib * 1024.0 / filters as f64 / 3.0),
        ("CPU s per million publishes that match none, QoS 1", cost),
        ("the same before there were filters", cost_before),
    ];
    let title = format!("{filters} distinct filters, {OF_SUBSCRIBE} a SUBSCRIBE, over three nodes");
    Ok(vec![Row::new(title, values)])
}

fn subscriber(port: u16, number: u64, of: std::ops::Range<u64>) -> Result<Client> {
    let mut client = Client::connect(port, &format!("subscriber-{number}"), true, WITHIN)?;
    let filters: Vec<String> = of.map(|filter| format!("site/{filter}/temperature")).collect();
    for some in filters.chunks(OF_SUBSCRIBE) {
        client.subscribe(some.iter().map(String::as_str))?;
    }
    Ok(client)
}

/// CPU seconds of all nodes for a million publishes to devices that have subscribers of something else.
fn match_cost(trio: &Trio<'_>) -> Result<f64> {
    let before = trio.usage()?.0;
    let shown =
        trio.load(&format!("pub --topic site/%n/humidity --publishers 9 --qos 1 --count {MATCHED}"))?;
    let acknowledged = shown.number("acknowledged")?;
    ensure!(acknowledged > 0.0, "nothing was acknowledged");
    Ok((trio.usage()?.0 - before) / acknowledged * 1e6)
}

/// Values in their order, one at least.
struct Sorted(Vec<f64>);

impl Sorted {
    fn of(mut values: Vec<f64>) -> Result<Self> {
        ensure!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        Ok(Self(values))
    }

    /// The value below which so many percent of them lie.
    fn at(&self, percent: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last * percent + 50) / 100).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_values_by_their_order() {
        let sorted = Sorted::of(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!([sorted.at(0), sorted.at(50), sorted.at(100)], [1.0, 2.0, 3.0]);
        assert!(Sorted::of(Vec::new()).is_err());
    }
}
