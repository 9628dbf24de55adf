//! The other nodes as this one knows them: where they are, and which of their runs live. Kept up to date by the broker,
//! from its configuration and from the cluster group; read by lines, by links and by the server whenever they need
//! it.

use std::collections::BTreeMap;

use raft_consensus::types::NodeId;
use session_store::Incarnation;
use tokio::sync::watch;

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it listens for nodes, as `host:port`. A name is looked up at each attempt to connect.
    pub address: String,
    /// What it is called; empty where that is not known yet.
    pub name: Box<str>,
    /// Runs before this one are dead, and refused.
    pub lowest_live: Incarnation,
}

/// The nodes that are known; this one may be among them and is never dialed.
pub type Peers = BTreeMap<NodeId, Peer>;

/// How they are now, and word of every change.
pub type PeersWatch = watch::Receiver<Peers>;

/// A node whose connections all broke, and that refuses new ones: its process has ended, or somebody makes it look so. Silence alone is never
/// reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Which node.
    pub node: NodeId,
    /// Where nobody listens.
    pub address: String,
}
