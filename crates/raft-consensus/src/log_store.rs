//! A group's part of the node's log, as openraft wants it. Made by whoever starts a group; adds nothing to
//! [`GroupLog`] but how entries and votes are written down.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{LogIdOptionExt, OptionalSend};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::record;
use crate::types::{Entry, LogId, Types, Vote};
use crate::wal::{GroupLog, LogRecord, WalError};

/// Bytes of entries that replication reads at once, but for one entry that is larger by itself.
const READ_BYTES_MAX: usize = 1 << 20;

/// The log store of one group.
#[derive(Clone, Debug)]
pub struct LogStore {
    log: GroupLog,
}

impl LogStore {
    /// Over a group's part of the log.
    #[must_use]
    pub fn new(log: GroupLog) -> Self {
        Self { log }
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let records = self.log.read(range, bytes_max)?;
        let decode = |LogRecord { index, term, body }| Ok(record::decode_entry(index, term, body)?);
        records.into_iter().map(decode).collect()
    }

    fn purged(&self) -> io::Result<Option<LogId>> {
        Ok(self.log.purged().map(|(_, meta)| record::decode_log_id(meta)).transpose()?)
    }
}

/// The first and the first no more of a range.
fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(first) => *first,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl<C: Types> RaftLogReader<C> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.read(half_open(&range), usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log.vote().map(record::decode_vote).transpose()?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, READ_BYTES_MAX)
    }
}

impl<C: Types> RaftLogStorage<C> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        let purged = self.purged()?;
        let last = match self.log.last() {
            Some((index, _)) => self.read(index..index + 1, 0)?.last().map(RaftEntry::log_id),
            None => None,
        };
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.max(purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, synced) = oneshot::channel();
        self.log.save_vote(record::encode_vote(vote), Box::new(move |result| drop(done.send(result))))?;
        synced.await.map_err(|_| WalError::Closed)??;
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.log.save_committed(record::encode_log_id(committed))?;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.committed().map(record::decode_log_id).transpose()?)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let record = |entry: Entry| LogRecord {
            index: entry.log_id.index,
            term: entry.log_id.leader_id.term,
            body: record::encode_entry(&entry),
        };
        let records: Vec<LogRecord> = entries.into_iter().map(record).collect();
        let callback = Arc::new(Mutex::new(Some(callback)));
        loop {
            self.log.room_for(GroupLog::append_bytes(&records)).await?;
            let callback = Arc::clone(&callback);
            let done = move |result: Result<(), WalError>| {
                if let Some(callback) = callback.lock().take() {
                    callback.io_completed(result.map_err(io::Error::from));
                }
            };
            match self.log.append(records.clone(), Box::new(done)) {
                // Another group was quicker.
                Err(WalError::QueueFull { .. }) => {}
                appended => return Ok(appended?),
            }
        }
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        Ok(self.log.truncate_after(last.index())?)
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        Ok(self.log.purge(upto.index, record::encode_log_id(upto))?)
    }
}
