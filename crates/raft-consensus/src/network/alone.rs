//! The network of a node without peers: everybody is out of reach. Given to the groups of a single node; it never
//! waits.

use std::future::Future;
use std::io;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, OptionalSend};

use crate::snapshot::{Snapshot, SnapshotData};
use crate::types::{NodeId, Types, Vote};

/// The network of a node without peers: nobody can be reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

fn nobody<C: Types>() -> Unreachable<C> {
    Unreachable::new(&io::Error::new(io::ErrorKind::NotFound, "this node has no peers"))
}

impl<C: Types> RaftNetworkFactory<C> for Alone {
    type Network = Self;

    async fn new_client(&mut self, _target: NodeId, _node: &EmptyNode) -> Self {
        Self
    }
}

impl<C: Types> RaftNetworkV2<C> for Alone {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<C>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        Err(nobody().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<C>,
        _option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        Err(nobody().into())
    }

    async fn pre_vote(
        &mut self,
        _request: VoteRequest<C>,
        _option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        Err(nobody().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        Err(nobody().into())
    }
}
