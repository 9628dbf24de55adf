//! What sessions count. Plain numbers owned by whoever runs the transitions; the broker adds them up
//! and exports them. [`QUEUE_COUNTERS`] and [`SHARD_COUNTERS`] are the crate's tables of names.

/// Name, unit and help text of one counter or gauge.
#[derive(Clone, Copy, Debug)]
pub struct CounterInfo {
    /// Name without prefix, by the conventions of Prometheus.
    pub name: &'static str,
    /// The unit counted.
    pub unit: &'static str,
    /// What it tells an operator.
    pub help: &'static str,
}

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident, $table:ident { $($field:ident: $unit:literal, $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $(#[doc = $help] pub $field: u64,)* }

        #[doc = concat!("Names, units and help texts of [`", stringify!($name), "`], in the order of its fields.")]
        pub const $table: &[CounterInfo] = &[
            $(CounterInfo { name: stringify!($field), unit: $unit, help: $help },)*
        ];

        impl $name {
            /// The values, in the order of the table.
            #[must_use]
            pub fn values(&self) -> Vec<u64> {
                vec![$(self.$field,)*]
            }

            /// Adds another set to this one.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)*
            }

            /// Takes what was counted and starts again at zero.
            pub fn take(&mut self) -> Self {
                std::mem::take(self)
            }
        }
    };
}

counters! {
    /// What happened to messages in session queues.
    QueueCounters, QUEUE_COUNTERS {
        queued: "messages", "QoS 1 and 2 messages that entered a session queue, but for retained ones of a new subscription.";
        sent: "messages", "QoS 1 and 2 messages sent from a session queue, resends included.";
        dropped_queue_full: "messages", "Messages dropped because a session queue was full.";
        dropped_expired: "messages", "Messages dropped because their expiry interval passed in a queue.";
        dropped_offline_qos0: "messages", "QoS 0 messages for persistent sessions that were not connected.";
        dropped_no_member: "messages", "Messages for a shared group that had no member left, and those of QoS 0 whose member went before it had them.";
        qos2_in_doubt: "messages", "QoS 2 exchanges given up because their session ended, or the node of a transient member that may have had them.";
    }
}

counters! {
    /// What happened to sessions, wills and retained messages in a shard.
    ShardCounters, SHARD_COUNTERS {
        sessions_created: "sessions", "Sessions created.";
        sessions_resumed: "sessions", "Persistent sessions resumed by a CONNECT.";
        sessions_taken_over: "sessions", "Connections ended because their client connected again.";
        sessions_expired: "sessions", "Persistent sessions ended by their expiry interval.";
        sessions_refused: "sessions", "CONNECTs refused because the shard holds its limit of sessions.";
        wills_published: "messages", "Wills published.";
        wills_cancelled: "messages", "Wills dropped by DISCONNECT 0x00 or by a reconnect within their delay.";
        retained_stored: "messages", "Retained messages stored or replaced.";
        retained_removed: "messages", "Retained messages removed by an empty payload.";
        retained_expired: "messages", "Retained messages removed because they expired.";
        retained_refused: "messages", "Retained messages refused because a limit was reached.";
        stale_epoch: "requests", "Requests refused because a newer connection of the client exists.";
        stale_host: "requests", "Requests refused because the run of the node that sent them counts as dead.";
        connections_of_dead_nodes: "connections", "Connections ended because the node that hosted them is dead.";
        requests_repeated: "requests", "Requests that were applied before and were answered again.";
        requests_too_early: "requests", "Requests refused because one before them is missing or too many are unanswered.";
    }
}
