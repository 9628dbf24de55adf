//! The node's write-ahead log: one for all its Raft groups, in segments that are zero-filled ahead and reused, with one
//! queue, one committer and one sync for all that waits. Used by `log_store`, opened by the node. It knows nothing of
//! Raft's messages or of what entries mean.
//!
//! What survives: with [`Durability::Always`] everything whose callback ran, through the death of the process and of
//! the machine. A record that fails its checksum is cut only where no later record shows that it was once synced, and
//! not below the floor; everything else is [`WalError::Corrupt`] or [`WalError::BelowFloor`].

mod committer;
mod counters;
mod error;
mod group;
mod group_log;
mod hard;
mod header;
mod options;
mod prepare;
mod queue;
mod record;
mod recover;
mod scan;
mod segment;
pub mod tasks;
mod threads;
mod wake;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use committer::Progress;
pub use counters::{CounterInfo, WAL_COUNTERS, WalCounters};
pub use error::WalError;
pub use group_log::GroupLog;
#[cfg(feature = "failpoints")]
pub use options::WalMutant;
pub use options::{Durability, PoisonHook, WalOptions};
pub use queue::Callback;
pub use recover::{Recovery, TornTail};
pub use segment::Room;
pub use session_store::histogram::Durations;
pub use session_store::store::GroupId;
pub use threads::WalThreads;
pub use wake::Call;
pub(crate) use wake::Wake;

use committer::{Committer, NO_GROUP};
use counters::{Tally, count};
use group::{Group, GroupState};
use prepare::Preparer;
use queue::Queue;
use segment::Segments;

use crate::disk::{Disk, Space};
use crate::floor::{Checkpoint, Floor};

/// A place in the log. Positions only grow, whatever is truncated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The segment's number; the first is 1.
    pub segment: u64,
    /// Bytes from the beginning of the segment.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of {}", self.offset, segment::name(self.segment))
    }
}

/// One entry of a group's Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its index.
    pub index: u64,
    /// The term it was made in.
    pub term: u64,
    /// Its bytes, shared by the log, the cache and the network.
    pub body: Bytes,
}

/// What all parts of the log share.
pub(crate) struct Shared {
    pub(crate) options: WalOptions,
    pub(crate) queue: Queue,
    pub(crate) segments: Arc<Segments>,
    pub(crate) groups: Mutex<BTreeMap<GroupId, Arc<Group>>>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) floor: Floor,
    pub(crate) preparer: Preparer,
    /// Bytes from the oldest segment in use to the end.
    pub(crate) pinned: AtomicU64,
}

impl Shared {
    /// Ends the log for good after an error, once, and tells the node.
    pub(crate) fn poison(&self, error: &WalError) {
        if !self.end(error) {
            return;
        }
        tracing::error!(%error, "the log is poisoned, the node has to stop");
        if let Some(hook) = &self.options.on_poison {
            (hook.0)(error);
        }
    }

    /// Ends the log and wakes all who work on it. Returns whether it had not ended before.
    fn end(&self, error: &WalError) -> bool {
        let first = self.queue.end(error);
        for wake in [&self.queue.wake, &self.preparer.wake, &self.floor.wake] {
            wake.call(Call::Now);
        }
        first
    }
}

/// The log of a node. Clones are the same log. Something has to drive it: threads ([`Wal::start`]), [`tasks`] in a
/// simulation, or whoever calls the steps below.
#[derive(Clone)]
pub struct Wal {
    shared: Arc<Shared>,
    committer: Arc<Mutex<Committer>>,
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wal")
    }
}

impl Wal {
    /// Opens the log of a disk, or begins one. Reads all of it and checks every byte, makes durable what it has read,
    /// and cuts a torn tail.
    ///
    /// # Errors
    /// [`WalError::Corrupt`], [`WalError::BelowFloor`], [`WalError::Floor`], [`WalError::Version`] for what is on disk;
    /// [`WalError::Options`]; [`WalError::Io`].
    pub fn open(disk: Arc<dyn Disk>, options: WalOptions) -> Result<(Self, Recovery), WalError> {
        recover::open(disk, options)
    }

    /// The handle of a group, which begins empty where the log has none of it.
    ///
    /// # Errors
    /// [`WalError::TooManyGroups`].
    pub fn group(&self, id: GroupId) -> Result<GroupLog, WalError> {
        let mut groups = self.shared.groups.lock();
        let bound = self.shared.options.groups_max();
        if id == NO_GROUP || (groups.len() >= bound && !groups.contains_key(&id)) {
            return Err(WalError::TooManyGroups { group: id, bound });
        }
        let new =
            || Arc::new(Group { id, state: Mutex::new(GroupState::default()), pinned: AtomicU64::new(0) });
        let group = Arc::clone(groups.entry(id).or_insert_with(new));
        Ok(GroupLog::new(Arc::clone(&self.shared), group))
    }

    /// Whether there is room for more proposals.
    #[must_use]
    pub fn room(&self) -> watch::Receiver<Room> {
        self.shared.segments.room()
    }

    /// What is claimed of the log's disk: whoever is about to write much beside the log claims it too, and calls
    /// [`Wal::space_given_back`] when that is done.
    #[must_use]
    pub fn space(&self) -> Space {
        self.shared.segments.space().clone()
    }

    /// A claim was dropped: where the log found no space meanwhile, it looks again now and not after `full_retry`.
    pub fn space_given_back(&self) {
        if *self.shared.segments.room().borrow() != Room::Ok {
            self.shared.preparer.wake.call(Call::Now);
        }
    }

    /// Bytes that the log holds, from the oldest that a group needs to its end, as of the last sync. Beyond
    /// `log_bytes_max` there is [`Room::Full`]; [`GroupLog::bytes_pinned`] says which group keeps them.
    #[must_use]
    pub fn bytes_pinned(&self) -> u64 {
        self.shared.pinned.load(Ordering::Relaxed)
    }

    /// Bytes that wait to be done, of all groups. Their bound is `queue_bytes_max`.
    #[must_use]
    pub fn bytes_waiting(&self) -> usize {
        self.shared.queue.waiting()
    }

    /// Notes in the floor that a group's state up to an index is in a checkpoint with this hash.
    pub fn checkpointed(&self, group: GroupId, checkpoint: Checkpoint) {
        self.shared.floor.checkpointed(group, checkpoint);
    }

    /// The last checkpoint of a group that the floor knows.
    #[must_use]
    pub fn known_checkpoint(&self, group: GroupId) -> Option<Checkpoint> {
        self.shared.floor.known(group)
    }

    /// What ended the log, if it has ended.
    #[must_use]
    pub fn ended(&self) -> Option<WalError> {
        self.shared.queue.ended()
    }

    /// What it was opened with.
    #[must_use]
    pub fn options(&self) -> &WalOptions {
        &self.shared.options
    }

    /// Whether everything is synced before it counts.
    pub(crate) fn syncs_first(&self) -> bool {
        self.shared.options.sync_first()
    }

    /// The counters, as of now.
    #[must_use]
    pub fn counters(&self) -> WalCounters {
        self.shared.tally.read()
    }

    /// How long syncs took since it was opened.
    #[must_use]
    pub fn sync_times(&self) -> Durations {
        self.shared.tally.syncs.read()
    }

    /// Writes, syncs and calls back all that waits; see [`Progress`]. To be called after [`Wal::called`].
    pub fn step(&self) -> Progress {
        self.committer.lock().step(&self.shared)
    }

    /// To be called when nothing was appended for the time of `quiet`.
    pub fn quiet(&self) -> Progress {
        self.committer.lock().quiet(&self.shared)
    }

    /// To be called every interval of [`Durability::Interval`].
    pub fn sync(&self) -> Progress {
        self.committer.lock().sync(&self.shared)
    }

    /// Whether the log has nothing to do before the next call.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.committer.lock().is_resting(&self.shared)
    }

    /// Prepares the next segment, if it is wanting. [`Room::Full`] is to be tried again after `full_retry`.
    pub fn prepare(&self) -> Room {
        if self.ended().is_some() {
            return *self.room().borrow();
        }
        self.shared.preparer.step(&self.shared.queue).unwrap_or_else(|error| {
            self.shared.poison(&error.poison());
            Room::Full
        })
    }

    /// Writes the floor, if it has changed and the log has not ended.
    pub fn write_floor(&self) {
        if self.ended().is_some() {
            return;
        }
        match self.shared.floor.write() {
            Ok(written) => count(&self.shared.tally.wal_floor_writes, u64::from(written)),
            Err(error) => self.shared.poison(&error.poison()),
        }
    }

    /// Waits until the committer has something to do, without blocking the thread.
    pub async fn called(&self) -> Call {
        self.shared.queue.wake.called().await
    }

    /// Waits until the preparer has something to do, without blocking the thread.
    pub async fn prepare_called(&self) -> Call {
        self.shared.preparer.wake.called().await
    }

    /// Waits until the floor has changed, without blocking the thread. It is then to be written within `floor_every`.
    pub async fn floor_called(&self) -> Call {
        self.shared.floor.wake.called().await
    }

    /// Writes all that waits and the floor, and takes nothing more.
    pub fn close(&self) {
        self.quiet();
        self.write_floor();
        self.shared.end(&WalError::Closed);
        self.step();
    }

    /// Starts the threads that drive the log.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(&self) -> std::io::Result<WalThreads> {
        WalThreads::start(self)
    }
}
