//! How much a shard holds, kept as sums: only sessions that changed since they were last counted are looked at again.
//! Asked by whoever exports gauges; decides nothing.

use super::Shard;
use crate::session::Session;

/// What a session counts for, or all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    connected: usize,
    subscriptions: usize,
    messages: usize,
    bytes: usize,
    stored: usize,
}

impl Counted {
    fn of(session: &Session) -> Self {
        Self {
            connected: usize::from(session.connection.is_some()),
            subscriptions: session.subscriptions.len(),
            messages: session.outbound.len(),
            bytes: session.outbound.bytes(),
            stored: session.outbound.stored(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.connected += other.connected;
        self.subscriptions += other.subscriptions;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.stored += other.stored;
    }

    /// Takes back what was added for a session.
    pub(super) fn remove(&mut self, other: &Self) {
        self.connected -= other.connected;
        self.subscriptions -= other.subscriptions;
        self.messages -= other.messages;
        self.bytes -= other.bytes;
        self.stored -= other.stored;
    }

    /// Counts a session as it is now, instead of as it was.
    pub(super) fn count(&mut self, session: &mut Session) {
        let now = Self::of(session);
        self.remove(&session.counted.0);
        self.add(&now);
        session.counted.0 = now;
    }
}

impl Shard {
    /// Sizes for gauges. Costs as much as was touched since the last call or checkpoint.
    pub fn sizes(&mut self) -> ShardSizes {
        self.sessions.each_touched(|session| self.counted.count(session));
        let Counted { connected, subscriptions, messages, bytes, stored } = self.counted;
        ShardSizes {
            sessions: self.sessions.len(),
            sessions_connected: connected,
            subscriptions,
            shared_subscriptions: self.shared_subscriptions,
            queued_messages: messages,
            queued_bytes: bytes,
            queued_stored_messages: stored,
            retained_messages: self.retained.len(),
            retained_bytes: self.retained.bytes(),
            outbox_messages: self.outbox.len(),
            outbox_bytes: self.outbox.bytes(),
        }
    }

    pub(super) fn validate_counted(&self) -> Result<(), &'static str> {
        let mut counted = Counted::default();
        self.sessions.values().for_each(|session| counted.add(&session.counted.0));
        let members: usize = self.groups.iter().map(|(_, _, slot)| slot.len()).sum();
        if counted != self.counted || members != self.shared_subscriptions {
            return Err("the sizes are not the sums of what is there");
        }
        Ok(())
    }
}

/// How much a shard holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSizes {
    /// Persistent sessions.
    pub sessions: usize,
    /// Those whose client is connected.
    pub sessions_connected: usize,
    /// Their subscriptions.
    pub subscriptions: usize,
    /// Those of them that are shared.
    pub shared_subscriptions: usize,
    /// Messages in their queues.
    pub queued_messages: usize,
    /// Bytes of these.
    pub queued_bytes: usize,
    /// Those of the messages that are in the store alone.
    pub queued_stored_messages: usize,
    /// Retained messages.
    pub retained_messages: usize,
    /// Bytes of these.
    pub retained_bytes: usize,
    /// Messages that the shard itself sends and that not all have who get them.
    pub outbox_messages: usize,
    /// Bytes of these, with who takes them in shared groups.
    pub outbox_bytes: usize,
}

impl ShardSizes {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.sessions_connected += other.sessions_connected;
        self.subscriptions += other.subscriptions;
        self.shared_subscriptions += other.shared_subscriptions;
        self.queued_messages += other.queued_messages;
        self.queued_bytes += other.queued_bytes;
        self.queued_stored_messages += other.queued_stored_messages;
        self.retained_messages += other.retained_messages;
        self.retained_bytes += other.retained_bytes;
        self.outbox_messages += other.outbox_messages;
        self.outbox_bytes += other.outbox_bytes;
    }
}
