//! The topics under `$SYS/broker/` and their values, as Mosquitto names them. Pure: a snapshot goes in,
//! names and values come out.

use mqtt_codec::PacketKind;
use node_routing::counters::PeerCounters;
use raft_consensus::wal::WalCounters;
use session_store::ShardSizes;
use session_store::counters::{QueueCounters, ShardCounters};
use session_store::histogram::Durations;

use crate::counters::NodeTotals;
use crate::observe::Replica;
use crate::process::{DiskSpace, Usage};

/// What the node is and did at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// What it is called.
    pub(crate) name: String,
    /// Its number in the cluster; 0 before it has one.
    pub(crate) number: u64,
    /// Whether it serves clients.
    pub(crate) ready: bool,
    /// Whether it refuses new connections since it has too much to do.
    pub(crate) overloaded: bool,
    /// Bytes of memory that it may have; 0 where nothing says so.
    pub(crate) memory_max: u64,
    /// Seconds since the start.
    pub(crate) uptime_s: u64,
    /// What the connections counted.
    pub(crate) node: NodeTotals,
    /// What the shards counted.
    pub(crate) shard: ShardCounters,
    /// What the queues of persistent sessions counted.
    pub(crate) queue: QueueCounters,
    /// What the shards hold.
    pub(crate) sizes: ShardSizes,
    /// Targets of the outboxes sent here that lack something that others were given.
    pub(crate) outbox_lagging: usize,
    /// Subscriptions of transient sessions.
    pub(crate) transient_subscriptions: usize,
    /// Those of them that are shared.
    pub(crate) shared_subscriptions: usize,
    /// Open network connections.
    pub(crate) sockets: u64,
    /// What the process takes of the machine.
    pub(crate) usage: Usage,
    /// The disk that its data is on.
    pub(crate) disk: DiskSpace,
    /// What the log counted.
    pub(crate) wal: WalCounters,
    /// How long its syncs took.
    pub(crate) wal_syncs: Durations,
    /// What was counted of the way to other nodes.
    pub(crate) peers: PeerCounters,
    /// Which of the other nodes there is a connection to.
    pub(crate) peers_up: Vec<(u64, bool)>,
    /// Bytes of the log that no checkpoint has made needless.
    pub(crate) wal_bytes: u64,
    /// Nodes that belong to the cluster, as far as this one knows.
    pub(crate) members: usize,
    /// Replicas with a vote of the group that has the fewest; 0 before they were counted.
    pub(crate) voters_least: usize,
    /// Shards that this node leads.
    pub(crate) shards_led: usize,
    /// This node's replicas, as of a few seconds ago.
    pub(crate) replicas: Vec<Replica>,
    /// Routes of the cluster, each filter of each owner by itself.
    pub(crate) routes: usize,
    /// Whether the node may act on its route view.
    pub(crate) holds_lease: bool,
    /// The entry of the cluster group's log up to which everything is in force.
    pub(crate) in_force: u64,
    /// Whether the file with the users, and that with the rules, cannot be used.
    pub(crate) stale: (bool, bool),
    /// Whether the configuration as it was last read cannot be used.
    pub(crate) config_stale: bool,
}

impl Snapshot {
    /// Clients that are connected.
    pub(crate) fn clients_connected(&self) -> u64 {
        self.node.connects_accepted.saturating_sub(self.node.clients_ended)
    }

    /// Messages that were dropped, for whatever reason.
    pub(crate) fn dropped(&self) -> u64 {
        let node = &self.node;
        node.dropped_qos0_slow
            + node.dropped_queue_full
            + node.dropped_expired
            + node.dropped_too_large
            + node.dropped_denied
            + node.denied_publishes
            + node.denied_deliveries
            + self.queue.dropped_queue_full
            + self.queue.dropped_expired
            + self.queue.dropped_offline_qos0
    }
}

/// A rate a minute, smoothed over 1, 5 and 15 minutes as the load of a Unix system is.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    last: u64,
    per_minute: [f64; 3],
}

const SPANS: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

impl Load {
    fn add(&mut self, total: u64, minutes: f64) {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
        let rate = total.saturating_sub(self.last) as f64 / minutes;
        self.last = total;
        for (load, (_, span)) in self.per_minute.iter_mut().zip(SPANS) {
            let keep = (-minutes / span).exp();
            *load = *load * keep + rate * (1.0 - keep);
        }
    }
}

/// The loads under `$SYS/broker/load/`, and the most clients there ever were.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    last_uptime_s: Option<u64>,
    loads: [Load; 8],
    clients_maximum: u64,
}

const LOADS: [&str; 8] = [
    "connections",
    "sockets",
    "messages/received",
    "messages/sent",
    "publish/received",
    "publish/sent",
    "bytes/received",
    "bytes/sent",
];

impl Loads {
    /// Takes a new snapshot into account.
    pub(crate) fn add(&mut self, snapshot: &Snapshot) {
        self.clients_maximum = self.clients_maximum.max(snapshot.clients_connected());
        let seconds = snapshot.uptime_s - self.last_uptime_s.replace(snapshot.uptime_s).unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "seconds between two looks are few")]
        let minutes = seconds.max(1) as f64 / 60.0;
        let node = &snapshot.node;
        let totals = [
            node.connects_accepted,
            node.connections_opened,
            node.packets_received,
            node.packets_sent,
            node.publish_received,
            node.publish_sent,
            node.received_bytes,
            node.sent_bytes,
        ];
        for (load, total) in self.loads.iter_mut().zip(totals) {
            load.add(total, minutes);
        }
    }
}

/// Every topic with its value.
pub(crate) fn values(snapshot: &Snapshot, loads: &Loads) -> Vec<(String, String)> {
    let mut values = Vec::with_capacity(96);
    let mut add = |name: &str, value: String| values.push((format!("$SYS/broker/{name}"), value));
    add("version", concat!("quelea ", env!("CARGO_PKG_VERSION")).into());
    add("uptime", format!("{} seconds", snapshot.uptime_s));
    for (name, value) in counts(snapshot, loads) {
        add(name, value.to_string());
    }
    for (name, load) in LOADS.iter().zip(&loads.loads) {
        for (value, (span, _)) in load.per_minute.iter().zip(SPANS) {
            add(&format!("load/{name}/{span}"), format!("{value:.2}"));
        }
    }
    for kind in PacketKind::ALL {
        let name = kind.name().to_ascii_lowercase();
        let count = |counts: &[u64]| counts.get(kind as usize).copied().unwrap_or(0).to_string();
        add(&format!("mqtt/{name}/received"), count(&snapshot.node.kinds_received));
        add(&format!("mqtt/{name}/sent"), count(&snapshot.node.kinds_sent));
    }
    values
}

fn counts(snapshot: &Snapshot, loads: &Loads) -> [(&'static str, u64); 30] {
    let Snapshot { node, shard, sizes, .. } = snapshot;
    let connected = snapshot.clients_connected();
    let away = (sizes.sessions - sizes.sessions_connected) as u64;
    let stored = (sizes.queued_messages + sizes.retained_messages) as u64;
    [
        ("clients/total", connected + away),
        ("clients/connected", connected),
        ("clients/active", connected),
        ("clients/disconnected", away),
        ("clients/inactive", away),
        ("clients/expired", shard.sessions_expired),
        ("clients/maximum", loads.clients_maximum),
        ("messages/received", node.packets_received),
        ("messages/sent", node.packets_sent),
        ("messages/stored", stored),
        ("publish/messages/received", node.publish_received),
        ("publish/messages/sent", node.publish_sent),
        ("publish/messages/dropped", snapshot.dropped()),
        ("publish/bytes/received", node.publish_received_bytes),
        ("publish/bytes/sent", node.publish_sent_bytes),
        ("bytes/received", node.received_bytes),
        ("bytes/sent", node.sent_bytes),
        ("subscriptions/count", (snapshot.transient_subscriptions + sizes.subscriptions) as u64),
        ("shared_subscriptions/count", (snapshot.shared_subscriptions + sizes.shared_subscriptions) as u64),
        ("retained messages/count", sizes.retained_messages as u64),
        ("store/messages/count", stored),
        ("store/messages/bytes", (sizes.queued_bytes + sizes.retained_bytes) as u64),
        ("heap/current", snapshot.usage.resident),
        ("heap/maximum", snapshot.usage.resident_max),
        ("connections/socket/count", snapshot.sockets),
        ("packet/out/count", node.packets_sent),
        ("packet/out/bytes", node.sent_bytes),
        ("sessions/persistent", sizes.sessions as u64),
        ("wills/published", shard.wills_published),
        ("queues/messages", sizes.queued_messages as u64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_becomes_the_load() {
        let mut loads = Loads::default();
        for minute in 1..=100 {
            let node = NodeTotals { publish_received: minute * 60, ..NodeTotals::default() };
            loads.add(&Snapshot { uptime_s: minute * 60, node, ..Snapshot::default() });
        }
        let topics = values(&Snapshot::default(), &loads);
        let load = topics.iter().find(|(topic, _)| topic == "$SYS/broker/load/publish/received/1min");
        assert_eq!(load.map(|(_, value)| value.as_str()), Some("60.00"));
    }

    #[test]
    fn topics_are_unique() {
        let topics = values(&Snapshot::default(), &Loads::default());
        let names: std::collections::BTreeSet<_> = topics.iter().map(|(topic, _)| topic).collect();
        assert_eq!(names.len(), topics.len());
    }
}
