//! Snapshots: a group's checkpoint on its way to a replica that lags too far behind for the log. The checkpoint
//! itself is the store's; what openraft holds is only a name for it. Never holds a state in memory.

use std::io;
use std::path::PathBuf;

use openraft::RaftSnapshotBuilder;

use crate::types::{CommittedLeaderId, NodeId, SnapshotMeta, Types};

/// What stands for the data of a snapshot.
#[derive(Clone, Debug)]
pub enum SnapshotData {
    /// The checkpoint in this node's own store, read when it is sent.
    Stored,
    /// A file that came from another node, whole and verified.
    Received(PathBuf),
}

/// A snapshot as openraft handles it.
pub type Snapshot = openraft::storage::Snapshot<CommittedLeaderId, NodeId, openraft::EmptyNode, SnapshotData>;

/// Says that the checkpoint there is can serve as a snapshot: checkpoints are made by their own clock, never by
/// openraft's.
#[derive(Debug)]
pub struct Builder {
    meta: SnapshotMeta,
}

impl Builder {
    pub(crate) fn new(meta: SnapshotMeta) -> Self {
        Self { meta }
    }
}

/// The snapshot that a checkpoint stands for.
pub(crate) fn of(meta: SnapshotMeta) -> Snapshot {
    Snapshot { meta, snapshot: SnapshotData::Stored }
}

impl<C: Types> RaftSnapshotBuilder<C> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        Ok(of(self.meta.clone()))
    }
}
