//! The binary `quelea`: an MQTT broker.
//! Hands over to the command line; does no work itself.

mod access;
mod admin;
mod ballast;
mod bench;
mod cli;
mod clock;
mod cluster;
mod config;
mod connection;
mod counters;
mod ctl;
mod data_dir;
mod dev;
mod drain;
mod failure;
mod fanout;
mod front;
mod groups;
mod http;
mod huge_pages;
mod identity;
mod inbox;
mod latest;
mod lease;
mod limits;
mod listener;
mod live;
mod logging;
mod losses;
mod metrics;
mod node;
mod observe;
mod others;
mod packet;
mod pem;
mod process;
mod readiness;
#[cfg(test)]
mod replicated_tests;
mod roll;
mod routes;
mod session;
mod shard;
mod stop;
mod streams;
mod sys;
#[cfg(test)]
mod testing;
mod trace;
mod traces;
mod worker;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A message is made on one thread and freed on another; this allocator does that without a lock.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    huge_pages::HugePages::start();
    cli::run()
}
