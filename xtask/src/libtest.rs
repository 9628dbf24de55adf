//! Reads what `cargo test` prints: counts, the names of failed cases, and lines that say that something was left out.
//! Called by the stages that run tests. It never judges: that is the stage's.

use crate::runner::Show;

/// What a test prints, at the start of a line, when it leaves something out; the reason follows.
const SKIPPED: &str = "SKIPPED:";

/// What a test prints, at the start of a line, for devices that it emulates; their number follows.
const EMULATED: &str = "EMULATED:";

/// The sums over all test binaries of one `cargo test`.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) ignored: u32,
    /// Names of the cases that failed, in order.
    pub(crate) failures: Vec<String>,
    /// What was left out and why, as the tests said it.
    pub(crate) skipped: Vec<String>,
    /// Devices that the tests emulated.
    pub(crate) emulated: u32,
    /// Between the two lists of what passed: what is printed there is not a result.
    pub(crate) in_successes: bool,
}

impl Tally {
    /// Takes one line. The output of tests that passed is read for what they left out, and not shown.
    pub(crate) fn line(&mut self, line: &str) -> Show {
        let text = plain(line);
        let text = text.trim();
        if let Some(reason) = text.strip_prefix(SKIPPED) {
            self.skipped.push(reason.trim().to_owned());
            return Show::Yes;
        }
        if let Some(count) = text.strip_prefix(EMULATED) {
            self.emulated += count.trim().parse().unwrap_or(0);
        } else if let Some(counts) = text.strip_prefix("test result:") {
            self.in_successes = false;
            self.add(counts);
        } else if text == "failures:" {
            self.in_successes = false;
        } else if text == "successes:" {
            self.in_successes = true;
        } else if let Some(name) = text.strip_prefix("test ").and_then(|t| t.strip_suffix(" ... FAILED"))
            && !self.in_successes
        {
            self.failures.push(name.to_owned());
        }
        if self.in_successes { Show::No } else { Show::Yes }
    }

    /// Adds ` ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s`.
    fn add(&mut self, counts: &str) {
        for part in counts.split(['.', ';']) {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u32>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// The line without colours.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            for escaped in characters.by_ref() {
                if escaped.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> (Tally, Vec<&str>) {
        let mut tally = Tally::default();
        let shown = output.lines().filter(|line| tally.line(line) == Show::Yes).collect();
        (tally, shown)
    }

    #[test]
    fn counts_are_summed_over_binaries() {
        let (tally, _) = tally(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s\n\
             test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s\n",
        );
        assert_eq!((tally.passed, tally.failed, tally.ignored), (15, 2, 1));
    }

    #[test]
    fn failed_cases_are_named_also_in_colour() {
        let (tally, _) = tally("test a::b ... \u{1b}[31mFAILED\u{1b}[0m\ntest c ... ok\n");
        assert_eq!(tally.failures, ["a::b"]);
    }

    #[test]
    fn output_of_passed_tests_is_read_but_not_shown() {
        let (tally, shown) = tally(
            "test a ... ok\n\nsuccesses:\n\n---- a stdout ----\nchatter\nSKIPPED: no chromium here\n\nsuccesses:\n    a\n\
             \ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        assert_eq!(tally.skipped, ["no chromium here"]);
        assert_eq!(tally.passed, 1);
        assert!(!shown.contains(&"chatter"));
        assert!(shown.contains(&"SKIPPED: no chromium here"));
    }

    #[test]
    fn emulated_devices_are_summed() {
        let (tally, _) = tally("successes:\n\n---- a stdout ----\nEMULATED: 1\nEMULATED: 20\n");
        assert_eq!(tally.emulated, 21);
    }

    #[test]
    fn output_of_failed_tests_is_shown() {
        let (_, shown) = tally("successes:\n    a\n\nfailures:\n\n---- b stdout ----\nwhy it failed\n");
        assert!(shown.contains(&"why it failed"));
    }
}
