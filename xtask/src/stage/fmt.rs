//! Stage `fmt`: the code is formatted as `rustfmt.toml` says. Never changes a file.

use anyhow::Result;

use crate::gate::Gate;
use crate::report::Outcome;

/// The workspace, and the fuzz targets, which are a workspace of their own.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        if !gate.root.join(manifest).is_file() {
            continue;
        }
        let mut command = gate.runner.cargo("fmt");
        command.args(["--manifest-path", manifest, "--all", "--check"]);
        let status = gate.runner.run(command)?;
        outcome.add(
            status.success(),
            &format!("not formatted: run `cargo fmt --manifest-path {manifest} --all`"),
        );
    }
    Ok(outcome)
}
