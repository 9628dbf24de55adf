//! What `cargo xtask compare` is asked for on its command line. Called by `compare` alone.
//! An argument that it does not know is refused, never skipped.

use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long and how often to measure, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Each row is measured this often with each broker; the median counts.
    pub(crate) rounds: usize,
    /// How long a row publishes.
    pub(crate) duration: Duration,
    /// Rows whose name begins with one of these; all where there is none.
    pub(crate) only: Vec<String>,
    pub(crate) json: bool,
}

impl Options {
    pub(crate) fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| row.starts_with(name.as_str()))
    }
}

/// Reads `[--quick] [--rounds N] [--seconds N] [--only ROW]... [--json]`.
pub(crate) fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options { rounds: 3, duration: Duration::from_secs(5), only: Vec::new(), json: false };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => (options.rounds, options.duration) = (1, Duration::from_secs(2)),
            "--json" => options.json = true,
            "--only" => options.only.push(arguments.next().context("--only needs a row")?.clone()),
            "--rounds" => options.rounds = usize::try_from(number(argument, arguments.next(), 100)?)?,
            "--seconds" => options.duration = Duration::from_secs(number(argument, arguments.next(), 600)?),
            other => {
                bail!("unknown argument `{other}`: expected --quick, --rounds, --seconds, --only or --json")
            }
        }
    }
    Ok(options)
}

/// The number that follows an option, 1 to `most`.
pub(crate) fn number(option: &str, value: Option<&String>, most: u64) -> Result<u64> {
    let value = value.with_context(|| format!("{option} needs a number"))?;
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    number.with_context(|| format!("{option}: expected 1 to {most}, found {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn reads_its_options() {
        let options = parsed("--quick --only pairs --rounds 5 --json").unwrap();
        assert_eq!((options.rounds, options.duration), (5, Duration::from_secs(2)));
        assert!(options.json && options.wants("pairs-qos0") && !options.wants("idle"));
        assert!(parsed("").unwrap().wants("idle"));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for line in ["--fast", "--only", "--rounds", "--rounds 0", "--rounds x", "--seconds 601"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
