//! The result of a run, as a table for people or as JSON for programs.
//! Made by `coordinator` from the plan and the stats. It measures nothing.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::plan::{Hears, Plan, Role};
use super::stats::{Errors, Latencies, Span, Stats};

/// What a run has shown. Field names are part of the interface: programs read them.
#[derive(Debug, Serialize)]
pub(super) struct Result {
    scenario: &'static str,
    protocol: String,
    qos: u8,
    size: usize,
    window: u16,
    /// Messages a second that were asked for; 0: as many as possible.
    rate: f64,
    publishers: usize,
    subscribers: usize,
    connected: u64,
    published: u64,
    acknowledged: u64,
    delivered: u64,
    /// Deliveries that should have been; absent where others publish or subscribe.
    expected: Option<u64>,
    lost: Option<u64>,
    duplicates: u64,
    out_of_order: u64,
    payload_bytes_sent: u64,
    payload_bytes_received: u64,
    /// From the first message (or connection) to the last delivery, acknowledgement or CONNACK.
    seconds: f64,
    published_per_s: f64,
    delivered_per_s: f64,
    connected_per_s: Option<f64>,
    /// From the first SUBSCRIBE to the last delivery; in `sub` only.
    subscribed_seconds: Option<f64>,
    /// With `--absent`: from the first message to the last acknowledgement, and from the first subscriber's
    /// return to the last delivery.
    fill_seconds: Option<f64>,
    filled_per_s: Option<f64>,
    drain_seconds: Option<f64>,
    drained_per_s: Option<f64>,
    /// Publish to delivery.
    latency_us: Option<Percentiles>,
    /// Publish to the last acknowledgement of its exchange.
    acknowledge_us: Option<Percentiles>,
    /// The start of a connection to CONNACK.
    connect_us: Option<Percentiles>,
    /// Deliveries of the subscribers, fewest first; at most a hundred.
    by_subscriber: Vec<u64>,
    /// (most - fewest) / mean of the deliveries of the subscribers, in percent.
    spread_percent: Option<f64>,
    errors: Errors,
    first_error: Option<String>,
}

/// Times in microseconds.
#[derive(Debug, Serialize)]
struct Percentiles {
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

/// Subscribers that are listed one by one.
const LISTED_MAX: usize = 100;

impl Result {
    pub(super) fn new(plan: &Plan, stats: &Stats) -> Self {
        let end_ns = [stats.deliveries, stats.acknowledgements, stats.publishes, stats.connects]
            .iter()
            .filter_map(Span::last_ns)
            .max();
        let start_ns =
            [stats.publishes, stats.deliveries, stats.connects].iter().filter_map(Span::first_ns).min();
        let seconds = seconds_between(start_ns, end_ns);
        let expected = (plan.copies > 0).then(|| stats.published.saturating_mul(plan.copies));
        let unique = stats.delivered.saturating_sub(stats.repeated);
        let open = plan.specs.iter().any(|spec| match &spec.role {
            Role::Subscriber(subscriber) => subscriber.hears == Hears::Anything && !subscriber.is_shared(),
            Role::Publisher(_) => false,
        });
        let mut by_subscriber = stats.by_subscriber.clone();
        by_subscriber.sort_unstable();
        let publishers = plan.publishers();
        let [fill_seconds, drain_seconds] = absence(plan, stats);
        Self {
            scenario: plan.scenario,
            protocol: plan.version.to_string(),
            qos: plan.load.qos as u8,
            size: plan.load.size,
            window: plan.load.window,
            rate: plan.load.rate,
            publishers,
            subscribers: plan.specs.len() - publishers,
            connected: stats.connected,
            published: stats.published,
            acknowledged: stats.acknowledged,
            delivered: stats.delivered,
            expected,
            lost: expected.map(|all| all.saturating_sub(unique)).or_else(|| open.then_some(stats.missing)),
            duplicates: stats.repeated,
            out_of_order: stats.late,
            payload_bytes_sent: stats.payload_bytes_sent,
            payload_bytes_received: stats.payload_bytes_received,
            seconds,
            published_per_s: per_second(stats.published, seconds),
            delivered_per_s: per_second(stats.delivered, seconds),
            connected_per_s: plan.conn.map(|_| per_second(stats.connected, seconds)),
            subscribed_seconds: (plan.scenario == "sub")
                .then(|| seconds_between(stats.subscribes.first_ns(), stats.deliveries.last_ns())),
            fill_seconds,
            filled_per_s: fill_seconds.map(|seconds| per_second(stats.acknowledged, seconds)),
            drain_seconds,
            drained_per_s: drain_seconds.map(|seconds| per_second(stats.delivered, seconds)),
            latency_us: Percentiles::of(&stats.delivery),
            acknowledge_us: Percentiles::of(&stats.acknowledgement),
            connect_us: Percentiles::of(&stats.connect),
            spread_percent: spread(&by_subscriber),
            by_subscriber: by_subscriber.into_iter().take(LISTED_MAX).collect(),
            errors: stats.errors,
            first_error: stats.first_error.clone(),
        }
    }

    /// As one JSON object.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// As lines for people.
    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: String| {
            // Writing into a string cannot fail.
            let _ = writeln!(out, "{name:<14} {value}");
        };
        line("connected", format!("{} in MQTT {}", self.connected, self.protocol));
        if let Some(rate) = self.connected_per_s {
            line("rate", format!("{rate:.0} connections/s over {:.3} s", self.seconds));
        }
        if self.publishers > 0 {
            line("published", format!("{} ({:.0}/s)", self.published, self.published_per_s));
        }
        if self.acknowledged > 0 {
            line("acknowledged", self.acknowledged.to_string());
        }
        if self.subscribers > 0 {
            line("delivered", format!("{} ({:.0}/s)", self.delivered, self.delivered_per_s));
            line("duplicates", self.duplicates.to_string());
            line("out of order", self.out_of_order.to_string());
        }
        for (name, seconds, rate) in [
            ("filled", self.fill_seconds, self.filled_per_s),
            ("drained", self.drain_seconds, self.drained_per_s),
        ] {
            if let (Some(seconds), Some(rate)) = (seconds, rate) {
                line(name, format!("in {seconds:.3} s ({rate:.0}/s)"));
            }
        }
        if let Some(lost) = self.lost {
            line("lost", lost.to_string());
        }
        if let Some(spread) = self.spread_percent.filter(|_| self.subscribers > 1) {
            line("spread", format!("{spread:.1} % between the subscribers"));
        }
        for (name, times) in [
            ("latency", &self.latency_us),
            ("acknowledged", &self.acknowledge_us),
            ("accepted", &self.connect_us),
        ] {
            if let Some(times) = times {
                line(name, times.to_string());
            }
        }
        line("errors", self.errors.total().to_string());
        if let Some(error) = &self.first_error {
            line("first error", error.clone());
        }
        out
    }

    /// What makes the run a failure, in words.
    pub(super) fn failure(&self) -> Option<String> {
        let errors = self.errors.total();
        if errors > 0 {
            let first = self.first_error.as_deref().unwrap_or("unknown");
            return Some(format!("{errors} errors; the first: {first}"));
        }
        let lost = self.lost.filter(|lost| *lost > 0 && self.qos > 0)?;
        Some(format!("{lost} messages of QoS {} were lost", self.qos))
    }
}

impl Percentiles {
    fn of(latencies: &Latencies) -> Option<Self> {
        let histogram: &Histogram<u64> = latencies.filled()?;
        let at = |quantile| microseconds(histogram.value_at_quantile(quantile));
        Some(Self {
            mean: histogram.mean() / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: microseconds(histogram.max()),
        })
    }
}

impl std::fmt::Display for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mean, p50, p90, p99, p99_9, max } = self;
        write!(
            f,
            "p50 {p50:.0}  p90 {p90:.0}  p99 {p99:.0}  p99.9 {p99_9:.0}  max {max:.0}  mean {mean:.0} us"
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are kept")]
fn microseconds(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

fn seconds_between(start_ns: Option<u64>, end_ns: Option<u64>) -> f64 {
    let (Some(start), Some(end)) = (start_ns, end_ns) else { return 0.0 };
    std::time::Duration::from_nanos(end.saturating_sub(start)).as_secs_f64()
}

/// Seconds to fill the queues of absent subscribers, and to drain them.
fn absence(plan: &Plan, stats: &Stats) -> [Option<f64>; 2] {
    let spans = [(stats.publishes, stats.acknowledgements), (stats.returns, stats.deliveries)];
    spans.map(|(start, end)| plan.absent.then(|| seconds_between(start.first_ns(), end.last_ns())))
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn spread(sorted: &[u64]) -> Option<f64> {
    let (fewest, most) = (*sorted.first()?, *sorted.last()?);
    let mean = sorted.iter().sum::<u64>() as f64 / sorted.len() as f64;
    (mean > 0.0).then(|| (most - fewest) as f64 / mean * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_relative_to_the_mean() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[0, 0]), None);
        assert_eq!(spread(&[90, 100, 110]), Some(20.0));
    }
}
