//! The closing table of the gate and the line that machines read.
//! Called by the gate once, at the end. It never decides what counts as a failure.

use std::time::Duration;

/// What a stage found.
#[derive(Default, Debug)]
pub(crate) struct Outcome {
    pub(crate) passed: u32,
    /// One line each: what failed.
    pub(crate) failures: Vec<String>,
    /// One line each: what was left out, and why.
    pub(crate) skipped: Vec<String>,
}

impl Outcome {
    /// The outcome of a stage that is one check.
    pub(crate) fn check(passed: bool, what: &str) -> Self {
        let mut outcome = Self::default();
        outcome.add(passed, what);
        outcome
    }

    /// Adds one check; `what` is said when it failed.
    pub(crate) fn add(&mut self, passed: bool, what: &str) {
        if passed {
            self.passed += 1;
        } else {
            self.failures.push(what.to_owned());
        }
    }
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) stage: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
}

/// The whole report, ending in the plain line `N passed, N failed`.
pub(crate) fn render(rows: &[Row], took: Duration) -> String {
    let mut text = String::from("\n");
    for row in rows {
        for failure in &row.outcome.failures {
            text += &format!("FAILED   {:<8} {failure}\n", row.stage);
        }
    }
    for row in rows {
        for skipped in &row.outcome.skipped {
            text += &format!("SKIPPED  {:<8} {skipped}\n", row.stage);
        }
    }
    text += &format!("\n{:<10} {:>7} {:>7} {:>8} {:>8}\n", "stage", "passed", "failed", "skipped", "minutes");
    for row in rows {
        let Outcome { passed, failures, skipped } = &row.outcome;
        text += &line(row.stage, [*passed as usize, failures.len(), skipped.len()], row.took);
    }
    let [passed, failed, skipped] = sums(rows);
    text += &line("all", [passed, failed, skipped], took);
    text += &format!("\n{passed} passed, {failed} failed\n");
    text
}

fn line(name: &str, [passed, failed, skipped]: [usize; 3], took: Duration) -> String {
    format!("{name:<10} {passed:>7} {failed:>7} {skipped:>8} {:>8.1}\n", took.as_secs_f64() / 60.0)
}

fn sums(rows: &[Row]) -> [usize; 3] {
    rows.iter().fold([0; 3], |[passed, failed, skipped], Row { outcome, .. }| {
        [passed + outcome.passed as usize, failed + outcome.failures.len(), skipped + outcome.skipped.len()]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_in_the_line_that_machines_read() {
        let mut outcome = Outcome::check(false, "a::b");
        outcome.passed = 41;
        let rows = [
            Row { stage: "fmt", outcome: Outcome::check(true, ""), took: Duration::from_secs(6) },
            Row { stage: "crates", outcome, took: Duration::from_secs(90) },
        ];
        let text = render(&rows, Duration::from_secs(96));
        assert_eq!(text.lines().last(), Some("42 passed, 1 failed"));
        assert!(text.contains("FAILED   crates   a::b"));
        assert!(text.contains("crates          41       1        0      1.5"), "{text}");
    }
}
