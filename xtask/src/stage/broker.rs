//! Stage `broker`: builds `quelea` once, in the profile `gate`, for the end-to-end tests.
//! `QUELEA_BIN` names another binary to test instead. Never runs it.

use std::path::PathBuf;

use anyhow::Result;

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

/// Builds it, unless the environment names one.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    if std::env::var_os("QUELEA_BIN").is_some() {
        let given = path(gate);
        println!("testing {}", given.display());
        return Ok(Outcome::check(given.is_file(), "QUELEA_BIN names no file"));
    }
    let mut command = gate.runner.cargo("build");
    command.args(["--locked", "--package", "broker-node", "--bin", "quelea", "--profile", PROFILE]);
    let status = gate.runner.run(command)?;
    Ok(Outcome::check(status.success(), "the broker does not build"))
}
