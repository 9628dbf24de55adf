//! `cargo xtask chaos`: the rounds of kill -9 under load of the end-to-end tests, many of them.
//! Called by `main`. The rounds themselves, and what counts as one, are in `tests/durability`.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::gate::{self, Gate};
use crate::numbers;
use crate::report::Outcome;
use crate::runner::Runner;
use crate::scratch::Scratch;
use crate::stage::{broker, cargo_test, e2e};

/// A run that takes longer is ended and has failed.
const MINUTES_MAX: u64 = 600;
/// The test that goes through the rounds.
const TEST: &str = "nothing_acknowledged_is_lost_by_kill_9_under_load";

/// Rounds where no number is given.
const ROUNDS: u64 = 100;

/// Runs the rounds; `Ok(false)` when one has failed.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    // Without a seed each round draws its own, and prints it.
    let [rounds, seed] = numbers::read(arguments, ["--rounds", "--seed"])?;
    let rounds = rounds.unwrap_or(ROUNDS);
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
