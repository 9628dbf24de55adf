//! The sending side: openraft's network of a group, over a [`PeerTransport`]. One client for each target and purpose:
//! replication, heartbeats and snapshots have a connection of their own, and votes go with the heartbeats.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, Stream};
use openraft::entry::RaftEntry;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{
    Backoff, RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential,
};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, OptionalSend};

use super::send::Sending;
use super::{Channel, PeerTransport, SnapshotFiles, TransportError, pipeline};
use crate::disk::Disk;
use crate::snapshot::{Snapshot, SnapshotData};
use crate::types::{NodeId, Types, Vote};
use crate::wal::GroupId;
use crate::wire::{Body, Request, Response};

/// A node that cannot be reached is tried again after this long, then after so much more each time, up to the last.
const BACKOFF_MS: [u64; 5] = [50, 100, 200, 350, 500];

/// What a group's clients share.
pub(super) struct Shared<T> {
    pub(super) node: NodeId,
    pub(super) group: GroupId,
    pub(super) transport: T,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) snapshots: Arc<dyn SnapshotFiles>,
}

/// A group's way to its other members.
pub struct Network<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Network<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: PeerTransport> Network<T> {
    /// For a group on this node. Snapshots that are sent are made as files on `disk` by `snapshots`.
    #[must_use]
    pub fn new(
        (node, group): (NodeId, GroupId),
        transport: T,
        disk: Arc<dyn Disk>,
        snapshots: Arc<dyn SnapshotFiles>,
    ) -> Self {
        Self { shared: Arc::new(Shared { node, group, transport, disk, snapshots }) }
    }

    pub(super) fn shared(&self) -> &Shared<T> {
        &self.shared
    }

    fn client(&self, target: NodeId, channel: Channel) -> Client<T> {
        Client { shared: Arc::clone(&self.shared), target, channel }
    }
}

impl<C: Types, T: PeerTransport> RaftNetworkFactory<C> for Network<T> {
    type Network = Client<T>;

    async fn new_client(&mut self, target: NodeId, _node: &EmptyNode) -> Client<T> {
        self.client(target, Channel::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, _node: &EmptyNode) -> Client<T> {
        self.client(target, Channel::Control)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, _node: &EmptyNode) -> Client<T> {
        self.client(target, Channel::Snapshot)
    }
}

/// One group's way to one node, for one purpose.
pub struct Client<T> {
    shared: Arc<Shared<T>>,
    target: NodeId,
    channel: Channel,
}

impl<T: PeerTransport> Client<T> {
    fn request<C: Types>(&self, body: Body<C>) -> Bytes {
        Request { group: self.shared.group, to: self.target, body }.encode()
    }

    fn errors(&self, action: RPCTypes) -> Errors {
        Errors { node: self.shared.node, target: self.target, action }
    }

    async fn call<C: Types>(
        &self,
        channel: Channel,
        action: RPCTypes,
        body: Body<C>,
        option: &RPCOption,
    ) -> Result<Response<C>, RPCError<C>> {
        let request = self.request(body);
        let answer = self.shared.transport.call(self.target, channel, request, option.soft_ttl()).await;
        Response::decode(answer.map_err(|error| self.errors(action).of(error))?)
            .map_err(|bad| network(&bad).into())
    }
}

/// Says of an error to whom and for what it happened, as openraft wants it.
#[derive(Clone, Copy)]
pub(super) struct Errors {
    node: NodeId,
    target: NodeId,
    action: RPCTypes,
}

impl Errors {
    pub(super) fn timeout<C: Types>(self, timeout: Duration) -> Timeout<C> {
        Timeout { action: self.action, id: self.node, target: self.target, timeout }
    }

    /// Who cannot be reached, or does not want, is left alone for a while.
    pub(super) fn of<C: Types>(self, error: TransportError) -> RPCError<C> {
        match error {
            TransportError::Timeout { within, .. } => self.timeout(within).into(),
            error => Unreachable::new(&error).into(),
        }
    }
}

/// An answer that is none.
pub(super) fn network<C: Types, E: std::error::Error + 'static>(error: &E) -> NetworkError<C> {
    NetworkError::new(error)
}

/// An answer to something that was not asked.
pub(super) fn beside_the_point<C: Types>() -> NetworkError<C> {
    NetworkError::from_string("the answer is one to another question")
}

impl<C: Types, T: PeerTransport> RaftNetworkV2<C> for Client<T> {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        append: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        let last = append.entries.last().map(RaftEntry::log_id).or(append.prev_log_id);
        match self.call(self.channel, RPCTypes::AppendEntries, Body::Append(append), &option).await? {
            Response::Append(Ok(upto)) if upto == last => Ok(AppendEntriesResponse::Success),
            Response::Append(Ok(upto)) => Ok(AppendEntriesResponse::PartialSuccess(upto)),
            Response::Append(Err(StreamAppendError::Conflict(_))) => Ok(AppendEntriesResponse::Conflict),
            Response::Append(Err(StreamAppendError::HigherVote(vote))) => {
                Ok(AppendEntriesResponse::HigherVote(vote))
            }
            _ => Err(beside_the_point().into()),
        }
    }

    /// A stream of its own for entries. A heartbeat is one message and its answer: a call.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<C>, RPCError<C>>>, RPCError<C>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static,
    {
        if self.channel != Channel::Replication {
            return stream_append_sequential(self, input, option);
        }
        let (shared, target) = (Arc::clone(&self.shared), self.target);
        let encode =
            move |append| Request { group: shared.group, to: target, body: Body::Append(append) }.encode();
        let errors = self.errors(RPCTypes::AppendEntries);
        pipeline::open::<C, T, S>((&self.shared.transport, target), input, encode, (errors, option)).boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<C>,
        option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        match self.call(Channel::Control, RPCTypes::Vote, Body::Vote(request), &option).await? {
            Response::Vote(done) => Ok(done),
            _ => Err(beside_the_point().into()),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<C>,
        option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        match self.call(Channel::Control, RPCTypes::Vote, Body::PreVote(request), &option).await? {
            Response::Vote(done) => Ok(done),
            _ => Err(beside_the_point().into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        _snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let errors = self.errors(RPCTypes::InstallSnapshot);
        let sending = Sending::<C, T>::new(&self.shared, self.target, errors);
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            done = sending.run(vote) => done.map(SnapshotResponse::new),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        match self
            .call(Channel::Control, RPCTypes::TransferLeader, Body::TransferLeader(request), &option)
            .await?
        {
            Response::TransferLeader(done) => Ok(done),
            _ => Err(beside_the_point().into()),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let last = BACKOFF_MS.last().copied().unwrap_or_default();
        let waits = BACKOFF_MS.into_iter().chain(std::iter::repeat(last));
        Some(Backoff::new(waits.map(Duration::from_millis)))
    }
}
