//! The bounds of a shard as they are written. Called by `entry` and by checkpoints.

use super::{Record, RecordError, wire};
use crate::limits::{QueueLimits, QueuePolicy, ShardLimits};

impl Record for ShardLimits {
    type Wire = wire::Limits;

    fn to_wire(&self) -> wire::Limits {
        let policy = match self.queue.policy {
            QueuePolicy::DropNewest => wire::QueuePolicy::DropNewest,
            QueuePolicy::DropOldest => wire::QueuePolicy::DropOldest,
            QueuePolicy::Disconnect => wire::QueuePolicy::Disconnect,
        };
        wire::Limits {
            queue_messages_max: self.queue.messages_max as u64,
            queue_bytes_max: self.queue.bytes_max as u64,
            queue_policy: policy.into(),
            sessions_max: self.sessions_max as u64,
            subscriptions_max: self.subscriptions_max as u64,
            retained_messages_max: self.retained_messages_max as u64,
            retained_bytes_max: self.retained_bytes_max as u64,
        }
    }

    fn from_wire(wire: wire::Limits) -> Result<Self, RecordError> {
        let policy = match wire.queue_policy() {
            wire::QueuePolicy::DropNewest => QueuePolicy::DropNewest,
            wire::QueuePolicy::DropOldest => QueuePolicy::DropOldest,
            wire::QueuePolicy::Disconnect => QueuePolicy::Disconnect,
            wire::QueuePolicy::Unspecified => return Err(RecordError::Invalid { field: "queue_policy" }),
        };
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Ok(Self {
            queue: QueueLimits {
                messages_max: number(wire.queue_messages_max),
                bytes_max: number(wire.queue_bytes_max),
                policy,
            },
            sessions_max: number(wire.sessions_max),
            subscriptions_max: number(wire.subscriptions_max),
            retained_messages_max: number(wire.retained_messages_max),
            retained_bytes_max: number(wire.retained_bytes_max),
        })
    }
}
