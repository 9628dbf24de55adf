//! What the stages that run tests have in common: the world the tests see, and how their output becomes an outcome.
//! Called by `crates` and `e2e`. It never retries a failed case.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::gate::Gate;
use crate::libtest::Tally;
use crate::report::Outcome;

/// `cargo test` with data in memory and every failure told; the caller adds the packages.
pub(crate) fn command(gate: &Gate) -> Command {
    let mut command = gate.runner.cargo("test");
    command.args(["--locked", "--no-fail-fast"]).env("TMPDIR", gate.scratch.path());
    command
}

/// The environment by which the end-to-end tests find the broker and the clients that the setup installed.
pub(crate) fn end_to_end_environment(gate: &Gate, broker: &Path, command: &mut Command) {
    command.env("QUELEA_BIN", broker).env("QUELEA_TEST_TOOLS", gate.tools());
}

/// Runs it and counts. `--show-output` is for the lines of passed tests that say what was left out.
pub(crate) fn run(gate: &Gate, mut command: Command) -> Result<Outcome> {
    command.args(["--", "--show-output"]);
    command.args(&gate.filter);
    let mut tally = Tally::default();
    let status = gate.runner.run_with(command, |line| tally.line(line))?;
    if tally.emulated > 0 {
        println!("emulated devices: {}", tally.emulated);
    }
    Ok(judge(tally, status.success(), gate.filter.is_some()))
}

/// A filter leaves cases out on purpose; without one, a stage that ran nothing proves nothing.
fn judge(tally: Tally, succeeded: bool, filtered: bool) -> Outcome {
    let Tally { passed, failed, ignored, mut failures, mut skipped, .. } = tally;
    if !succeeded && failures.is_empty() {
        failures.push("did not build, or a test process died: see above".to_owned());
    }
    for unnamed in failures.len()..failed as usize {
        failures.push(format!("a case whose name was not seen ({unnamed})"));
    }
    if ignored > 0 {
        skipped.push(format!("{ignored} cases are marked #[ignore]"));
    }
    if passed == 0 && failures.is_empty() && !filtered {
        skipped.push("no test was executed".to_owned());
    }
    Outcome { passed, failures, skipped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_executed_is_not_a_success() {
        assert_eq!(judge(Tally::default(), true, false).skipped, ["no test was executed"]);
        assert!(judge(Tally::default(), true, true).skipped.is_empty());
    }

    #[test]
    fn a_build_error_is_a_failure() {
        assert_eq!(judge(Tally::default(), false, false).failures.len(), 1);
    }

    #[test]
    fn ignored_cases_are_left_out() {
        let tally = Tally { passed: 3, ignored: 2, ..Tally::default() };
        let outcome = judge(tally, true, false);
        assert_eq!((outcome.passed, outcome.skipped.len()), (3, 1));
    }
}
