//! A checkpoint as it is read: its position and hash, then its records. Given out by the store. No record is
//! given out unchecked, and the last thing it says is whether all of them were there.

use std::fmt;

use bytes::{Bytes, BytesMut};
use sled::Tree;

use super::error::{StoreError, guarded};
use super::hash::{self, StateHash};
use super::layout::{self, Head, META_KEY, Meta};
use super::reader::Lookup;
use super::{GroupId, Written};

/// A record: its key and its value.
pub(super) type Stored = (Bytes, Bytes);

/// The last checkpoint of a group. An iterator over its records: it ends with an error where they are not
/// exactly those that were written, so a state is whole only if all of it was gone through without one.
pub struct Checkpoint {
    group: GroupId,
    meta: Meta,
    tree: Tree,
    entries: sled::Iter,
    /// Of the records that were given out.
    hash: StateHash,
    count: u64,
    ended: bool,
}

impl Checkpoint {
    pub(super) fn new(group: GroupId, tree: &Tree, meta: Meta) -> Self {
        let (hash, count) = (StateHash::default(), 0);
        Self { group, meta, tree: tree.clone(), entries: tree.iter(), hash, count, ended: false }
    }

    /// Reads its records one by one, as long as no other checkpoint takes its place.
    #[must_use]
    pub fn lookup(&self) -> Lookup {
        Lookup { tree: self.tree.clone(), group: self.group }
    }

    /// Whose it is.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// What it stands for, to be compared with what is known elsewhere before it is believed.
    #[must_use]
    pub fn written(&self) -> Written {
        Written { applied: self.meta.applied.clone(), hash: self.meta.hash }
    }

    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.meta.count
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn damaged(&self, reason: &str) -> StoreError {
        StoreError::damaged(self.group, reason)
    }

    fn entry(&mut self) -> Result<Option<(sled::IVec, sled::IVec)>, StoreError> {
        let entries = &mut self.entries;
        guarded(|| entries.next().transpose()).map_err(|error| error.reading(self.group))
    }

    fn record(&mut self) -> Result<Option<Stored>, StoreError> {
        let Some((first_key, first)) = self.entry()? else { return self.end() };
        if first_key == META_KEY {
            return self.record();
        }
        let (key, chunk) = layout::split_key(&first_key, self.group)?;
        let (head, part) = Head::split(&first, self.group)?;
        if chunk != 0 || head.chunks == 0 {
            return Err(self.damaged("the beginning of a record is missing"));
        }
        let mut value = BytesMut::from(part);
        for expected in 1..head.chunks {
            let next = self.entry()?.filter(|(next_key, _)| *next_key == layout::chunk_key(key, expected));
            let (_, part) = next.ok_or_else(|| self.damaged("a part of a record is missing"))?;
            value.extend_from_slice(&part);
        }
        if hash::of_record(key, &value) != head.hash {
            return Err(self.damaged("a record is not what was written"));
        }
        self.hash = self.hash.with(head.hash);
        self.count += 1;
        Ok(Some((Bytes::copy_from_slice(key), value.freeze())))
    }

    fn end(&mut self) -> Result<Option<Stored>, StoreError> {
        if (self.hash, self.count) == (self.meta.hash, self.meta.count) {
            return Ok(None);
        }
        let (expected, found) = (self.meta.count, self.count);
        Err(self.damaged(&format!("expected {expected} records with a fitting hash, found {found}")))
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("group", &self.group)
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

impl Iterator for Checkpoint {
    type Item = Result<(Bytes, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let record = self.record().transpose();
        self.ended = !matches!(record, Some(Ok(_)));
        record
    }
}
