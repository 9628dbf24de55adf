//! A group's log in memory: where each entry lies, and the bodies of the newest. Changed by `GroupLog` when something
//! is asked for and by the committer when it was written. It does no I/O.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use parking_lot::Mutex;

use super::hard::Hard;
use super::{GroupId, LogRecord, record};

/// A group of the log, shared by its handles and the committer.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) state: Mutex<GroupState>,
    /// Bytes of log that this group keeps from being freed, as of the last sync.
    pub(crate) pinned: AtomicU64,
}

/// Where an entry's record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It waits to be written; its body is in memory.
    Queued { ticket: u64 },
    /// It was written, though maybe not yet synced.
    At { segment: u64, offset: u32 },
}

/// An entry that is to be read from a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) term: u64,
    pub(crate) place: Place,
    /// Bytes of the entry's body.
    pub(crate) len: u32,
}

/// One entry of a read: its body, or where it lies.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Memory(LogRecord),
    Disk(u64, Slot),
}

#[derive(Debug, Default)]
pub(crate) struct GroupState {
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
    pub(crate) purged: Option<(u64, Bytes)>,
    /// Index of the first entry; says nothing where there is none.
    first: u64,
    entries: VecDeque<Slot>,
    /// The bodies of the newest entries, the last of them that of the last entry.
    recent: VecDeque<Bytes>,
    recent_bytes: usize,
}

impl GroupState {
    /// A group of which no entry is known yet.
    pub(crate) fn of(hard: &Hard) -> Self {
        let Hard { vote, committed, purged, .. } = hard.clone();
        Self { vote, committed, purged, ..Self::default() }
    }

    /// Index and term of the last entry.
    pub(crate) fn last(&self) -> Option<(u64, u64)> {
        let slot = self.entries.back()?;
        Some((self.end().saturating_sub(1), slot.term))
    }

    /// The index that the next entry must have; none where the log is empty and nothing was ever purged.
    pub(crate) fn next(&self) -> Option<u64> {
        if self.entries.is_empty() {
            return self.purged.as_ref().map(|p| p.0.saturating_add(1));
        }
        Some(self.end())
    }

    fn end(&self) -> u64 {
        self.first.saturating_add(self.entries.len() as u64)
    }

    /// Adds an entry that waits to be written. Its index must be [`Self::next`].
    pub(crate) fn append(&mut self, record: &LogRecord, ticket: u64) {
        self.push(record.index, record.term, Place::Queued { ticket }, record.body.len());
        self.recent_bytes += record.body.len();
        self.recent.push_back(record.body.clone());
    }

    /// Adds an entry that recovery found.
    pub(crate) fn restore(&mut self, index: u64, slot: Slot) {
        self.push(index, slot.term, slot.place, slot.len as usize);
    }

    fn push(&mut self, index: u64, term: u64, place: Place, len: usize) {
        if self.entries.is_empty() {
            self.first = index;
        }
        self.entries.push_back(Slot { term, place, len: u32::try_from(len).unwrap_or(u32::MAX) });
    }

    /// Says where a waiting entry was written, and lets bodies go that are more than `cache_bytes_max`.
    pub(crate) fn written(&mut self, index: u64, ticket: u64, place: Place, cache_bytes_max: usize) {
        if let Some(slot) = self.slot_mut(index)
            && slot.place == (Place::Queued { ticket })
        {
            slot.place = place;
        }
        while self.recent_bytes > cache_bytes_max {
            let oldest = self.entries.len().saturating_sub(self.recent.len());
            if !matches!(self.entries.get(oldest), Some(Slot { place: Place::At { .. }, .. })) {
                break;
            }
            let Some(body) = self.recent.pop_front() else { break };
            self.recent_bytes -= body.len();
        }
    }

    fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(at)
    }

    /// An entry's place, if the log still has it.
    pub(crate) fn slot(&self, index: u64) -> Option<Slot> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get(at).copied()
    }

    /// Drops the entries from an index on. Returns whether there were any.
    pub(crate) fn truncate(&mut self, from: u64) -> bool {
        let before = self.entries.len();
        while self.end() > from && self.entries.pop_back().is_some() {
            if let Some(body) = self.recent.pop_back() {
                self.recent_bytes -= body.len();
            }
        }
        self.entries.len() < before
    }

    /// Drops the entries up to an index. Returns false where that or more was purged before.
    pub(crate) fn purge(&mut self, index: u64, meta: Bytes) -> bool {
        if self.purged.as_ref().is_some_and(|p| p.0 >= index) {
            return false;
        }
        while self.first <= index && self.entries.pop_front().is_some() {
            self.first = self.first.saturating_add(1);
            if self.recent.len() > self.entries.len()
                && let Some(body) = self.recent.pop_front()
            {
                self.recent_bytes -= body.len();
            }
        }
        self.purged = Some((index, meta));
        true
    }

    /// The entry up to which the log can go if what follows it up to `last` is to be kept, as far as that is no more
    /// than `bytes` and in no segment before `oldest`. `None` where nothing can.
    pub(crate) fn before_margin(&self, last: u64, bytes: u64, oldest: u64) -> Option<u64> {
        let mut left = bytes;
        let mut index = last;
        loop {
            let slot = self.slot(index)?;
            let record = record::HEAD + record::ENTRY_PREFIX + slot.len as usize;
            let rest = left.checked_sub(record as u64);
            let old = matches!(slot.place, Place::At { segment, .. } if segment < oldest);
            match rest {
                Some(rest) if !old => left = rest,
                _ => return Some(index),
            }
            index = index.checked_sub(1)?;
        }
    }

    /// The entries of a range that the log has, from the first of them on, until they hold more than `bytes_max`
    /// (but at least one).
    pub(crate) fn sources(&self, range: Range<u64>, bytes_max: usize) -> Vec<Source> {
        let first = range.start.max(self.first);
        let end = range.end.min(self.end());
        let mut bytes = 0;
        let mut sources = Vec::new();
        for index in first..end {
            let Some(slot) = self.slot(index) else { break };
            bytes += slot.len as usize;
            if bytes > bytes_max && !sources.is_empty() {
                break;
            }
            sources.push(match self.recent_body(index) {
                Some(body) => Source::Memory(LogRecord { index, term: slot.term, body }),
                None => Source::Disk(index, slot),
            });
        }
        sources
    }

    fn recent_body(&self, index: u64) -> Option<Bytes> {
        let first = self.end().saturating_sub(self.recent.len() as u64);
        let at = usize::try_from(index.checked_sub(first)?).ok()?;
        self.recent.get(at).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Place = Place::At { segment: 1, offset: 64 };

    fn record(index: u64) -> LogRecord {
        LogRecord { index, term: 1, body: Bytes::from(vec![u8::try_from(index).unwrap(); 10]) }
    }

    fn with(entries: Range<u64>) -> GroupState {
        let mut state = GroupState::default();
        for index in entries {
            state.append(&record(index), index + 100);
        }
        state
    }

    fn in_memory(sources: &[Source]) -> Vec<bool> {
        sources.iter().map(|s| matches!(s, Source::Memory(_))).collect()
    }

    #[test]
    fn only_written_bodies_leave_the_cache_oldest_first() {
        let mut state = with(5..10);
        state.written(6, 106, AT, 0);
        assert_eq!(in_memory(&state.sources(0..99, 999)), [true; 5], "5 is not written yet");
        state.written(5, 105, AT, 30);
        assert_eq!(in_memory(&state.sources(0..99, 999)), [false, false, true, true, true]);
    }

    #[test]
    fn an_entry_that_was_replaced_meanwhile_keeps_its_own_place() {
        let mut state = with(0..3);
        assert!(state.truncate(1));
        state.append(&record(1), 900);
        state.written(1, 101, AT, 0);
        assert_eq!(state.slot(1).unwrap().place, Place::Queued { ticket: 900 });
        assert_eq!(state.last(), Some((1, 1)));
    }

    #[test]
    fn a_purge_beyond_the_end_empties_the_log_and_says_what_comes_next() {
        let mut state = with(0..3);
        assert!(state.purge(1, Bytes::new()));
        assert_eq!((state.last(), state.recent_bytes), (Some((2, 1)), 10));
        assert!(state.purge(7, Bytes::new()));
        assert!(!state.purge(6, Bytes::new()));
        assert_eq!((state.last(), state.next(), state.recent_bytes), (None, Some(8), 0));
        assert!(!state.truncate(0));
    }

    #[test]
    fn a_margin_is_as_large_as_allowed_and_never_older() {
        let mut state = with(3..9);
        let record = (record::HEAD + record::ENTRY_PREFIX + 10) as u64;
        assert_eq!(state.before_margin(7, 2 * record, 0), Some(5), "6 and 7 stay");
        assert_eq!(state.before_margin(7, 3 * record - 1, 0), Some(5));
        assert_eq!(state.before_margin(7, 0, 0), Some(7));
        assert_eq!(state.before_margin(7, 9 * record, 0), None, "all of it stays");
        for index in 3..7 {
            state.written(index, index + 100, AT, 999);
        }
        assert_eq!(state.before_margin(7, 9 * record, 1), None);
        assert_eq!(state.before_margin(7, 9 * record, 2), Some(6), "what is not written yet is new");
        assert_eq!(state.before_margin(2, record, 0), None, "that is gone already");
        assert_eq!(with(0..3).before_margin(1, 9 * record, 0), None);
    }

    #[test]
    fn a_read_is_bounded_but_never_empty() {
        let state = with(4..9);
        let indexes = |range, max| {
            let sources = state.sources(range, max).into_iter();
            sources.map(|s| if let Source::Memory(r) = s { r.index } else { 0 }).collect::<Vec<_>>()
        };
        assert_eq!(indexes(0..99, 25), [4, 5]);
        assert_eq!(indexes(6..99, 0), [6]);
        assert_eq!(indexes(6..8, 99), [6, 7]);
        assert!(indexes(9..12, 99).is_empty());
    }
}
