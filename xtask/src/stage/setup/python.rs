//! The Python client: paho-mqtt in a virtual environment under the target folder. Called by the setup.
//! Never touches the system's or the user's packages.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::gate::Gate;
use crate::report::Outcome;

/// What pip installs when `tests/clients/requirements.txt` does not say.
const REQUIREMENTS: &str = "paho-mqtt==2.1.0\n";

pub(super) fn check(gate: &Gate, outcome: &mut Outcome) -> Result<()> {
    let environment = gate.tools().join("venv");
    let stated = fs::read_to_string(gate.root.join("tests/clients/requirements.txt"));
    let wanted = stated.unwrap_or_else(|_| REQUIREMENTS.to_owned());
    let stamp = environment.join("requirements.txt");
    let is_installed = || fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted);
    if !is_installed() && has_venv(gate) {
        let mut create = gate.runner.command(interpreter(gate));
        create.args(["-m", "venv", "--clear"]).arg(&environment);
        if gate.runner.run(create)?.success() {
            let list = gate.scratch.path().join("requirements.txt");
            fs::write(&list, &wanted)?;
            let mut install = gate.runner.command(environment.join("bin/python"));
            install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&list);
            if gate.runner.run(install)?.success() {
                fs::write(&stamp, &wanted)?;
            }
        }
    }
    let missing = format!("the Python client could not be installed: {}", wanted.trim());
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
