//! What survives the death of the process: kill -9 under load, at points of the code, and what a session keeps.
//! Run by `cargo xtask test`, and for many rounds by `cargo xtask chaos`. No test asserts speed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

mod example;
mod failpoints;
mod group;
mod kept;
mod load;
mod paged;
mod publisher;
mod rounds;
mod subscriber;

use e2e_tests::{checker, history};
