//! `cargo xtask clustered`: what three nodes do that are one cluster, each a process of this machine that syncs to its disk.
//! Called by `main`. It prints numbers, and never says that one is good enough. Every load bounds its own time.

mod client;
mod rows;
mod trio;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::listing::{self, Row};
use super::options::number;
use crate::gate;
use crate::runner::Runner;
use crate::scratch::Scratch;
use rows::{MEASUREMENTS, Setup};

const MINUTES_MAX: u64 = 90;

/// How much to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    seconds: u64,
    filters: u64,
    trials: usize,
    only: Vec<String>,
    json: bool,
}

/// Runs what is asked for; `Ok(false)` where something could not be measured.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    let options = parse(arguments)?;
    gate::raise_descriptor_limit();
    let root = gate::root()?;
    let target = gate::target_folder(&root);
    let runner = Runner::new(&root, Instant::now() + Duration::from_secs(MINUTES_MAX * 60))?;
    let quelea = super::quelea(&runner, &root, &target)?;
    let disk = Scratch::below(&target)?;
    let folder = disk.path().join("cluster");
    let (mut rows, mut complete) = (Vec::new(), true);
    for measurement in MEASUREMENTS.iter().filter(|measurement| options.wants(measurement.name)) {
        if runner.is_interrupted() {
            bail!("interrupted");
        }
        eprintln!("{}", measurement.name);
        let setup = Setup { quelea: &quelea, folder: &folder, options: &options };
        match (measurement.run)(&setup) {
            Ok(measured) => {
                measured.iter().for_each(|row| eprint!("{}", listing::lines(row)));
                rows.extend(measured);
            }
            Err(error) => {
                complete = false;
                eprintln!("could not be measured: {error:#}");
            }
        }
    }
    print(&rows, arguments, options.json)?;
    Ok(complete)
}

fn print(rows: &[Row], arguments: &[String], json: bool) -> Result<()> {
    if json {
        println!("{}", listing::as_json(rows)?);
    } else {
        println!("{}", listing::markdown(rows, "clustered", arguments));
    }
    Ok(())
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options { seconds: 5, filters: 1_000_000, trials: 20, only: Vec::new(), json: false };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options = Options { seconds: 1, filters: 9_000, trials: 2, ..options },
            "--json" => options.json = true,
            "--seconds" => options.seconds = number(argument, arguments.next(), 240)?,
            "--filters" => options.filters = number(argument, arguments.next(), 3_000_000)?,
            "--trials" => options.trials = usize::try_from(number(argument, arguments.next(), 1_000)?)?,
            "--only" => options.only.push(arguments.next().context("--only needs a row")?.clone()),
            other => bail!(
                "unknown argument `{other}`: expected --quick, --only, --seconds, --filters, --trials or --json"
            ),
        }
    }
    if options.only.iter().any(|only| !MEASUREMENTS.iter().any(|known| known.name.starts_with(only.as_str())))
    {
        let names: Vec<&str> = MEASUREMENTS.iter().map(|known| known.name).collect();
        bail!("--only: expected the beginning of one of {}", names.join(", "));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_options_and_refuses_others() {
        let parsed = |line: &str| parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let options = parsed("--quick --trials 7 --only failover").unwrap();
        assert_eq!((options.seconds, options.filters, options.trials), (1, 9_000, 7));
        assert!(options.wants("failover-lan") && !options.wants("idle"));
        for line in ["--fast", "--only", "--only x", "--trials 0", "--filters x", "--seconds 241"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
