//! The parts of the Rust toolchain that the gate runs: rustfmt and clippy. Called by the setup.
//! Never installs a toolchain.

use anyhow::Result;

use crate::gate::Gate;
use crate::report::Outcome;

/// (cargo's subcommand, rustup's component).
const COMPONENTS: [(&str, &str); 2] = [("fmt", "rustfmt"), ("clippy", "clippy")];

pub(super) fn check(gate: &Gate, outcome: &mut Outcome) -> Result<()> {
    for (subcommand, component) in COMPONENTS {
        if !is_there(gate, subcommand) && gate.runner.find("rustup").is_some() {
            let mut command = gate.runner.command("rustup");
            command.args(["component", "add", component]);
            gate.runner.run(command)?;
        }
        let missing = format!("{component} is missing: rustup component add {component}");
        super::note(outcome, is_there(gate, subcommand), &missing);
    }
    Ok(())
}

fn is_there(gate: &Gate, subcommand: &str) -> bool {
    let mut command = gate.runner.cargo(subcommand);
    command.arg("--version");
    gate.runner.succeeds(command)
}
