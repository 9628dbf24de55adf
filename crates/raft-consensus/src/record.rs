//! How Raft's own values are written down (`proto/raft.proto`): votes, log ids, members, and the bodies of entries.
//! Used by the log store and by checkpoints. Reading never panics, whatever the bytes.

use std::collections::BTreeSet;

use bytes::Bytes;
use openraft::{EntryPayload, Membership};
use prost::Message;

use crate::types::{Entry, LeaderId, LogId, NodeId, Payload, Proposal, SnapshotMeta, StoredMembership, Vote};

/// What `build.rs` makes of `proto/raft.proto`.
#[allow(clippy::all, missing_docs, unreachable_pub, reason = "generated")]
pub(crate) mod wire {
    include!(concat!(env!("OUT_DIR"), "/quelea.raft.v1.rs"));
}

/// The version of what this binary writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

/// Bytes that are nothing that this binary writes.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// They are no message of that kind.
    #[error("a {kind} cannot be read: {reason}")]
    Malformed {
        /// Of which kind they should be.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A newer binary wrote them.
    #[error("a {kind} has version {found}, and this binary knows {VERSION}: run the newer binary")]
    Version {
        /// Of which kind.
        kind: &'static str,
        /// Its version.
        found: u32,
    },
}

impl From<RecordError> for std::io::Error {
    fn from(error: RecordError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

pub(crate) fn malformed(kind: &'static str, reason: impl ToString) -> RecordError {
    RecordError::Malformed { kind, reason: reason.to_string() }
}

pub(crate) fn leader(leader: LeaderId) -> wire::Leader {
    wire::Leader { term: leader.term, node: leader.node_id }
}

pub(crate) fn read_leader(leader: Option<wire::Leader>, kind: &'static str) -> Result<LeaderId, RecordError> {
    let leader = leader.ok_or_else(|| malformed(kind, "it names no leader"))?;
    Ok(LeaderId { term: leader.term, node_id: leader.node })
}

pub(crate) fn log_id(id: LogId) -> wire::LogId {
    wire::LogId { leader: Some(leader(id.leader_id)), index: id.index }
}

pub(crate) fn read_log_id(id: wire::LogId) -> Result<LogId, RecordError> {
    Ok(LogId::new(read_leader(id.leader, "log id")?, id.index))
}

fn membership(members: &Membership<NodeId, openraft::EmptyNode>) -> wire::Membership {
    let voters = |config: &BTreeSet<NodeId>| wire::Voters { nodes: config.iter().copied().collect() };
    wire::Membership {
        configs: members.get_joint_config().iter().map(voters).collect(),
        learners: members.learner_ids().collect(),
    }
}

fn read_membership(
    members: wire::Membership,
) -> Result<Membership<NodeId, openraft::EmptyNode>, RecordError> {
    let configs: Vec<BTreeSet<NodeId>> =
        members.configs.into_iter().map(|voters| voters.nodes.into_iter().collect()).collect();
    let nodes: BTreeSet<NodeId> = configs.iter().flatten().copied().chain(members.learners).collect();
    Membership::new(configs, nodes).map_err(|error| malformed("membership", error))
}

/// A log id as bytes.
#[must_use]
pub fn encode_log_id(id: LogId) -> Bytes {
    log_id(id).encode_to_vec().into()
}

/// Reads a log id.
///
/// # Errors
/// The bytes are none.
pub fn decode_log_id(bytes: Bytes) -> Result<LogId, RecordError> {
    read_log_id(wire::LogId::decode(bytes).map_err(|error| malformed("log id", error))?)
}

pub(crate) fn vote(vote: &Vote) -> wire::Vote {
    wire::Vote { leader: Some(leader(vote.leader_id)), committed: vote.committed }
}

pub(crate) fn read_vote(vote: wire::Vote) -> Result<Vote, RecordError> {
    Ok(Vote { leader_id: read_leader(vote.leader, "vote")?, committed: vote.committed })
}

/// A vote as bytes.
#[must_use]
pub fn encode_vote(vote: &Vote) -> Bytes {
    self::vote(vote).encode_to_vec().into()
}

/// Reads a vote.
///
/// # Errors
/// The bytes are none.
pub fn decode_vote(bytes: Bytes) -> Result<Vote, RecordError> {
    read_vote(wire::Vote::decode(bytes).map_err(|error| malformed("vote", error))?)
}

/// An entry without its index and term; a proposal is shared, not copied.
pub(crate) fn entry(entry: &Entry) -> wire::Entry {
    use wire::entry::Payload;
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank(wire::Blank {}),
        EntryPayload::Normal(Proposal(body)) => Payload::Proposal(body.clone()),
        EntryPayload::Membership(members) => Payload::Membership(membership(members)),
    };
    let node = entry.log_id.leader_id.node_id;
    wire::Entry { version: VERSION, node, payload: Some(payload) }
}

/// The body of an entry; its index and term are kept beside it.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Bytes {
    self::entry(entry).encode_to_vec().into()
}

/// Reads the body of the entry at an index, of a term. A proposal shares `body`.
///
/// # Errors
/// The bytes are none, or of a newer version.
pub fn decode_entry(index: u64, term: u64, body: Bytes) -> Result<Entry, RecordError> {
    read_entry(index, term, wire::Entry::decode(body).map_err(|error| malformed("entry", error))?)
}

pub(crate) fn read_entry(index: u64, term: u64, wire: wire::Entry) -> Result<Entry, RecordError> {
    use wire::entry::Payload as Wire;
    if wire.version != VERSION {
        return Err(RecordError::Version { kind: "entry", found: wire.version });
    }
    let payload: Payload = match wire.payload.ok_or_else(|| malformed("entry", "it says nothing"))? {
        Wire::Blank(_) => EntryPayload::Blank,
        Wire::Proposal(body) => EntryPayload::Normal(Proposal(body)),
        Wire::Membership(members) => EntryPayload::Membership(read_membership(members)?),
    };
    Ok(Entry { log_id: LogId::new(LeaderId { term, node_id: wire.node }, index), payload })
}

pub(crate) fn applied(meta: &SnapshotMeta) -> wire::Applied {
    wire::Applied {
        version: VERSION,
        log_id: meta.last_log_id.map(log_id),
        membership_log_id: meta.last_membership.log_id().map(log_id),
        membership: Some(membership(meta.last_membership.membership())),
    }
}

/// As of which entry a checkpoint is.
#[must_use]
pub fn encode_applied(meta: &SnapshotMeta) -> Vec<u8> {
    applied(meta).encode_to_vec()
}

/// Reads as of which entry a checkpoint is.
///
/// # Errors
/// The bytes are none, or of a newer version.
pub fn decode_applied(bytes: &[u8]) -> Result<SnapshotMeta, RecordError> {
    read_applied(wire::Applied::decode(bytes).map_err(|error| malformed("checkpoint's position", error))?)
}

pub(crate) fn read_applied(wire: wire::Applied) -> Result<SnapshotMeta, RecordError> {
    if wire.version != VERSION {
        return Err(RecordError::Version { kind: "checkpoint's position", found: wire.version });
    }
    let members = wire.membership.unwrap_or_default();
    let members = if members.configs.is_empty() { Membership::default() } else { read_membership(members)? };
    let members_at = wire.membership_log_id.map(read_log_id).transpose()?;
    Ok(SnapshotMeta {
        last_log_id: wire.log_id.map(read_log_id).transpose()?,
        last_membership: StoredMembership::new(members_at, members),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, node: u64, index: u64) -> LogId {
        LogId::new(LeaderId { term, node_id: node }, index)
    }

    fn members() -> Membership<NodeId, openraft::EmptyNode> {
        Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])], BTreeSet::from([1, 2, 3, 9]))
            .unwrap()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        assert_eq!(decode_log_id(encode_log_id(id(3, 2, 7))).unwrap(), id(3, 2, 7));
        for vote in [Vote::new(5, 1), Vote::new_committed(6, 2)] {
            assert_eq!(decode_vote(encode_vote(&vote)).unwrap(), vote);
        }
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Proposal(Bytes::from_static(b"commands"))),
            EntryPayload::Membership(members()),
        ] {
            let entry = Entry { log_id: id(3, 2, 7), payload };
            assert_eq!(decode_entry(7, 3, encode_entry(&entry)).unwrap(), entry);
        }
        for meta in [
            SnapshotMeta::default(),
            SnapshotMeta {
                last_log_id: Some(id(4, 1, 99)),
                last_membership: StoredMembership::new(Some(id(1, 1, 0)), members()),
            },
        ] {
            assert_eq!(decode_applied(&encode_applied(&meta)).unwrap(), meta);
        }
    }

    #[test]
    fn a_newer_version_is_named_and_bad_bytes_are_refused() {
        let newer =
            wire::Entry { version: 2, node: 1, payload: Some(wire::entry::Payload::Blank(wire::Blank {})) };
        let error = decode_entry(1, 1, newer.encode_to_vec().into()).unwrap_err();
        assert!(matches!(error, RecordError::Version { found: 2, .. }), "{error}");
        for bytes in [&b"\xff"[..], b"", b"\x08\x01"] {
            assert!(decode_entry(1, 1, Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
        }
    }
}
