//! The node's log on a simulated and on a real disk: what survives, what is cut, what is refused (F17 to F24), and
//! openraft's own suite on the log store. Every test makes its own disk.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test ends where something is not as it should be"
)]

mod common;
mod crash;
mod damage;
mod faults;
mod hostile;
mod segments;
mod store;
mod tasks;
mod threads;
