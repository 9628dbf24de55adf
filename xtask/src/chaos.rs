//! `cargo xtask chaos`: the end-to-end tests of faults for long: rounds of kill -9 under load on one node, and every fault on
//! clusters of three. Called by `main`. What is done, and what counts, is in `tests/durability` and `tests/chaos`.

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
/// The test that goes through the rounds, and how many it is told.
const ROUNDS: Test = Test {
    suite: "durability",
    name: "nothing_acknowledged_is_lost_by_kill_9_under_load",
    variable: "QUELEA_KILL_ROUNDS",
};
/// The tests of clusters, of which one goes on for so many minutes.
const CLUSTERS: Test = Test { suite: "chaos", name: "", variable: "QUELEA_CHAOS_MINUTES" };
/// Where no number is given.
const ROUNDS_DEFAULT: u64 = 100;
const MINUTES_DEFAULT: u64 = 10;

/// A test that goes on for as long as a variable says.
struct Test {
    suite: &'static str,
    /// A part of its name; empty for all tests of the suite.
    name: &'static str,
    variable: &'static str,
}

/// Runs what is given, or both; `Ok(false)` when something has failed.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    // Without a seed each round draws its own, and prints it.
    let [rounds, minutes, seed] = numbers::read(arguments, ["--rounds", "--minutes", "--seed"])?;
    let (rounds, minutes) = match (rounds, minutes) {
        (None, None) => (Some(ROUNDS_DEFAULT), Some(MINUTES_DEFAULT)),
        given => given,
    };
    gate::raise_descriptor_limit();
    let root = gate::root()?;
    let runner = Runner::new(&root, Instant::now() + Duration::from_secs(MINUTES_MAX * 60))?;
    let target = gate::target_folder(&root);
    let scratch = Scratch::new(&target)?;
    let gate = Gate { root, target, require_all: false, filter: None, runner, scratch };
    let mut built = Outcome::default();
    if minutes.is_some() {
        // The faults that are built in have to be found too.
        built = broker::run(&gate)?;
    } else {
        broker::ordinary(&gate, &mut built)?;
    }
    if let Some(failure) = built.failures.first() {
        bail!("{failure}");
    }
    for (test, number) in [(ROUNDS, rounds), (CLUSTERS, minutes)] {
        if let Some(number) = number
            && !run(&gate, &test, (number, seed))?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn run(gate: &Gate, test: &Test, (number, seed): (u64, Option<u64>)) -> Result<bool> {
    let mut command = cargo_test::command(gate);
    command.args(["--package", e2e::PACKAGE, "--test", test.suite]);
    cargo_test::end_to_end_environment(gate, &broker::path(gate), &mut command);
    command.env(test.variable, number.to_string());
    if let Some(seed) = seed {
        command.env("QUELEA_SEED", seed.to_string());
    }
    command.args(["--", "--nocapture", test.name]);
    Ok(gate.runner.run(command)?.success())
}
