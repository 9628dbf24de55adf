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
    Row { name, title, load: Load::Messages { arguments, extra } }
}

/// All rows, in the order in which they are measured.
pub(crate) const ROWS: [Row; 11] = [
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
    },
    Row { name: "idle", title: "5,000 idle connections", load: Load::Idle { count: 5000, tls: false } },
    Row {
        name: "idle-tls",
        title: "5,000 idle connections, TLS 1.3",
        load: Load::Idle { count: 5000, tls: true },
    },
];
