//! Entries on their way to a follower, and what it says to them. Entries follow each other without a hole, and no
//! term is lower than the one before it: what does not is refused here.

use openraft::RaftTypeConfig;
use openraft::entry::RaftEntry;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};

use super::{proto, read_leaders_vote, read_vote};
use crate::record::{self, RecordError, malformed};
use crate::types::{Entry, LogId, Types};

const KIND: &str = "append";

pub(super) fn write<C: Types>(append: &AppendEntriesRequest<C>) -> proto::Append {
    let entry = |entry: &Entry| proto::LogEntry {
        index: entry.log_id.index,
        term: entry.log_id.leader_id.term,
        entry: Some(record::entry(entry)),
    };
    proto::Append {
        vote: Some(record::vote(&append.vote)),
        prev: append.prev_log_id.map(record::log_id),
        entries: append.entries.iter().map(entry).collect(),
        committed: append.leader_commit.map(record::log_id),
    }
}

pub(super) fn read<C: Types>(append: proto::Append) -> Result<AppendEntriesRequest<C>, RecordError> {
    let prev = append.prev.map(record::read_log_id).transpose()?;
    let entries = append.entries.into_iter().map(read_entry).collect::<Result<Vec<_>, _>>()?;
    check_order(prev, &entries)?;
    Ok(AppendEntriesRequest {
        vote: read_leaders_vote(append.vote, KIND)?,
        prev_log_id: prev,
        entries,
        leader_commit: append.committed.map(record::read_log_id).transpose()?,
    })
}

fn read_entry(entry: proto::LogEntry) -> Result<Entry, RecordError> {
    let body = entry.entry.ok_or_else(|| malformed(KIND, "an entry is missing"))?;
    record::read_entry(entry.index, entry.term, body)
}

fn check_order(prev: Option<LogId>, entries: &[Entry]) -> Result<(), RecordError> {
    let mut before = prev;
    for entry in entries {
        let found = entry.log_id();
        let expected = before.map_or(Some(0), |id| id.index.checked_add(1));
        if Some(found.index) != expected || before.is_some_and(|id| found.leader_id < id.leader_id) {
            return Err(malformed(KIND, format!("entry {found} does not follow")));
        }
        before = Some(found);
    }
    Ok(())
}

pub(super) fn write_done<C: RaftTypeConfig + Types>(done: &StreamAppendResult<C>) -> proto::AppendDone {
    use proto::append_done::Outcome;
    let outcome = match done {
        Ok(upto) => Outcome::Matched(proto::Matched { upto: upto.map(record::log_id) }),
        Err(StreamAppendError::Conflict(at)) => Outcome::Conflict(record::log_id(*at)),
        Err(StreamAppendError::HigherVote(vote)) => Outcome::HigherVote(record::vote(vote)),
    };
    proto::AppendDone { outcome: Some(outcome) }
}

pub(super) fn read_done<C: Types>(done: proto::AppendDone) -> Result<StreamAppendResult<C>, RecordError> {
    use proto::append_done::Outcome;
    let kind = "append's answer";
    Ok(match done.outcome.ok_or_else(|| malformed(kind, "it has no outcome"))? {
        Outcome::Matched(matched) => Ok(matched.upto.map(record::read_log_id).transpose()?),
        Outcome::Conflict(at) => Err(StreamAppendError::Conflict(record::read_log_id(at)?)),
        Outcome::HigherVote(vote) => Err(StreamAppendError::HigherVote(read_vote(Some(vote), kind)?)),
    })
}
