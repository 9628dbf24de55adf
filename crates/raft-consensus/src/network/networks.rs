//! The way to its other members for each group of a node: made once for the node, by whoever knows whether it has peers.

use std::io;
use std::sync::Arc;

use openraft::network::{NetSnapshot, RaftNetworkFactory};

use super::{Alone, Dispatcher, Network, PeerTransport, SnapshotFiles};
use crate::disk::Disk;
use crate::group::Group;
use crate::machine::Machine;
use crate::snapshot::SnapshotData;
use crate::storage::{Storage, StorageError};
use crate::types::{NodeId, Types};
use crate::wal::GroupId;

/// What gives each group of a node its network.
pub trait Networks<C: Types>: Send + Sync {
    /// The network of one group.
    type Network: RaftNetworkFactory<C, Network: NetSnapshot<C, SnapshotData = SnapshotData>>;

    /// The network of this group.
    fn network(&self, group: GroupId) -> Self::Network;

    /// Sees to it that a group has the checkpoint that it should have, before it is restored; where it was lost, the one
    /// of another of its `members` takes its place. It waits for as long as none of them has one.
    ///
    /// # Errors
    /// What is there cannot be used, or the disk cannot be written.
    fn fetch_missing(
        &self,
        storage: &Storage,
        group: GroupId,
        members: &[NodeId],
    ) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Lets a group that has started be reached by its other members. Blocks for a moment.
    ///
    /// # Errors
    /// What the disk says.
    fn started<M: Machine>(&self, group: &Group<C, M>) -> io::Result<()>;
}

impl<C: Types> Networks<C> for Alone {
    type Network = Self;

    fn network(&self, _group: GroupId) -> Self {
        Self
    }

    /// Nobody else has it: whoever restores it is told what is wrong.
    async fn fetch_missing(&self, _: &Storage, _: GroupId, _: &[NodeId]) -> Result<(), StorageError> {
        Ok(())
    }

    fn started<M: Machine>(&self, _group: &Group<C, M>) -> io::Result<()> {
        Ok(())
    }
}

/// A node that reaches others by a transport, and is reached by its dispatcher.
pub struct Joined<T> {
    /// This node.
    pub node: NodeId,
    /// The way to the others.
    pub transport: Arc<T>,
    /// Where snapshots are put on their way.
    pub disk: Arc<dyn Disk>,
    /// How they are made.
    pub files: Arc<dyn SnapshotFiles>,
    /// The node's receiving end.
    pub dispatcher: Dispatcher,
}

impl<C: Types, T: PeerTransport> Networks<C> for Joined<T> {
    type Network = Network<Arc<T>>;

    fn network(&self, group: GroupId) -> Self::Network {
        let (transport, disk, files) =
            (Arc::clone(&self.transport), Arc::clone(&self.disk), Arc::clone(&self.files));
        Network::new((self.node, group), transport, disk, files)
    }

    async fn fetch_missing(
        &self,
        storage: &Storage,
        group: GroupId,
        members: &[NodeId],
    ) -> Result<(), StorageError> {
        let others: Vec<NodeId> = members.iter().copied().filter(|member| *member != self.node).collect();
        if others.is_empty() {
            // As for a node alone.
            return Ok(());
        }
        let network: Self::Network = Networks::<C>::network(self, group);
        storage.fetch_missing::<C, _>(group, &network, &others).await
    }

    fn started<M: Machine>(&self, group: &Group<C, M>) -> io::Result<()> {
        self.dispatcher.add(group)
    }
}
