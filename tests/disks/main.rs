//! What a node does about its disk: damaged, lost and stale files, two nodes on one directory, power cuts, failing
//! syncs, a full disk. Run by `cargo xtask test`. No test asserts speed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

mod at_rest;
mod damage;
mod filled;
mod full;
mod interval;
mod load;
mod log_file;
mod mounted;
mod paged;
mod power;
mod shim;
mod syncs;
mod two_nodes;
