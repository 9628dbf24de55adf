//! Three nodes in one process: groups on real logs, a network in memory. What is acknowledged is on a majority's disks,
//! whoever stops, lags or is cut off; and each part of openraft's network that has a default is ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod cluster;
mod failover;
mod losses;
mod members;
mod network;
mod replication;
mod snapshots;
