//! Stage `docs`: the documentation of every package builds, with warnings as errors: its links lead somewhere.
//! Never builds that of dependencies.

use anyhow::Result;

use crate::gate::Gate;
use crate::report::Outcome;

/// Private items too: most of the broker is private, and its docs are for those who read its code.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    let mut command = gate.runner.cargo("doc");
    command.args(["--locked", "--workspace", "--no-deps", "--document-private-items", "--keep-going"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    let status = gate.runner.run(command)?;
    Ok(Outcome::check(status.success(), "rustdoc found something"))
}
