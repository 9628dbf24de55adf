//! Asking for a vote, or whether there would be one, and the answer to it.

use openraft::raft::{VoteRequest, VoteResponse};

use super::{proto, read_vote};
use crate::record::{self, RecordError, malformed};
use crate::types::Types;

const KIND: &str = "vote request";

pub(super) fn write<C: Types>(request: &VoteRequest<C>) -> proto::VoteRequest {
    proto::VoteRequest {
        vote: Some(record::vote(&request.vote)),
        last: request.last_log_id.map(record::log_id),
        transfer: request.leadership_transfer,
    }
}

pub(super) fn read<C: Types>(request: proto::VoteRequest) -> Result<VoteRequest<C>, RecordError> {
    let vote = read_vote(request.vote, KIND)?;
    if vote.committed {
        return Err(malformed(KIND, "its sender is elected already"));
    }
    let mut read = VoteRequest::new(vote, request.last.map(record::read_log_id).transpose()?);
    read.leadership_transfer = request.transfer;
    Ok(read)
}

pub(super) fn write_done<C: Types>(done: &VoteResponse<C>) -> proto::VoteDone {
    proto::VoteDone {
        vote: Some(record::vote(&done.vote)),
        granted: done.vote_granted,
        last: done.last_log_id.map(record::log_id),
    }
}

pub(super) fn read_done<C: Types>(done: proto::VoteDone) -> Result<VoteResponse<C>, RecordError> {
    let vote = read_vote(done.vote, "vote's answer")?;
    Ok(VoteResponse::new(vote, done.last.map(record::read_log_id).transpose()?, done.granted))
}
