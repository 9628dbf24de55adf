//! The threads of the load generator: each has a runtime of its own, and its connections never leave it.
//! Started by `coordinator`. Threads share atomics only; what they measure is added up at the end.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use super::control::{Control, Live, Window};
use super::endpoint::Endpoints;
use super::pacer::Permits;
use super::plan::Plan;
use super::stamp::Clock;
use super::stats::Stats;
use super::{conn, connection};

/// Handshakes under way at once in each thread: no broker's backlog overflows.
const CONNECTING_MAX: usize = 32;

/// What all threads of a run share.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) endpoints: Endpoints,
    pub(super) clock: Clock,
    pub(super) control: Control,
    pub(super) live: Live,
    /// As [`Plan::windows`].
    pub(super) windows: Vec<Window>,
    /// One for each publisher, where the rate is limited.
    pub(super) permits: Vec<Permits>,
}

/// What the connections of one thread share.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) connecting: Semaphore,
    stats: RefCell<Stats>,
}

impl Worker {
    /// The measurements of this thread. Not to be held over an `.await`.
    pub(super) fn stats(&self) -> RefMut<'_, Stats> {
        self.stats.borrow_mut()
    }
}

/// Starts thread `number` with its share of the connections.
///
/// # Errors
/// Where the thread or its runtime cannot be started.
pub(super) fn start(shared: &Arc<Shared>, number: usize) -> std::io::Result<thread::JoinHandle<Stats>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shared = Arc::clone(shared);
    thread::Builder::new().name(format!("bench-{number}")).spawn(move || {
        let worker = Rc::new(Worker {
            connecting: Semaphore::new(CONNECTING_MAX),
            stats: RefCell::new(Stats::new()),
            shared,
        });
        let tasks = LocalSet::new();
        if worker.shared.plan.conn.is_some() {
            conn::spawn(&tasks, &worker, number);
        } else {
            connection::spawn(&tasks, &worker, number);
        }
        runtime.block_on(tasks);
        // The tasks are over, so this is the last reference; else what they measured is lost with them.
        Rc::try_unwrap(worker).map_or_else(|_| Stats::new(), |worker| worker.stats.into_inner())
    })
}
