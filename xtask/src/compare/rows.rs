//! The rows of the comparison: what each loads the broker with and what it measures.
//! Read by `compare` and `measure`. One row, one thing that a user would compare.

use super::broker::Kind;

/// One row.
pub(crate) struct Row {
    /// For `--only`.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    pub(crate) load: Load,
    /// Data is on a disk, where Quelea syncs it; else in memory, where that costs nothing.
    pub(crate) synced: bool,
}

/// What is done to the broker.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// Messages from publishers to subscribers for a while, by these arguments of `quelea bench`.
    Messages { arguments: &'static str, extra: Extra },
    /// Retained messages, then a subscriber to all of them.
    Retained { count: u32 },
    /// Connections that do nothing.
    Idle { count: u32, tls: bool },
    /// Connections that are closed at once.
    Connects { arguments: &'static str, count: u32 },
    /// Messages into the queues of absent sessions, and out of them.
    Offline { sessions: u32, count: u32 },
    /// Messages into the queue of an absent session, and what is left of it when the broker is killed and started again.
    Killed { count: u32 },
}

/// What else a load with messages measures, beside CPU and rate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extra {
    Nothing,
    /// The times from publish to delivery. Then the rate is given and not measured.
    Latency,
    /// How evenly the subscribers share.
    Spread,
}

impl Row {
    /// The peers are not compared under TLS: they bring other libraries, and this is about ours.
    pub(crate) fn is_for(&self, kind: Kind) -> bool {
        kind == Kind::Quelea || !matches!(self.load, Load::Idle { tls: true, .. })
    }
}

const fn messages(name: &'static str, title: &'static str, arguments: &'static str, extra: Extra) -> Row {
    Row { name, title, load: Load::Messages { arguments, extra }, synced: false }
}

/// All rows, in the order in which they are measured.
pub(crate) const ROWS: [Row; 16] = [
    messages("pairs-qos0", "10 pairs, QoS 0", "pairs --pairs 10 --qos 0", Extra::Nothing),
    messages("pairs-qos1", "10 pairs, QoS 1", "pairs --pairs 10 --qos 1", Extra::Nothing),
    messages("pairs-qos2", "10 pairs, QoS 2", "pairs --pairs 10 --qos 2", Extra::Nothing),
    messages("fan-out-qos0", "1 to 1,000, QoS 0", "fan-out --subscribers 1000 --qos 0", Extra::Nothing),
    messages("fan-out-qos1", "1 to 100, QoS 1", "fan-out --subscribers 100 --qos 1", Extra::Nothing),
    messages(
        "shared-qos1",
        "10 to a shared group of 4, QoS 1",
        "shared --publishers 10 --members 4 --qos 1",
        Extra::Spread,
    ),
    messages(
        "steady-qos0",
        "10,000/s over 10 pairs, QoS 0",
        "pairs --pairs 10 --qos 0 --rate 10000",
        Extra::Latency,
    ),
    messages(
        "steady-qos1",
        "10,000/s over 10 pairs, QoS 1",
        "pairs --pairs 10 --qos 1 --rate 10000",
        Extra::Latency,
    ),
    Row {
        name: "retained",
        title: "100,000 retained to a wildcard subscriber, QoS 1",
        load: Load::Retained { count: 100_000 },
        synced: false,
    },
    Row {
        name: "idle",
        title: "5,000 idle connections",
        load: Load::Idle { count: 5000, tls: false },
        synced: false,
    },
    Row {
        name: "idle-tls",
        title: "5,000 idle connections, TLS 1.3",
        load: Load::Idle { count: 5000, tls: true },
        synced: false,
    },
    Row {
        name: "persistent-qos1",
        title: "10 pairs, QoS 1, persistent subscribers, synced",
        load: Load::Messages {
            arguments: "pairs --pairs 10 --qos 1 --persistent=subscribers",
            extra: Extra::Nothing,
        },
        synced: true,
    },
    Row {
        name: "connect-clean",
        title: "5,000 connections, opened and closed, clean, synced",
        load: Load::Connects { arguments: "", count: 5000 },
        synced: true,
    },
    Row {
        name: "connect-persistent",
        title: "5,000 connections, opened and closed, new persistent sessions, synced",
        load: Load::Connects { arguments: "--persistent", count: 5000 },
        synced: true,
    },
    Row {
        name: "offline",
        title: "100,000 of 256 B into 10 absent sessions, QoS 1, synced; drained",
        load: Load::Offline { sessions: 10, count: 100_000 },
        synced: true,
    },
    Row {
        name: "killed",
        title: "kill -9 after the last of 20,000 PUBACKs, and restart",
        load: Load::Killed { count: 20_000 },
        synced: true,
    },
];
