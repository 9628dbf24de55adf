//! What this node counts: one typed struct, one table. Each worker thread, shard, relay and `$SYS` owns one
//! set and is its only writer; `/metrics` and `$SYS` add the sets up. Never a global, never on a label without a bound.

use std::sync::atomic::{AtomicU64, Ordering};

use mqtt_codec::PacketKind;
use session_store::counters::CounterInfo;
use session_store::histogram::{Durations, Histogram};

use crate::inbox::Dropped;
use crate::listener::HandshakeFailure;

/// A number that one thread adds to and others read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds to it. Only the owning thread may, so no read-modify-write instruction is needed.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The number now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl NodeCounters {
    /// Counts messages that mailboxes had no room for.
    pub(crate) fn count_dropped(&self, dropped: Dropped) {
        self.dropped_qos0_slow.add(dropped.qos0);
        self.dropped_queue_full.add(dropped.queue_full);
    }

    /// Counts a connection that ended before MQTT began.
    pub(crate) fn count_handshake_failure(&self, failure: HandshakeFailure) {
        let counter = match failure {
            HandshakeFailure::Proxy => &self.proxy_headers_refused,
            HandshakeFailure::TooOften => &self.connects_too_often,
            HandshakeFailure::Tls => &self.tls_handshakes_failed,
            HandshakeFailure::WebSocket => &self.websocket_handshakes_failed,
            HandshakeFailure::Deadline => &self.handshake_timeouts,
            HandshakeFailure::Lost => &self.handshakes_lost,
        };
        counter.add(1);
    }
}

/// Packet types, and one place for the reserved type 0.
pub(crate) const KINDS: usize = 16;

/// Packets by their type.
#[derive(Debug, Default)]
pub(crate) struct KindCounters {
    received: [Counter; KINDS],
    sent: [Counter; KINDS],
}

impl KindCounters {
    /// Counts a packet that came.
    pub(crate) fn count_received(&self, kind: PacketKind) {
        if let Some(counter) = self.received.get(kind as usize) {
            counter.add(1);
        }
    }

    /// Counts a packet that was sent.
    pub(crate) fn count_sent(&self, kind: PacketKind) {
        if let Some(counter) = self.sent.get(kind as usize) {
            counter.add(1);
        }
    }

    fn add_to(&self, received: &mut [u64; KINDS], sent: &mut [u64; KINDS]) {
        for (sum, counter) in received.iter_mut().zip(&self.received).chain(sent.iter_mut().zip(&self.sent)) {
            *sum = sum.wrapping_add(counter.get());
        }
    }
}

macro_rules! node_counters {
    ($($field:ident: $unit:literal, $help:literal;)*) => {
        /// What one worker thread, shard or relay counts.
        #[derive(Debug, Default)]
        pub(crate) struct NodeCounters {
            $(#[doc = $help] pub(crate) $field: Counter,)*
            /// Packets by their type.
            pub(crate) kinds: KindCounters,
            /// From reading a QoS 1 or 2 PUBLISH to its acknowledgement.
            pub(crate) publish_acks: Histogram,
            /// From the mailbox of a connection to the buffer of its socket.
            pub(crate) deliveries: Histogram,
            /// From asking a connection to stop until the one that takes its client over has it.
            pub(crate) takeovers: Histogram,
        }

        /// Names, units and help texts, in the order of the fields.
        pub(crate) const NODE_COUNTERS: &[CounterInfo] = &[
            $(CounterInfo { name: stringify!($field), unit: $unit, help: $help },)*
        ];

        /// The sums of several sets of counters.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct NodeTotals {
            $(pub(crate) $field: u64,)*
            pub(crate) kinds_received: [u64; KINDS],
            pub(crate) kinds_sent: [u64; KINDS],
            pub(crate) publish_acks: Durations,
            pub(crate) deliveries: Durations,
            pub(crate) takeovers: Durations,
        }

        impl NodeTotals {
            /// Adds up the sets of all threads.
            pub(crate) fn of<'a>(sets: impl IntoIterator<Item = &'a NodeCounters>) -> Self {
                let mut totals = Self::default();
                for set in sets {
                    $(totals.$field = totals.$field.wrapping_add(set.$field.get());)*
                    set.kinds.add_to(&mut totals.kinds_received, &mut totals.kinds_sent);
                    totals.publish_acks.add(&set.publish_acks.read());
                    totals.deliveries.add(&set.deliveries.read());
                    totals.takeovers.add(&set.takeovers.read());
                }
                totals
            }

            /// The values, in the order of the table.
            pub(crate) fn values(&self) -> Vec<u64> {
                vec![$(self.$field,)*]
            }
        }
    };
}

node_counters! {
    connections_opened: "connections", "Network connections handed to a worker.";
    connections_closed: "connections", "Network connections closed.";
    connects_accepted: "connections", "CONNECTs answered with success.";
    clients_ended: "connections", "Accepted connections that ended.";
    connects_refused: "connections", "Connections that ended without an accepted CONNECT.";
    received_bytes: "bytes", "Bytes of MQTT received.";
    sent_bytes: "bytes", "Bytes of MQTT sent.";
    packets_received: "packets", "Control packets received.";
    packets_sent: "packets", "Control packets sent.";
    publish_received: "messages", "PUBLISH packets received.";
    publish_sent: "messages", "PUBLISH packets sent.";
    publish_received_bytes: "bytes", "Payload bytes of PUBLISH packets received.";
    publish_sent_bytes: "bytes", "Payload bytes of PUBLISH packets sent.";
    messages_without_subscriber: "messages", "Messages received that nobody had subscribed to.";
    dropped_qos0_slow: "messages", "QoS 0 messages dropped because their subscriber reads too slowly.";
    dropped_queue_full: "messages", "QoS 1 and 2 messages dropped because a transient session's queue was full.";
    dropped_streams_full: "messages", "QoS 0 messages dropped because another node takes them too slowly.";
    dropped_late: "messages", "QoS 0 messages dropped because they came from another node behind a newer connection of their publisher.";
    dropped_expired: "messages", "Messages dropped because they expired in a transient session's queue.";
    dropped_too_large: "messages", "Packets not sent because they exceed their client's Maximum Packet Size.";
    dropped_denied: "messages", "Messages of clients dropped because their topic is not theirs to publish to.";
    denied_publishes: "messages", "Messages of clients, wills among them, dropped because no rule allows them.";
    denied_subscribes: "subscriptions", "Topic filters refused because no rule allows them.";
    denied_deliveries: "messages", "Messages not sent because their subscriber lost the right to them.";
    subscriptions_revoked: "subscriptions", "Subscriptions of transient sessions removed because their client lost the right to them.";
    logins_refused: "connections", "CONNECTs refused because user name or password was wrong, or none was given.";
    logins_busy: "connections", "CONNECTs refused because too many others logged in.";
    hook_answers: "answers", "Answers about logins that the HTTP hook gave.";
    hook_answers_remembered: "answers", "Answers about logins that the HTTP hook had given before.";
    hook_failures: "connections", "CONNECTs refused because the HTTP hook gave no answer that can be used.";
    introspections: "answers", "Answers about tokens that their issuer gave (introspection).";
    introspections_remembered: "answers", "Answers about tokens that their issuer had given before.";
    introspections_failed: "answers", "Questions about tokens to which their issuer gave no answer that can be used: those clients are refused.";
    password_hashes: "hashes", "Password hashes computed for CONNECTs.";
    tokens_accepted: "connections", "Clients that showed a token which counts.";
    certificates_revoked: "connections", "Connections closed because their client's certificate is not accepted any more.";
    tokens_expired: "connections", "Connections closed because their token, or what the HTTP hook said of them, expired.";
    reauthentications: "times", "Times that a connected client authenticated again (AUTH).";
    reauthentications_failed: "connections", "Connections closed because their client did not authenticate again, or not in time.";
    qos2_in_doubt: "messages", "QoS 2 exchanges given up because a transient session ended.";
    protocol_errors: "connections", "Connections closed because the client broke the protocol.";
    keep_alive_timeouts: "connections", "Connections closed because the client was silent for 1.5 times its keep alive.";
    write_timeouts: "connections", "Connections closed because the client did not read.";
    connect_timeouts: "connections", "Connections closed because no CONNECT was complete in time.";
    proxy_headers_refused: "connections", "Connections closed because their PROXY header was missing, malformed or from a peer that is not trusted.";
    tls_handshakes_failed: "connections", "Connections closed because TLS could not be agreed on, or because of the client's certificate.";
    websocket_handshakes_failed: "connections", "Connections closed because their WebSocket request was refused.";
    handshake_timeouts: "connections", "Connections closed because PROXY header, TLS and WebSocket were not done in time.";
    handshakes_lost: "connections", "Connections that their peers ended before PROXY header, TLS and WebSocket were done.";
    connects_too_often: "connections", "Connections closed because their address opens more a second than allowed.";
    address_full: "connections", "CONNECTs refused because as many clients of their address are connected as may be.";
    user_full: "connections", "CONNECTs refused because as many clients of their user are connected as may be.";
    flapping_refused: "connections", "CONNECTs refused because their client, user or address connected too often and is banned for a while.";
    shed_memory: "connections", "CONNECTs refused because too much memory was in use.";
    shed_lag: "connections", "CONNECTs refused because a thread was late.";
    flapping_bans: "bans", "Clients, users and addresses banned for a while because they connected too often.";
    connects_delayed: "connections", "Connections that waited because the node accepts no more a second.";
    taken_over: "connections", "Connections closed because their client connected again.";
    publishes_throttled: "pauses", "Times that a client was not read for a while because it published more than it may.";
    subscribes: "subscriptions", "Topic filters subscribed to.";
    unsubscribes: "subscriptions", "Topic filters unsubscribed from.";
}
