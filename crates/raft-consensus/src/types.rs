//! What openraft's types are filled with: one set for the broker's runtime, and one trait that all code of this
//! crate is generic over, so that a simulation brings only another clock and scheduler. Decides nothing.

use std::fmt;

use bytes::Bytes;
use openraft::type_config::RaftTypeConfig;

/// Number of a node within its cluster, never used again after the node's disk was lost.
pub type NodeId = u64;
/// Who leads in which term.
pub type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, NodeId>;
/// What a committed entry keeps of its leader.
pub type CommittedLeaderId = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
/// A vote, as it is stored.
pub type Vote = openraft::impls::Vote<LeaderId>;
/// What an entry says.
pub type Payload = openraft::EntryPayload<Proposal, NodeId, openraft::EmptyNode>;
/// An entry of a group's log.
pub type Entry = openraft::Entry<CommittedLeaderId, Payload>;
/// Place of an entry in its group's log.
pub type LogId = openraft::LogId<CommittedLeaderId>;
/// The members of a group as of a log id.
pub type StoredMembership = openraft::StoredMembership<CommittedLeaderId, NodeId, openraft::EmptyNode>;
/// What a snapshot stands for.
pub type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, NodeId, openraft::EmptyNode>;

/// The commands of one entry: encoded once, and opaque to log, cache and network.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal(pub Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The answer of `apply` to the proposer: that it has happened. What followed from it was done meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied;

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("applied")
    }
}

/// The types of Quelea's groups, on whatever runtime.
pub trait Types:
    RaftTypeConfig<
        D = Proposal,
        R = Applied,
        NodeId = NodeId,
        Node = openraft::EmptyNode,
        Term = u64,
        LeaderId = LeaderId,
        Vote = Vote,
        Payload = Payload,
        Entry = Entry,
    >
{
}

impl<C> Types for C where
    C: RaftTypeConfig<
            D = Proposal,
            R = Applied,
            NodeId = NodeId,
            Node = openraft::EmptyNode,
            Term = u64,
            LeaderId = LeaderId,
            Vote = Vote,
            Payload = Payload,
            Entry = Entry,
        >
{
}

openraft::declare_raft_types!(
    /// The types on the broker's runtime.
    pub TokioTypes:
        D = Proposal,
        R = Applied,
        NodeId = NodeId,
        Node = openraft::EmptyNode,
        AsyncRuntime = openraft::impls::TokioRuntime,
);
