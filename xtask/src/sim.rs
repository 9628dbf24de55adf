//! `cargo xtask sim`: the deterministic simulations under many seeds, or under one again: of consensus and sessions
//! (`crates/raft-consensus/tests/sim`), and of leases, routes and fences (`crates/node-routing/tests/interleavings`).
//! Called by `main`. What they assert is there.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::gate;
use crate::numbers;
use crate::runner::Runner;

/// A run that takes longer is ended and has failed.
const MINUTES_MAX: u64 = 600;

/// Seeds that are tried where no number is given.
const SEEDS: u64 = 1_000;

/// Tries the seeds; `Ok(false)` when a promise was broken under one of them, which is then named.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    let [seeds, seed] = numbers::read(arguments, ["--seeds", "--seed"])?;
    let (seeds, seed) = (seeds.unwrap_or(SEEDS), seed.unwrap_or(0));
    let runner = Runner::new(&gate::root()?, Instant::now() + Duration::from_secs(MINUTES_MAX * 60))?;
    let mut command = runner.cargo("test");
    // Optimised, and with the checks of debug builds in it.
    command.args(["--locked", "--profile", "gate", "--no-fail-fast"]);
    command.args(["--package", "raft-consensus", "--test", "sim"]);
    command.args(["--package", "node-routing", "--test", "interleavings"]);
    command.env("QUELEA_SIM_SEEDS", seeds.to_string()).env("QUELEA_SIM_SEED", seed.to_string());
    // Mutants have seeds of their own.
    command.args(["--", "--nocapture", "--skip", "mutants::"]);
    Ok(runner.run(command)?.success())
}
