//! What is counted of the way between nodes. Added to by lines and by the server, read by whoever exports metrics.

use std::sync::atomic::{AtomicU64, Ordering};

pub use session_store::counters::CounterInfo;

macro_rules! counters {
    ($($field:ident: $unit:literal, $help:literal;)*) => {
        /// A reading of the counters since the node started.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct PeerCounters { $(#[doc = $help] pub $field: u64,)* }

        /// Names, units and help texts of [`PeerCounters`], in the order of its fields.
        pub const PEER_COUNTERS: &[CounterInfo] = &[
            $(CounterInfo { name: stringify!($field), unit: $unit, help: $help },)*
        ];

        impl PeerCounters {
            /// The values, in the order of the table.
            #[must_use]
            pub fn values(&self) -> Vec<u64> {
                vec![$(self.$field,)*]
            }
        }

        /// The counters themselves: one set for all that a node says and hears.
        #[derive(Debug, Default)]
        pub struct Tally { $(pub(crate) $field: AtomicU64,)* }

        impl Tally {
            /// How they stand.
            #[must_use]
            pub fn read(&self) -> PeerCounters {
                PeerCounters { $($field: self.$field.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    peer_dials: "attempts", "Attempts to connect to another node.";
    peer_dials_failed: "attempts", "Attempts to connect to another node that failed, for whatever reason.";
    peer_dials_refused: "attempts", "Attempts to connect to another node where nobody listened.";
    peer_misfits: "connections", "Connections to whoever was not the node that was meant, or did not take this one for a member.";
    peer_connections_broken: "connections", "Connections to other nodes that broke.";
    peer_connections_silent: "connections", "Connections to other nodes that were given up because nothing came any more.";
    peer_gone: "times", "Times that a node broke its connections and refused new ones.";
    peer_calls: "calls", "Requests to other nodes that have one answer.";
    peer_calls_late: "calls", "Requests to other nodes that were not answered in time.";
    peer_touches: "calls", "Times that this node touched another to see that it is there, asked it for a lease, or told it what is in force.";
    lease_lapses: "times", "Times that this node had no lease for a while, since the next one came too late: it acknowledged nothing, and dropped QoS 0 for other nodes.";
    peer_asks: "calls", "Commands to the cluster group that were carried to another node, which leads it.";
    peer_streams: "streams", "Streams opened to other nodes.";
    peer_sent: "bytes", "Bytes of requests to other nodes.";
    peer_received: "bytes", "Bytes of answers of other nodes.";
    peer_words: "words", "Words of hosts and leaders of shards to other nodes.";
    peer_batches: "messages", "Messages in which these went. Divides peer_words: how many share one.";
    peer_words_too_large: "words", "Words that were refused, since no message between nodes may be so large.";
    peer_words_lost: "words", "Words that were not sent, since the other node was out of reach or too slow: they are said again.";
    peer_links_broken: "times", "Times that the way of words to another node broke.";
    peer_accepted: "connections", "Connections that were accepted at the port for nodes.";
    peer_turned_away: "connections", "Connections that were closed at once at the port for nodes, since there were too many.";
    peer_strangers: "connections", "Connections at the port for nodes that ended before anybody said who it was.";
    peer_refusals: "requests", "Requests at the port for nodes that were refused for what they said of cluster, node, run or version.";
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}
