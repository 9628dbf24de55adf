//! Several processes that are one cluster: how they come together, that any client finds its session on any node, and what
//! survives the death of nodes. No test asserts speed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

mod access;
mod admin;
mod admin_acts;
mod admin_lists;
mod dev;
mod discovery;
mod drain;
mod example;
mod faults;
mod formation;
mod growing;
mod load;
mod placing;
mod secured;
mod sessions;
mod waiting;

use e2e_tests::{ctl, nodes, stubborn};
