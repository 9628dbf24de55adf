//! What is measured of a cluster: each with three fresh nodes. Called by `clustered`. Where nothing else is said the nodes
//! have the times of the profile `lan`; rmqttd has its own, and no profiles.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::process::wait;
use super::Options;
use super::beside::Report;
use super::client::Client;
use super::failover::failover;
use super::trio::{Broker, Kind, Trio};

/// One thing that is measured.
pub(super) struct Measurement {
    /// For `--only`.
    pub(super) name: &'static str,
    pub(super) run: fn(&Setup<'_>, &mut Report) -> Result<()>,
}

impl Measurement {
    /// Profiles are Quelea's.
    pub(super) fn is_for(&self, kind: Kind) -> bool {
        kind == Kind::Quelea || self.name != ZONES
    }
}

/// What every measurement can see.
pub(super) struct Setup<'a> {
    pub(super) broker: &'a Broker,
    /// The load generator.
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
    Measurement { name: "failover-lan", run: |setup, report| failover(setup, report, LAN) },
    Measurement { name: ZONES, run: |setup, report| failover(setup, report, "zones") },
    Measurement { name: "filters", run: filters },
];

const LAN: &str = "lan";
const ZONES: &str = "failover-zones";
/// Any answer comes before that, or is a failure.
pub(super) const WITHIN: Duration = Duration::from_secs(60);
/// How long idle nodes are looked at.
const IDLE: Duration = Duration::from_secs(10);
/// Messages a second where latency is measured, by all publishers together.
const STEADY: u64 = 2_000;
/// Filters of one connection, and of one SUBSCRIBE.
const OF_CONNECTION: u64 = 10_000;
const OF_SUBSCRIBE: usize = 250;
/// Subscribers that take longer give up.
const FILTERS_WITHIN: Duration = Duration::from_secs(180);
/// Messages by which the cost of a match is measured.
const MATCHED: u64 = 200_000;

impl Setup<'_> {
    pub(super) fn start(&self, profile: &str) -> Result<Trio<'_>> {
        Trio::start(self.broker, self.quelea, self.folder, profile)
    }
}

fn idle(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let trio = setup.start(LAN)?;
    let nodes = trio.nodes.len() as f64;
    let (before, begun) = (trio.usage()?.0, Instant::now());
    wait(IDLE);
    let (cpu_s, kib) = trio.usage()?;
    let share = (cpu_s - before) / begun.elapsed().as_secs_f64() / nodes * 100.0;
    let values = [("CPU of a node, % of a core", share), ("memory of a node, MiB", kib / 1024.0 / nodes)];
    report.note("idle, no clients", Ok(values));
    Ok(())
}

/// Each publisher's subscriber is on another node: connections take the three in turn.
fn messages(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    pairs(setup, report, "", "from node to node")
}

fn persistent(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    pairs(setup, report, "--persistent=subscribers", "into persistent sessions, client on another node")
}

fn pairs(setup: &Setup<'_>, report: &mut Report, sessions: &str, title: &str) -> Result<()> {
    let (trio, seconds) = (setup.start(LAN)?, setup.options.seconds);
    for qos in 0..=2 {
        let load = format!("pairs --pairs 10 --qos {qos} {sessions} --duration {seconds}s");
        let title = format!("10 pairs {title}, QoS {qos}, 64 B");
        report.note(&title, full_rate(&trio, &load));
        report.note(format!("{title}, at {STEADY}/s"), steady_rate(&trio, &load));
    }
    Ok(())
}

fn full_rate(trio: &Trio<'_>, load: &str) -> Result<[(&'static str, f64); 2]> {
    let before = trio.usage()?.0;
    let full = trio.load(load)?;
    let cpu_s = trio.usage()?.0 - before;
    let delivered = full.number("delivered")?;
    ensure!(delivered > 0.0, "nothing was delivered");
    Ok([
        ("messages/s", full.number("delivered_per_s")?),
        ("CPU s of all nodes per million", cpu_s / delivered * 1e6),
    ])
}

fn steady_rate(trio: &Trio<'_>, load: &str) -> Result<[(&'static str, f64); 3]> {
    let steady = trio.load(&format!("{load} --rate {STEADY}"))?;
    Ok([
        ("p50 us", steady.number("latency_us.p50")?),
        ("p99 us", steady.number("latency_us.p99")?),
        ("p99.9 us", steady.number("latency_us.p99_9")?),
    ])
}

fn shared(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let (trio, seconds) = (setup.start(LAN)?, setup.options.seconds);
    for members in [1, 3, 10, 100] {
        let load = format!("shared --publishers 10 --members {members} --qos 1 --duration {seconds}s");
        let measured = trio.load(&load).and_then(|shown| {
            Ok([
                ("messages/s", shown.number("delivered_per_s")?),
                ("most - fewest, % of mean", shown.number("spread_percent")?),
            ])
        });
        report.note(format!("10 publishers to a shared group of {members}, QoS 1"), measured);
    }
    Ok(())
}

/// New connections, and connections of a client that is connected elsewhere.
fn connects(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let trio = setup.start(LAN)?;
    let count = 1_000 * setup.options.seconds;
    let all = trio.load(&format!("conn --count {count} --close")).and_then(|shown| {
        Ok([
            ("connections/s", shown.number("connected_per_s")?),
            ("p50 us", shown.number("connect_us.p50")?),
            ("p99 us", shown.number("connect_us.p99")?),
        ])
    });
    report.note(format!("{count} connections over three nodes, opened and closed"), all);
    let times = usize::try_from(50 * setup.options.seconds)?;
    report.note("takeover by the next node, from CONNECT to CONNACK", takeovers(&trio, times));
    Ok(())
}

fn takeovers(trio: &Trio<'_>, times: usize) -> Result<[(&'static str, f64); 2]> {
    let mut took = Vec::new();
    let mut before: Option<Client> = None;
    for number in 0..times {
        let begun = Instant::now();
        let client = Client::connect(trio.port(number)?, "flies", false, WITHIN)?;
        if before.replace(client).is_some() {
            took.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    let took = Sorted::of(took)?;
    Ok([("p50 ms", took.at(50)), ("p99 ms", took.at(99))])
}

/// Distinct filters of clients on all nodes: what they cost to make and to keep, and what publishes cost that match none.
fn filters(setup: &Setup<'_>, report: &mut Report) -> Result<()> {
    let (trio, filters) = (setup.start(LAN)?, setup.options.filters);
    let title = format!("{filters} distinct filters, {OF_SUBSCRIBE} a SUBSCRIBE, over three nodes");
    report.note(title, all_filters(&trio, filters));
    Ok(())
}

fn all_filters(trio: &Trio<'_>, filters: u64) -> Result<[(&'static str, f64); 5]> {
    let cost_before = match_cost(trio)?;
    let (kib_before, begun) = (trio.usage()?.1, Instant::now());
    let ports: Vec<u16> = trio.nodes.iter().map(|node| node.place.mqtt).collect();
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
    let cost = match_cost(trio)?;
    drop(connected);
    Ok([
        ("filters/s", filters as f64 / took_s),
        ("memory of all nodes, MiB", kib / 1024.0),
        ("bytes per filter and node", kib * 1024.0 / filters as f64 / 3.0),
        ("CPU s per million publishes that match none, QoS 1", cost),
        ("the same before there were filters", cost_before),
    ])
}

fn subscriber(port: u16, number: u64, of: std::ops::Range<u64>) -> Result<Client> {
    let begun = Instant::now();
    let mut client = Client::connect(port, &format!("subscriber-{number}"), true, WITHIN)?;
    let filters: Vec<String> = of.map(|filter| format!("site/{filter}/temperature")).collect();
    for some in filters.chunks(OF_SUBSCRIBE) {
        let seconds = FILTERS_WITHIN.as_secs();
        ensure!(begun.elapsed() < FILTERS_WITHIN, "the filters were not made within {seconds} s");
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
pub(super) struct Sorted(Vec<f64>);

impl Sorted {
    pub(super) fn of(mut values: Vec<f64>) -> Result<Self> {
        ensure!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        Ok(Self(values))
    }

    /// The value below which so many percent of them lie.
    pub(super) fn at(&self, percent: usize) -> f64 {
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
