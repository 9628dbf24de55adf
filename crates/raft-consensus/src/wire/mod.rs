//! What replicas say to each other, as bytes (`proto/raft.proto`): one family of messages a file, each with its way
//! there and back. Used by the network's two ends. Reading never panics, whatever the bytes, and lets nothing through
//! that Raft would not say.

mod append;
mod snapshot;
mod transfer;
mod vote;

use bytes::Bytes;
use openraft::RaftTypeConfig;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
    VoteResponse,
};
use prost::Message;

pub(crate) use snapshot::{Chunk, End, Header};

use crate::record::wire as proto;
use crate::record::{self, RecordError, VERSION, malformed};
use crate::types::{NodeId, SnapshotMeta, Types, Vote};
use crate::wal::GroupId;

/// A request to another replica of a group.
// Bound by openraft's trait and not by `Types`, as what follows: rustdoc 1.95 fails on the latter.
#[derive(Debug)]
pub(crate) struct Request<C: RaftTypeConfig> {
    pub(crate) group: GroupId,
    /// Who is meant.
    pub(crate) to: NodeId,
    pub(crate) body: Body<C>,
}

/// What is asked.
#[derive(Debug)]
pub(crate) enum Body<C: RaftTypeConfig> {
    Append(AppendEntriesRequest<C>),
    Vote(VoteRequest<C>),
    PreVote(VoteRequest<C>),
    TransferLeader(TransferLeaderRequest<C>),
    Snapshot(Header),
    Chunk(Chunk),
    End(End),
    /// For the last checkpoint, which comes as an offer, chunks and an end.
    Fetch,
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Response<C: RaftTypeConfig> {
    Append(StreamAppendResult<C>),
    Vote(VoteResponse<C>),
    TransferLeader(TransferLeaderResponse<C>),
    /// So many bytes of a snapshot have arrived.
    Progress(u64),
    /// The snapshot is installed, or too old for it.
    Snapshot(Vote),
    /// What the checkpoint stands for whose bytes follow.
    Offer(SnapshotMeta),
    Chunk(Chunk),
    End(End),
}

/// To whom a request goes, read without the rest of it.
///
/// # Errors
/// The bytes are no request, or of a newer version.
pub(crate) fn address(bytes: &Bytes) -> Result<(GroupId, NodeId), RecordError> {
    let address = proto::Address::decode(bytes.clone()).map_err(|error| malformed("request", error))?;
    if address.version != VERSION {
        return Err(RecordError::Version { kind: "request", found: address.version });
    }
    Ok((GroupId(address.group), address.to))
}

impl<C: Types> Request<C> {
    /// The request as bytes.
    pub(crate) fn encode(&self) -> Bytes {
        use proto::request::Body as Wire;
        let body = match &self.body {
            Body::Append(append) => Wire::Append(append::write(append)),
            Body::Vote(vote) => Wire::Vote(vote::write(vote)),
            Body::PreVote(vote) => Wire::PreVote(vote::write(vote)),
            Body::TransferLeader(transfer) => Wire::TransferLeader(transfer::write(transfer)),
            Body::Snapshot(header) => Wire::Snapshot(header.write()),
            Body::Chunk(chunk) => Wire::Chunk(chunk.write()),
            Body::End(end) => Wire::End(end.write()),
            Body::Fetch => Wire::Fetch(proto::Fetch {}),
        };
        let request = proto::Request { version: VERSION, group: self.group.0, to: self.to, body: Some(body) };
        request.encode_to_vec().into()
    }

    /// Reads a request. Bodies of entries and of chunks share `bytes`.
    ///
    /// # Errors
    /// The bytes are none, or of a newer version.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, RecordError> {
        use proto::request::Body as Wire;
        let (group, to) = address(&bytes)?;
        let request = proto::Request::decode(bytes).map_err(|error| malformed("request", error))?;
        let body = match request.body.ok_or_else(|| malformed("request", "it asks nothing"))? {
            Wire::Append(append) => Body::Append(append::read(append)?),
            Wire::Vote(vote) => Body::Vote(vote::read(vote)?),
            Wire::PreVote(vote) => Body::PreVote(vote::read(vote)?),
            Wire::TransferLeader(transfer) => Body::TransferLeader(transfer::read(transfer)?),
            Wire::Snapshot(header) => Body::Snapshot(Header::read(header)?),
            Wire::Chunk(chunk) => Body::Chunk(Chunk::read(chunk)?),
            Wire::End(end) => Body::End(End::read(end)),
            Wire::Fetch(proto::Fetch {}) => Body::Fetch,
        };
        Ok(Self { group, to, body })
    }
}

impl<C: Types> Response<C> {
    /// The answer as bytes.
    pub(crate) fn encode(&self) -> Bytes {
        use proto::response::Body as Wire;
        let body = match self {
            Self::Append(done) => Wire::Append(append::write_done::<C>(done)),
            Self::Vote(done) => Wire::Vote(vote::write_done(done)),
            Self::TransferLeader(done) => Wire::TransferLeader(transfer::write_done::<C>(done)),
            Self::Progress(received) => Wire::Progress(proto::SnapshotProgress { received: *received }),
            Self::Snapshot(vote) => Wire::Snapshot(proto::SnapshotDone { vote: Some(record::vote(vote)) }),
            Self::Offer(meta) => Wire::Offer(record::applied(meta)),
            Self::Chunk(chunk) => Wire::Chunk(chunk.write()),
            Self::End(end) => Wire::End(end.write()),
        };
        proto::Response { version: VERSION, body: Some(body) }.encode_to_vec().into()
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// The bytes are none, or of a newer version.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, RecordError> {
        use proto::response::Body as Wire;
        let response = proto::Response::decode(bytes).map_err(|error| malformed("response", error))?;
        if response.version != VERSION {
            return Err(RecordError::Version { kind: "response", found: response.version });
        }
        Ok(match response.body.ok_or_else(|| malformed("response", "it answers nothing"))? {
            Wire::Append(done) => Self::Append(append::read_done::<C>(done)?),
            Wire::Vote(done) => Self::Vote(vote::read_done(done)?),
            Wire::TransferLeader(done) => Self::TransferLeader(transfer::read_done::<C>(done)?),
            Wire::Progress(progress) => Self::Progress(progress.received),
            Wire::Snapshot(done) => Self::Snapshot(read_vote(done.vote, "snapshot's answer")?),
            Wire::Offer(meta) => Self::Offer(record::read_applied(meta)?),
            Wire::Chunk(chunk) => Self::Chunk(Chunk::read(chunk)?),
            Wire::End(end) => Self::End(End::read(end)),
        })
    }
}

/// A vote that has to be there.
fn read_vote(vote: Option<proto::Vote>, kind: &'static str) -> Result<Vote, RecordError> {
    record::read_vote(vote.ok_or_else(|| malformed(kind, "it names no vote"))?)
}

/// The vote of a leader, which a quorum gave its own.
fn read_leaders_vote(vote: Option<proto::Vote>, kind: &'static str) -> Result<Vote, RecordError> {
    let vote = read_vote(vote, kind)?;
    if vote.committed { Ok(vote) } else { Err(malformed(kind, "its sender was not elected")) }
}

#[cfg(test)]
mod tests;
