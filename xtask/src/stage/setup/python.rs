//! What is written in Python: the client paho-mqtt, and esptool, each in a virtual environment under the target folder.
//! Called by the setup. Never touches the system's or the user's packages.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::gate::Gate;
use crate::report::Outcome;

/// An environment, and where what pip installs into it is listed.
struct Environment {
    name: &'static str,
    list: &'static str,
}

const ENVIRONMENTS: [Environment; 2] = [
    Environment { name: "venv", list: "tests/clients/requirements.txt" },
    Environment { name: "esptool", list: "crates/esp32-sensor/ci/requirements.txt" },
];

pub(super) fn check(gate: &Gate, outcome: &mut Outcome) -> Result<()> {
    for environment in &ENVIRONMENTS {
        fill(gate, environment, outcome)?;
    }
    Ok(())
}

fn fill(gate: &Gate, Environment { name, list }: &Environment, outcome: &mut Outcome) -> Result<()> {
    let environment = gate.tools().join(name);
    let list = gate.root.join(list);
    let wanted = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    let stamp = environment.join("requirements.txt");
    let is_installed = || fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted);
    if !is_installed() && has_venv(gate) {
        let mut create = gate.runner.command(interpreter(gate));
        create.args(["-m", "venv", "--clear"]).arg(&environment);
        if gate.runner.run(create)?.success() {
            let mut install = gate.runner.command(environment.join("bin/python"));
            install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&list);
            if gate.runner.run(install)?.success() {
                fs::write(&stamp, &wanted)?;
            }
        }
    }
    let missing = format!("for Python, this could not be installed: {}", wanted.trim());
    super::note(outcome, is_installed(), &missing);
    Ok(())
}

/// Whether there is a Python that makes virtual environments with pip in them.
pub(super) fn has_venv(gate: &Gate) -> bool {
    let mut command = Command::new(interpreter(gate));
    command.args(["-c", "import venv, ensurepip"]);
    gate.runner.succeeds(command)
}

/// The system's own where there is one: it is the one that Debian's python3-venv belongs to.
fn interpreter(gate: &Gate) -> PathBuf {
    let system = PathBuf::from("/usr/bin/python3");
    if system.is_file() { system } else { gate.runner.find("python3").unwrap_or(system) }
}
