//! `cargo xtask sim`: the deterministic simulation of consensus and sessions under many seeds, or under one again.
//! Called by `main`. The simulation itself, and what it asserts, is in `crates/raft-consensus/tests/sim`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::gate;
use crate::runner::Runner;

/// A run that takes longer is ended and has failed.
const MINUTES_MAX: u64 = 600;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    seeds: u64,
    /// The first.
    seed: u64,
}

/// Tries the seeds; `Ok(false)` when a promise was broken under one of them, which is then named.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    let Options { seeds, seed } = parse(arguments)?;
    let runner = Runner::new(&gate::root()?, Instant::now() + Duration::from_secs(MINUTES_MAX * 60))?;
    let mut command = runner.cargo("test");
    // Optimised, and with the checks of debug builds in it.
    command.args(["--locked", "--profile", "gate", "--package", "raft-consensus", "--test", "sim"]);
    command.env("QUELEA_SIM_SEEDS", seeds.to_string()).env("QUELEA_SIM_SEED", seed.to_string());
    // Mutants have seeds of their own.
    command.args(["--", "--nocapture", "--skip", "mutants::"]);
    Ok(runner.run(command)?.success())
}

/// Reads `[--seeds N] [--seed S]`.
fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options { seeds: 1_000, seed: 0 };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments.next().with_context(|| format!("{argument} needs a number"))?;
            value.parse::<u64>().with_context(|| format!("{argument}: expected a number, found {value}"))
        };
        match argument.as_str() {
            "--seeds" => options.seeds = number()?,
            "--seed" => options.seed = number()?,
            other => anyhow::bail!("unknown argument `{other}`: expected --seeds or --seed"),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn reads_its_options_and_refuses_others() {
        assert_eq!(parsed("").unwrap(), Options { seeds: 1_000, seed: 0 });
        assert_eq!(parsed("--seed 7 --seeds 3").unwrap(), Options { seeds: 3, seed: 7 });
        for line in ["--round 3", "--seeds", "--seed x", "3"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
