//! Who may connect, and what they may do: logins, rules, and what becomes of both when their files change.
//! Run by `cargo xtask test` against the built broker, a process of its own for each test.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

mod admin;
mod again;
mod bans;
#[path = "../hostile/ca.rs"]
#[allow(dead_code, reason = "some of it only the tests of TLS itself need")]
mod ca;
mod certificates;
mod discovery;
mod fixture;
mod hook;
mod introspection;
mod issuer;
mod jwks;
mod jwt;
mod limits;
mod lists;
mod login;
mod operator;
mod page;
mod passwd;
mod reload;
mod revoke;
mod rules;
mod scram;
mod server;
mod settings;
mod stored;
mod trace;
mod why;
