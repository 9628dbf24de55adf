//! The way to its other members for each group of a node: made once for the node, by whoever knows whether it has peers.

use std::io;
use std::sync::Arc;

use openraft::network::{NetSnapshot, RaftNetworkFactory};

use super::{Alone, Dispatcher, Network, PeerTransport, SnapshotFiles};
use crate::disk::Disk;
use crate::group::Group;
use crate::machine::Machine;
use crate::snapshot::SnapshotData;
use crate::types::{NodeId, Types};
use crate::wal::GroupId;

/// What gives each group of a node its network.
pub trait Networks<C: Types>: Send + Sync {
    /// The network of one group.
    type Network: RaftNetworkFactory<C, Network: NetSnapshot<C, SnapshotData = SnapshotData>>;

    /// The network of this group.
    fn network(&self, group: GroupId) -> Self::Network;

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

    fn started<M: Machine>(&self, group: &Group<C, M>) -> io::Result<()> {
        self.dispatcher.add(group)
    }
}
