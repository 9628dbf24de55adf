//! The segments of the log: those in use, the one prepared to be next, and freed ones that wait for reuse. Shared by
//! the committer, the preparer and readers. It does no I/O; `prepare.rs` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::disk::{DiskFile, Space};

/// The directory of the segments.
pub(crate) const DIR: &str = "wal";

/// Whether the next segment is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It is, or will be.
    Ok,
    /// The disk is full, or the log holds as much as it should: whoever proposes is to hold back all that does not make
    /// a state smaller, and no ticks are proposed. That and what is on its way still fits, into the segment that was
    /// prepared before where the disk is full, and up to twice the log's bound where it is not. Passes by itself when
    /// space returns or groups are purged.
    Full,
    /// The same, and what is left of the last segment is kept for the next start: nothing more is proposed.
    Spent,
}

/// One file of the log.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// The file's size in bytes, as far as records may go.
    pub(crate) capacity: usize,
}

impl Segment {
    /// The file's name, relative to the data directory.
    pub(crate) fn name(&self) -> String {
        name(self.number)
    }
}

/// The name of a segment.
pub(crate) fn name(number: u64) -> String {
    format!("{DIR}/{number:016}.seg")
}

/// The name of a freed segment that waits for reuse.
pub(crate) fn spare_name(number: u64) -> String {
    format!("{DIR}/{number:016}.spare")
}

#[derive(Debug, Default)]
struct Table {
    /// From the oldest that holds something needed to the one being written.
    live: BTreeMap<u64, Arc<Segment>>,
    ready: Option<Arc<Segment>>,
    /// Numbers of segments that nobody needs, still under their names.
    freed: Vec<u64>,
    /// Numbers of spare files.
    spares: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct Segments {
    table: Mutex<Table>,
    room: watch::Sender<Room>,
    space: Space,
}

impl Segments {
    pub(crate) fn new(spares: Vec<u64>) -> Self {
        let table = Mutex::new(Table { spares, ..Table::default() });
        Self { table, room: watch::Sender::new(Room::Ok), space: Space::default() }
    }

    /// Adds a segment that recovery found in use.
    pub(crate) fn add(&self, segment: Arc<Segment>) {
        self.table.lock().live.insert(segment.number, segment);
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<Segment>> {
        self.table.lock().live.get(&number).cloned()
    }

    /// The number after the newest segment in use.
    pub(crate) fn next_number(&self) -> u64 {
        self.table.lock().live.last_key_value().map_or(1, |(n, _)| n + 1)
    }

    /// Bytes of the segments in use.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.table.lock().live.values().map(|s| s.capacity as u64).sum()
    }

    /// Whether a next segment is wanting.
    pub(crate) fn wants_next(&self) -> bool {
        self.table.lock().ready.is_none()
    }

    pub(crate) fn set_ready(&self, segment: Arc<Segment>) {
        self.table.lock().ready = Some(segment);
    }

    /// The prepared segment, which is in use from now on.
    pub(crate) fn begin_next(&self) -> Option<Arc<Segment>> {
        let mut table = self.table.lock();
        let next = table.ready.take()?;
        table.live.insert(next.number, Arc::clone(&next));
        Some(next)
    }

    /// Frees the segments before this one. Returns whether there were any.
    pub(crate) fn free_before(&self, number: u64) -> bool {
        let mut table = self.table.lock();
        let kept = table.live.split_off(&number);
        let freed = std::mem::replace(&mut table.live, kept);
        table.freed.extend(freed.keys());
        !freed.is_empty()
    }

    /// A freed segment, which the caller makes a spare or removes, oldest first; and how many spares there are.
    pub(crate) fn take_freed(&self) -> Option<(u64, usize)> {
        let mut table = self.table.lock();
        if table.freed.is_empty() {
            return None;
        }
        let number = table.freed.remove(0);
        Some((number, table.spares.len()))
    }

    pub(crate) fn add_spare(&self, number: u64) {
        self.table.lock().spares.push(number);
    }

    pub(crate) fn take_spare(&self) -> Option<u64> {
        self.table.lock().spares.pop()
    }

    /// Takes note of whether there is space for the next segment. Returns what was the case before.
    pub(crate) fn set_room(&self, room: Room) -> Room {
        let used_up = self.wants_next();
        let mut before = room;
        self.room.send_if_modified(|now| {
            before = *now;
            // What is used up stays so until there is more.
            let stays = *now == Room::Spent && room == Room::Full && used_up;
            !stays && std::mem::replace(now, room) != room
        });
        before
    }

    /// Takes note that no more of the last segment is to be used. Returns whether that is news.
    pub(crate) fn spend(&self) -> bool {
        self.room.send_if_modified(|now| {
            let news = *now == Room::Full;
            if news {
                *now = Room::Spent;
            }
            news
        })
    }

    /// What is claimed of the disk.
    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    pub(crate) fn room(&self) -> watch::Receiver<Room> {
        self.room.subscribe()
    }
}
