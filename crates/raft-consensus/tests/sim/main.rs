//! Deterministic simulation: three replicas of a shard, the production log, proposer, network and machine, over a disk,
//! a network and a clock that are simulated. Everything that happens follows from a seed. Each property is a file.
//!
//! `QUELEA_SIM_SEEDS` says how many seeds are tried and `QUELEA_SIM_SEED` which is the first; `cargo xtask sim` sets
//! them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test ends where something is not as it should be"
)]

mod chance;
mod clients;
mod history;
mod home;
mod hosts;
mod replica;
mod run;
mod store;
mod world;

mod acknowledged;
mod agreement;
mod determinism;
mod epochs;
mod exactly_once;
mod liveness;
mod mutants;
mod packet_ids;
mod phantoms;
mod sometimes;
