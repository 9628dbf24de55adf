//! A group's part of the log, as openraft wants it. Made when a group starts; replication and `apply` read through
//! clones. It adds nothing to [`GroupLog`] but how entries and votes are written down, and keeps no state of its own.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{LogIdOptionExt, OptionalSend};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::record;
use crate::types::{Entry, LogId, Types, Vote};
use crate::wal::{Callback, GroupLog, LogRecord, WalError};

/// Bytes of entries that replication and `apply` read at once, but for one entry that is larger by itself.
pub const READ_BYTES_MAX: usize = 1 << 20;

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

    /// Entries from memory where they are all there, else from the disk, without blocking the runtime.
    async fn read<C: Types>(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let cached = self.log.read_cached(range.clone(), bytes_max);
        let records = match cached {
            Some(records) => records,
            None => self.read_disk::<C>(range, bytes_max).await?,
        };
        let decode = |LogRecord { index, term, body }| Ok(record::decode_entry(index, term, body)?);
        records.into_iter().map(decode).collect()
    }

    async fn read_disk<C: Types>(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogRecord>> {
        let (log, wanted) = (self.log.clone(), range.clone());
        match C::spawn_blocking(move || log.read(wanted, bytes_max)).await {
            Ok(records) => Ok(records?),
            // A runtime that simulates has no threads, and its disk nothing to wait for.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(self.log.read(range, bytes_max)?)
            }
            Err(error) => Err(error),
        }
    }

    /// Lets the log go up to a snapshot that is about to be installed, and waits until that is durable: a node that
    /// dies in between has lost its state, and knows it. The other way round it would seem to have lost its log.
    ///
    /// # Errors
    /// What ended the log.
    pub(crate) async fn begin_behind(&self, last: LogId) -> io::Result<()> {
        let meta = record::encode_log_id(last);
        self.ask(meta.len(), || self.log.purge(last.index, meta.clone())).await?;
        self.ask_synced(0, |done| self.log.append(Vec::new(), done)).await
    }

    fn purged(&self) -> io::Result<Option<LogId>> {
        Ok(self.log.purged().map(|(_, meta)| record::decode_log_id(meta)).transpose()?)
    }

    /// Asks the log for something, again and again while others fill the queue faster.
    async fn ask(&self, bytes: usize, ask: impl Fn() -> Result<(), WalError>) -> io::Result<()> {
        loop {
            self.log.room_for(bytes).await?;
            match ask() {
                Err(WalError::QueueFull { .. }) => {}
                asked => return Ok(asked?),
            }
        }
    }

    /// The same, and waits until it is durable.
    async fn ask_synced(
        &self,
        bytes: usize,
        ask: impl Fn(Callback) -> Result<(), WalError>,
    ) -> io::Result<()> {
        let (done, synced) = oneshot::channel();
        let done = Arc::new(Mutex::new(Some(done)));
        let ask = || {
            let done = Arc::clone(&done);
            ask(Box::new(move |result| drop(done.lock().take().map(|done| done.send(result)))))
        };
        self.ask(bytes, ask).await?;
        synced.await.map_err(|_| WalError::Closed)??;
        Ok(())
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
        self.read::<C>(half_open(&range), usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log.vote().map(record::decode_vote).transpose()?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read::<C>(start..end, READ_BYTES_MAX).await
    }

    /// In pieces, so that applying a long log again does not hold all of it in memory.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let pieces = stream::unfold((self.clone(), half_open(&range)), |(store, left)| async move {
            if left.is_empty() {
                return None;
            }
            match store.read::<C>(left.clone(), READ_BYTES_MAX).await {
                Ok(entries) => {
                    let next = entries.last().map_or(left.end, |last| last.log_id.index.saturating_add(1));
                    let entries: Vec<io::Result<Entry>> = entries.into_iter().map(Ok).collect();
                    Some((stream::iter(entries), (store, next..left.end)))
                }
                Err(error) => Some((stream::iter(vec![Err(error)]), (store, left.end..left.end))),
            }
        });
        Box::pin(pieces.flatten())
    }
}

impl<C: Types> RaftLogStorage<C> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        let purged = self.purged()?;
        let last = match self.log.last() {
            Some((index, _)) => self.read::<C>(index..index + 1, 0).await?.last().map(RaftEntry::log_id),
            None => None,
        };
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.max(purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = record::encode_vote(vote);
        self.ask_synced(vote.len(), |done| self.log.save_vote(vote.clone(), done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed else { return Ok(()) };
        let committed = record::encode_log_id(committed);
        self.ask(committed.len(), || self.log.save_committed(committed.clone())).await
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
        let ask = || {
            let callback = Arc::clone(&callback);
            let done = move |result: Result<(), WalError>| {
                if let Some(callback) = callback.lock().take() {
                    callback.io_completed(result.map_err(io::Error::from));
                }
            };
            self.log.append(records.clone(), Box::new(done))
        };
        self.ask(GroupLog::append_bytes(&records), ask).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.ask(0, || self.log.truncate_after(last.index())).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let meta = record::encode_log_id(upto);
        self.ask(meta.len(), || self.log.purge(upto.index, meta.clone())).await
    }
}
