//! What this node may acknowledge: nothing that rests on its view of the cluster without a lease (section 4 of the
//! design). Asked by every thread before something is acknowledged; it sends nothing itself.
//!
//! The order is all: the bytes are read, then the view is loaded and matched, and then [`Lease::allows`] reads the clock.

mod clock;
mod granting;
mod keeping;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
use node_routing::lease::Grant;
use node_routing::lease::{Hold, Holding, Profile};
use node_routing::view::RouteView;
use parking_lot::RwLock;
use session_store::{ClientId, ConnectionId, Epoch};
use tokio::sync::watch as watched;
use tokio::time::sleep;

pub(crate) use self::granting::Granting;
pub(crate) use self::keeping::Keep;
pub(crate) use self::watch::{TakenForDead, refused, watch};
use crate::cluster::ClusterView;

/// Between two looks whether there is a lease again.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the node may do, and until when. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    terms: Arc<Terms>,
    routes: Arc<RouteView>,
    in_force: watched::Receiver<u64>,
}

/// Whether something may be acknowledged for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may.
    Admitted,
    /// Not now: the node has no lease.
    Silent,
    /// Never again: the client was taken over elsewhere, or this run of the node is taken for dead.
    Fenced,
}

/// Who says so.
#[derive(Debug)]
enum Terms {
    /// Nobody: a node without peers has whatever is committed, and it holds at once.
    Alone,
    /// The node that leads the cluster group.
    Granted(RwLock<Holding>, watched::Receiver<bool>),
}

impl Lease {
    /// Of a node without peers: nobody else acknowledges anything, and what it has applied is in force.
    pub(crate) fn alone(cluster: &ClusterView) -> Self {
        let (routes, in_force) = (Arc::clone(&cluster.routes), cluster.applied.clone());
        Self { terms: Arc::new(Terms::Alone), routes, in_force }
    }

    /// Of a node with peers, which has none yet.
    /// `refused_as_dead` says whether others have refused this run.
    pub(crate) fn none_yet(
        cluster: &ClusterView,
        profile: &Profile,
        (granting, refused_as_dead): (&Granting, watched::Receiver<bool>),
    ) -> Self {
        let terms = Terms::Granted(RwLock::new(Holding::new(profile, clock::now())), refused_as_dead);
        Self { terms: Arc::new(terms), routes: Arc::clone(&cluster.routes), in_force: granting.in_force() }
    }

    /// Whether this node may act on what it matched in its route view as of entry `view`. Reads the clock: to be asked
    /// behind the match, never before.
    pub(crate) fn allows(&self, view: u64) -> bool {
        match &*self.terms {
            Terms::Alone => true,
            Terms::Granted(holding, _) => holding.read().allows(view, clock::match_time()),
        }
    }

    /// The same for what is looked at anew here, and was not matched before.
    fn admits(&self, view: u64) -> bool {
        match &*self.terms {
            Terms::Alone => true,
            Terms::Granted(holding, _) => holding.read().allows(view, clock::now()),
        }
    }

    /// Whether this node may acknowledge something for a connection.
    pub(crate) fn admission(
        &self,
        client: &ClientId,
        (epoch, connection): (Epoch, ConnectionId),
    ) -> Admission {
        if let Terms::Alone = &*self.terms {
            return Admission::Admitted;
        }
        // In this order: the fences are looked at behind the index that the lease has to allow, and before the clock.
        let view = self.routes.applied();
        match self.routes.admits(client, epoch, connection.host) {
            false => Admission::Fenced,
            true if self.admits(view) => Admission::Admitted,
            true => Admission::Silent,
        }
    }

    /// Waits until this node may acknowledge something for a connection, or never may again.
    pub(crate) async fn until_admitted(
        &self,
        client: &ClientId,
        connection: (Epoch, ConnectionId),
    ) -> Admission {
        loop {
            match self.admission(client, connection) {
                Admission::Silent => sleep(LOOK_EVERY).await,
                known => return known,
            }
        }
    }

    /// Whether another node has refused this run as dead.
    fn is_refused_as_dead(&self) -> bool {
        matches!(&*self.terms, Terms::Granted(_, refused) if *refused.borrow())
    }

    /// Waits until this node may act on its view.
    pub(crate) async fn until_allowed(&self) {
        while !self.allows(self.routes.applied()) {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whether others had better lead what this node leads, since it has no lease.
    fn yields(&self) -> bool {
        match &*self.terms {
            Terms::Alone => false,
            Terms::Granted(holding, _) => holding.read().yields(clock::now()),
        }
    }

    /// What the node may do on its view as it is now.
    pub(crate) fn hold(&self) -> Hold {
        let view = self.routes.applied();
        match &*self.terms {
            Terms::Alone => Hold::Holds,
            Terms::Granted(holding, _) => holding.read().hold(view, clock::now()),
        }
    }

    /// The entry of the cluster group's log up to which everything is in force: each node that may hold a lease has
    /// applied it.
    pub(crate) fn in_force(&self) -> watched::Receiver<u64> {
        self.in_force.clone()
    }
}

#[cfg(test)]
impl Lease {
    /// Of a test, which says when there is one.
    pub(crate) fn told(cluster: &ClusterView) -> Self {
        let refused = watched::channel(false).1;
        let terms = Arc::new(Terms::Granted(RwLock::new(Self::nothing()), refused));
        Self { terms, ..Self::alone(cluster) }
    }

    fn nothing() -> Holding {
        Holding::new(&Profile::zones(Duration::from_millis(1)).unwrap(), clock::now())
    }

    /// There is one for an hour, or none any more.
    pub(crate) fn tell(&self, granted: bool) {
        let Terms::Granted(holding, _) = &*self.terms else { panic!("not told by a test") };
        let mut holding = holding.write();
        *holding = Self::nothing();
        if granted {
            holding.granted(clock::now(), Grant { index: 0, remains: Duration::from_secs(3_600) });
        }
    }
}
