//! The route view of the whole cluster: which owners a topic stands for, as of an entry of the cluster group's log; and the
//! other way, how an owner's changes get into that log. Used by the broker; it knows no client and no connection.
//!
//! A [`RouteView`] follows the cluster group's state on its node (`ClusterMachine::follow`), so that a publish is matched
//! without asking anybody. An owner is a run of a node, which matches again among its transient subscribers, or a shard,
//! which does so among its persistent ones when the message is applied.

mod announcer;
mod fences;
mod index;
mod owners;

use std::sync::atomic::{AtomicU64, Ordering};

use mqtt_codec::QoS;
use parking_lot::RwLock;
use raft_consensus::cluster::{Change, Cluster, Fence, Follow, Owner};
use session_store::matching::GroupRef;
use session_store::{ClientId, ConnectionId, Epoch, Host};

pub use self::announcer::{Announcer, WAITING_MAX};
use self::fences::Fences;
use self::index::Index;

/// A shared group that a topic matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRoutes {
    /// Which.
    pub name: GroupRef,
    /// Where it has members, with the highest QoS granted there; in the order of owners.
    pub owners: Vec<(Owner, QoS)>,
}

/// Everything that one topic matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// Owners of ordinary routes, each once, with the highest QoS granted there; in the order of owners.
    pub owners: Vec<(Owner, QoS)>,
    /// Shared groups.
    pub groups: Vec<GroupRoutes>,
    /// The entry that the view was as of: what a lease has to name at most.
    pub index: u64,
    version: u64,
}

impl Matched {
    /// Whether nobody gets the message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty() && self.groups.is_empty()
    }

    /// The version of the view that it was matched in.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// The route view of a node, for all its threads.
///
/// It is changed under its lock by the thread that applies the log, and matched under it for reading. What was matched may
/// be remembered: as long as no route changed, it stands for later entries too ([`Self::as_of`]).
#[derive(Debug, Default)]
pub struct RouteView {
    index: RwLock<Index>,
    fences: RwLock<Fences>,
    /// Grows with each change of a route, before `applied` does.
    version: AtomicU64,
    applied: AtomicU64,
}

impl RouteView {
    /// A view of no routes, as of no entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The entry that the view is as of: everything up to it is visible to all threads.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// What a topic matches.
    #[must_use]
    pub fn matched(&self, topic: &[u8]) -> Matched {
        let index = self.index.read();
        let mut matched = index.matched(topic);
        matched.index = self.applied();
        matched.version = self.version.load(Ordering::Acquire);
        matched
    }

    /// Where a shared group has members; `None` where it has none.
    #[must_use]
    pub fn group(&self, name: &GroupRef) -> Option<GroupRoutes> {
        self.index.read().group(name)
    }

    /// Grows with each change of a route: what was matched in this version stands as of an entry that
    /// [`Self::applied`] gave *before* this was asked.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// As of which entry something that was matched still stands; `None` where routes have changed since.
    #[must_use]
    pub fn as_of(&self, matched: &Matched) -> Option<u64> {
        // In this order: a change is seen in the version no later than in the entry that brought it.
        let applied = self.applied();
        (self.version.load(Ordering::Acquire) == matched.version).then_some(applied)
    }

    /// Whether what a host says for a connection counts: it lives, and the connection is not fenced. Asked by the host
    /// before it acknowledges anything for the connection, and by whoever has a frame of it before that takes effect; both
    /// under a lease whose index is no later than [`Self::applied`] was before.
    #[must_use]
    pub fn admits(&self, client: &ClientId, epoch: Epoch, host: Host) -> bool {
        self.fences.read().admits(client, epoch, host)
    }

    /// The same by the connection's id, which its frames carry.
    #[must_use]
    pub fn admits_connection(&self, connection: ConnectionId) -> bool {
        self.fences.read().admits_connection(connection)
    }

    /// The fenced connections of a host.
    #[must_use]
    pub fn fences_of(&self, host: Host) -> Vec<Fence> {
        self.fences.read().of_host(host)
    }

    /// Ordinary routes and routes of shared groups, each filter of each owner by itself.
    #[must_use]
    pub fn routes(&self) -> usize {
        self.index.read().routes()
    }

    /// Changes the routes, and then says as of which entry they are.
    fn change<R>(&self, applied: u64, change: impl FnOnce(&mut Index) -> R) -> R {
        let mut index = self.index.write();
        let result = change(&mut index);
        self.version.fetch_add(1, Ordering::Release);
        self.applied.store(applied, Ordering::Release);
        result
    }
}

impl Follow for RouteView {
    fn begin(&self, index: u64, state: &Cluster) {
        *self.fences.write() = Fences::of(state);
        // A million routes are put together, and let go of, while others go on matching.
        let new = Index::of(state);
        drop(self.change(index, |view| std::mem::replace(view, new)));
    }

    fn applied(&self, index: u64, changes: Vec<Change>) {
        if !changes.is_empty() {
            let mut fences = self.fences.write();
            changes.iter().for_each(|change| fences.change(change));
        }
        let of_routes = |change: &Change| match change {
            Change::Fenced(_) | Change::Unfenced(_) | Change::Banned(_) | Change::Unbanned(_) => false,
            // Says how far its owner is, and nothing else.
            Change::Routes(routes) => !routes.is_empty(),
            Change::Gone(_) | Change::Buried { .. } => true,
        };
        if changes.iter().any(of_routes) {
            self.change(index, |view| changes.into_iter().for_each(|change| view.change(change)));
        } else {
            self.applied.store(index, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests;
