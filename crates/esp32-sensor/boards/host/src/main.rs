//! The device as a process of this machine: `sensor-host [--ca FILE] broker=HOST[:PORT],... [KEY=VALUE]...`.
//! For development and for tests where there is no emulator. Its sensor is simulated; each event is a line on stdout.
#![forbid(unsafe_code)]

mod network;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConfig;
use sensor_core::{Config, Event, Memory, Observer};
use sim_dht::SimulatedDht;

use network::Network;

/// Lines with the milliseconds since the start in front.
struct Lines(Instant);

impl Observer for Lines {
    fn event(&self, event: Event<'_>) {
        let line = format!("[{:>8} ms] {event}\n", self.0.elapsed().as_millis());
        // Whoever reads may have gone: the device goes on.
        let _nobody_reads = std::io::stdout().write_all(line.as_bytes());
    }
}

fn main() -> ExitCode {
    let (ca, words) = match arguments(std::env::args().skip(1).collect()) {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let name = format!("sensor-host-{}", std::process::id());
    let config = match Config::parse(&words, &name) {
        Ok(config) => config,
        Err(error) => return refuse(&error.to_string()),
    };
    let tls = match ca.map(|file| network::trust(&file)).transpose() {
        Ok(tls) => tls,
        Err(error) => return refuse(&error),
    };
    let config = match &tls {
        Some(_) => config,
        None => match config.without_tls() {
            Ok(config) => config,
            Err(error) => return refuse(&format!("{error}, or --ca FILE")),
        },
    };
    match device(&config, tls) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&format!("no runtime: {error}")),
    }
}

/// The file of `--ca`, and all other words.
fn arguments(mut arguments: Vec<String>) -> Result<(Option<String>, String), String> {
    let Some(place) = arguments.iter().position(|argument| argument == "--ca") else {
        return Ok((None, arguments.join(" ")));
    };
    if place + 1 == arguments.len() {
        return Err("--ca needs a file".to_owned());
    }
    let file = arguments.remove(place + 1);
    arguments.remove(place);
    Ok((Some(file), arguments.join(" ")))
}

fn device(config: &Config<'_>, tls: Option<Arc<ClientConfig>>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let lines = Lines(Instant::now());
    let mut memory = Memory::new();
    runtime.block_on(sensor_core::run(config, SimulatedDht::new(), Network::new(tls), &lines, &mut memory));
    Ok(())
}

/// What was wrong, and the status that says that the device never started.
fn refuse(error: &str) -> ExitCode {
    eprintln!("sensor-host: {error}");
    ExitCode::from(2)
}
