//! Nodes that reach each other over real sockets: groups of raft-consensus that agree, whatever the network between them
//! does; connections that break, fall silent or move; and peers that are hostile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may"
)]

#[allow(dead_code, reason = "some of it only the tests over the network in memory need")]
#[path = "../../../raft-consensus/tests/cluster/cluster.rs"]
mod cluster;
mod groups;
mod hostile;
mod join;
mod lines;
mod links;
mod place;
mod presence;
mod proxy;
mod security;
mod sockets;
