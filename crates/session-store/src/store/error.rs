//! What can go wrong with the store, and what is to be done then. Every error and panic of sled becomes one of
//! these; none is dropped.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::GroupId;
use crate::record::RecordError;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store in {path} is in use by another process: expected to be alone; stop the other one")]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// The files cannot be opened as a store.
    #[error(
        "the store in {path} is damaged ({reason}): move the folder away and start again; a node with \
         replicas fetches its state from them, a single node needs its backup restored first"
    )]
    CannotOpen {
        /// Where.
        path: PathBuf,
        /// What sled says.
        reason: String,
    },
    /// What is stored of one group is no checkpoint.
    #[error(
        "the checkpoint of group {} is damaged ({reason}): drop it and fetch a snapshot from a replica; \
         on a single node, restore the backup",
        group.0
    )]
    Damaged {
        /// Which.
        group: GroupId,
        /// What does not fit.
        reason: String,
    },
    /// A record of a checkpoint is intact and cannot be read.
    #[error("the checkpoint of group {} holds a record that this version cannot read: {source}", group.0)]
    Record {
        /// Which.
        group: GroupId,
        /// Why.
        source: RecordError,
    },
    /// A snapshot is not whole.
    #[error("the snapshot {path} is damaged ({reason}): nothing was changed; fetch it again")]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The disk is full.
    #[error("the disk of the store is full: make room and start the node again")]
    Full,
    /// The file system failed.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// sled failed, with an error that is none of the above, or with a panic.
    #[error("the store failed ({reason}): stop the node; what was not synced is in the log")]
    Failed {
        /// What it says.
        reason: String,
    },
    /// An earlier write failed.
    #[error("an earlier write to the store failed, so that nothing more is written: stop the node")]
    Poisoned,
}

impl StoreError {
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::StorageFull {
            return Self::Full;
        }
        Self::Io { what, path: path.to_owned(), source }
    }

    pub(super) fn damaged(group: GroupId, reason: impl Into<String>) -> Self {
        Self::Damaged { group, reason: reason.into() }
    }

    /// The same, where all that was done was to read what is stored of `group`.
    pub(super) fn reading(self, group: GroupId) -> Self {
        match self {
            Self::Failed { reason } => Self::Damaged { group, reason },
            error => error,
        }
    }

    /// Whether nothing may be written after this error of a write. A snapshot that was found damaged before
    /// anything was touched is the only one that may be followed by another write.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Self::Snapshot { .. })
    }

    /// Whether what is on disk is damaged, rather than the disk full or failing.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::CannotOpen { .. } | Self::Damaged { .. } | Self::Record { .. })
    }
}

/// Runs a call of sled, which may fail, and on damaged files panic.
pub(super) fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) if error.kind() == io::ErrorKind::StorageFull => {
            Err(StoreError::Full)
        }
        Ok(Err(error)) => Err(StoreError::Failed { reason: error.to_string() }),
        Err(panic) => Err(StoreError::Failed { reason: words(panic.as_ref()) }),
    }
}

/// What a panic says.
pub(super) fn words(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}
