//! What can go wrong with the log, in words that say what was found, where, and what to do. Returned by everything in
//! `wal` and `floor`. No error is ever mended by trying again.

use std::io;
use std::sync::Arc;

use super::{GroupId, Position};

/// An error of the write-ahead log or its floor. A clone is the same error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalError {
    /// The disk refused something.
    #[error("{doing} {file}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file, relative to the data directory.
        file: String,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// Bytes that were synced are not what was written. Nothing behind them can be trusted, and nothing is cut.
    #[error(
        "{file} is damaged at byte {offset}: {what}. Do not delete it: repair this node from its replicas, or restore \
         the data directory of a single node from its backup"
    )]
    Corrupt {
        /// The damaged file, relative to the data directory.
        file: String,
        /// Where the first bad byte was noticed.
        offset: u64,
        /// What was expected and what was found.
        what: &'static str,
    },
    /// The log ends before a position that was known to be synced: this disk has lost what it acknowledged.
    #[error(
        "the log ends at {end}, but was synced up to {floor}: this disk lost acknowledged data, or is an old copy. The \
         node must not vote under its old id: let it join under a new one, or restore a single node from its backup"
    )]
    BelowFloor {
        /// Where the log ends now.
        end: Position,
        /// Where it had been synced up to.
        floor: Position,
    },
    /// Neither slot of the floor can be read, so that a loss of the log could not be noticed.
    #[error(
        "the file `floor` is {what}: whether the log lost something cannot be told. Repair this node from its \
         replicas, or restore the data directory of a single node from its backup"
    )]
    Floor {
        /// Missing beside a log, or damaged in both slots.
        what: &'static str,
    },
    /// A file of another format version.
    #[error("{file} has format version {found}, this binary knows {known}: run the release that wrote it")]
    Version {
        /// The file, relative to the data directory.
        file: String,
        /// The version it has.
        found: u32,
        /// The version that this binary reads and writes.
        known: u32,
    },
    /// The log was poisoned by an earlier error, which is final: the node has to stop.
    #[error("the log takes no more since this failed: {0}")]
    Poisoned(Arc<WalError>),
    /// A thread of the log has panicked, which is a bug.
    #[error("a thread of the log has panicked")]
    Panicked,
    /// The log was closed.
    #[error("the log was closed")]
    Closed,
    /// Too much waits to be synced. Wait for room before appending.
    #[error("{waiting} bytes wait to be synced, with {more} more it would be over the bound of {bound}")]
    QueueFull {
        /// Bytes that wait.
        waiting: usize,
        /// Bytes of the append.
        more: usize,
        /// The bound in bytes.
        bound: usize,
    },
    /// A record that no segment can hold.
    #[error("a record of {found} bytes, where at most {bound} fit")]
    TooLarge {
        /// Bytes of the record.
        found: usize,
        /// The bound in bytes.
        bound: usize,
    },
    /// More groups than the header of a segment can hold.
    #[error("{group} is one group more than the {bound} that the segment size allows")]
    TooManyGroups {
        /// The group that has no place.
        group: GroupId,
        /// How many have.
        bound: usize,
    },
    /// An entry that does not follow the last one of its group.
    #[error("{group}: entry {found} was appended where {expected} has to come next")]
    Hole {
        /// The group.
        group: GroupId,
        /// The index that has to come next.
        expected: u64,
        /// The index that came.
        found: u64,
    },
    /// Options that contradict each other.
    #[error("{key} is {found}, but has to be {allowed}")]
    Options {
        /// The option.
        key: &'static str,
        /// Its value.
        found: u64,
        /// What is allowed.
        allowed: &'static str,
    },
}

impl WalError {
    /// An error of the disk, with what was being done and to which file.
    pub(crate) fn io(doing: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, file: file.to_owned(), source: Arc::new(source) }
    }

    /// What everything after this error is told.
    pub(crate) fn poison(self) -> Self {
        match self {
            Self::Poisoned(_) | Self::Closed => self,
            first => Self::Poisoned(Arc::new(first)),
        }
    }
}

impl From<WalError> for io::Error {
    fn from(error: WalError) -> Self {
        let kind = match &error {
            WalError::Io { source, .. } => source.kind(),
            WalError::Corrupt { .. } | WalError::BelowFloor { .. } | WalError::Floor { .. } => {
                io::ErrorKind::InvalidData
            }
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
