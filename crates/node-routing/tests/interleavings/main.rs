//! Nodes in one thread, over a network and clocks that follow from a seed: leases, routes, views and fences as they are
//! shipped, around a plain log that is replicated by votes and majorities. Each sequence in which several nodes meet is
//! one test, named by its number; `random` goes through many of them at once. Nothing here is wired to a socket.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may"
)]

mod a;
mod b;
mod check;
mod log;
mod node;
mod random;
mod world;
