//! Stage `e2e`: the package in `tests/`, against the broker's process and with real clients.
//! Never builds the broker: the stage before did.

use anyhow::{Result, bail};

use super::{broker, cargo_test, sensor};
use crate::gate::Gate;
use crate::report::Outcome;

/// The package of the end-to-end tests.
pub(crate) const PACKAGE: &str = "e2e-tests";

/// Cases that run at once: most of them wait for something most of the time.
const THREADS: &str = "8";

/// Fails at once when there is no broker to test.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    let broker = broker::path(gate);
    if !broker.is_file() {
        bail!("there is no broker at {}: see stage `broker`", broker.display());
    }
    let mut command = cargo_test::command(gate);
    command.args(["--package", PACKAGE]);
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        command.env("RUST_TEST_THREADS", THREADS);
    }
    cargo_test::end_to_end_environment(gate, &broker, &mut command);
    sensor::environment(gate, &mut command);
    cargo_test::run(gate, command)
}
