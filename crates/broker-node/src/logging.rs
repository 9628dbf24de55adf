//! Where log lines go: standard error, as text or as JSON. Set up once, by `cli`.
//! Nothing else in the process touches the subscriber.

use crate::config::{LogFormat, LogSettings};
use std::io::{self, IsTerminal};
use tracing_subscriber::{EnvFilter, fmt};

/// Targets that warn of what clients do, which is no operator's problem, or that tell their own steps; the configured
/// level can name them again.
const QUIET: &str = "rustls=error,openraft=error,sled=warn";

/// Sends all events from now on to standard error, in colour only on a terminal.
///
/// # Errors
/// Where the level makes no sense (the check of the configuration refuses it before), or it was called twice.
pub(crate) fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(format!("{QUIET},{}", settings.level))?;
    let log = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let started = match settings.format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!(error))
}
