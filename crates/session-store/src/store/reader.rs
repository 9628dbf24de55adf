//! Single records of a checkpoint, for messages of queues that are in the store alone. Used by whoever sends them and
//! at a start; writes nothing.

use std::fmt;

use bytes::{Bytes, BytesMut};
use sled::Tree;

use super::error::{StoreError, guarded};
use super::layout::{self, Head};
use super::{GroupId, Slot, hash};
use crate::record::RecordError;
use crate::shard::{StoredAt, StoredPage};

/// Reads single records. A copy is cheap.
#[derive(Clone)]
pub struct Reader {
    pub(super) db: sled::Db,
}

impl Reader {
    /// The record `key` of the last checkpoint of `group`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is not there or not what was written.
    pub fn read(&self, group: GroupId, key: &[u8]) -> Result<Bytes, StoreError> {
        let slot = Slot::current(&self.db, group)?.ok_or_else(|| missing(group))?;
        Lookup { tree: slot.tree(&self.db, group)?, group }.read(key)
    }

    /// The page of a queue that has an item and begins with `start`, in the last checkpoint of the shard whose group
    /// this is.
    ///
    /// # Errors
    /// As for [`Self::read`]; [`StoreError::Record`] for a page that is intact and not what was looked for.
    pub fn page(&self, group: GroupId, at: &StoredAt, start: u64) -> Result<StoredPage, StoreError> {
        let page = StoredPage::read(at, start, |key| self.read(group, key).map_err(Failed::Store));
        page.map_err(|failed| match failed {
            Failed::Store(error) => error,
            Failed::Record(source) => StoreError::Record { group, source },
        })
    }
}

/// Reads single records of one checkpoint.
pub struct Lookup {
    pub(super) tree: Tree,
    pub(super) group: GroupId,
}

impl Lookup {
    /// The record `key`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is not there or not what was written.
    pub fn read(&self, key: &[u8]) -> Result<Bytes, StoreError> {
        let Self { tree, group } = self;
        let chunk = |number| {
            let found = guarded(|| tree.get(layout::chunk_key(key, number)));
            found.map_err(|error| error.reading(*group))?.ok_or_else(|| missing(*group))
        };
        let first = chunk(0)?;
        let (head, part) = Head::split(&first, *group)?;
        let mut value = BytesMut::from(part);
        for number in 1..head.chunks {
            value.extend_from_slice(&chunk(number)?);
        }
        if hash::of_record(key, &value) != head.hash {
            return Err(StoreError::damaged(*group, "a record is not what was written"));
        }
        Ok(value.freeze())
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("group", &self.group).finish_non_exhaustive()
    }
}

fn missing(group: GroupId) -> StoreError {
    StoreError::damaged(group, "a record that was written is missing")
}

/// Why a page could not be read.
enum Failed {
    Store(StoreError),
    Record(RecordError),
}

impl From<RecordError> for Failed {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}
