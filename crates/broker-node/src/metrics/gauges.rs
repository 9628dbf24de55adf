//! What is measured besides counters, with unit and help text: values of a moment, replicas, durations. Part of the one table
//! of `/metrics`, which `table` joins.

use session_store::histogram::Durations;

use super::Value;
use crate::observe::Replica;
use crate::sys::Snapshot;

/// A metric with one series.
pub(super) struct Single {
    /// Its name without prefix.
    pub(super) name: &'static str,
    /// In what it is counted.
    pub(super) unit: &'static str,
    /// Where its value is.
    pub(super) value: fn(&Snapshot) -> Value,
    /// What it tells an operator.
    pub(super) help: &'static str,
}

/// A metric with a series for each replica of this node.
pub(super) struct OfReplica {
    /// Its name without prefix.
    pub(super) name: &'static str,
    /// In what it is counted.
    pub(super) unit: &'static str,
    /// Where its value is.
    pub(super) value: fn(&Replica) -> u64,
    /// What it tells an operator.
    pub(super) help: &'static str,
}

/// Durations of one kind.
pub(super) struct Times {
    /// Their name without prefix.
    pub(super) name: &'static str,
    /// Where they are.
    pub(super) value: fn(&Snapshot) -> Durations,
    /// What they tell an operator.
    pub(super) help: &'static str,
}

macro_rules! singles {
    ($(#[$doc:meta])* $table:ident { $($name:ident: $unit:literal, $value:expr, $help:literal;)* }) => {
        $(#[$doc])*
        pub(super) const $table: &[Single] = &[
            $(Single {
                name: stringify!($name),
                unit: $unit,
                value: |snapshot| whole($value(snapshot)),
                help: $help,
            },)*
        ];
    };
}

fn whole(value: impl TryInto<u64>) -> Value {
    // There is nothing below zero here.
    Value::Whole(value.try_into().unwrap_or_default())
}

/// Processor time; a counter.
pub(super) const CPU: Single = Single {
    name: "process_cpu_seconds_total",
    unit: "seconds",
    value: |snapshot| Value::Real(snapshot.usage.cpu_s),
    help: "Processor time that the node has used, of all its threads.",
};

singles! {
    /// Of the process and its machine.
    PROCESS {
        ready: "nodes", |s: &Snapshot| s.ready, "1 while the node serves clients, as `/readyz` says; 0 while it starts, drains, stops or has no lease.";
        uptime_seconds: "seconds", |s: &Snapshot| s.uptime_s, "Time since the node started.";
        process_resident_memory_bytes: "bytes", |s: &Snapshot| s.usage.resident, "Resident memory of the node.";
        process_resident_memory_max_bytes: "bytes", |s: &Snapshot| s.usage.resident_max, "The most resident memory that the node ever had.";
        memory_limit_bytes: "bytes", |s: &Snapshot| s.memory_max, "Memory that the node may have: `limits.memory_max`, or what its control group says; 0 where neither does.";
        process_threads: "threads", |s: &Snapshot| s.usage.threads, "Threads of the node.";
        process_open_fds: "descriptors", |s: &Snapshot| s.usage.descriptors, "Open file descriptors of the node: each connection is one.";
        process_max_fds: "descriptors", |s: &Snapshot| s.usage.descriptors_max, "File descriptors that the node may have open.";
        disk_available_bytes: "bytes", |s: &Snapshot| s.disk.available, "Bytes that are free on the disk with the node's data. Looked at every two seconds.";
        disk_size_bytes: "bytes", |s: &Snapshot| s.disk.size, "Size of that disk.";
    }
}

singles! {
    /// Of clients and their connections.
    CLIENTS {
        clients_connected: "clients", |s: &Snapshot| s.clients_connected(), "Clients that are connected.";
        overloaded: "nodes", |s: &Snapshot| s.overloaded, "1 while the node refuses new connections because too much memory is in use (`limits.memory_max`) or a thread is late (`limits.lag_max`), else 0. It is ready all the same.";
        connections: "connections", |s: &Snapshot| s.sockets, "Open network connections.";
    }
}

singles! {
    /// Of sessions, queues and retained messages. Of a shard with several replicas each node with one tells it.
    SESSIONS {
        sessions_persistent: "sessions", |s: &Snapshot| s.sizes.sessions, "Persistent sessions of the shards that this node has replicas of, connected or not.";
        sessions_away: "sessions", |s: &Snapshot| s.sizes.sessions - s.sizes.sessions_connected, "Persistent sessions whose client is away.";
        subscriptions: "subscriptions", |s: &Snapshot| s.transient_subscriptions + s.sizes.subscriptions, "Subscriptions, shared ones included: of transient sessions on this node, and of the persistent ones that it has.";
        subscriptions_shared: "subscriptions", |s: &Snapshot| s.shared_subscriptions + s.sizes.shared_subscriptions, "The shared ones of them.";
        queued_messages: "messages", |s: &Snapshot| s.sizes.queued_messages, "Messages in queues of persistent sessions.";
        queued_bytes: "bytes", |s: &Snapshot| s.sizes.queued_bytes, "Bytes in queues of persistent sessions.";
        queued_stored_messages: "messages", |s: &Snapshot| s.sizes.queued_stored_messages, "Messages in queues of persistent sessions that are in the store and not in memory.";
        retained_messages: "messages", |s: &Snapshot| s.sizes.retained_messages, "Retained messages.";
        retained_bytes: "bytes", |s: &Snapshot| s.sizes.retained_bytes, "Bytes of retained messages.";
        outbox_messages: "messages", |s: &Snapshot| s.sizes.outbox_messages, "Messages that shards themselves send (wills, QoS 2 of persistent sessions, shared groups) and that not all have who get them.";
        outbox_bytes: "bytes", |s: &Snapshot| s.sizes.outbox_bytes, "Bytes of these, with who takes them in shared groups.";
        outbox_targets_lagging: "targets", |s: &Snapshot| s.outbox_lagging, "Shards and nodes that take nothing of such messages, where others have them.";
    }
}

singles! {
    /// Of the node's log.
    LOG {
        wal_bytes: "bytes", |s: &Snapshot| s.wal_bytes, "Bytes of the log that no checkpoint has made needless.";
    }
}

singles! {
    /// Of the cluster.
    CLUSTER {
        cluster_members: "nodes", |s: &Snapshot| s.members, "Nodes that belong to the cluster, as far as this one knows.";
        cluster_voters_least: "replicas", |s: &Snapshot| s.voters_least, "Replicas with a vote of the group that has the fewest: what is acknowledged is synced on more than half of them.";
        cluster_shards_led: "shards", |s: &Snapshot| s.shards_led, "Shards that this node leads: once all is calm every node leads as many as any other, or one more.";
        cluster_routes: "routes", |s: &Snapshot| s.routes, "Filters that nodes and shards have subscribers for, each owner's by itself.";
        cluster_in_force_index: "entries", |s: &Snapshot| s.in_force, "Entry of the cluster group's log that each node which may hold a lease has applied.";
        lease_held: "leases", |s: &Snapshot| s.holds_lease, "1 while the node may act on its view of the cluster, else 0: then it acknowledges nothing.";
    }
}

singles! {
    /// Of the configuration, users and rules.
    ACCESS {
        config_stale: "files", |s: &Snapshot| s.config_stale, "1 while the configuration as it was last read cannot be used, and what was read of it before stays in force.";
        users_stale: "files", |s: &Snapshot| s.stale.0, "1 while the password file or keys of tokens cannot be used, and what was read of them before stays in force.";
        rules_stale: "files", |s: &Snapshot| s.stale.1, "1 while the file with the rules cannot be used, and what was read of it before stays in force.";
    }
}

/// Of each group that this node has a replica of. Looked at every two seconds.
pub(super) const REPLICAS: &[OfReplica] = &[
    OfReplica {
        name: "raft_term",
        unit: "terms",
        value: |replica| replica.term,
        help: "The term that the group is in: it grows with each election.",
    },
    OfReplica {
        name: "raft_leader",
        unit: "leaders",
        value: |replica| replica.leads.into(),
        help: "1 where this node leads the group, else 0. Over all nodes there is one.",
    },
    OfReplica {
        name: "raft_last_index",
        unit: "entries",
        value: |replica| replica.at.last,
        help: "The last entry in this replica's log.",
    },
    OfReplica {
        name: "raft_commit_index",
        unit: "entries",
        value: |replica| replica.at.committed,
        help: "The last entry that this replica knows to be committed.",
    },
    OfReplica {
        name: "raft_last_applied",
        unit: "entries",
        value: |replica| replica.at.applied,
        help: "The last entry that this replica has applied.",
    },
    OfReplica {
        name: "raft_snapshot_index",
        unit: "entries",
        value: |replica| replica.at.checkpoint,
        help: "The entry that this replica's last checkpoint is as of.",
    },
    OfReplica {
        name: "raft_log_bytes",
        unit: "bytes",
        value: |replica| replica.log_bytes,
        help: "Bytes of the node's log that the group keeps from being used again.",
    },
];

/// How long it takes to be acknowledged and to be delivered.
pub(super) const MESSAGES: &[Times] = &[
    Times {
        name: "publish_ack_seconds",
        value: |snapshot| snapshot.node.publish_acks,
        help: "From reading a QoS 1 or 2 PUBLISH to its PUBACK or PUBREC. One in eight is measured.",
    },
    Times {
        name: "delivery_seconds",
        value: |snapshot| snapshot.node.deliveries,
        help: "From a message in the mailbox of a connection, from when on its publisher may be acknowledged, to the buffer of the socket. Measured for the first of what comes together, one time in eight.",
    },
];

/// How long it takes to have a client that was connected elsewhere.
pub(super) const TAKEOVERS: Times = Times {
    name: "takeover_seconds",
    value: |snapshot| snapshot.node.takeovers,
    help: "How long a CONNECT waits for another connection of its client to stop.",
};

/// How long the disk takes.
pub(super) const SYNCS: Times = Times {
    name: "wal_sync_seconds",
    value: |snapshot| snapshot.wal_syncs,
    help: "How long syncs of the log take: what is acknowledged waits for one at least.",
};
