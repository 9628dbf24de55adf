//! Checkpoints: every so often the net changes of each group go into the store, and the log behind them can go. One
//! task a node, off the way to every acknowledgement; the store's blocking calls have threads of their own. On a disk
//! that is nearly full there are none, since the store outlives no failed write: the log keeps everything meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use session_store::store::{Changes, Store, StoreError};
use tokio::time::{MissedTickBehavior, interval};

use crate::disk::free_bytes;
use crate::floor;
use crate::group::{Gone, Group};
use crate::machine::Machine;
use crate::record;
use crate::state_machine::{Standing, StateMachine, Taken};
use crate::types::TokioTypes;
use crate::wal::{GroupId, Wal};

/// Between two checkpoints of a group that changes.
const EVERY: Duration = Duration::from_secs(1);
/// How often the size of the log is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// After so many bytes of the log, those of all groups, a group gets a checkpoint at once.
const LOG_BYTES_MAX: u64 = 32 << 20;

/// Free bytes that a checkpoint needs, besides half of what went into the log since the last one.
const SPACE_BYTES_MIN: u64 = 4 << 20;

/// Why checkpoints ended.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The groups have ended.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The store failed, and takes no write any more: the node has to stop.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A group of whatever kind, as far as its checkpoints go.
trait Checkpointed: Send + Sync {
    fn id(&self) -> GroupId;

    /// What changed since the last checkpoint; `None` where nothing did.
    fn take(&self) -> BoxFuture<'_, Result<Option<Taken>, Gone>>;

    /// The store has everything up to this: the log before it can go.
    fn let_go(&self, checkpoint: Standing) -> BoxFuture<'_, Result<(), Gone>>;

    /// What was kept of the log for others may be too old for that by now.
    fn let_more_go(&self) -> BoxFuture<'_, Result<(), Gone>>;
}

impl<M: Machine> Checkpointed for Group<TokioTypes, M> {
    fn id(&self) -> GroupId {
        self.id()
    }

    fn take(&self) -> BoxFuture<'_, Result<Option<Taken>, Gone>> {
        self.look_now(StateMachine::take_changes).boxed()
    }

    fn let_go(&self, checkpoint: Standing) -> BoxFuture<'_, Result<(), Gone>> {
        self.purge_behind(checkpoint).boxed()
    }

    fn let_more_go(&self) -> BoxFuture<'_, Result<(), Gone>> {
        self.purge().boxed()
    }
}

/// One group.
struct Watched {
    group: Box<dyn Checkpointed>,
    /// What the log had written when its checkpoint was made.
    written: u64,
}

/// Makes the checkpoints of a node's groups, the cluster group and the shards.
pub struct Checkpointer {
    store: Arc<Mutex<Store>>,
    path: PathBuf,
    wal: Wal,
    watched: Vec<Watched>,
    /// The last checkpoint was put off for want of space.
    put_off: bool,
}

impl Checkpointer {
    /// For no group yet; [`Self::watch`] adds them.
    #[must_use]
    pub fn new(store: Arc<Mutex<Store>>, wal: Wal) -> Self {
        let path = store.lock().path().to_owned();
        Self { store, path, wal, watched: Vec::new(), put_off: false }
    }

    /// Makes the checkpoints of this group too.
    pub fn watch<M: Machine>(&mut self, group: Group<TokioTypes, M>) {
        self.watched.push(Watched { group: Box::new(group), written: 0 });
    }

    /// Makes checkpoints until the store fails or the groups end.
    ///
    /// # Errors
    /// Always: says why it ended.
    pub async fn run(&mut self) -> Result<std::convert::Infallible, CheckpointError> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks: u32 = 0;
        let looks_each = u32::try_from(EVERY.as_millis() / LOOK.as_millis()).unwrap_or(1);
        loop {
            look.tick().await;
            looks = looks.wrapping_add(1);
            let all = looks.is_multiple_of(looks_each);
            for number in 0..self.watched.len() {
                self.checkpoint(number, all).await?;
            }
        }
    }

    /// One checkpoint of every group: the last thing before a node stops.
    ///
    /// # Errors
    /// As for [`Self::run`].
    pub async fn finish(&mut self) -> Result<(), CheckpointError> {
        for number in 0..self.watched.len() {
            self.checkpoint(number, true).await?;
        }
        Ok(())
    }

    /// A checkpoint of one group, if it is due and the disk has room for it.
    async fn checkpoint(&mut self, number: usize, due: bool) -> Result<(), CheckpointError> {
        let Some(watched) = self.watched.get_mut(number) else { return Ok(()) };
        let written = self.wal.counters().wal_written_bytes;
        let since = written - watched.written;
        if !due && since < LOG_BYTES_MAX {
            return Ok(());
        }
        let claim = self.wal.space().claim(SPACE_BYTES_MIN + since / 2, || free_bytes(&self.path));
        if claim.is_none() && !self.put_off {
            tracing::warn!("the disk is nearly full: checkpoints wait for space, and the log grows");
        }
        self.put_off = claim.is_none();
        let Some(claim) = claim else { return Ok(()) };
        watched.written = written;
        checkpoint(&self.store, &self.wal, watched.group.as_ref()).await?;
        drop(claim);
        self.wal.space_given_back();
        Ok(())
    }
}

async fn checkpoint(
    store: &Arc<Mutex<Store>>,
    wal: &Wal,
    group: &dyn Checkpointed,
) -> Result<(), CheckpointError> {
    let Some(Taken { changes, checkpoint }) = group.take().await? else {
        return Ok(group.let_more_go().await?);
    };
    write((Arc::clone(store), wal.clone()), group.id(), changes, checkpoint.clone()).await?;
    Ok(group.let_go(checkpoint).await?)
}

/// Writes a checkpoint, and notes it in the floor. Where a snapshot took its place it is dropped.
async fn write(
    (store, wal): (Arc<Mutex<Store>>, Wal),
    group: GroupId,
    changes: Changes,
    checkpoint: Standing,
) -> Result<(), CheckpointError> {
    let written = tokio::task::spawn_blocking(move || {
        let mut store = store.lock();
        if !checkpoint.stands() {
            return Ok(());
        }
        let written = store.write(group, &changes, &record::encode_applied(&checkpoint.meta))?;
        if let Some(id) = checkpoint.meta.last_log_id {
            wal.checkpointed(group, floor::Checkpoint { index: id.index, hash: written.hash.0 });
        }
        Ok(())
    });
    match written.await {
        Ok(written) => written,
        Err(_panicked) => Err(StoreError::Poisoned.into()),
    }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
