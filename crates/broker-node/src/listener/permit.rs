//! Places for connections: in the whole node, on a listener, and on the worker thread that serves them.
//! Acceptors take one before they accept; it travels with the connection and frees its place when dropped.
//! Nothing here refuses a client: who finds no place waits in the kernel's backlog.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All places of the node.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    count: u32,
}

impl Slots {
    /// `count` places.
    pub(crate) fn new(count: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(count as usize)), count }
    }

    /// The semaphore behind them.
    pub(super) fn free(&self) -> &Arc<Semaphore> {
        &self.free
    }

    /// Waits until no connection is left.
    pub(super) async fn all_free(&self) {
        // The semaphore is never closed, so that this cannot fail.
        let _ = self.free.acquire_many(self.count).await;
    }
}

/// The place of one connection. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Permit {
    // In this order they are given back, so that none is left when the node counts them.
    _worker: Option<Load>,
    _listener: Option<OwnedSemaphorePermit>,
    _node: OwnedSemaphorePermit,
}

impl Permit {
    /// A place in the node, and on the listener where that has a limit.
    pub(super) fn new(node: OwnedSemaphorePermit, listener: Option<OwnedSemaphorePermit>) -> Self {
        Self { _node: node, _listener: listener, _worker: None }
    }

    /// The same, counted on a worker.
    pub(super) fn on_worker(self, load: Load) -> Self {
        Self { _worker: Some(load), ..self }
    }
}

/// One connection in the count of a worker thread.
#[derive(Debug)]
pub(super) struct Load(Arc<AtomicUsize>);

impl Load {
    /// Counts one more.
    pub(super) fn add(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
