//! The one door to sled: checkpoints of groups, each written atomically with the log position that it stands
//! for, and synced before it counts. Called from one blocking thread; never from a transition.
//!
//! What survives: once [`Store::write`] has returned, a power cut. A kill or a power cut before that leaves the
//! checkpoint before it. Damage to the files is an error of [`Store::open`] or [`Store::load`], or an older or
//! no checkpoint, which the caller sees by the position and hash that it keeps elsewhere: sled opens a
//! damaged young file as an empty one and says nothing.

mod changes;
mod checkpoint;
mod disk;
mod error;
mod hash;
mod layout;
mod reader;
mod snapshot;

use std::fmt;
use std::path::{Path, PathBuf};

use sled::{Batch, Tree};

pub use self::changes::Changes;
pub use self::checkpoint::Checkpoint;
pub use self::error::StoreError;
pub use self::hash::StateHash;
pub use self::reader::{Lookup, Reader};
pub use self::snapshot::{SNAPSHOT_CHUNK, Snapshot};

use self::disk::Disk;
use self::error::guarded;
use self::layout::{Head, Meta};

/// The number of a Raft group, whose state is kept: a shard, or the cluster group. All but `u32::MAX` may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u32);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", self.0)
    }
}

/// The checkpoints of a node's groups.
///
/// A group has a tree; while a snapshot is brought in it has two, and the one with the greater number of a
/// complete checkpoint counts.
#[derive(Debug)]
pub struct Store {
    db: sled::Db,
    disk: Disk,
    path: PathBuf,
    /// Why nothing may be written any more.
    poisoned: bool,
}

/// What a checkpoint stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The log position as its caller gave it.
    pub applied: Vec<u8>,
    /// The hash of all records; to be kept beside the position, outside of the store.
    pub hash: StateHash,
}

impl Store {
    /// Opens the store in the folder `path`, or makes a new one.
    ///
    /// # Errors
    /// [`StoreError`] if it is in use, cannot be read, or is damaged.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (db, disk) = disk::open(path)?;
        Ok(Self { db, disk, path: path.to_owned(), poisoned: false })
    }

    /// Moves the files of a damaged store out of the way, beside it and under a name that ends in `.damaged`;
    /// what was moved there before is removed. Says where they are now.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the folder cannot be moved.
    pub fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
        disk::set_aside(path)
    }

    /// Where its files are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what changed since the last checkpoint of `group`, together with the log position `applied`
    /// that its state stands at now, and syncs it. Atomic: after a crash all of it is there or nothing.
    ///
    /// # Errors
    /// [`StoreError`]; the store takes no write after one, and the node is to stop.
    pub fn write(
        &mut self,
        group: GroupId,
        changes: &Changes,
        applied: &[u8],
    ) -> Result<Written, StoreError> {
        self.unless_poisoned(|store| {
            let slot = match store.current(group)? {
                Some(slot) => slot,
                None => {
                    // What an import left behind that did not come to its end.
                    store.drop_slot(group, Slot::First)?;
                    Slot::First
                }
            };
            let tree = store.tree(group, slot)?;
            let old = layout::read_meta(&tree, group)?.unwrap_or_default();
            let mut batch = Batch::default();
            let meta = plan(&tree, &old, changes, &mut batch, group)?;
            let meta = Meta { applied: applied.to_vec(), number: old.number + 1, ..meta };
            batch.insert(layout::META_KEY, meta.encode());
            guarded(|| tree.apply_batch(batch))?;
            store.disk.sync(&store.db)?;
            Ok(Written { applied: meta.applied, hash: meta.hash })
        })
    }

    /// The last checkpoint of `group`; `None` where there is none. Its records are read, and checked, as it
    /// is gone through.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if what is there is no checkpoint.
    pub fn load(&self, group: GroupId) -> Result<Option<Checkpoint>, StoreError> {
        let Some(slot) = self.current(group)? else { return Ok(None) };
        let tree = self.tree(group, slot)?;
        let meta = layout::read_meta(&tree, group)?;
        Ok(meta.map(|meta| Checkpoint::new(group, &tree, meta)))
    }

    /// Reads all of the last checkpoint of `group`, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is not what was written.
    pub fn check(&self, group: GroupId) -> Result<(), StoreError> {
        let loaded = self.load(group).map_err(|error| error.reading(group))?;
        loaded.into_iter().flatten().try_for_each(|record| record.map(|_| ()))
    }

    /// A handle to read single records by, from any thread and beside writes. While there is one, the store stays
    /// open.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { db: self.db.clone() }
    }

    /// Forgets all that is kept of `group`.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub fn drop_group(&mut self, group: GroupId) -> Result<(), StoreError> {
        self.unless_poisoned(|store| {
            for slot in Slot::BOTH {
                store.drop_slot(group, slot)?;
            }
            store.disk.sync(&store.db)
        })
    }

    /// Writes the last checkpoint of `group` to the file `path`, synced; the file appears when it is whole.
    /// `None`, and no file, where there is no checkpoint.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], or [`StoreError::Io`] for the file. The store stays as it was.
    pub fn export(&self, group: GroupId, path: &Path) -> Result<Option<Snapshot>, StoreError> {
        let Some(checkpoint) = self.load(group)? else { return Ok(None) };
        snapshot::write(checkpoint, path).map(Some)
    }

    /// Puts a snapshot in the place of all that is kept of `group`. What was there counts until the last of the
    /// snapshot is synced, so that a crash leaves one or the other.
    ///
    /// # Errors
    /// [`StoreError::Snapshot`] if the file is damaged, and nothing has changed then; else as for
    /// [`Self::write`].
    pub fn import(&mut self, group: GroupId, path: &Path) -> Result<Written, StoreError> {
        let source = Snapshot::open(path)?;
        self.unless_poisoned(|store| {
            let old = store.current(group)?;
            let number = match old {
                Some(slot) => layout::read_meta(&store.tree(group, slot)?, group)?.unwrap_or_default().number,
                None => 0,
            };
            let new = old.map_or(Slot::First, Slot::other);
            store.drop_slot(group, new)?;
            let tree = store.tree(group, new)?;
            source.each_batch(|changes| {
                let mut batch = Batch::default();
                plan(&tree, &Meta::default(), &changes, &mut batch, group)?;
                guarded(|| tree.apply_batch(batch))
            })?;
            let (applied, hash, count) = (source.applied.clone(), source.hash, source.count);
            let meta = Meta { applied, hash, count, number: number + 1 };
            guarded(|| tree.insert(layout::META_KEY, meta.encode()))?;
            store.disk.sync(&store.db)?;
            if let Some(old) = old {
                store.drop_slot(group, old)?;
            }
            Ok(Written { applied: meta.applied, hash: meta.hash })
        })
    }

    /// Lets a power-cut test see what the sync is for: with `true`, nothing that is written is synced.
    #[cfg(feature = "failpoints")]
    pub fn skip_store_sync(&mut self, skip: bool) {
        self.disk.skip_sync(skip);
    }

    /// Runs what writes; an error of it is the last thing that this store does.
    fn unless_poisoned<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        let result = write(self);
        self.poisoned = result.as_ref().is_err_and(StoreError::is_final);
        result
    }

    fn tree(&self, group: GroupId, slot: Slot) -> Result<Tree, StoreError> {
        slot.tree(&self.db, group)
    }

    fn drop_slot(&self, group: GroupId, slot: Slot) -> Result<(), StoreError> {
        guarded(|| self.db.drop_tree(slot.name(group))).map(|_| ())
    }

    fn current(&self, group: GroupId) -> Result<Option<Slot>, StoreError> {
        Slot::current(&self.db, group)
    }
}

/// One of the two trees that a group can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    First,
    Second,
}

impl Slot {
    const BOTH: [Self; 2] = [Self::First, Self::Second];

    /// The slot whose checkpoint counts; `None` where there is no checkpoint.
    fn current(db: &sled::Db, group: GroupId) -> Result<Option<Self>, StoreError> {
        let names = guarded(|| Ok(db.tree_names()))?;
        let mut best = None;
        for slot in Self::BOTH {
            let name = slot.name(group);
            if !names.iter().any(|there| there.as_ref() == name.as_bytes()) {
                continue;
            }
            if let Some(meta) = layout::read_meta(&slot.tree(db, group)?, group)? {
                best = best.max(Some((meta.number, slot)));
            }
        }
        Ok(best.map(|(_, slot)| slot))
    }

    fn tree(self, db: &sled::Db, group: GroupId) -> Result<Tree, StoreError> {
        guarded(|| db.open_tree(self.name(group)))
    }

    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    fn name(self, group: GroupId) -> String {
        match self {
            Self::First => format!("g{}", group.0),
            Self::Second => format!("g{}b", group.0),
        }
    }
}

/// Puts changes into a batch, but for records that are what they were, and says what the hash and the count of records are after it.
fn plan(
    tree: &Tree,
    old: &Meta,
    changes: &Changes,
    batch: &mut Batch,
    group: GroupId,
) -> Result<Meta, StoreError> {
    let (mut hash, mut count) = (old.hash, old.count);
    for (key, value) in changes.iter() {
        let before = guarded(|| tree.get(layout::chunk_key(key, 0)))?;
        let before = before.map(|bytes| Head::decode(&bytes, group)).transpose()?;
        let after = value.map(|value| Head::of(key, value));
        if before == after {
            continue;
        }
        if let Some(before) = before {
            hash = hash.without(before.hash);
            count = count.saturating_sub(1);
        }
        if let (Some(value), Some(after)) = (value, after) {
            layout::put(key, value, after, batch);
            hash = hash.with(after.hash);
            count += 1;
        }
        for chunk in after.map_or(0, |head| head.chunks)..before.map_or(0, |head| head.chunks) {
            batch.remove(layout::chunk_key(key, chunk));
        }
    }
    Ok(Meta { hash, count, ..Meta::default() })
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
