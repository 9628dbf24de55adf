//! Raft groups of a node: one shared write-ahead log, a proposer for each group, and the state machines under them.
//! Used by the broker. It knows no socket: what it needs of other nodes is a trait.

mod budget;
pub mod checkpoint;
pub mod cluster;
pub mod disk;
pub mod floor;
pub mod group;
pub mod leadership;
pub mod log_store;
pub mod machine;
pub mod members;
pub mod network;
pub mod placement;
pub mod positions;
pub mod proposer;
pub mod quorum;
pub mod record;
mod repair;
pub mod snapshot;
pub mod state_machine;
pub mod storage;
mod succession;
pub mod time;
pub mod types;
pub mod wal;
mod wire;
