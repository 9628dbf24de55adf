//! Stage `deny`: `deny.toml`, for those who have cargo-deny: it alone knows of advisories.
//! The tidy stage checks licences and wrappers for everybody. Never installs cargo-deny.

use anyhow::Result;

use crate::gate::Gate;
use crate::report::Outcome;

/// Skipped where cargo-deny is not installed.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    let mut version = gate.runner.cargo("deny");
    version.arg("--version");
    if !gate.runner.succeeds(version) {
        let hint = "cargo-deny is not installed (cargo install cargo-deny)".to_owned();
        return Ok(Outcome { skipped: vec![hint], ..Outcome::default() });
    }
    let mut command = gate.runner.cargo("deny");
    command.args(["--locked", "check"]);
    let status = gate.runner.run(command)?;
    Ok(Outcome::check(status.success(), "cargo deny check found something"))
}
