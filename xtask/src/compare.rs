//! `cargo xtask compare`: Quelea beside mosquitto and rumqttd under the same load, in one run.
//! Called by `main`; the rows are in `compare/rows.rs`. It prints ratios, and never says that a number is good enough.

mod broker;
pub(crate) mod clustered;
pub(crate) mod durable;
mod listing;
mod load;
mod measure;
mod options;
mod process;
mod rows;
mod table;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::gate;
use crate::runner::Runner;
use crate::scratch::Scratch;
use broker::{Broker, Kind};
use measure::Measurement;
use options::Options;
use rows::{ROWS, Row};
use table::Table;

/// A comparison that takes longer is ended.
const MINUTES_MAX: u64 = 120;

/// What every measurement can see.
pub(crate) struct Setup {
    /// Where brokers keep what they need for a measurement, in memory.
    scratch: Scratch,
    /// The same on the disk of the target folder, where a sync costs what it costs.
    disk: Scratch,
    /// The binary that is the load generator, and the broker `Kind::Quelea`.
    quelea: PathBuf,
    runner: Runner,
    options: Options,
}

/// Runs the comparison; `Ok(false)` where Quelea could not do a row.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    let options = options::parse(arguments)?;
    gate::raise_descriptor_limit();
    let root = gate::root()?;
    let target = gate::target_folder(&root);
    let runner = Runner::new(&root, Instant::now() + Duration::from_secs(MINUTES_MAX * 60))?;
    let quelea = quelea(&runner, &root, &target)?;
    let brokers = brokers(&quelea, &runner, &target)?;
    let (scratch, disk) = (Scratch::new(&target)?, Scratch::below(&target)?);
    let setup = Setup { scratch, disk, quelea, runner, options };
    let rows: Vec<_> = ROWS.iter().filter(|row| setup.options.wants(row.name)).collect();
    if rows.is_empty() {
        let names = ROWS.map(|row| row.name).join(", ");
        bail!("--only: expected the beginning of one of {names}");
    }
    let mut table = Table::new(&brokers);
    let mut complete = true;
    for round in 1..=setup.options.rounds {
        for row in &rows {
            for broker in brokers.iter().filter(|broker| row.is_for(broker.kind)) {
                setup.check()?;
                eprintln!("round {round} of {}: {}: {}", setup.options.rounds, row.name, broker.kind.name());
                let measured = measure::run(&setup, broker, row);
                complete &= measured.is_ok() || broker.kind != Kind::Quelea;
                note(&mut table, row, broker, measured);
            }
        }
    }
    if setup.options.json {
        println!("{}", table.json()?);
    } else {
        println!("{}", table.markdown(arguments));
    }
    Ok(complete)
}

fn note(table: &mut Table, row: &Row, broker: &Broker, measured: Result<Vec<Measurement>>) {
    match measured {
        Ok(measured) => table.add(row, broker.kind, &measured),
        Err(error) => {
            eprintln!("  {} could not do {}: {error:#}", broker.kind.name(), row.name);
            table.add(row, broker.kind, &[]);
        }
    }
}

impl Setup {
    fn check(&self) -> Result<()> {
        if self.runner.is_interrupted() { bail!("interrupted") } else { Ok(()) }
    }
}

/// The release binary: the one that `QUELEA_BIN` names, or built here.
fn quelea(runner: &Runner, root: &Path, target: &Path) -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("QUELEA_BIN") {
        return Ok(root.join(binary));
    }
    let mut command = runner.cargo("build");
    command.args(["--locked", "--release", "--package", "broker-node", "--bin", "quelea"]);
    if !runner.run(command)?.success() {
        bail!("quelea does not build");
    }
    Ok(target.join("release").join("quelea"))
}

/// The brokers that there are, Quelea first; mosquitto has to be among them, it is what ratios refer to.
fn brokers(quelea: &Path, runner: &Runner, target: &Path) -> Result<Vec<Broker>> {
    let mosquitto = runner
        .find("mosquitto")
        .context("mosquitto is not installed: on Debian `apt-get install mosquitto`, then run this again")?;
    let mut brokers =
        vec![Broker::new(Kind::Quelea, quelea.to_path_buf()), Broker::new(Kind::Mosquitto, mosquitto)];
    match rumqttd(runner, target) {
        Ok(binary) => brokers.push(Broker::new(Kind::Rumqttd, binary)),
        Err(error) => eprintln!("without rumqttd: {error:#}"),
    }
    Ok(brokers)
}

/// `$RUMQTTD`, or the one on the PATH, or one that is installed below the target folder.
fn rumqttd(runner: &Runner, target: &Path) -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("RUMQTTD") {
        return Ok(PathBuf::from(binary));
    }
    if let Some(binary) = runner.find("rumqttd") {
        return Ok(binary);
    }
    let peers = target.join("peers");
    let binary = peers.join("bin").join("rumqttd");
    if !binary.is_file() {
        let mut command = runner.cargo("install");
        // Its own lock file names crates that current compilers refuse.
        command.args(["rumqttd", "--version", "0.20.0", "--root"]).arg(&peers);
        if !runner.run(command)?.success() {
            bail!("it does not install");
        }
    }
    Ok(binary)
}
