//! `cargo xtask sensor`: `quelea dev` with one sensor, to try, the sensor under emulation where there is an emulator.
//! Called by `main`. Ends both when it is interrupted or the sensor has finished.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::gate::{self, Gate};
use crate::numbers;
use crate::report::Outcome;
use crate::runner::Runner;
use crate::scratch::Scratch;
use crate::stage::{broker, sensor};

/// A run that takes longer is ended.
const HOURS_MAX: u64 = 24;
/// Those of the three nodes, as `quelea dev` chooses them.
const PORTS: [u16; 3] = [1883, 1884, 1885];
/// For a start and for an end of the nodes; `quelea dev` gives up sooner.
const PATIENCE: Duration = Duration::from_secs(150);
const POLL: Duration = Duration::from_millis(50);

/// Starts both; `Ok(false)` when the sensor could not do what it was told.
pub(crate) fn main(arguments: &[String]) -> Result<bool> {
    let [readings] = numbers::read(arguments, ["--readings"])?;
    let root = gate::root()?;
    let runner = Runner::new(&root, Instant::now() + Duration::from_secs(HOURS_MAX * 3_600))?;
    let target = gate::target_folder(&root);
    let scratch = Scratch::new(&target)?;
    let gate = Gate { root, target, require_all: false, filter: None, runner, scratch };
    let emulated = build(&gate)?;
    let _nodes = Nodes::start(&gate)?;
    let [first, .., last] = PORTS;
    println!(
        "\nthe sensor publishes on port {first}; in another terminal: mosquitto_sub -p {last} -t 'ESP32/#' -v\n"
    );
    let mut words = format!("broker={} client_id=sensor", brokers(emulated));
    if let Some(readings) = readings {
        words += &format!(" readings={readings}");
    }
    let status = gate.runner.run(device(&gate, emulated, &words));
    if gate.runner.is_interrupted() {
        return Ok(true);
    }
    Ok(status?.success())
}

/// Builds the broker and a device; whether it is an emulated one.
fn build(gate: &Gate) -> Result<bool> {
    let mut built = Outcome::default();
    broker::ordinary(gate, &mut built)?;
    let missing = sensor::missing(gate);
    match &missing {
        None => sensor::build_image(gate, &mut built)?,
        Some(missing) => {
            println!("{missing}; the sensor is a process of this machine instead");
            sensor::build_host_device(gate, &mut built)?;
        }
    }
    match built.failures.first() {
        Some(failure) => bail!("{failure}"),
        None => Ok(missing.is_none()),
    }
}

/// The sensor's list: under emulation this machine has another address.
fn brokers(emulated: bool) -> String {
    let host = if emulated { "10.0.2.2" } else { "127.0.0.1" };
    PORTS.iter().map(|port| format!("{host}:{port}")).collect::<Vec<_>>().join(",")
}

fn device(gate: &Gate, emulated: bool, words: &str) -> Command {
    if !emulated {
        let mut command = gate.runner.command(sensor::host_device(gate));
        command.args(words.split_whitespace());
        return command;
    }
    let mut command = gate.runner.command("qemu-system-riscv32");
    command.args(["-M", "virt", "-m", "32M", "-smp", "1", "-bios", "none", "-display", "none"]);
    command.args(["-monitor", "none", "-serial", "stdio", "-netdev", "user,id=n0"]);
    command.args(["-device", "virtio-net-device,netdev=n0"]);
    command.arg("-kernel").arg(sensor::image(gate)).args(["-append", words]);
    command
}

/// The process of `quelea dev`. Dropping it ends all nodes in order.
struct Nodes {
    child: Child,
}

impl Nodes {
    /// Waits until all of them serve; their logs are beside their data.
    fn start(gate: &Gate) -> Result<Self> {
        let data = gate.scratch.path().join("sensor");
        if let Some(port) = PORTS.iter().find(|port| is_open(**port)) {
            bail!("something listens on port {port} of this machine already: end it first");
        }
        let mut command = gate.runner.command(broker::path(gate));
        command.arg("dev").arg("--data-dir").arg(data).stdin(Stdio::null()).stdout(Stdio::null());
        let mut nodes = Self { child: command.spawn().context("cannot start `quelea dev`")? };
        nodes.wait(gate)?;
        Ok(nodes)
    }

    fn wait(&mut self, gate: &Gate) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !PORTS.iter().all(|port| is_open(*port)) {
            if let Some(status) = self.child.try_wait()? {
                bail!("`quelea dev` ended with {status}");
            }
            if gate.runner.is_interrupted() || Instant::now() > deadline {
                bail!("the nodes do not serve on {PORTS:?}");
            }
            std::thread::park_timeout(POLL);
        }
        Ok(())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Interrupted at the terminal, it has ended by itself already.
        let _gone = pid.map(|pid| kill_process(pid, Signal::TERM));
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::park_timeout(POLL);
        }
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emulator_has_another_name_for_this_machine() {
        assert_eq!(brokers(true), "10.0.2.2:1883,10.0.2.2:1884,10.0.2.2:1885");
        assert_eq!(brokers(false), "127.0.0.1:1883,127.0.0.1:1884,127.0.0.1:1885");
    }
}
