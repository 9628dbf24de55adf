//! Stage `fmt`: the code is formatted as `rustfmt.toml` says. Never changes a file.

use anyhow::Result;

use crate::gate::Gate;
use crate::report::Outcome;

/// The workspace, and those that are apart from it: the fuzz targets and the sensor's firmware.
const MANIFESTS: [&str; 4] = [
    "Cargo.toml",
    "fuzz/Cargo.toml",
    "crates/esp32-sensor/Cargo.toml",
    "crates/esp32-sensor/boards/esp32/Cargo.toml",
];

/// One check for each of them.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for manifest in MANIFESTS {
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
