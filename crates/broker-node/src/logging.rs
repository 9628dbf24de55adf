//! Where log lines go: standard error, as text or as JSON. Set up once, by `cli`.
//! Nothing else in the process touches the subscriber.

use crate::config::{LogFormat, LogSettings};
use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
};
use tracing_subscriber::{
    EnvFilter, Registry, fmt, layer::SubscriberExt, registry, reload, util::SubscriberInitExt,
};

/// Targets that warn of what clients do, which is no operator's problem, or that tell their own steps; the configured
/// level can name them again.
const QUIET: &str = "rustls=error,openraft=error,sled=warn";

/// The filter in force, once events are sent somewhere.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Sends all events from now on to standard error, in colour only on a terminal.
///
/// # Errors
/// Where the level makes no sense (the check of the configuration refuses it before), or it was called twice.
pub(crate) fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let (filter, handle) = reload::Layer::new(filter(settings)?);
    let log = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let registry = registry().with(filter);
    match settings.format {
        LogFormat::Text => registry.with(log).try_init(),
        LogFormat::Json => registry.with(log.json()).try_init(),
    }?;
    // It was just checked that this is the first time.
    let _first = FILTER.set(handle);
    Ok(())
}

/// Has another level in force.
///
/// # Errors
/// Where the level makes no sense (the check of the configuration refuses it before).
pub(crate) fn set_level(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = filter(settings)?;
    Ok(FILTER.get().map_or(Ok(()), |handle| handle.reload(filter))?)
}

fn filter(settings: &LogSettings) -> anyhow::Result<EnvFilter> {
    Ok(EnvFilter::builder().parse(format!("{QUIET},{}", settings.level))?)
}
