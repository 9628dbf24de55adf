//! `/metrics`: the tables of all crates joined and exported by `metrics`. The recorder that is installed
//! here is the only process-wide object of the node.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use node_routing::counters::PEER_COUNTERS;
use raft_consensus::wal::WAL_COUNTERS;
use session_store::counters::{CounterInfo, QUEUE_COUNTERS, SHARD_COUNTERS};

use crate::counters::NODE_COUNTERS;
use crate::sys::Snapshot;

/// The exporter.
#[derive(Clone)]
pub(crate) struct Exporter {
    handle: PrometheusHandle,
}

/// Gauges, with their unit and help text; the order is that of [`gauge_values`].
const GAUGES: &[CounterInfo] = &[
    CounterInfo { name: "uptime_seconds", unit: "seconds", help: "Seconds since the node started." },
    CounterInfo { name: "clients_connected", unit: "clients", help: "Clients that are connected." },
    CounterInfo { name: "connections", unit: "connections", help: "Open network connections." },
    CounterInfo { name: "sessions_persistent", unit: "sessions", help: "Persistent sessions." },
    CounterInfo {
        name: "sessions_away",
        unit: "sessions",
        help: "Persistent sessions whose client is away.",
    },
    CounterInfo {
        name: "subscriptions",
        unit: "subscriptions",
        help: "Subscriptions, shared ones included.",
    },
    CounterInfo {
        name: "queued_messages",
        unit: "messages",
        help: "Messages in queues of persistent sessions.",
    },
    CounterInfo { name: "queued_bytes", unit: "bytes", help: "Bytes in queues of persistent sessions." },
    CounterInfo {
        name: "queued_stored_messages",
        unit: "messages",
        help: "Messages in queues of persistent sessions that are in the store and not in memory.",
    },
    CounterInfo { name: "retained_messages", unit: "messages", help: "Retained messages." },
    CounterInfo { name: "retained_bytes", unit: "bytes", help: "Bytes of retained messages." },
    CounterInfo {
        name: "outbox_messages",
        unit: "messages",
        help: "Messages that shards themselves send (wills, QoS 2 of persistent sessions, shared groups) and that not all have who get them.",
    },
    CounterInfo {
        name: "outbox_bytes",
        unit: "bytes",
        help: "Bytes of these, with who takes them in shared groups.",
    },
    CounterInfo {
        name: "outbox_targets_lagging",
        unit: "targets",
        help: "Shards and nodes that take nothing of such messages, where others have them.",
    },
    CounterInfo {
        name: "wal_bytes",
        unit: "bytes",
        help: "Bytes of the log that no checkpoint has made needless.",
    },
    CounterInfo {
        name: "cluster_members",
        unit: "nodes",
        help: "Nodes that belong to the cluster, as far as this one knows.",
    },
    CounterInfo {
        name: "cluster_voters_least",
        unit: "replicas",
        help: "Replicas with a vote of the group that has the fewest: what is acknowledged is synced on more than half of them.",
    },
    CounterInfo {
        name: "cluster_shards_led",
        unit: "shards",
        help: "Shards that this node leads: once all is calm every node leads as many as any other, or one more.",
    },
    CounterInfo {
        name: "cluster_routes",
        unit: "routes",
        help: "Filters that nodes and shards have subscribers for, each owner's by itself.",
    },
    CounterInfo {
        name: "cluster_in_force_index",
        unit: "entries",
        help: "Entry of the cluster group's log that each node which may hold a lease has applied.",
    },
    CounterInfo {
        name: "lease_held",
        unit: "leases",
        help: "1 while the node may act on its view of the cluster, else 0.",
    },
    CounterInfo {
        name: "users_stale",
        unit: "files",
        help: "1 while the password file cannot be used, and what was read of it before stays in force.",
    },
    CounterInfo {
        name: "rules_stale",
        unit: "files",
        help: "1 while the file with the rules cannot be used, and what was read of it before stays in force.",
    },
    CounterInfo { name: "resident_memory_bytes", unit: "bytes", help: "Resident memory of the process." },
];

impl Exporter {
    /// Installs the recorder and describes everything that the node counts.
    ///
    /// # Errors
    /// A recorder is installed already.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let handle = PrometheusBuilder::new().install_recorder()?;
        for info in NODE_COUNTERS.iter().chain(SHARD_COUNTERS).chain(WAL_COUNTERS).chain(PEER_COUNTERS) {
            describe_counter!(counter_name(info.name), unit(info.unit), info.help);
        }
        for info in QUEUE_COUNTERS {
            describe_counter!(counter_name(&queue_name(info)), unit(info.unit), info.help);
        }
        for info in GAUGES {
            describe_gauge!(format!("quelea_{}", info.name), unit(info.unit), info.help);
        }
        gauge!("quelea_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(Self { handle })
    }

    /// The text of `/metrics` for what the node is and did.
    pub(crate) fn render(&self, snapshot: &Snapshot) -> String {
        for (info, value) in NODE_COUNTERS.iter().zip(snapshot.node.values()) {
            counter!(counter_name(info.name)).absolute(value);
        }
        for (info, value) in SHARD_COUNTERS.iter().zip(snapshot.shard.values()) {
            counter!(counter_name(info.name)).absolute(value);
        }
        for (info, value) in WAL_COUNTERS.iter().zip(snapshot.wal.values()) {
            counter!(counter_name(info.name)).absolute(value);
        }
        for (info, value) in PEER_COUNTERS.iter().zip(snapshot.peers.values()) {
            counter!(counter_name(info.name)).absolute(value);
        }
        for (info, value) in QUEUE_COUNTERS.iter().zip(snapshot.queue.values()) {
            counter!(counter_name(&queue_name(info))).absolute(value);
        }
        for (info, value) in GAUGES.iter().zip(gauge_values(snapshot)) {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float by the format's definition")]
            gauge!(format!("quelea_{}", info.name)).set(value as f64);
        }
        self.handle.run_upkeep();
        self.handle.render()
    }
}

fn counter_name(name: &str) -> String {
    format!("quelea_{name}_total")
}

/// Queues of persistent sessions count apart from those of transient ones.
fn queue_name(info: &CounterInfo) -> String {
    format!("persistent_{}", info.name)
}

fn unit(name: &str) -> Unit {
    match name {
        "bytes" => Unit::Bytes,
        "seconds" => Unit::Seconds,
        _ => Unit::Count,
    }
}

fn gauge_values(snapshot: &Snapshot) -> [u64; 24] {
    let sizes = &snapshot.sizes;
    [
        snapshot.uptime_s,
        snapshot.clients_connected(),
        snapshot.sockets,
        sizes.sessions as u64,
        (sizes.sessions - sizes.sessions_connected) as u64,
        (snapshot.transient_subscriptions + sizes.subscriptions) as u64,
        sizes.queued_messages as u64,
        sizes.queued_bytes as u64,
        sizes.queued_stored_messages as u64,
        sizes.retained_messages as u64,
        sizes.retained_bytes as u64,
        sizes.outbox_messages as u64,
        sizes.outbox_bytes as u64,
        snapshot.outbox_lagging as u64,
        snapshot.wal_bytes,
        snapshot.members as u64,
        snapshot.voters_least as u64,
        snapshot.shards_led as u64,
        snapshot.routes as u64,
        snapshot.in_force,
        u64::from(snapshot.holds_lease),
        u64::from(snapshot.stale.0),
        u64::from(snapshot.stale.1),
        snapshot.memory.0,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gauge_has_a_value_and_each_name_is_there_once() {
        assert_eq!(GAUGES.len(), gauge_values(&Snapshot::default()).len());
        let names = NODE_COUNTERS
            .iter()
            .chain(SHARD_COUNTERS)
            .chain(WAL_COUNTERS)
            .chain(PEER_COUNTERS)
            .map(|info| counter_name(info.name));
        let queue = QUEUE_COUNTERS.iter().map(|info| counter_name(&queue_name(info)));
        let all: Vec<String> = names.chain(queue).collect();
        let unique: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(all.len(), unique.len());
    }
}
