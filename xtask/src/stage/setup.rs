//! Stage `setup`: makes sure that everything the tests run is there, and installs what is missing.
//! Called first. As root it installs Debian's packages, else it says which; it never starts or stops a service.

mod debian;
mod firmware;
mod helm;
mod javascript;
mod python;
mod toolchain;

use anyhow::Result;

use crate::gate::Gate;
use crate::report::Outcome;

/// What is still missing afterwards is left out, and a failure where nothing may be missing.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    std::fs::create_dir_all(gate.tools())?;
    let mut outcome = Outcome::default();
    let steps =
        [toolchain::check, debian::check, firmware::check, helm::check, python::check, javascript::check];
    for step in steps {
        step(gate, &mut outcome)?;
    }
    Ok(outcome)
}

/// Notes that something is there, or what is missing.
fn note(outcome: &mut Outcome, there: bool, missing: &str) {
    if there {
        outcome.passed += 1;
    } else {
        outcome.skipped.push(missing.to_owned());
    }
}
