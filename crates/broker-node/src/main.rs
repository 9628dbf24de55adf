//! The binary `quelea`: an MQTT broker.
//! Hands over to the command line; does no work itself.

mod bench;
mod cli;
mod config;
mod connection;
mod data_dir;
mod http;
mod listener;
mod logging;
mod node;
mod stop;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
