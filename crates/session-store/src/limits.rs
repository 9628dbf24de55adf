//! The bounds of a session's memory and what happens at them.
//! Set by configuration, read by the queues; every one has a default.

/// What a full queue does with one message more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueuePolicy {
    /// The new message is dropped and counted.
    #[default]
    DropNewest,
    /// The oldest message that was not sent yet is dropped and counted.
    DropOldest,
    /// The client is disconnected with 0x97; the message is dropped and counted.
    Disconnect,
}

/// Bounds of one session's queue of QoS 1 and 2 messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages at most, sent but unacknowledged ones included.
    pub messages_max: usize,
    /// Bytes of messages at most.
    pub bytes_max: usize,
    /// What happens at either.
    pub policy: QueuePolicy,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { messages_max: 100_000, bytes_max: 256 << 20, policy: QueuePolicy::default() }
    }
}

/// Bounds of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardLimits {
    /// Each session's queue.
    pub queue: QueueLimits,
    /// Persistent sessions at most; a CONNECT that would create one more is refused with 0x97.
    pub sessions_max: usize,
    /// Subscriptions of one session at most; one more is refused with 0x97.
    pub subscriptions_max: usize,
    /// Retained messages at most; one more is refused with 0x97.
    pub retained_messages_max: usize,
    /// Bytes of retained messages at most.
    pub retained_bytes_max: usize,
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            queue: QueueLimits::default(),
            sessions_max: 1_000_000,
            subscriptions_max: 10_000,
            retained_messages_max: 1_000_000,
            retained_bytes_max: 1 << 30,
        }
    }
}
