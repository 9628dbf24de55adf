//! Deterministic simulation: three replicas of two shards, the production log, proposer, replication and machine, over a disk,
//! a transport and a clock that are simulated. Everything that happens follows from a seed. Each property is a file.
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
mod leader;
mod relay;
mod repair;
mod replica;
mod run;
mod store_files;
mod trouble;
mod twins;
mod world;

mod acknowledged;
mod agreement;
mod bounds;
mod crash_images;
mod determinism;
mod ended;
mod epochs;
mod exactly_once;
mod expiry;
mod floor;
mod liveness;
mod minority;
mod mutants;
mod order;
mod packet_ids;
mod phantoms;
mod qos2_states;
mod retained;
mod sequences;
mod shared;
mod sometimes;
mod streams;
mod subscriptions;
mod wills;
