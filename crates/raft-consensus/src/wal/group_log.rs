//! A group's handle on the log: append, vote, truncate, purge, read. Used by the log store of each Raft group. Nothing
//! here waits for the disk, but reads of entries that left the cache.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::group::{Group, Place, Slot, Source};
use super::header::META_BYTES_MAX;
use super::queue::{Callback, Item};
use super::record::{self, Content};
use super::wake::Call;
use super::{GroupId, LogRecord, Room, Shared, WalError};

/// How often a read starts again because what it was reading was purged meanwhile.
const READ_ATTEMPTS: usize = 16;

/// One group's part of the log. Clones are the same group; all but one of them should only read.
#[derive(Clone)]
pub struct GroupLog {
    shared: Arc<Shared>,
    group: Arc<Group>,
}

impl std::fmt::Debug for GroupLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupLog({})", self.group.id)
    }
}

impl GroupLog {
    pub(crate) fn new(shared: Arc<Shared>, group: Arc<Group>) -> Self {
        Self { shared, group }
    }

    /// The group's number.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.group.id
    }

    /// Whether everything is synced before it counts.
    pub(crate) fn syncs_first(&self) -> bool {
        self.shared.options.sync_first()
    }

    /// Appends entries; they can be read when this returns. `done` runs when they are durable (see
    /// [`Durability`](super::Durability)). Without entries it runs when all that was asked for before is durable.
    ///
    /// # Errors
    /// [`WalError::Hole`] when the entries do not follow the last one, [`WalError::TooLarge`],
    /// [`WalError::QueueFull`] (see [`Self::room_for`]), or what ended the log. `done` is dropped without a call.
    pub fn append(&self, records: Vec<LogRecord>, done: Callback) -> Result<(), WalError> {
        let mut state = self.group.state.lock();
        let mut expected = state.next();
        let mut bytes = 0;
        for found in &records {
            if let Some(expected) = expected
                && expected != found.index
            {
                return Err(WalError::Hole { group: self.group.id, expected, found: found.index });
            }
            expected = found.index.checked_add(1);
            bytes += self.fits(record::HEAD + record::ENTRY_PREFIX + found.body.len())?;
        }
        if records.is_empty() {
            return self.push(Content::Empty, false, Some(done), Call::Now);
        }
        self.shared.queue.push(bytes, records.len(), Call::Now, |first, items| {
            for (record, ticket) in records.into_iter().zip(first..) {
                state.append(&record, ticket);
                let LogRecord { index, term, body } = record;
                let content = Content::Entry { index, term, body };
                let group = Some(Arc::clone(&self.group));
                items.push(Item { group, content, ticket, sync: false, done: None });
            }
            if let Some(last) = items.last_mut() {
                last.done = Some(done);
            }
        })
    }

    /// Bytes that an append of such bodies takes in the queue, for [`Self::room_for`].
    #[must_use]
    pub fn append_bytes(records: &[LogRecord]) -> usize {
        records.iter().map(|r| record::align(record::HEAD + record::ENTRY_PREFIX + r.body.len())).sum()
    }

    /// Bytes of the largest body that an entry may have: larger ones are [`WalError::TooLarge`].
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        self.shared.options.record_bytes_max() - record::HEAD - record::ENTRY_PREFIX - record::ALIGN
    }

    /// Waits until an append of so many bytes would be taken. The groups share the bound (`queue_bytes_max`), and
    /// somebody else may be quicker: on [`WalError::QueueFull`] wait again.
    ///
    /// # Errors
    /// What ended the log.
    pub async fn room_for(&self, bytes: usize) -> Result<(), WalError> {
        self.shared.queue.room_for(bytes).await
    }

    /// Saves the vote; `done` runs when it is synced, whatever the durability.
    ///
    /// # Errors
    /// As [`Self::append`]; a vote has at most 256 bytes.
    pub fn save_vote(&self, vote: Bytes, done: Callback) -> Result<(), WalError> {
        meta(&vote)?;
        let mut state = self.group.state.lock();
        self.push(Content::Vote(vote.clone()), true, Some(done), Call::Now)?;
        state.vote = Some(vote);
        Ok(())
    }

    /// Saves how far the log is committed. It becomes durable with the next append, or when the log goes quiet.
    ///
    /// # Errors
    /// As [`Self::append`]; at most 256 bytes.
    pub fn save_committed(&self, committed: Bytes) -> Result<(), WalError> {
        meta(&committed)?;
        let mut state = self.group.state.lock();
        self.push(Content::Committed(committed.clone()), false, None, Call::Later)?;
        state.committed = Some(committed);
        Ok(())
    }

    /// Drops the entries after an index, or all of them. It is durable before any later append is.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn truncate_after(&self, last: Option<u64>) -> Result<(), WalError> {
        let from = last.map_or(0, |l| l.saturating_add(1));
        let mut state = self.group.state.lock();
        if state.last().is_none_or(|(index, _)| index < from) {
            return Ok(());
        }
        self.push(Content::Truncate { from }, false, None, Call::Later)?;
        state.truncate(from);
        Ok(())
    }

    /// Drops the entries up to an index, which a checkpoint holds; `meta` is what to remember of the last of them. An
    /// index beyond the end empties the log, which then goes on after it. The space is freed when this is durable: with
    /// the next append, or when the log goes quiet.
    ///
    /// # Errors
    /// As [`Self::append`]; `meta` has at most 256 bytes.
    pub fn purge(&self, index: u64, meta: Bytes) -> Result<(), WalError> {
        self::meta(&meta)?;
        let mut state = self.group.state.lock();
        if state.purged.as_ref().is_some_and(|p| p.0 >= index) {
            return Ok(());
        }
        self.push(Content::Purge { index, meta: meta.clone() }, false, None, Call::Later)?;
        state.purge(index, meta);
        Ok(())
    }

    /// The last entry that can go when a checkpoint is of entry `last`, and something is to be kept behind it for members
    /// that were away; `None` where there is none. While the log is short of room nothing is kept.
    #[must_use]
    pub fn before_margin(&self, last: u64) -> Option<u64> {
        let Shared { options, segments, pinned, .. } = self.shared.as_ref();
        let half = options.log_bytes_max / 2;
        if *segments.room().borrow() == Room::Full || pinned.load(Ordering::Relaxed) > half {
            return Some(last);
        }
        let oldest = segments.next_number().saturating_sub(1 + options.margin_segments());
        self.group.state.lock().before_margin(last, options.margin_bytes(), oldest)
    }

    /// The entries of a range, from the first that the log has, until their bodies hold more than `bytes_max`; at
    /// least one where the log has any of them. As of one moment.
    ///
    /// # Errors
    /// [`WalError::Corrupt`] where an entry's bytes on disk are damaged, [`WalError::Io`].
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogRecord>, WalError> {
        for _ in 0..READ_ATTEMPTS {
            let sources = self.group.state.lock().sources(range.clone(), bytes_max);
            if let Some(records) = self.load(sources)? {
                return Ok(records);
            }
        }
        Ok(Vec::new())
    }

    /// The same if all of it is in memory, and none otherwise: it never waits for the disk.
    #[must_use]
    pub fn read_cached(&self, range: Range<u64>, bytes_max: usize) -> Option<Vec<LogRecord>> {
        let sources = self.group.state.lock().sources(range, bytes_max);
        let in_memory = |source| if let Source::Memory(record) = source { Some(record) } else { None };
        sources.into_iter().map(in_memory).collect()
    }

    /// None where an entry went meanwhile.
    fn load(&self, sources: Vec<Source>) -> Result<Option<Vec<LogRecord>>, WalError> {
        let mut records = Vec::with_capacity(sources.len());
        for source in sources {
            match source {
                Source::Memory(record) => records.push(record),
                Source::Disk(index, slot) => match self.load_one(index, slot) {
                    Ok(record) => records.push(record),
                    // Its segment may be in use for something else by now.
                    Err(_) if self.group.state.lock().slot(index) != Some(slot) => return Ok(None),
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(Some(records))
    }

    fn load_one(&self, index: u64, slot: Slot) -> Result<LogRecord, WalError> {
        let Place::At { segment: number, offset } = slot.place else { return Err(WalError::Closed) };
        let name = super::segment::name(number);
        let corrupt = |what| WalError::Corrupt { file: name.clone(), offset: u64::from(offset), what };
        let segment = self.shared.segments.get(number).ok_or_else(|| corrupt("the segment is gone"))?;
        let mut bytes = vec![0; record::HEAD + record::ENTRY_PREFIX + slot.len as usize];
        segment.file.read_at(&mut bytes, u64::from(offset)).map_err(WalError::io("reading", &name))?;
        let found = record::decode_at(&bytes, number, offset as usize);
        let wanted = |group, i, t| group == self.group.id && i == index && t == slot.term;
        match found.map(|f| (f.group, f.content)) {
            Ok((group, Content::Entry { index: i, term: t, .. })) if wanted(group, i, t) => {
                let body = Bytes::from(bytes).slice(record::HEAD + record::ENTRY_PREFIX..);
                Ok(LogRecord { index, term: slot.term, body })
            }
            Ok(_) => Err(corrupt("another record lies where an entry was written")),
            Err(_) => Err(corrupt("the checksum of an entry does not hold")),
        }
    }

    /// The last saved vote.
    #[must_use]
    pub fn vote(&self) -> Option<Bytes> {
        self.group.state.lock().vote.clone()
    }

    /// The last saved committed position.
    #[must_use]
    pub fn committed(&self) -> Option<Bytes> {
        self.group.state.lock().committed.clone()
    }

    /// Index and term of the last entry.
    #[must_use]
    pub fn last(&self) -> Option<(u64, u64)> {
        self.group.state.lock().last()
    }

    /// The last purged index, and what was to be remembered of it.
    #[must_use]
    pub fn purged(&self) -> Option<(u64, Bytes)> {
        self.group.state.lock().purged.clone()
    }

    /// Bytes of log that cannot be freed before this group is purged, as of the last sync.
    #[must_use]
    pub fn bytes_pinned(&self) -> u64 {
        self.group.pinned.load(Ordering::Relaxed)
    }

    fn fits(&self, len: usize) -> Result<usize, WalError> {
        let bound = self.shared.options.record_bytes_max();
        let found = record::align(len);
        if found > bound { Err(WalError::TooLarge { found, bound }) } else { Ok(found) }
    }

    fn push(
        &self,
        content: Content<Bytes>,
        sync: bool,
        done: Option<Callback>,
        call: Call,
    ) -> Result<(), WalError> {
        let group = Some(Arc::clone(&self.group));
        let bytes = content.record_len();
        self.shared.queue.push(bytes, 1, call, |ticket, items| {
            items.push(Item { group, content, ticket, sync, done });
        })
    }
}

fn meta(bytes: &Bytes) -> Result<(), WalError> {
    let (found, bound) = (bytes.len(), META_BYTES_MAX);
    if found > bound { Err(WalError::TooLarge { found, bound }) } else { Ok(()) }
}
