//! Stage `sensor`: the firmware in `crates/esp32-sensor`, a workspace of its own: its lints and tests, and the devices that the
//! end-to-end tests run: a process of this machine, and an image for an emulator where there is a toolchain for it. It says
//! what it leaves out. Never installs anything: that is the setup's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::cargo_test;
use crate::gate::Gate;
use crate::report::Outcome;
use crate::runner::Show;
use crate::tidy;

/// The firmware's folder.
const FOLDER: &str = "crates/esp32-sensor";
/// The emulated board's processor.
const TARGET: &str = "riscv32imac-unknown-none-elf";

/// What it is built and run with; the library's source has no program.
const NEEDED: [&str; 5] = [
    "/usr/bin/rustc",
    "/usr/bin/cargo",
    "/usr/lib/rustlib/src/rust/library/core/Cargo.toml",
    "ld.lld-22",
    "qemu-system-riscv32",
];
/// The firmware's `rust-version`.
const MINOR_MIN: u32 = 95;

/// The device as a process of this machine.
pub(crate) fn host_device(gate: &Gate) -> PathBuf {
    gate.target.join("sensor/debug/sensor-host")
}

/// The device's image for the emulator.
pub(crate) fn image(gate: &Gate) -> PathBuf {
    emulated_target(gate).join(TARGET).join("release/sensor-qemu-virt")
}

/// Apart from the host's: another compiler builds it.
fn emulated_target(gate: &Gate) -> PathBuf {
    gate.target.join("sensor-rv32")
}

/// Where the end-to-end tests find the devices.
pub(crate) fn environment(gate: &Gate, command: &mut Command) {
    for (name, device) in [("QUELEA_SENSOR", host_device(gate)), ("QUELEA_SENSOR_IMAGE", image(gate))] {
        if device.is_file() {
            command.env(name, device);
        }
    }
}

/// Lints and tests on the host, then the devices.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    let mut outcome = tests(gate)?;
    let mut clippy = host_cargo(gate, "clippy");
    clippy.args(["--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    outcome.add(gate.runner.run(clippy)?.success(), "clippy found something in the firmware");
    let mut docs = host_cargo(gate, "doc");
    docs.args(["--locked", "--workspace", "--no-deps", "--document-private-items"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    outcome.add(gate.runner.run(docs)?.success(), "rustdoc found something in the firmware");
    licences(gate, FOLDER, &mut outcome)?;
    build_host_device(gate, &mut outcome)?;
    match missing(gate) {
        None => build_image(gate, &mut outcome)?,
        Some(missing) => outcome.skipped.push(format!("no emulated device: {missing}")),
    }
    Ok(outcome)
}

/// What a firmware's workspace in `folder` is made of may be given away.
pub(super) fn licences(gate: &Gate, folder: &str, outcome: &mut Outcome) -> Result<()> {
    let found = tidy::licences_apart(&gate.root.join(folder), &gate.root.join(FOLDER))?;
    outcome.add(
        found.is_empty(),
        &format!("licences of {folder} that are not on the list: {}", found.join(", ")),
    );
    Ok(())
}

/// Of the workspace's default members. The host's board is none: it has a clock of its own, and the tests' is another.
fn tests(gate: &Gate) -> Result<Outcome> {
    let mut command = host_cargo(gate, "test");
    command.args(["--locked", "--no-fail-fast"]);
    cargo_test::run(gate, command)
}

/// Builds the device as a process of this machine.
pub(crate) fn build_host_device(gate: &Gate, outcome: &mut Outcome) -> Result<()> {
    let mut command = host_cargo(gate, "build");
    command.args(["--locked", "--package", "board-host"]);
    outcome.add(gate.runner.run(command)?.success(), "the host's device does not build");
    Ok(())
}

/// Builds the image for the emulator, with Debian's toolchain.
pub(crate) fn build_image(gate: &Gate, outcome: &mut Outcome) -> Result<()> {
    let mut command = debian_cargo(gate, &gate.root.join(FOLDER), &emulated_target(gate));
    command.args(["--package", "board-qemu-virt", "--target", TARGET]);
    outcome.add(gate.runner.run(command)?.success(), "the emulated device does not build");
    Ok(())
}

/// What the emulated device cannot be built or run without, if something is.
pub(crate) fn missing(gate: &Gate) -> Option<String> {
    let missing = |program: &&str| gate.runner.find(program).is_none();
    let absent: Vec<&str> = NEEDED.into_iter().filter(missing).collect();
    if !absent.is_empty() {
        return Some(format!("{} missing, see stage `setup`", absent.join(", ")));
    }
    let mut command = gate.runner.command("/usr/bin/rustc");
    command.arg("--version");
    let mut version = String::new();
    let asked = gate.runner.run_with(command, |line| {
        version = line.to_owned();
        Show::No
    });
    // Debian's package `rustc` has the same name, is older, and goes with no source.
    let is_new = asked.is_ok() && minor(&version).is_some_and(|minor| minor >= MINOR_MIN);
    (!is_new).then(|| {
        format!("/usr/bin/rustc is `{version}`, expected 1.{MINOR_MIN} or newer: apt-get install rustc-web")
    })
}

/// The second number of `rustc 1.96.0 (...)`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

fn host_cargo(gate: &Gate, subcommand: &str) -> Command {
    let mut command = gate.runner.cargo(subcommand);
    command.current_dir(gate.root.join(FOLDER)).env("CARGO_TARGET_DIR", gate.target.join("sensor"));
    command
}

/// A release build in `folder` as `ci/debian.toml` says; the caller adds package and target.
pub(crate) fn debian_cargo(gate: &Gate, folder: &Path, target: &Path) -> Command {
    let mut command = gate.runner.command("/usr/bin/cargo");
    command.arg("--config").arg(gate.root.join(FOLDER).join("ci/debian.toml"));
    command.args(["build", "--locked", "--release"]).current_dir(folder);
    // What rustup set for the host's compiler is not for this one.
    for name in ["RUSTUP_TOOLCHAIN", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTC_WRAPPER", "CARGO"] {
        command.env_remove(name);
    }
    command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", target);
    command
}

#[cfg(test)]
mod tests {
    use super::minor;

    #[test]
    fn the_compilers_version_is_read() {
        assert_eq!(minor("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"), Some(96));
        assert_eq!(minor("rustc 1.63.0"), Some(63));
        assert_eq!(minor(""), None);
    }
}
