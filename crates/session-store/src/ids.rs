//! The names and numbers that sessions are spoken of by, each a type of its own.
//! Used by every transition and by the broker that runs them; holds no behaviour beyond conversion.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// A client identifier: UTF-8, without U+0000, shared cheaply (`[MQTT-3.1.3-2]`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// Takes over an identifier that the codec has checked.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A node's number, given by the cluster and never given again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Which start of a node: grows at every one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub u32);

impl Incarnation {
    /// That of the node's next start; the last one has none and stays.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// One run of a node, as the host of connections and the source of requests. Ordered by node, then by
/// incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    /// Which node.
    pub node: NodeId,
    /// Which of its runs.
    pub incarnation: Incarnation,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node.0, self.incarnation.0)
    }
}

/// One network connection of one run of a node, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// The run of the node that holds the socket.
    pub host: Host,
    /// The connection's number within it; 0 is nobody's.
    pub number: u64,
}

impl ConnectionId {
    /// Where a member of a shared group was picked: whichever of those on this host, which picks one itself.
    #[must_use]
    pub const fn any_on(host: Host) -> Self {
        Self { host, number: 0 }
    }

    /// Whether it is [`Self::any_on`] some host.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.number == 0
    }
}

/// A shard's number, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// The number that the home of a client gives to each of its connections. What an older connection
/// says is refused by comparing epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of the client's next connection.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A session within its shard; stays the same while the session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u32);

/// The time of the log: milliseconds since the Unix epoch, given to each transition from outside and
/// never read from a clock by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// This time plus whole seconds, saturating at the end of time.
    #[must_use]
    pub fn plus_s(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(u64::from(seconds) * 1_000))
    }

    /// Whole seconds from `now` until this time, rounded up, so that what is not over yet is never 0.
    #[must_use]
    pub fn remaining_s(self, now: Self) -> u32 {
        let left = self.0.saturating_sub(now.0);
        u32::try_from(left.div_ceil(1_000)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_seconds_round_up_and_end_at_zero() {
        assert_eq!(Millis(2_001).remaining_s(Millis(1_000)), 2);
        assert_eq!(Millis(2_000).remaining_s(Millis(1_000)), 1);
        assert_eq!(Millis(2_000).remaining_s(Millis(3_000)), 0);
    }
}
