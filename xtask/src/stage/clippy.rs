//! Stage `clippy`: every target of every package, with warnings as errors. Never compiles anything to run.

use anyhow::Result;

use crate::gate::Gate;
use crate::report::Outcome;

/// The lints are those of the workspace's `Cargo.toml` and `clippy.toml`.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    let mut command = gate.runner.cargo("clippy");
    command.args(["--locked", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"]);
    let status = gate.runner.run(command)?;
    Ok(Outcome::check(status.success(), "clippy found something"))
}
