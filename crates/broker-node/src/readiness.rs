//! Whether the node serves clients, and what it waits for where it does not: said by whoever starts, drains and stops the
//! node, asked by `/readyz` and the admin API. It never waits itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use node_routing::lease::Hold;
use parking_lot::Mutex;

use crate::lease::Lease;

/// Where the node is. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Readiness(Arc<State>);

#[derive(Debug)]
struct State {
    phase: Mutex<Phase>,
    drains: AtomicBool,
}

#[derive(Debug)]
enum Phase {
    /// It starts, and waits for this.
    Waits(String),
    /// It serves clients as long as it has a lease.
    Serves(Lease),
    Stops,
}

impl Default for Readiness {
    fn default() -> Self {
        let phase = Mutex::new(Phase::Waits("the node starts".to_owned()));
        Self(Arc::new(State { phase, drains: AtomicBool::new(false) }))
    }
}

impl Readiness {
    /// The node starts, and waits for this.
    pub(crate) fn waits(&self, what: impl Into<String>) {
        *self.0.phase.lock() = Phase::Waits(what.into());
    }

    /// The node has started.
    pub(crate) fn serves(&self, lease: Lease) {
        *self.0.phase.lock() = Phase::Serves(lease);
    }

    /// The node sends its clients elsewhere, or does not any more.
    pub(crate) fn drains(&self, drains: bool) {
        self.0.drains.store(drains, Ordering::Relaxed);
    }

    /// The node stops.
    pub(crate) fn stops(&self) {
        *self.0.phase.lock() = Phase::Stops;
    }

    /// Whether it serves clients; if it does not, why.
    pub(crate) fn now(&self) -> Result<(), String> {
        match &*self.0.phase.lock() {
            Phase::Waits(what) => Err(what.clone()),
            Phase::Stops => Err("the node stops".to_owned()),
            Phase::Serves(_) if self.0.drains.load(Ordering::Relaxed) => Err("the node drains".to_owned()),
            Phase::Serves(lease) => match lease.hold() {
                Hold::Holds => Ok(()),
                Hold::Silent | Hold::Over => {
                    Err("the node has no lease: it does not reach a majority of the cluster".to_owned())
                }
            },
        }
    }
}
