//! What a node keeps on its disk for its groups: the log, the floor and the checkpoints, opened together and held
//! against each other. Opened by the node before its groups start. It believes no checkpoint that the floor knows a
//! newer one of.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use session_store::store::{self, Store, StoreError};

use crate::disk::FileDisk;
use crate::floor;
use crate::record::{self, RecordError};
use crate::snapshot::SnapshotData;
use crate::types::SnapshotMeta;
use crate::wal::{GroupId, GroupLog, Recovery, Wal, WalError, WalOptions, WalThreads};

/// The folder of the checkpoints, in the data directory.
const SESSIONS: &str = "sessions";

/// Why a node's data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The directory cannot be used.
    #[error("cannot use the data directory {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The checkpoints.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A checkpoint names a position that cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A snapshot was to be installed that is none of another node.
    #[error("there is no snapshot that was received")]
    NothingReceived,
    /// The log ends before what is in a checkpoint, so that what was behind that is gone too.
    #[error(
        "the log in wal/ ends at entry {end} of {group}, but its checkpoint in sessions/ is of entry {checkpoint}: the log \
         lost acknowledged data, or is an older copy; restore the whole data directory of a single node from one backup"
    )]
    LogLost {
        /// Whose.
        group: GroupId,
        /// The last entry of the log.
        end: u64,
        /// The entry that the checkpoint stands for.
        checkpoint: u64,
    },
    /// A checkpoint that was synced is gone, or is not what was written.
    #[error(
        "the checkpoint of {group} in sessions/ is lost: the floor knows one of entry {expected}, and the store has {found}. A node \
         with replicas fetches its state from them; restore the data directory of a single node from its backup"
    )]
    CheckpointLost {
        /// Whose.
        group: GroupId,
        /// Which entry it stood for.
        expected: u64,
        /// What is there instead.
        found: String,
    },
}

impl StorageError {
    /// Whether a checkpoint is gone, or is not the one that was written, and nothing else is wrong: other members of
    /// the group have the state.
    #[must_use]
    pub fn is_loss_of_checkpoint(&self) -> bool {
        matches!(self, Self::CheckpointLost { .. } | Self::Store(StoreError::Damaged { .. }))
    }
}

/// Why a state could not be made of a checkpoint's records.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The records could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// One of them makes no sense.
    #[error(transparent)]
    Record(#[from] session_store::record::RecordError),
}

/// The open log and checkpoints of a node.
#[derive(Debug)]
pub struct Storage {
    wal: Wal,
    threads: WalThreads,
    store: Arc<Mutex<Store>>,
    recovery: Recovery,
}

impl Storage {
    /// Opens what is in a data directory, or begins it.
    ///
    /// # Errors
    /// What is there is damaged, lost something, is too new, or cannot be read or written.
    pub fn open(directory: &Path, options: WalOptions) -> Result<Self, StorageError> {
        Self::open_by(directory, options, |path, _| Store::open(path))
    }

    /// As [`Self::open`]; `open_store` opens the checkpoints of the groups that the log and the floor know.
    pub(crate) fn open_by(
        directory: &Path,
        options: WalOptions,
        open_store: impl FnOnce(&Path, Vec<GroupId>) -> Result<Store, StoreError>,
    ) -> Result<Self, StorageError> {
        let unusable = |source| StorageError::Directory { path: directory.into(), source };
        let disk = FileDisk::new(directory).map_err(unusable)?;
        let (wal, recovery) = Wal::open(Arc::new(disk), options)?;
        let known = recovery.floor.checkpoints.keys().chain(&recovery.groups);
        let known: BTreeSet<GroupId> = known.copied().collect();
        let store = open_store(&directory.join(SESSIONS), known.into_iter().collect())?;
        let threads = wal.start().map_err(unusable)?;
        Ok(Self { wal, threads, store: Arc::new(Mutex::new(store)), recovery })
    }

    /// The log.
    #[must_use]
    pub fn wal(&self) -> &Wal {
        &self.wal
    }

    /// The checkpoints.
    #[must_use]
    pub fn store(&self) -> &Arc<Mutex<Store>> {
        &self.store
    }

    /// What was found at start.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// A group's part of the log.
    ///
    /// # Errors
    /// There are more groups than the log has places for.
    pub fn log(&self, group: GroupId) -> Result<GroupLog, StorageError> {
        Ok(self.wal.group(group)?)
    }

    /// The state of a group as its checkpoint has it, made by `restore` of the checkpoint's records, and as of which
    /// entry; `None` where there is no checkpoint and never was one.
    ///
    /// # Errors
    /// The checkpoint is damaged or lost, or `restore` could not read it.
    pub fn restore<T>(
        &self,
        group: GroupId,
        restore: impl FnOnce(&mut store::Checkpoint) -> Result<T, RestoreError>,
    ) -> Result<Option<(T, SnapshotMeta)>, StorageError> {
        let Some((mut found, meta)) = self.load(group)? else { return Ok(None) };
        Ok(Some((restored(group, restore(&mut found))?, meta)))
    }

    /// Whether a group's checkpoint was lost, and nothing else is wrong: other members have it.
    #[must_use]
    pub fn has_lost(&self, group: GroupId) -> bool {
        self.check(group).is_err_and(|error| error.is_loss_of_checkpoint())
    }

    /// Whether a group's checkpoint is the one that it should have.
    ///
    /// # Errors
    /// As for [`Self::restore`].
    pub(crate) fn check(&self, group: GroupId) -> Result<(), StorageError> {
        self.load(group).map(|_| ())
    }

    /// A group's checkpoint, held against the floor and the log.
    fn load(&self, group: GroupId) -> Result<Option<(store::Checkpoint, SnapshotMeta)>, StorageError> {
        let found = self.store.lock().load(group)?;
        let meta =
            found.as_ref().map(|found| record::decode_applied(&found.written().applied)).transpose()?;
        check(group, self.wal.known_checkpoint(group), found.as_ref().zip(meta.as_ref()))?;
        self.check_log(group, meta.as_ref())?;
        Ok(found.zip(meta))
    }

    /// The log goes on where the checkpoint ends, or before. It never ends before the checkpoint where every entry is
    /// synced before it is applied.
    fn check_log(&self, group: GroupId, meta: Option<&SnapshotMeta>) -> Result<(), StorageError> {
        let log = self.wal.group(group)?;
        let index = meta.and_then(|meta| meta.last_log_id).map(|id| id.index);
        let end = log.last().map(|(index, _)| index).max(log.purged().map(|(index, _)| index));
        if let Some(checkpoint) = index
            && self.wal.syncs_first()
            && end.is_none_or(|end| end < checkpoint)
        {
            return Err(StorageError::LogLost { group, end: end.unwrap_or(0), checkpoint });
        }
        let Some((purged, _)) = log.purged() else { return Ok(()) };
        if index.is_some_and(|index| index >= purged) {
            return Ok(());
        }
        let found = index.map_or_else(|| "none".to_owned(), |index| format!("one of entry {index}"));
        Err(StorageError::CheckpointLost { group, expected: purged, found })
    }

    /// The checkpoints of a group, for its machine: what a snapshot is installed into.
    #[must_use]
    pub fn checkpoints(&self, group: GroupId) -> GroupCheckpoints {
        GroupCheckpoints { store: Arc::clone(&self.store), wal: self.wal.clone(), group }
    }

    /// Writes and syncs what waits, and closes the log.
    pub fn close(self) {
        self.threads.stop();
    }
}

/// The checkpoints of one group.
#[derive(Clone, Debug)]
pub struct GroupCheckpoints {
    store: Arc<Mutex<Store>>,
    wal: Wal,
    group: GroupId,
}

impl GroupCheckpoints {
    /// Puts a snapshot that was received in the place of the group's checkpoint, synced, and makes a state of its
    /// records by `restore`. Blocks. To be called by [`crate::machine::Machine::install`] alone, which no checkpoint of
    /// the state before it can follow.
    ///
    /// # Errors
    /// The file or the store cannot be read or written, or `restore` can make nothing of the records.
    pub fn install<T>(
        &self,
        snapshot: &SnapshotData,
        restore: impl FnOnce(&mut store::Checkpoint) -> Result<T, RestoreError>,
    ) -> Result<T, StorageError> {
        let SnapshotData::Received(path) = snapshot else { return Err(StorageError::NothingReceived) };
        self.import(path)?;
        let records = self.store.lock().load(self.group)?;
        restored(self.group, restore(&mut records.ok_or(StorageError::NothingReceived)?))
    }

    /// Puts what is in a file in the place of the group's checkpoint, synced, and notes it in the floor. Blocks.
    ///
    /// # Errors
    /// The file is damaged, or the store cannot be written.
    pub(crate) fn import(&self, path: &Path) -> Result<(), StorageError> {
        let mut store = self.store.lock();
        let written = store.import(self.group, path)?;
        let meta = record::decode_applied(&written.applied)?;
        if let Some(id) = meta.last_log_id {
            let checkpoint = floor::Checkpoint { index: id.index, hash: written.hash.0 };
            self.wal.checkpointed(self.group, checkpoint);
        }
        Ok(())
    }
}

fn restored<T>(group: GroupId, restored: Result<T, RestoreError>) -> Result<T, StorageError> {
    Ok(restored.map_err(|error| match error {
        RestoreError::Store(error) => error,
        RestoreError::Record(source) => StoreError::Record { group, source },
    })?)
}

/// Holds a checkpoint against what the floor knows of it.
fn check(
    group: GroupId,
    known: Option<floor::Checkpoint>,
    found: Option<(&store::Checkpoint, &SnapshotMeta)>,
) -> Result<(), StorageError> {
    let Some(known) = known else { return Ok(()) };
    let lost = |found: String| StorageError::CheckpointLost { group, expected: known.index, found };
    let Some((checkpoint, meta)) = found else { return Err(lost("none".to_owned())) };
    let index = meta.last_log_id.map_or(0, |id| id.index);
    let hash = checkpoint.written().hash;
    if index < known.index {
        return Err(lost(format!("one of entry {index}")));
    }
    if index == known.index && hash.0 != known.hash {
        return Err(lost(format!("one of that entry with hash {hash} instead of {:016x}", known.hash)));
    }
    Ok(())
}
