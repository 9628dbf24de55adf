//! Stage `broker`: builds `quelea` in the profile `gate`, for the end-to-end tests: as it ships, and with failpoints.
//! `QUELEA_BIN` names another binary to test instead. Never runs it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::gate::Gate;
use crate::report::Outcome;

/// Optimised, built quickly, with debug assertions: see `Cargo.toml`.
const PROFILE: &str = "gate";

/// The binary that the end-to-end tests run.
pub(crate) fn path(gate: &Gate) -> PathBuf {
    match std::env::var_os("QUELEA_BIN") {
        Some(binary) => gate.root.join(binary),
        None => gate.target.join(PROFILE).join("quelea"),
    }
}

/// Where the binary with failpoints is put: beside the other one, where the tests look for it.
fn failpoints(gate: &Gate) -> PathBuf {
    gate.target.join(PROFILE).join("quelea-failpoints")
}

/// Builds both, unless the environment names one.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    if std::env::var_os("QUELEA_BIN").is_none() {
        // First the one that is moved away: cargo gives both the same name. What they share is built once.
        let built = build(gate, &["--features", "failpoints"])?;
        outcome.add(built, "the broker does not build with failpoints");
        if built {
            fs::rename(path(gate), failpoints(gate)).context("cannot move the binary with failpoints")?;
        }
    }
    ordinary(gate, &mut outcome)?;
    Ok(outcome)
}

/// Builds the one that ships, unless the environment names one.
pub(crate) fn ordinary(gate: &Gate, outcome: &mut Outcome) -> Result<()> {
    if std::env::var_os("QUELEA_BIN").is_some() {
        let given = path(gate);
        println!("testing {}", given.display());
        outcome.add(given.is_file(), "QUELEA_BIN names no file");
    } else {
        outcome.add(build(gate, &[])?, "the broker does not build");
    }
    Ok(())
}

fn build(gate: &Gate, more: &[&str]) -> Result<bool> {
    let mut command = gate.runner.cargo("build");
    command.args(["--locked", "--package", "broker-node", "--bin", "quelea", "--profile", PROFILE]);
    command.args(more);
    Ok(gate.runner.run(command)?.success())
}
