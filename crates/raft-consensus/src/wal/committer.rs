//! Writes what waits: everything that is queued, of all groups, in one write and one sync, then all callbacks in order.
//! Driven by a thread of its own or by a task of the simulation, one step at a time. It never retries what failed, and
//! never prepares a segment.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use session_store::failpoint::{self, Point};

use super::counters::count;
use super::group::Place;
use super::hard::{Hard, Hole};
use super::header;
use super::queue::Item;
use super::record::{self, Content, Spot};
use super::segment::{Room, Segment};
use super::wake::Call;
use super::{GroupId, Position, Shared, WalError};

/// The buffer is written when it holds this many bytes, so that its size does not follow that of the queue.
const WRITE_BYTES: usize = 1 << 20;
/// What the empty record is filed under; no group has this number.
pub(crate) const NO_GROUP: GroupId = GroupId(u32::MAX);

/// What a step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There was nothing to do.
    Idle,
    /// Everything that waited is done.
    Worked,
    /// The segment is full and the next one is not there yet: the rest waits for the preparer.
    Blocked,
}

/// A record that is in the buffer or written, and not yet done.
struct Staged {
    item: Item,
    offset: usize,
    len: usize,
}

/// The end of the log, and what was written so far.
pub(crate) struct Committer {
    segment: Arc<Segment>,
    /// The records behind what is written.
    buf: Vec<u8>,
    /// Bytes of the segment that were written. `synced <= written <= written + buf`.
    written: usize,
    /// Bytes of the segment whose sync has returned.
    synced: usize,
    staged: Vec<Staged>,
    todo: VecDeque<Item>,
    incoming: Vec<Item>,
    hard: BTreeMap<GroupId, Hard>,
    /// Whether the last record is an empty one, synced.
    resting: bool,
}

impl Committer {
    /// Goes on where recovery found the end.
    pub(crate) fn resume(
        segment: Arc<Segment>,
        end: usize,
        hard: BTreeMap<GroupId, Hard>,
        resting: bool,
    ) -> Self {
        Self {
            segment,
            buf: Vec::new(),
            written: end,
            synced: end,
            staged: Vec::new(),
            todo: VecDeque::new(),
            incoming: Vec::new(),
            hard,
            resting,
        }
    }

    /// Begins the first segment of a log.
    pub(crate) fn begin(segment: Arc<Segment>) -> Self {
        let mut committer = Self::resume(segment, 0, BTreeMap::new(), true);
        header::encode(&mut committer.buf, committer.segment.number, 0, &committer.hard);
        committer
    }

    /// Writes all that waits, as far as there is room. An error poisons the log: whoever waits is told.
    pub(crate) fn step(&mut self, shared: &Shared) -> Progress {
        if !self.take(shared) || self.todo.is_empty() {
            return Progress::Idle;
        }
        self.run(shared, false)
    }

    /// To be called when nothing was appended for a while: writes what nobody waits for, and an empty record, so that
    /// the last record that was acknowledged is not the last of the log.
    pub(crate) fn quiet(&mut self, shared: &Shared) -> Progress {
        if !self.take(shared) || (self.todo.is_empty() && self.resting) {
            return Progress::Idle;
        }
        // One may be there already, when the log is blocked.
        if self.todo.back().is_none_or(|item| item.group.is_some()) {
            self.todo.push_back(Item::silent(None, Content::Empty));
        }
        self.run(shared, true)
    }

    /// Makes durable what was written without a sync.
    pub(crate) fn sync(&mut self, shared: &Shared) -> Progress {
        if !self.take(shared) || (self.todo.is_empty() && self.written == self.synced) {
            return Progress::Idle;
        }
        self.run(shared, true)
    }

    /// Whether there is nothing that a later call of `quiet` or `sync` would do.
    pub(crate) fn is_resting(&self, shared: &Shared) -> bool {
        (self.resting && self.todo.is_empty() && shared.queue.is_empty()) || shared.queue.ended().is_some()
    }

    /// Takes what is queued. False where the log has ended, and all who waited were told so.
    fn take(&mut self, shared: &Shared) -> bool {
        let ended = shared.queue.take(&mut self.incoming);
        self.todo.extend(self.incoming.drain(..));
        if let Some(error) = &ended {
            self.give_up(error);
        }
        ended.is_none()
    }

    fn run(&mut self, shared: &Shared, sync: bool) -> Progress {
        match self.write_all(shared, sync) {
            Ok(progress) => progress,
            Err(error) => {
                shared.poison(&error.poison());
                self.take(shared);
                Progress::Idle
            }
        }
    }

    /// Tells everybody who waits that it was in vain.
    fn give_up(&mut self, error: &WalError) {
        let waiting = self.staged.drain(..).map(|s| s.item).chain(self.todo.drain(..));
        for done in waiting.filter_map(|item| item.done) {
            done(Err(error.clone()));
        }
        self.buf.clear();
    }

    fn write_all(&mut self, shared: &Shared, sync: bool) -> Result<Progress, WalError> {
        while let Some(item) = self.todo.pop_front() {
            if self.fits(shared, &item) {
                self.stage(shared, item)?;
                continue;
            }
            self.todo.push_front(item);
            self.complete(shared, true)?;
            if !self.switch(shared) {
                self.write_purges(shared)?;
                return Ok(Progress::Blocked);
            }
        }
        self.complete(shared, sync)?;
        Ok(Progress::Worked)
    }

    /// Whether a record fits into the segment. The last of it is not for entries.
    fn fits(&self, shared: &Shared, item: &Item) -> bool {
        let reserve = match item.content {
            Content::Entry { .. } => shared.options.reserve_bytes(),
            _ => 0,
        };
        self.end() + item.content.record_len() + reserve <= self.segment.capacity
    }

    /// Where there is no room for more of the log, purges go before what does not fit: they may make the room. It makes
    /// no difference to anybody, since the entries that they drop are written.
    fn write_purges(&mut self, shared: &Shared) -> Result<(), WalError> {
        if *shared.segments.room().borrow() == Room::Ok {
            return Ok(());
        }
        for _ in 0..self.todo.len() {
            let Some(item) = self.todo.pop_front() else { break };
            if self.drops_written(&item) && self.fits(shared, &item) {
                self.stage(shared, item)?;
            } else {
                self.todo.push_back(item);
            }
        }
        self.complete(shared, true)
    }

    fn drops_written(&self, item: &Item) -> bool {
        let (Some(group), Content::Purge { index, .. }) = (&item.group, &item.content) else { return false };
        self.hard.get(&group.id).and_then(Hard::live).is_some_and(|(_, last)| *index <= last)
    }

    /// Up to where the log is synced.
    pub(crate) fn position(&self) -> Position {
        Position { segment: self.segment.number, offset: self.synced as u64 }
    }

    /// Where the next record goes.
    fn end(&self) -> usize {
        self.written + self.buf.len()
    }

    fn stage(&mut self, shared: &Shared, item: Item) -> Result<(), WalError> {
        let offset = self.end();
        let group = item.group.as_ref().map_or(NO_GROUP, |g| g.id);
        let synced = u32::try_from(self.synced).unwrap_or(u32::MAX);
        let spot = Spot { segment: self.segment.number, offset: offset as u64, synced };
        record::encode(&mut self.buf, spot, group, &item.content);
        let applied = match item.group {
            Some(_) => self.hard.entry(group).or_default().apply(self.segment.number, &item.content),
            None => Ok(()),
        };
        self.resting = item.group.is_none();
        self.staged.push(Staged { item, offset, len: self.end() - offset });
        applied.map_err(|Hole { expected, found }| WalError::Hole { group, expected, found })?;
        if self.buf.len() >= WRITE_BYTES { self.write(shared) } else { Ok(()) }
    }

    fn write(&mut self, shared: &Shared) -> Result<(), WalError> {
        if self.buf.is_empty() {
            return Ok(());
        }
        let written = self.segment.file.write_at(&self.buf, self.written as u64);
        written.map_err(WalError::io("writing", &self.segment.name()))?;
        count(&shared.tally.wal_written_bytes, self.buf.len() as u64);
        self.written += self.buf.len();
        self.buf.clear();
        self.buf.shrink_to(4 * WRITE_BYTES);
        Ok(())
    }

    /// Writes, syncs where it is due, and runs the callbacks.
    fn complete(&mut self, shared: &Shared, sync: bool) -> Result<(), WalError> {
        self.write(shared)?;
        self.pass(Point::AfterAppend);
        self.tell_places(shared);
        if sync || shared.options.sync_first() || self.staged.iter().any(|s| s.item.sync) {
            self.sync_segment(shared)?;
        }
        self.pass(Point::AfterSync);
        let mut bytes = 0;
        count(&shared.tally.wal_records, self.staged.len() as u64);
        for staged in self.staged.drain(..) {
            bytes += staged.len;
            if let Some(done) = staged.item.done {
                count(&shared.tally.wal_appends, 1);
                done(Ok(()));
            }
        }
        shared.queue.done(bytes);
        self.keep_rest(shared);
        Ok(())
    }

    /// Where there is no next segment, the rest of this one is for the next start.
    fn keep_rest(&self, shared: &Shared) {
        let kept = shared.options.start_bytes() + shared.options.reserve_bytes();
        if self.written + kept <= self.segment.capacity || !shared.segments.wants_next() {
            return;
        }
        if shared.segments.spend() {
            tracing::warn!(
                "the rest of the log is kept for the next start: it takes nothing until there is space"
            );
        }
    }

    fn pass(&self, point: Point) {
        if self.staged.iter().any(|staged| staged.item.done.is_some()) {
            failpoint::pass(point);
        }
    }

    /// Readers find the entries in the segment from now on.
    fn tell_places(&self, shared: &Shared) {
        let segment = self.segment.number;
        for Staged { item, offset, .. } in &self.staged {
            if let (Some(group), Content::Entry { index, .. }) = (&item.group, &item.content) {
                let place = Place::At { segment, offset: u32::try_from(*offset).unwrap_or(u32::MAX) };
                group.state.lock().written(*index, item.ticket, place, shared.options.cache_bytes_max);
            }
        }
    }

    fn sync_segment(&mut self, shared: &Shared) -> Result<(), WalError> {
        if self.written == self.synced {
            return Ok(());
        }
        if !shared.options.skips_sync() {
            let took =
                self.segment.file.fdatasync().map_err(WalError::io("syncing", &self.segment.name()))?;
            count(&shared.tally.wal_syncs, 1);
            shared.tally.syncs.record(took);
        }
        self.synced = self.written;
        shared.floor.reached(self.position());
        self.release(shared);
        Ok(())
    }

    /// Frees the segments that no group needs, as far as what is synced says, and says who keeps the others.
    pub(crate) fn release(&self, shared: &Shared) {
        let now = self.segment.number;
        let oldest = self.hard.values().filter_map(Hard::oldest_segment).min().unwrap_or(now).min(now);
        if shared.segments.free_before(oldest) {
            shared.preparer.wake.call(Call::Now);
        }
        let size = shared.options.segment_bytes;
        let since = |segment: u64| (now - segment) * size + self.written as u64;
        for (id, group) in shared.groups.lock().iter() {
            let oldest = self.hard.get(id).and_then(Hard::oldest_segment);
            group.pinned.store(oldest.map_or(0, since), Ordering::Relaxed);
        }
        shared.pinned.store(since(oldest), Ordering::Relaxed);
    }

    /// Goes on in the prepared segment; the one before is synced to its end. False where none is prepared.
    fn switch(&mut self, shared: &Shared) -> bool {
        let next = shared.segments.begin_next();
        shared.preparer.wake.call(Call::Now);
        let Some(next) = next else { return false };
        let before_end = self.written as u64;
        self.segment = next;
        self.written = 0;
        self.synced = 0;
        header::encode(&mut self.buf, self.segment.number, before_end, &self.hard);
        true
    }
}
