//! A leader's word to the replica that is to lead after it, and the answer to it.

use openraft::raft::{TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse};

use super::{proto, read_leaders_vote, read_vote};
use crate::record::{self, RecordError, malformed};
use crate::types::Types;

const KIND: &str = "transfer of leadership";

pub(super) fn write<C: Types>(request: &TransferLeaderRequest<C>) -> proto::TransferLeader {
    proto::TransferLeader {
        from: Some(record::vote(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().copied().map(record::log_id),
    }
}

pub(super) fn read<C: Types>(
    request: proto::TransferLeader,
) -> Result<TransferLeaderRequest<C>, RecordError> {
    let last = request.last.map(record::read_log_id).transpose()?;
    Ok(TransferLeaderRequest::new(read_leaders_vote(request.from, KIND)?, request.to, last))
}

pub(super) fn write_done<C: Types>(done: &TransferLeaderResponse<C>) -> proto::TransferDone {
    use proto::transfer_done::Outcome;
    let outcome = match done {
        Ok(()) => Outcome::Accepted(proto::Blank {}),
        Err(TransferLeaderError::VoteChanged { actual, .. }) => Outcome::VoteChanged(record::vote(actual)),
        Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
            Outcome::Unflushed(proto::Unflushed { actual: actual.map(record::log_id) })
        }
    };
    proto::TransferDone { outcome: Some(outcome) }
}

/// What was expected is the request's to say, and no more than a word in a log line.
pub(super) fn read_done<C: Types>(
    done: proto::TransferDone,
) -> Result<TransferLeaderResponse<C>, RecordError> {
    use proto::transfer_done::Outcome;
    let kind = "answer to a transfer of leadership";
    Ok(match done.outcome.ok_or_else(|| malformed(kind, "it has no outcome"))? {
        Outcome::Accepted(_) => Ok(()),
        Outcome::VoteChanged(vote) => {
            let actual = read_vote(Some(vote), kind)?;
            Err(TransferLeaderError::VoteChanged { expected: actual, actual })
        }
        Outcome::Unflushed(unflushed) => {
            let actual = unflushed.actual.map(record::read_log_id).transpose()?;
            Err(TransferLeaderError::LogNotFlushed { expected: None, actual })
        }
    })
}
