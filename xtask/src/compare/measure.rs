//! One measurement: a fresh broker, one row's load, what the broker used for it.
//! Called by `compare` for each round, row and broker. It keeps nothing between two of them.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Setup;
use super::broker::{Broker, Needs, Running};
use super::load::{Load as Bench, Shown};
use super::process::{Usage, wait};
use super::rows::{Extra, Load, Row};

/// A broker gets this long to come to rest before and after it is loaded.
const REST: Duration = Duration::from_millis(300);
/// How long idle connections are held: memory is looked at in between.
const HOLD: Duration = Duration::from_secs(1);

/// A load that counts messages ends after this time however many it has come to.
const PATIENCE: Duration = Duration::from_secs(60);

/// A quantity, in the unit that it is printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    CpuPerMillion,
    Rate,
    P50,
    P99,
    Spread,
    MemoryPerConnection,
    CpuPerConnection,
    FillRate,
    DrainRate,
    Lost,
}

impl Metric {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CpuPerMillion => "CPU s per million",
            Self::Rate => "messages/s",
            Self::P50 => "p50 us",
            Self::P99 => "p99 us",
            Self::Spread => "spread %",
            Self::MemoryPerConnection => "KiB per connection",
            Self::CpuPerConnection => "CPU us per connection",
            Self::FillRate => "filled, messages/s",
            Self::DrainRate => "drained, messages/s",
            Self::Lost => "lost messages",
        }
    }
}

/// A value of a metric.
pub(crate) type Measurement = (Metric, f64);

/// Measures one row with one broker.
///
/// # Errors
/// What the broker, or the load, failed with.
pub(crate) fn run(setup: &Setup, broker: &Broker, row: &Row) -> Result<Vec<Measurement>> {
    let needs = Needs {
        tls: matches!(row.load, Load::Idle { tls: true, .. }),
        file: matches!(row.load, Load::Killed { .. }),
        ..Needs::default()
    };
    let place = if row.synced { &setup.disk } else { &setup.scratch };
    let running = broker.start(&place.path().join(row.name), needs)?;
    wait(REST);
    match row.load {
        Load::Messages { arguments, extra } => messages(setup, &running, arguments, extra),
        Load::Retained { count } => retained(setup, &running, count),
        Load::Idle { count, .. } => idle(setup, &running, count),
        Load::Connects { arguments, count } => connects(setup, &running, arguments, count),
        Load::Offline { sessions, count } => offline(setup, &running, sessions, count),
        Load::Killed { count } => killed(setup, broker, running, count),
    }
}

fn messages(setup: &Setup, broker: &Running, arguments: &str, extra: Extra) -> Result<Vec<Measurement>> {
    let seconds = setup.options.duration.as_secs();
    let line = format!("{arguments} --size 64 --window 100 --duration {seconds}s");
    let (shown, before, after) = bench(setup, broker, &line)?;
    let delivered = shown.number("delivered")?;
    ensure!(delivered > 0.0, "nothing was delivered");
    let mut measured = vec![(Metric::CpuPerMillion, (after.cpu_s - before.cpu_s) / delivered * 1e6)];
    if extra == Extra::Latency {
        measured.push((Metric::P50, shown.number("latency_us.p50")?));
        measured.push((Metric::P99, shown.number("latency_us.p99")?));
    } else {
        measured.push((Metric::Rate, shown.number("delivered_per_s")?));
    }
    if extra == Extra::Spread {
        measured.push((Metric::Spread, shown.number("spread_percent")?));
    }
    Ok(measured)
}

fn retained(setup: &Setup, broker: &Running, count: u32) -> Result<Vec<Measurement>> {
    let publish =
        format!("pub --publishers 1 --topic retained/%n --retain --qos 1 --count {count} --size 64");
    bench(setup, broker, &publish)?;
    let subscribe = format!("sub --filter retained/+ --qos 1 --count {count} --duration 30s");
    let (shown, before, after) = bench(setup, broker, &subscribe)?;
    let delivered = shown.number("delivered")?;
    ensure!(delivered >= f64::from(count), "{delivered} of {count} retained messages came within 30 s");
    let rate = delivered / shown.number("subscribed_seconds")?.max(1e-9);
    Ok(vec![(Metric::CpuPerMillion, (after.cpu_s - before.cpu_s) / delivered * 1e6), (Metric::Rate, rate)])
}

fn idle(setup: &Setup, broker: &Running, count: u32) -> Result<Vec<Measurement>> {
    let before = broker.process.usage()?;
    let line = format!("conn --count {count} --duration {}s", HOLD.as_secs());
    let mut load = Bench::start(&setup.quelea, &words(&line), broker)?;
    load.accepted()?;
    wait(REST);
    let after = broker.process.usage()?;
    load.finish()?;
    let each = |value: f64| value / f64::from(count);
    Ok(vec![
        (Metric::MemoryPerConnection, each(after.resident_kib - before.resident_kib)),
        (Metric::CpuPerConnection, each(after.cpu_s - before.cpu_s) * 1e6),
    ])
}

fn connects(setup: &Setup, broker: &Running, arguments: &str, count: u32) -> Result<Vec<Measurement>> {
    let (_, before, after) = bench(setup, broker, &format!("conn --close --count {count} {arguments}"))?;
    Ok(vec![(Metric::CpuPerConnection, (after.cpu_s - before.cpu_s) / f64::from(count) * 1e6)])
}

fn offline(setup: &Setup, broker: &Running, sessions: u32, count: u32) -> Result<Vec<Measurement>> {
    let line = format!(
        "pairs --pairs {sessions} --count {count} --duration {}s --size 256 --window 100 --qos 1 \
         --persistent=subscribers --absent",
        PATIENCE.as_secs()
    );
    let (shown, before, after) = bench(setup, broker, &line)?;
    let delivered = shown.number("delivered")?;
    ensure!(delivered >= f64::from(count), "{delivered} of {count} messages came");
    Ok(vec![
        (Metric::CpuPerMillion, (after.cpu_s - before.cpu_s) / delivered * 1e6),
        (Metric::FillRate, shown.number("filled_per_s")?),
        (Metric::DrainRate, shown.number("drained_per_s")?),
    ])
}

/// Fills the queue of an absent session, kills the broker after the last acknowledgement, and counts what is still there.
fn killed(setup: &Setup, broker: &Broker, running: Running, count: u32) -> Result<Vec<Measurement>> {
    let subscribe = "sub --filter killed/# --qos 1 --persistent";
    bench(setup, &running, &format!("{subscribe} --duration 100ms"))?;
    let publish = format!("pub --topic killed/%i --qos 1 --count {count} --duration {}s", PATIENCE.as_secs());
    let shown = Bench::start(&setup.quelea, &words(&publish), &running)?.finish()?;
    let acknowledged = shown.number("acknowledged")?;
    ensure!(acknowledged >= f64::from(count), "{acknowledged} of {count} messages were acknowledged");
    let running = broker.kill_and_start(running)?;
    let line = words(&format!("{subscribe} --count {count} --duration 10s"));
    let (shown, _) = Bench::start(&setup.quelea, &line, &running)?.end()?;
    let kept = shown.number("delivered")? - shown.number("duplicates")?;
    Ok(vec![(Metric::Lost, f64::from(count) - kept)])
}

/// Runs a load to its end, with what the broker had used before and after.
fn bench(setup: &Setup, broker: &Running, line: &str) -> Result<(Shown, Usage, Usage)> {
    let before = broker.process.usage()?;
    let shown = Bench::start(&setup.quelea, &words(line), broker)?.finish()?;
    wait(REST);
    Ok((shown, before, broker.process.usage()?))
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}
