//! Stage `crates`: unit, property and documentation tests of every package but the end-to-end tests.
//! The bounded run over the fuzz corpus is among them. Never starts a broker process.

use anyhow::Result;

use super::cargo_test;
use crate::gate::Gate;
use crate::report::Outcome;

/// In the dev profile, so that overflow and debug assertions are on.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    let mut command = cargo_test::command(gate);
    command.args(["--workspace", "--exclude", super::e2e::PACKAGE]);
    cargo_test::run(gate, command)
}
