//! Keeps one segment ready ahead of the committer, from freed ones where there are some. Run by a thread of its own,
//! or by a task of the simulation, so that zeros are never written in the commit path. It never touches a segment in
//! use.

use std::io::ErrorKind;
use std::sync::Arc;

use super::counters::{Tally, count};
use super::options::WalOptions;
use super::segment::{self, DIR, Room, Segment, Segments};
use super::wake::{Call, Wake};
use super::{Queue, WalError};
use crate::disk::{Disk, is_full};

/// What the preparer works on.
pub(crate) struct Preparer {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: WalOptions,
    pub(crate) segments: Arc<Segments>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) wake: Wake,
}

impl Preparer {
    /// Puts away what was freed and prepares the next segment, if it is wanting. For want of space it only says so;
    /// calling again later tries again.
    ///
    /// # Errors
    /// What the disk says, if it is not that it is full: the log is to be poisoned.
    pub(crate) fn step(&self, queue: &Queue) -> Result<Room, WalError> {
        self.put_away()?;
        let bytes = self.segments.live_bytes() + self.options.segment_bytes;
        let bound = self.options.log_bytes_max;
        let mut room = if bytes > bound { Room::Full } else { Room::Ok };
        // A log over its bound still takes what other nodes send, while this one proposes nothing more.
        if self.segments.wants_next() && bytes <= 2 * bound {
            match self.make_next()? {
                Room::Ok => queue.wake.call(Call::Now),
                full => room = full,
            }
        }
        if self.segments.set_room(room) == Room::Ok && room == Room::Full {
            count(&self.tally.wal_full, 1);
            let cause = self.cause(bytes);
            tracing::warn!(
                cause,
                bytes,
                bound,
                "there is no room for more of the log: it takes only what frees space"
            );
        }
        Ok(room)
    }

    /// Why there is no room for a log of so many bytes.
    fn cause(&self, bytes: u64) -> &'static str {
        if bytes > self.options.log_bytes_max {
            "the log is at its bound, and a checkpoint has to make room"
        } else if self.segments.space().is_claimed() {
            "a checkpoint is written into what is left of the disk"
        } else {
            "the disk is full"
        }
    }

    fn put_away(&self) -> Result<(), WalError> {
        while let Some((number, spares)) = self.segments.take_freed() {
            let name = segment::name(number);
            if spares < self.options.spares {
                self.disk
                    .rename(&name, &segment::spare_name(number))
                    .map_err(WalError::io("renaming", &name))?;
            } else {
                self.disk.remove(&name).map_err(WalError::io("removing", &name))?;
            }
            // One at a time: names that came back in another order after a power cut would look like a gap.
            self.disk.sync_dir(DIR).map_err(WalError::io("syncing", DIR))?;
            if spares < self.options.spares {
                self.segments.add_spare(number);
            }
        }
        Ok(())
    }

    fn make_next(&self) -> Result<Room, WalError> {
        let number = self.segments.next_number();
        let made = match self.segments.take_spare() {
            Some(spare) => self.recycle(spare, number),
            None => self.create(number),
        };
        match made {
            Ok(segment) => {
                self.segments.set_ready(Arc::new(segment));
                Ok(Room::Ok)
            }
            Err(WalError::Io { source, .. }) if is_full(&source) => Ok(Room::Full),
            Err(error) => Err(error),
        }
    }

    fn recycle(&self, spare: u64, number: u64) -> Result<Segment, WalError> {
        let (from, name) = (segment::spare_name(spare), segment::name(number));
        self.disk.rename(&from, &name).map_err(WalError::io("renaming", &from))?;
        let segment = self.finish(number, "extending")?;
        count(&self.tally.wal_segments_recycled, 1);
        Ok(segment)
    }

    /// Makes the first segments too, when the log is opened.
    pub(crate) fn create(&self, number: u64) -> Result<Segment, WalError> {
        let name = segment::name(number);
        let there = self.disk.open(&name).and_then(|left| left.size()).unwrap_or(0);
        let bytes = self.options.segment_bytes.saturating_sub(there);
        let Some(_claim) = self.segments.space().claim(bytes, || self.disk.free_bytes()) else {
            return Err(WalError::io("preallocating", &name)(ErrorKind::StorageFull.into()));
        };
        match self.disk.create(&name) {
            Ok(_) => {}
            // Left by an attempt for which there was not enough space.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(WalError::io("creating", &name)(error)),
        }
        match self.finish(number, "preallocating") {
            Ok(segment) => {
                count(&self.tally.wal_segments_created, 1);
                Ok(segment)
            }
            Err(error) => {
                // The space that it did get is better left to others. If even that fails, the file is found again.
                let _ = self.disk.remove(&name);
                Err(error)
            }
        }
    }

    fn finish(&self, number: u64, doing: &'static str) -> Result<Segment, WalError> {
        let name = segment::name(number);
        let file = self.disk.open(&name).map_err(WalError::io("opening", &name))?;
        file.preallocate(self.options.segment_bytes).map_err(WalError::io(doing, &name))?;
        self.disk.sync_dir(DIR).map_err(WalError::io("syncing", DIR))?;
        let capacity =
            usize::try_from(file.size().map_err(WalError::io("measuring", &name))?).unwrap_or(usize::MAX);
        Ok(Segment { number, file, capacity })
    }
}
