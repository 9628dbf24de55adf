//! Stage `deny`: `deny.toml`, for those who have cargo-deny: it alone knows of advisories.
//! The tidy stage checks licences and wrappers for everybody. Never installs cargo-deny.

use std::process::Command;

use anyhow::Result;

use crate::gate::Gate;
use crate::report::Outcome;

/// Skipped where cargo-deny is not installed; without its advisories where their database cannot be fetched.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    if !gate.runner.succeeds(deny(gate, &["--version"])) {
        let hint = "cargo-deny is not installed (cargo install cargo-deny --locked)".to_owned();
        return Ok(Outcome { skipped: vec![hint], ..Outcome::default() });
    }
    // Warnings are errors: what deny.toml allows and nobody needs has to go. The wrappers of crates to come may stay.
    let check = ["--locked", "check", "--deny", "warnings", "--allow", "unused-wrapper"];
    let tree = deny(gate, &[&check[..], &["licenses", "bans", "sources"]].concat());
    let mut outcome = Outcome::check(gate.runner.run(tree)?.success(), "cargo deny check found something");
    if gate.runner.run(deny(gate, &["--locked", "fetch", "db"]))?.success() {
        let advisories = deny(gate, &[&check[..], &["advisories"]].concat());
        outcome.add(gate.runner.run(advisories)?.success(), "there are advisories for dependencies");
    } else {
        outcome.skipped.push("advisories: their database could not be fetched".to_owned());
    }
    Ok(outcome)
}

fn deny(gate: &Gate, arguments: &[&str]) -> Command {
    let mut command = gate.runner.cargo("deny");
    command.args(arguments);
    command
}
