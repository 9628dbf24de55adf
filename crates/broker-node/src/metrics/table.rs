//! The one table of what `/metrics` tells: names, kinds, units, labels and help texts, in sections. Joins what each crate says
//! of its own counters with `gauges`. Read by the exporter, and by the test that holds docs/metrics.md to it.

use mqtt_codec::PacketKind;
use node_routing::counters::PEER_COUNTERS;
use raft_consensus::wal::WAL_COUNTERS;
use session_store::counters::{CounterInfo, QUEUE_COUNTERS, SHARD_COUNTERS};

use super::gauges::{
    ACCESS, CLIENTS, CLUSTER, CPU, LOG, MESSAGES, OfReplica, PROCESS, REPLICAS, SESSIONS, SYNCS, Single,
    TAKEOVERS, Times,
};
use super::{Kind, Metric, PREFIX, Series, Value};
use crate::counters::{KINDS, NODE_COUNTERS};
use crate::sys::Snapshot;

/// What queues of persistent sessions count is told apart from those of transient ones by this.
const PERSISTENT: &str = "persistent_";
/// Told by the type of the packet instead.
const BY_TYPE: [&str; 2] = ["packets_received", "packets_sent"];
/// Of groups: its label, and what that says.
const GROUP: (&str, &str) = ("group", "`cluster`, or a shard's number");

/// Counters that are one metric, told apart by labels.
struct Family {
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    /// Each counter by the name that its crate gives it, and the values of the labels.
    of: &'static [(&'static str, &'static [&'static str])],
}

const FAMILIES: &[Family] = &[
    Family {
        name: "messages_dropped",
        unit: "messages",
        help: "Messages that were accepted, and that a subscriber or a group did not get.",
        labels: &["session", "reason"],
        of: &[
            ("dropped_qos0_slow", &["any", "slow_reader"]),
            ("dropped_queue_full", &["transient", "queue_full"]),
            ("persistent_dropped_queue_full", &["persistent", "queue_full"]),
            ("dropped_expired", &["transient", "expired"]),
            ("persistent_dropped_expired", &["persistent", "expired"]),
            ("persistent_dropped_offline_qos0", &["persistent", "offline_qos0"]),
            ("persistent_dropped_no_member", &["any", "no_member"]),
            ("dropped_too_large", &["any", "too_large"]),
            ("dropped_streams_full", &["any", "node_slow"]),
            ("dropped_late", &["any", "late"]),
            ("denied_deliveries", &["any", "denied"]),
            ("qos2_in_doubt", &["transient", "in_doubt"]),
            ("persistent_qos2_in_doubt", &["persistent", "in_doubt"]),
        ],
    },
    Family {
        name: "messages_refused",
        unit: "messages",
        help: "Messages of clients that went nowhere.",
        labels: &["reason"],
        of: &[
            ("dropped_denied", &["reserved_topic"]),
            ("denied_publishes", &["denied"]),
            ("retained_refused", &["retained_quota"]),
        ],
    },
    Family {
        name: "handshakes_failed",
        unit: "connections",
        help: "Connections that ended before MQTT began.",
        labels: &["reason"],
        of: &[
            ("proxy_headers_refused", &["proxy_header"]),
            ("tls_handshakes_failed", &["tls"]),
            ("websocket_handshakes_failed", &["websocket"]),
            ("handshake_timeouts", &["timeout"]),
            ("handshakes_lost", &["lost"]),
        ],
    },
    Family {
        name: "connections_limited",
        unit: "connections",
        help: "Connections that a limit refused.",
        labels: &["reason"],
        of: &[
            ("connects_too_often", &["address_rate"]),
            ("address_full", &["address_connections"]),
            ("user_full", &["user_connections"]),
            ("flapping_refused", &["flapping"]),
            ("shed_memory", &["memory"]),
            ("shed_lag", &["lag"]),
        ],
    },
    Family {
        name: "connections_broken_off",
        unit: "connections",
        help: "Connections of clients that the broker ended.",
        labels: &["reason"],
        of: &[
            ("protocol_errors", &["protocol_error"]),
            ("keep_alive_timeouts", &["keep_alive"]),
            ("write_timeouts", &["not_reading"]),
            ("taken_over", &["taken_over"]),
        ],
    },
];

/// The sections, each with a title.
pub(super) fn sections(snapshot: &Snapshot) -> Vec<(&'static str, Vec<Metric>)> {
    let all = Counters::of(snapshot);
    let node = |within: &[&str]| all.plain(|name| within.contains(&name));
    let families = |names: &[&str]| -> Vec<Metric> {
        let wanted = FAMILIES.iter().filter(|family| names.contains(&family.name));
        wanted.map(|family| all.family(family)).collect()
    };
    let connections = [
        singles(CLIENTS, snapshot),
        families(&["handshakes_failed", "connections_limited", "connections_broken_off"]),
        node(CONNECTIONS),
        vec![times(&TAKEOVERS, snapshot)],
    ];
    let messages = [
        packets(snapshot),
        families(&["messages_dropped", "messages_refused"]),
        node(MESSAGE_COUNTERS),
        MESSAGES.iter().map(|of| times(of, snapshot)).collect(),
    ];
    let told = |name: &str| CONNECTIONS.contains(&name) || MESSAGE_COUNTERS.contains(&name);
    let access = all.of_table(NODE_COUNTERS, "", |name| !told(name));
    let sessions = [
        singles(SESSIONS, snapshot),
        all.of_table(SHARD_COUNTERS, "", |_| true),
        all.of_table(QUEUE_COUNTERS, PERSISTENT, |_| true),
    ];
    let log =
        [singles(LOG, snapshot), vec![times(&SYNCS, snapshot)], all.of_table(WAL_COUNTERS, "", |_| true)];
    vec![
        ("The node", process(snapshot)),
        ("Clients and connections", connections.concat()),
        ("Messages", messages.concat()),
        ("Users and rules", [singles(ACCESS, snapshot), access].concat()),
        ("Sessions, queues, retained messages", sessions.concat()),
        ("The log", log.concat()),
        ("Groups", replicas(snapshot)),
        ("The cluster", singles(CLUSTER, snapshot)),
        ("Between nodes", [vec![peers_up(snapshot)], all.of_table(PEER_COUNTERS, "", |_| true)].concat()),
    ]
}

/// Of the counters of the broker itself those that are about connections.
const CONNECTIONS: &[&str] = &[
    "connections_opened",
    "connections_closed",
    "connects_accepted",
    "clients_ended",
    "connects_refused",
    "connects_delayed",
    "flapping_bans",
    "connect_timeouts",
    "received_bytes",
    "sent_bytes",
];
/// Of those the ones that are about messages.
const MESSAGE_COUNTERS: &[&str] = &[
    "publish_received",
    "publish_sent",
    "publish_received_bytes",
    "publish_sent_bytes",
    "messages_without_subscriber",
    "publishes_throttled",
    "subscribes",
    "unsubscribes",
];

/// Counters as their crates know them, with their values.
struct Counters(Vec<(String, &'static CounterInfo, u64)>);

impl Counters {
    fn of(snapshot: &Snapshot) -> Self {
        let tables = [
            ("", NODE_COUNTERS, snapshot.node.values()),
            ("", SHARD_COUNTERS, snapshot.shard.values()),
            (PERSISTENT, QUEUE_COUNTERS, snapshot.queue.values()),
            ("", WAL_COUNTERS, snapshot.wal.values()),
            ("", PEER_COUNTERS, snapshot.peers.values()),
        ];
        let named = tables.into_iter().flat_map(|(prefix, table, values)| {
            let named = move |(info, value): (&'static CounterInfo, u64)| {
                (format!("{prefix}{}", info.name), info, value)
            };
            table.iter().zip(values).map(named)
        });
        Self(named.collect())
    }

    /// Those that are a metric by themselves.
    fn plain(&self, wanted: impl Fn(&str) -> bool) -> Vec<Metric> {
        let alone = self.0.iter().filter(|(name, ..)| !is_told_otherwise(name) && wanted(name));
        let metric = |(name, info, value): &(String, &'static CounterInfo, u64)| Metric {
            name: counter_name(name, info.unit),
            kind: Kind::Counter,
            unit: info.unit,
            help: info.help.to_owned(),
            labels: Vec::new(),
            series: vec![Series::alone(Value::Whole(*value))],
        };
        alone.map(metric).collect()
    }

    /// Those of one table that are.
    fn of_table(&self, table: &[CounterInfo], prefix: &str, wanted: impl Fn(&str) -> bool) -> Vec<Metric> {
        let names: Vec<String> = table.iter().map(|info| format!("{prefix}{}", info.name)).collect();
        self.plain(|name| wanted(name) && names.iter().any(|known| known == name))
    }

    fn family(&self, family: &Family) -> Metric {
        let Family { name, unit, help, labels, of } = *family;
        let member = |(counter, values): &(&str, &'static [&'static str])| {
            let (_, info, value) = self.0.iter().find(|(name, ..)| name == counter)?;
            let named = labels.iter().copied().zip(values.iter().map(|value| (*value).to_owned())).collect();
            Some((Series { labels: named, value: Value::Whole(*value) }, (*values, info.help)))
        };
        let (series, says): (Vec<_>, Vec<_>) = of.iter().filter_map(member).unzip();
        let says = |at: usize| {
            let each =
                says.iter().filter_map(|(values, help): &(&[&str], &str)| Some((*values.get(at)?, *help)));
            meaning(each, at + 1 == labels.len())
        };
        let labels = labels.iter().enumerate().map(|(at, label)| (*label, says(at))).collect();
        let name = counter_name(name, unit);
        Metric { name, kind: Kind::Counter, unit, help: help.to_owned(), labels, series }
    }
}

/// What the values of a label mean, each once; only the last label has what its counters say.
fn meaning<'a>(values: impl Iterator<Item = (&'a str, &'a str)>, last: bool) -> String {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (value, help) in values {
        if seen.iter().all(|(known, _)| *known != value) {
            seen.push((value, help));
        }
    }
    let say = |(value, help): &(&str, &str)| {
        if last { format!("`{value}`: {}", help.trim_end_matches('.')) } else { format!("`{value}`") }
    };
    seen.iter().map(say).collect::<Vec<_>>().join(if last { "; " } else { ", " })
}

fn is_told_otherwise(name: &str) -> bool {
    BY_TYPE.contains(&name)
        || FAMILIES.iter().any(|family| family.of.iter().any(|(counter, _)| *counter == name))
}

/// The unit comes last, before what says that it is a counter.
fn counter_name(name: &str, unit: &str) -> String {
    let unit = if unit == "bytes" && !name.ends_with("_bytes") { "_bytes" } else { "" };
    format!("{PREFIX}{name}{unit}_total")
}

fn single(of: &Single, kind: Kind, snapshot: &Snapshot) -> Metric {
    Metric {
        name: format!("{PREFIX}{}", of.name),
        kind,
        unit: of.unit,
        help: of.help.to_owned(),
        labels: Vec::new(),
        series: vec![Series::alone((of.value)(snapshot))],
    }
}

fn singles(table: &[Single], snapshot: &Snapshot) -> Vec<Metric> {
    table.iter().map(|of| single(of, Kind::Gauge, snapshot)).collect()
}

fn times(of: &Times, snapshot: &Snapshot) -> Metric {
    Metric {
        name: format!("{PREFIX}{}", of.name),
        kind: Kind::Histogram,
        unit: "seconds",
        help: of.help.to_owned(),
        labels: Vec::new(),
        series: vec![Series::alone(Value::Times((of.value)(snapshot)))],
    }
}

fn process(snapshot: &Snapshot) -> Vec<Metric> {
    let info = |name: &str, help: &str, labels: Vec<(&'static str, (&str, String))>| {
        let says = labels.iter().map(|(label, (says, _))| (*label, (*says).to_owned())).collect();
        let named = labels.into_iter().map(|(label, (_, value))| (label, value)).collect();
        let series = vec![Series { labels: named, value: Value::Whole(1) }];
        Metric {
            name: format!("{PREFIX}{name}"),
            kind: Kind::Gauge,
            unit: "",
            help: help.to_owned(),
            labels: says,
            series,
        }
    };
    let build = [
        ("version", ("of Quelea", env!("CARGO_PKG_VERSION").to_owned())),
        ("apply_level", ("the highest that the binary knows", session_store::APPLY_LEVEL_MAX.to_string())),
        ("target", ("the processor that it is built for", std::env::consts::ARCH.to_owned())),
    ];
    let node = [
        ("name", ("`node.name`", snapshot.name.clone())),
        ("number", ("its number in the cluster; 0 before it has one", snapshot.number.to_string())),
    ];
    let mut metrics = vec![
        info("build_info", "Which binary it is; always 1.", build.into()),
        info("node_info", "Which node it is; always 1.", node.into()),
        single(&CPU, Kind::Counter, snapshot),
    ];
    metrics.extend(singles(PROCESS, snapshot));
    metrics
}

fn packets(snapshot: &Snapshot) -> Vec<Metric> {
    let by_type = |name: &str, help: &str, counts: [u64; KINDS]| {
        let count = |kind: PacketKind| counts.get(kind as usize).copied().unwrap_or_default();
        let of = |kind: PacketKind| {
            Series::labelled("type", kind.name().to_ascii_lowercase(), Value::Whole(count(kind)))
        };
        Metric {
            name: counter_name(name, "packets"),
            kind: Kind::Counter,
            unit: "packets",
            help: help.to_owned(),
            labels: vec![("type", "of the packet, in small letters".to_owned())],
            series: PacketKind::ALL.into_iter().map(of).collect(),
        }
    };
    let [received, sent] = BY_TYPE;
    vec![
        by_type(received, "Control packets received.", snapshot.node.kinds_received),
        by_type(sent, "Control packets sent.", snapshot.node.kinds_sent),
    ]
}

fn replicas(snapshot: &Snapshot) -> Vec<Metric> {
    let labels = vec![(GROUP.0, GROUP.1.to_owned())];
    let of = |OfReplica { name, unit, value, help }: &OfReplica| {
        let each = snapshot.replicas.iter();
        Metric {
            name: format!("{PREFIX}{name}"),
            kind: Kind::Gauge,
            unit,
            help: (*help).to_owned(),
            labels: labels.clone(),
            series: each
                .map(|replica| Series::labelled(GROUP.0, &replica.group, Value::Whole(value(replica))))
                .collect(),
        }
    };
    let mut metrics: Vec<Metric> = REPLICAS.iter().map(of).collect();
    let each = snapshot.replicas.iter();
    metrics.push(Metric {
        name: format!("{PREFIX}raft_commit_latency_seconds"),
        kind: Kind::Histogram,
        unit: "seconds",
        help: "From proposing an entry on the node that leads the group until it is committed and applied there.".to_owned(),
        series: each.map(|replica| Series::labelled(GROUP.0, &replica.group, Value::Times(replica.commits))).collect(),
        labels,
    });
    metrics
}

fn peers_up(snapshot: &Snapshot) -> Metric {
    let up = |(node, up): &(u64, bool)| Series::labelled("peer", node, Value::Whole((*up).into()));
    Metric {
        name: format!("{PREFIX}peer_up"),
        kind: Kind::Gauge,
        unit: "nodes",
        help: "1 while this node has a connection to the other one, else 0.".to_owned(),
        labels: vec![("peer", "the other node's number, the `number` of its `quelea_node_info`".to_owned())],
        series: snapshot.peers_up.iter().map(up).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_told_once() {
        let counters = Counters::of(&Snapshot::default());
        for (name, ..) in &counters.0 {
            let of = |family: &&Family| family.of.iter().filter(|(counter, _)| counter == name).count();
            let times: usize = FAMILIES.iter().map(|family| of(&family)).sum();
            assert!(times <= 1, "{name}");
        }
        let known = |name: &str| counters.0.iter().any(|(known, ..)| known == name);
        let named = FAMILIES.iter().flat_map(|family| family.of.iter().map(|(counter, _)| *counter));
        for name in
            named.chain(BY_TYPE).chain(CONNECTIONS.iter().copied()).chain(MESSAGE_COUNTERS.iter().copied())
        {
            assert!(known(name), "there is no counter {name}");
        }
        let told: usize = sections(&Snapshot::default())
            .iter()
            .flat_map(|(_, metrics)| metrics)
            .filter(|metric| {
                metric.kind == Kind::Counter && metric.labels.iter().all(|(label, _)| *label != "type")
            })
            .map(|metric| metric.series.len())
            .sum();
        // Processor time is no counter of a crate, and the two by type are left out.
        assert_eq!(told - 1, counters.0.len() - BY_TYPE.len());
    }
}
