//! `/metrics`: what there is to measure is one table ([`table`]), joined from those of all crates; this file writes it in
//! the text format of Prometheus. Called by the HTTP port; it holds nothing, and no label has values without a bound.

mod gauges;
#[cfg(test)]
mod page;
mod table;

use std::fmt;

use metrics::{Key, Label};
use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{write_help_line, write_metric_line, write_type_line};
use session_store::histogram::Durations;

use crate::sys::Snapshot;

/// What all names begin with.
const PREFIX: &str = "quelea_";

/// What a metric is, as Prometheus calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A value of a metric.
#[derive(Clone, Copy, Debug)]
enum Value {
    Whole(u64),
    Real(f64),
    Times(Durations),
}

/// One series of a metric.
#[derive(Clone, Debug)]
struct Series {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

impl Series {
    /// The only one of its metric.
    fn alone(value: Value) -> Self {
        Self { labels: Vec::new(), value }
    }

    fn labelled(label: &'static str, is: impl fmt::Display, value: Value) -> Self {
        Self { labels: vec![(label, is.to_string())], value }
    }
}

/// A metric, with the series that there are at a moment.
#[cfg_attr(not(test), expect(dead_code, reason = "units, and what labels say, are for docs/metrics.md"))]
#[derive(Clone, Debug)]
struct Metric {
    name: String,
    kind: Kind,
    unit: &'static str,
    help: String,
    /// Names of the labels, and what they say.
    labels: Vec<(&'static str, String)>,
    series: Vec<Series>,
}

/// The text of `/metrics` for what the node is and did.
pub(crate) fn text(snapshot: &Snapshot) -> String {
    let mut text = String::with_capacity(64 << 10);
    for (_, metrics) in table::sections(snapshot) {
        metrics.iter().for_each(|metric| write(&mut text, metric));
    }
    text
}

fn write(text: &mut String, metric: &Metric) {
    let name = &metric.name;
    write_help_line(text, name, None, None, &metric.help);
    write_type_line(text, name, None, None, metric.kind.name());
    for Series { labels, value } in &metric.series {
        let labels = label_set(labels);
        match value {
            Value::Whole(value) => line(text, (name, None), (&labels, None), value),
            Value::Real(value) => line(text, (name, None), (&labels, None), value),
            Value::Times(times) => write_times(text, name, (&labels, times)),
        }
    }
    text.push('\n');
}

fn write_times(text: &mut String, name: &str, (labels, times): (&LabelSet, &Durations)) {
    let bucket = (name, Some("bucket"));
    for (bound, count) in times.cumulative() {
        line(text, bucket, (labels, Some(bound.as_secs_f64().to_string())), count);
    }
    let count = times.count();
    line(text, bucket, (labels, Some("+Inf".to_owned())), count);
    line(text, (name, Some("sum")), (labels, None), times.sum().as_secs_f64());
    line(text, (name, Some("count")), (labels, None), count);
}

fn line(
    text: &mut String,
    (name, suffix): (&str, Option<&'static str>),
    (labels, bound): (&LabelSet, Option<String>),
    value: impl fmt::Display,
) {
    write_metric_line(text, name, suffix, labels, bound.map(|bound| ("le", bound)), value, None);
}

fn label_set(labels: &[(&'static str, String)]) -> LabelSet {
    let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::new(*name, value.clone())).collect();
    LabelSet::from_key_and_global(&Key::from_parts("", labels), &Default::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn snapshot() -> Snapshot {
        let replica = crate::observe::Replica {
            group: "3".to_owned(),
            leads: true,
            term: 7,
            at: raft_consensus::positions::Positions { last: 9, committed: 8, applied: 8, checkpoint: 5 },
            log_bytes: 100,
            commits: Durations::default(),
        };
        let name = "a \"name\"".to_owned();
        Snapshot {
            name,
            replicas: vec![replica],
            peers_up: vec![(2, true), (3, false)],
            ..Snapshot::default()
        }
    }

    #[test]
    fn each_metric_is_told_as_prometheus_wants_it() {
        let text = text(&snapshot());
        for line in [
            "# TYPE quelea_connections_opened_total counter",
            "quelea_connections_opened_total 0",
            "quelea_packets_received_total{type=\"connect\"} 0",
            "quelea_messages_dropped_total{session=\"persistent\",reason=\"expired\"} 0",
            "# TYPE quelea_clients_connected gauge",
            "quelea_raft_term{group=\"3\"} 7",
            "quelea_raft_leader{group=\"3\"} 1",
            "quelea_raft_snapshot_index{group=\"3\"} 5",
            "# TYPE quelea_raft_commit_latency_seconds histogram",
            "quelea_raft_commit_latency_seconds_bucket{group=\"3\",le=\"0.00025\"} 0",
            "quelea_raft_commit_latency_seconds_bucket{group=\"3\",le=\"+Inf\"} 0",
            "quelea_raft_commit_latency_seconds_count{group=\"3\"} 0",
            "quelea_peer_up{peer=\"3\"} 0",
            "quelea_node_info{name=\"a \\\"name\\\"\",number=\"0\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn names_are_unique_and_say_their_kind_and_unit() {
        let sections = table::sections(&snapshot());
        let metrics: Vec<&Metric> = sections.iter().flat_map(|(_, metrics)| metrics).collect();
        let names: BTreeSet<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names.len(), metrics.len());
        for Metric { name, kind, unit, help, labels, series } in metrics {
            let base = name.strip_suffix("_total").unwrap_or(name);
            assert_eq!(*kind == Kind::Counter, base != name, "{name}: only counters end with _total");
            assert!(name.starts_with(PREFIX) && help.ends_with('.'), "{name}: {help}");
            assert!(!matches!(*unit, "seconds" | "bytes") || base.ends_with(unit), "{name} is in {unit}");
            assert!(*kind != Kind::Histogram || *unit == "seconds", "{name}");
            for series in series {
                let known =
                    labels.iter().map(|(label, _)| *label).eq(series.labels.iter().map(|(label, _)| *label));
                assert!(known, "{name} has other labels than its series: {series:?}");
            }
        }
    }
}
