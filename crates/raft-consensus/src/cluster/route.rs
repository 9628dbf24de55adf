//! The words of routes and fences: who owns a route, what a command about them says, and what an entry changed in them.
//! Made by owners of routes and by the homes of clients, kept by the state; decides nothing.

use std::fmt;

use mqtt_codec::QoS;
use session_store::{ClientId, ConnectionId, Epoch, Host, ShardId};
use topic_index::Filter;

use super::ban::{Ban, Banned};

/// Changes that one [`Routes`] may have, adds and removes together.
pub const CHANGES_MAX: usize = 1_024;

/// Bytes of filters that one [`Routes`] may have: more than the longest filter.
pub const CHANGES_BYTES_MAX: usize = 128 << 10;

/// Routes of one owner at most.
pub const ROUTES_MAX: usize = 1 << 20;

/// Bytes of the filters of one owner's routes at most.
pub const ROUTES_BYTES_MAX: usize = 128 << 20;

/// Fences of the connections of one run at most.
pub const FENCES_MAX: usize = 1 << 16;

/// Bytes of the ids in these fences at most.
pub const FENCES_BYTES_MAX: usize = 16 << 20;

/// Who has the subscribers behind a route.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// A run of a node: transient sessions there. Its routes end with it.
    Host(Host),
    /// A shard: persistent sessions.
    Shard(ShardId),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "run {host}"),
            Self::Shard(shard) => write!(f, "shard {}", shard.0),
        }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// That an owner has subscribers of a filter, or members of a shared group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The filter, or the group with its filter.
    pub filter: Filter,
    /// The highest QoS granted there: nobody waits for an owner that sends all of it on at QoS 0. Raising it is a change.
    pub qos: QoS,
}

/// An owner's routes change. An owner numbers these and has one at a time on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// Whose.
    pub owner: Owner,
    /// The number of this one, above `predecessor`; a number that was seen changes nothing.
    pub number: u64,
    /// The number of the owner's last one, 0 for its first: what comes before that one is refused.
    pub predecessor: u64,
    /// Filters that are no routes of it any more. They go first.
    pub removes: Vec<Filter>,
    /// Routes that are new, or whose QoS is another.
    pub adds: Vec<Route>,
}

/// A connection that its home takes for over although its host has not said so: the host acknowledges nothing for it any
/// more once it has applied this, and what it sent for it and is still on its way counts as nothing.
///
/// It is a level, not an edge: whoever leads the client's home proposes it until it is there, and its end once the host has
/// reported that of the connection, with all that it had sent answered; a new leader looks for fences of connections that
/// have ended in [`super::Cluster::fences`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fence {
    /// Whose connection.
    pub client: ClientId,
    /// Which of the client's connections.
    pub epoch: Epoch,
    /// Where it is.
    pub host: Host,
    /// The connection's number there, by which its frames are known.
    pub connection: u64,
}

impl Fence {
    /// The connection that is fenced.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        ConnectionId { host: self.host, number: self.connection }
    }
}

/// What an entry changed in routes, fences and bans, in the order in which it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An owner's routes, as far as they really changed.
    Routes(Routes),
    /// A run is dead, and all its routes and fences are gone at once. Told once of each run that lived.
    Gone(Host),
    /// Of the routes that went with a run: what a view can let go of by now, without looking for it.
    Buried {
        /// The run, of which [`Change::Gone`] was told.
        host: Host,
        /// Some of its filters.
        filters: Vec<Filter>,
        /// There are no others: nobody speaks of the run any more.
        last: bool,
    },
    /// A connection is fenced.
    Fenced(Fence),
    /// A fence is gone: its host reported that the connection ended.
    Unfenced(Fence),
    /// Somebody is banned, for so long.
    Banned(Ban),
    /// Somebody is not banned any more, or would not be by now.
    Unbanned(Banned),
}

/// Bytes of a filter, as it is counted and at least as long as it is written.
#[must_use]
pub fn filter_bytes(filter: &Filter) -> usize {
    let group = match filter {
        Filter::Plain(_) => 0,
        Filter::Shared { group, .. } => "$share//".len() + group.len(),
    };
    group + filter.plain().as_str().len()
}

impl Routes {
    /// How many changes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.adds.len() + self.removes.len()
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of its filters.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let adds = self.adds.iter().map(|route| &route.filter);
        adds.chain(&self.removes).map(filter_bytes).sum()
    }
}
