//! What this crate needs of the network between nodes, stated towards whoever has sockets: opaque messages to a node,
//! one by one or as a stream. Implemented by the node's links, and in memory for tests. No type of Raft is in it.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::types::NodeId;

/// What a message is about. Each kind has a connection of its own, so that none waits behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Heartbeats, votes, transfers of leadership: small, and late is as good as lost.
    Control,
    /// Entries of the log.
    Replication,
    /// Snapshots.
    Snapshot,
}

/// Why a node that was reached does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It belongs to another cluster.
    #[error("it belongs to another cluster")]
    WrongCluster,
    /// It is not the node that was meant.
    #[error("it is node {found}, not node {expected}")]
    WrongNode {
        /// Who was meant.
        expected: NodeId,
        /// Who was reached.
        found: NodeId,
    },
    /// Its certificate, or that of whoever asked it, is not that of the node which it says to be.
    #[error("the certificate that was shown is not that of node {0:?}")]
    WrongName(String),
    /// It speaks another version of what nodes say to each other.
    #[error("it speaks version {expected} between nodes, not version {found}")]
    WrongVersion {
        /// Its version.
        expected: u32,
        /// That of whoever asked.
        found: u32,
    },
    /// It takes whoever asked for a run of a node that is known to be dead.
    #[error("run {found} of the node that asks is dead, as are all before run {lowest_live}")]
    DeadRun {
        /// Which run asked.
        found: u32,
        /// The lowest one that lives.
        lowest_live: u32,
    },
    /// The message, or its answer, is larger than what nodes take of each other.
    #[error("the message is too large")]
    TooLarge,
    /// It has no such group, or not yet.
    #[error("it has no group {0}")]
    UnknownGroup(u32),
    /// It cannot make anything of the message.
    #[error("it does not understand: {0}")]
    Malformed(String),
    /// What it was sent is damaged, or it could not write it down.
    #[error("it could not take the snapshot: {0}")]
    Snapshot(String),
    /// Its group has failed or was stopped.
    #[error("its group has ended")]
    Ended,
}

/// Why a message was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// There is no connection, or it broke: whether the message arrived is not known.
    #[error("node {to} cannot be reached: {reason}")]
    Unreachable {
        /// Who was meant.
        to: NodeId,
        /// What happened.
        reason: String,
    },
    /// No answer within the deadline: whether the message arrived is not known.
    #[error("node {to} did not answer within {} ms", within.as_millis())]
    Timeout {
        /// Who was meant.
        to: NodeId,
        /// The deadline.
        within: Duration,
    },
    /// It arrived and was refused.
    #[error("node {to} refused: {refusal}")]
    Refused {
        /// Who was asked.
        to: NodeId,
        /// Its reason.
        refusal: Refusal,
    },
}

/// Requests of a stream, in order. It ends when there are no more.
pub type Requests = BoxStream<'static, Bytes>;
/// Answers of a stream, in the order of the requests. The first error is the last item.
pub type Answers = BoxStream<'static, Result<Bytes, TransportError>>;

/// The connections to the other nodes. Whoever implements it sees to it that the node at the other end is the one that
/// was meant and of the same cluster, and dials again after a connection broke.
pub trait PeerTransport: Send + Sync + 'static {
    /// Sends a request and waits for the answer, for as long as is said at most.
    fn call(
        &self,
        to: NodeId,
        channel: Channel,
        request: Bytes,
        within: Duration,
    ) -> impl Future<Output = Result<Bytes, TransportError>> + Send;

    /// Opens a stream, which must be open within the time that is said, and stays so for as long as it is used.
    /// Requests are taken as fast as the connection takes them, and no faster. When the answers are dropped, the
    /// stream ends at both ends; when it breaks, the answers end with an error.
    fn open(
        &self,
        to: NodeId,
        channel: Channel,
        requests: Requests,
        within: Duration,
    ) -> impl Future<Output = Result<Answers, TransportError>> + Send;
}

impl<T: PeerTransport> PeerTransport for std::sync::Arc<T> {
    fn call(
        &self,
        to: NodeId,
        channel: Channel,
        request: Bytes,
        within: Duration,
    ) -> impl Future<Output = Result<Bytes, TransportError>> + Send {
        T::call(self, to, channel, request, within)
    }

    fn open(
        &self,
        to: NodeId,
        channel: Channel,
        requests: Requests,
        within: Duration,
    ) -> impl Future<Output = Result<Answers, TransportError>> + Send {
        T::open(self, to, channel, requests, within)
    }
}
