//! `cargo xtask clustered`: what three nodes do that are one cluster, each a process of this machine that syncs to its disk;
//! where asked for, with three of rmqttd beside it. Called by `main`. It prints numbers, and never says that one is good
//! enough. Every load bounds its own time.

mod beside;
mod client;
mod failover;
mod quelea;
mod rmqttd;
mod rows;
mod trio;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::RMQTTD;
use super::options::number;
use crate::gate;
use crate::runner::Runner;
use crate::scratch::Scratch;
use beside::Report;
use rows::{MEASUREMENTS, Setup};
use trio::{Broker, Kind};

const MINUTES_MAX: u64 = 150;

/// How much to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    seconds: u64,
    filters: u64,
    trials: usize,
    only: Vec<String>,
    /// With rmqttd.
    beside: bool,
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
    let mut brokers = vec![Broker { kind: Kind::Quelea, binary: quelea.clone() }];
    if options.beside {
        let binary = RMQTTD.binary(&runner, &target).context("without rmqttd")?;
        brokers.push(Broker { kind: Kind::Rmqttd, binary });
    }
    let disk = Scratch::below(&target)?;
    let folder = disk.path().join("cluster");
    let mut reports: Vec<_> = brokers.iter().map(|broker| Report::new(broker.kind)).collect();
    for measurement in MEASUREMENTS.iter().filter(|measurement| options.wants(measurement.name)) {
        let brokers = brokers.iter().zip(&mut reports).filter(|(broker, _)| measurement.is_for(broker.kind));
        for (broker, report) in brokers {
            if runner.is_interrupted() {
                bail!("interrupted");
            }
            eprintln!("{}: {}", measurement.name, broker.kind.name());
            let setup = Setup { broker, quelea: &quelea, folder: &folder, options: &options };
            if let Err(error) = (measurement.run)(&setup, report) {
                report.fail(measurement.name, &error);
            }
        }
    }
    if options.json {
        println!("{}", beside::as_json(&reports)?);
    } else {
        println!("{}", beside::markdown(&reports, arguments));
    }
    Ok(reports.first().is_some_and(|quelea| quelea.failed.is_empty()))
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options =
        Options { seconds: 5, filters: 1_000_000, trials: 20, only: Vec::new(), beside: false, json: false };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options = Options { seconds: 1, filters: 9_000, trials: 2, ..options },
            "--json" => options.json = true,
            "--seconds" => options.seconds = number(argument, arguments.next(), 240)?,
            "--filters" => options.filters = number(argument, arguments.next(), 3_000_000)?,
            "--trials" => options.trials = usize::try_from(number(argument, arguments.next(), 1_000)?)?,
            "--beside" => {
                let broker = arguments.next().context("--beside needs a broker")?;
                ensure!(broker == Kind::Rmqttd.name(), "--beside: expected rmqttd, found {broker}");
                options.beside = true;
            }
            "--only" => options.only.push(arguments.next().context("--only needs a row")?.clone()),
            other => bail!(
                "unknown argument `{other}`: expected --quick, --only, --beside, --seconds, --filters, --trials or --json"
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
        let options = parsed("--quick --trials 7 --only failover --beside rmqttd").unwrap();
        assert_eq!((options.seconds, options.filters, options.trials), (1, 9_000, 7));
        assert!(options.wants("failover-lan") && !options.wants("idle"));
        assert!(options.beside && !parsed("").unwrap().beside);
        for line in [
            "--fast",
            "--only",
            "--only x",
            "--trials 0",
            "--filters x",
            "--seconds 241",
            "--beside",
            "--beside x",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
