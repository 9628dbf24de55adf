//! Stage `tidy`: goes through the rules of the module `tidy`. Never changes a file.

use anyhow::Result;

use crate::gate::Gate;
use crate::report::Outcome;
use crate::tidy;

/// One check a rule; each finding is a failure.
pub(crate) fn run(gate: &Gate) -> Result<Outcome> {
    tidy::check(&gate.root)
}
