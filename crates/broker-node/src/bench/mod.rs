//! `quelea bench`: a load generator for users and for `cargo xtask compare`.
//! Called by the command line. It is a client: nothing of the broker is used here but the codec.

mod args;
mod conn;
mod connection;
mod control;
mod coordinator;
mod endpoint;
mod pacer;
mod plan;
mod publisher;
mod report;
mod scenario;
mod sequence;
mod stamp;
mod stats;
mod subscriber;
mod wire;
mod worker;

use std::io::Write;

use anyhow::Context;
use clap::error::ErrorKind;

pub(crate) use args::BenchArgs;
use plan::Plan;

/// Runs a load and prints its result on stdout. Arguments without sense end the process with code 2.
/// Not to be called from within a tokio runtime: it makes its own.
///
/// # Errors
/// Where the load could not be run, or a connection failed, or messages above QoS 0 were lost.
pub(crate) fn run(args: BenchArgs) -> anyhow::Result<()> {
    let plan = match Plan::new(args) {
        Ok(plan) => plan,
        Err(refusal) => clap::Error::raw(ErrorKind::ValueValidation, format!("{refusal}\n")).exit(),
    };
    let json = plan.client.json;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.context("cannot start the runtime")?.block_on(coordinator::run(plan))?;
    let text = if json { result.json()? + "\n" } else { result.table() };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write the result")?;
    result.failure().map_or(Ok(()), |failure| Err(anyhow::anyhow!(failure)))
}
