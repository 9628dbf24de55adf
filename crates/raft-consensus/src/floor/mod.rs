//! The floor: up to where the log is known to be synced, and each group's last checkpoint, so that a disk that lost
//! something is noticed at the next start. Fed by the committer and by checkpoints, written by a thread of its own (or
//! a task of the simulation). It is never ahead of the log, and no acknowledgement waits for it.

mod slot;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, read_whole};
use crate::wal::{Call, GroupId, Position, Wake, WalError};

/// The file's name in the data directory.
const NAME: &str = "floor";

/// The most groups whose checkpoints have a place.
pub(crate) const GROUPS_MAX: usize = slot::GROUPS_MAX;

/// What is known of a group's last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The index of the last entry that it holds.
    pub index: u64,
    /// The hash of the state.
    pub hash: u64,
}

/// What the floor says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FloorState {
    /// The log was synced at least up to here.
    pub synced: Position,
    /// The last checkpoint of each group that had one.
    pub checkpoints: BTreeMap<GroupId, Checkpoint>,
}

/// What was found at start.
#[derive(Debug)]
pub(crate) enum Found {
    /// No file, or one that was never written.
    New,
    /// A file of which at least one slot is whole.
    Whole(FloorState),
    /// Neither slot is whole.
    Damaged,
}

#[derive(Debug)]
struct Content {
    state: FloorState,
    changed: bool,
}

#[derive(Debug)]
pub(crate) struct Floor {
    file: Arc<dyn DiskFile>,
    content: Mutex<Content>,
    /// The number of the last slot written. Held while writing: one write at a time.
    number: Mutex<u64>,
    pub(crate) wake: Wake,
}

impl Floor {
    /// Reads the floor without changing anything.
    ///
    /// # Errors
    /// [`WalError::Io`], [`WalError::Version`].
    pub(crate) fn read(disk: &dyn Disk) -> Result<Found, WalError> {
        let file = match disk.open(NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::New),
            Err(error) => return Err(WalError::io("opening", NAME)(error)),
        };
        let bytes = read_whole(file.as_ref()).map_err(WalError::io("reading", NAME))?;
        match slot::newest(&bytes)? {
            Some((_, state)) => Ok(Found::Whole(state)),
            None if bytes.iter().all(|b| *b == 0) => Ok(Found::New),
            None => Ok(Found::Damaged),
        }
    }

    /// Opens the floor for writing, made durable where it is new.
    ///
    /// # Errors
    /// [`WalError::Io`], [`WalError::Version`].
    pub(crate) fn open(disk: &dyn Disk) -> Result<Self, WalError> {
        let opened = match disk.open(NAME) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => disk.create(NAME),
            opened => opened,
        };
        let file = opened.map_err(WalError::io("opening", NAME))?;
        let io = |doing| WalError::io(doing, NAME);
        file.preallocate(slot::FILE_BYTES).map_err(io("preallocating"))?;
        let bytes = read_whole(file.as_ref()).map_err(io("reading"))?;
        let (number, state) = slot::newest(&bytes)?.unwrap_or_default();
        let content = Mutex::new(Content { state, changed: number == 0 });
        let floor = Self { file, content, number: Mutex::new(number), wake: Wake::default() };
        floor.write()?;
        disk.sync_dir("").map_err(io("syncing the directory of"))?;
        Ok(floor)
    }

    /// The log's sync up to here has returned.
    pub(crate) fn reached(&self, synced: Position) {
        self.change(|state| {
            let further = synced > state.synced;
            state.synced = state.synced.max(synced);
            further
        });
    }

    /// A group's state is in a checkpoint.
    pub(crate) fn checkpointed(&self, group: GroupId, checkpoint: Checkpoint) {
        self.change(|state| state.checkpoints.insert(group, checkpoint) != Some(checkpoint));
    }

    /// The last checkpoint of a group.
    pub(crate) fn known(&self, group: GroupId) -> Option<Checkpoint> {
        self.content.lock().state.checkpoints.get(&group).copied()
    }

    fn change(&self, change: impl FnOnce(&mut FloorState) -> bool) {
        let first = {
            let mut content = self.content.lock();
            let changed = change(&mut content.state);
            let first = changed && !content.changed;
            content.changed |= changed;
            first
        };
        if first {
            self.wake.call(Call::Now);
        }
    }

    /// Writes and syncs what has changed, into the slot that is not the newest. Returns whether there was anything.
    ///
    /// # Errors
    /// [`WalError::Io`]: what the file holds is not known any more.
    pub(crate) fn write(&self) -> Result<bool, WalError> {
        let mut number = self.number.lock();
        let state = {
            let mut content = self.content.lock();
            if !std::mem::take(&mut content.changed) {
                return Ok(false);
            }
            content.state.clone()
        };
        *number += 1;
        let bytes = slot::encode(*number, &state);
        self.file.write_at(&bytes, slot::offset(*number)).map_err(WalError::io("writing", NAME))?;
        self.file.fdatasync().map_err(WalError::io("syncing", NAME))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{CrashMode, SimDisk};

    fn at(offset: u64) -> Position {
        Position { segment: 3, offset }
    }

    fn state(disk: &SimDisk) -> FloorState {
        match Floor::read(disk) {
            Ok(Found::Whole(state)) => state,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_written_is_there_after_a_power_cut() {
        let disk = SimDisk::new();
        let floor = Floor::open(&disk).unwrap();
        floor.reached(at(64));
        floor.checkpointed(GroupId(4), Checkpoint { index: 9, hash: 7 });
        assert!(floor.write().unwrap());
        assert!(!floor.write().unwrap(), "nothing changed");
        floor.reached(at(128));
        floor.reached(at(96));
        disk.crash(CrashMode::LoseAll, 1);
        let found = state(&disk);
        assert_eq!(found.synced, at(64));
        assert_eq!(found.checkpoints, BTreeMap::from([(GroupId(4), Checkpoint { index: 9, hash: 7 })]));
    }

    #[test]
    fn one_damaged_slot_leaves_the_other_and_two_leave_none() {
        let disk = SimDisk::new();
        let floor = Floor::open(&disk).unwrap();
        for offset in [64, 128] {
            floor.reached(at(offset));
            floor.write().unwrap();
        }
        let newest = usize::try_from(slot::offset(3)).unwrap();
        assert!(disk.damage(NAME, |bytes| bytes[newest + 30] ^= 1));
        assert_eq!(state(&disk).synced, at(64));
        let other = usize::try_from(slot::offset(2)).unwrap();
        assert!(disk.damage(NAME, |bytes| bytes[other + 30] ^= 1));
        assert!(matches!(Floor::read(&disk), Ok(Found::Damaged)));
    }

    #[test]
    fn a_write_cut_anywhere_leaves_the_one_before() {
        for seed in 0..50 {
            let disk = SimDisk::new();
            let floor = Floor::open(&disk).unwrap();
            floor.reached(at(64));
            floor.write().unwrap();
            floor.reached(at(128));
            disk.fail_sync(0);
            assert!(floor.write().is_err());
            disk.crash(CrashMode::Torn, seed);
            assert!([at(64), at(128)].contains(&state(&disk).synced), "seed {seed}");
        }
    }
}
