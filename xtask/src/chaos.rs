//! `cargo xtask chaos`: the rounds of kill -9 under load of the end-to-end tests, many of them.
//! Called by `main`. The rounds themselves, and what counts as one, are in `tests/durability`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::gate::{self, Gate};
use crate::report::Outcome;
use crate::runner::Runner;
use crate::scratch::Scratch;
use crate::stage::{broker, cargo_test, e2e};

/// A run that takes longer is ended and has failed.
const MINUTES_MAX: u64 = 600;
/// The test that goes through the rounds.
const TEST: &str = "nothing_acknowledged_is_lost_by_kill_9_under_load";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    rounds: u64,
    /// Of the first round; drawn where it is not given. Each round prints its own.
    seed: Option<u64>,
}

/// Runs the rounds; `Ok(false)` when one has failed.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    let Options { rounds, seed } = parse(arguments)?;
    gate::raise_descriptor_limit();
    let root = gate::root()?;
    let runner = Runner::new(&root, Instant::now() + Duration::from_secs(MINUTES_MAX * 60))?;
    let target = gate::target_folder(&root);
    let scratch = Scratch::new(&target)?;
    let gate = Gate { root, target, require_all: false, filter: None, runner, scratch };
    let mut built = Outcome::default();
    broker::ordinary(&gate, &mut built)?;
    if let Some(failure) = built.failures.first() {
        bail!("{failure}");
    }
    let mut command = cargo_test::command(&gate);
    command.args(["--package", e2e::PACKAGE, "--test", "durability"]);
    cargo_test::end_to_end_environment(&gate, &broker::path(&gate), &mut command);
    command.env("QUELEA_KILL_ROUNDS", rounds.to_string());
    if let Some(seed) = seed {
        command.env("QUELEA_SEED", seed.to_string());
    }
    command.args(["--", "--nocapture", TEST]);
    Ok(gate.runner.run(command)?.success())
}

/// Reads `[--rounds N] [--seed S]`.
fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options { rounds: 100, seed: None };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments.next().with_context(|| format!("{argument} needs a number"))?;
            value.parse::<u64>().with_context(|| format!("{argument}: expected a number, found {value}"))
        };
        match argument.as_str() {
            "--rounds" => options.rounds = number()?,
            "--seed" => options.seed = Some(number()?),
            other => bail!("unknown argument `{other}`: expected --rounds or --seed"),
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
        assert_eq!(parsed("").unwrap(), Options { rounds: 100, seed: None });
        assert_eq!(parsed("--seed 7 --rounds 3").unwrap(), Options { rounds: 3, seed: Some(7) });
        for line in ["--round 3", "--rounds", "--seed x", "3"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
