//! Where log lines go, and which: standard error, as text or as JSON. Set up once, by `cli`; levels change with the configuration,
//! and until the next time that it is read by the word of whoever administers the node. Nothing else touches the subscriber.

use crate::config::{LogFormat, LogSettings};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
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

/// What is logged, by the configuration and by what was said since that was read.
static LEVELS: Mutex<Levels> = Mutex::new(Levels { configured: String::new(), said: BTreeMap::new() });

/// Levels that may be said, and how many targets they may be said for.
const NAMES: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const SAID_MAX: usize = 64;
/// Bytes of a target.
const TARGET_BYTES_MAX: usize = 128;

struct Levels {
    configured: String,
    /// By target; that without a name is all others.
    said: BTreeMap<String, String>,
}

impl Levels {
    /// In the form of the key `log.level`: what comes later counts.
    fn text(&self) -> String {
        let said = self.said.iter().map(|(target, level)| match target.as_str() {
            "" => level.clone(),
            target => format!("{target}={level}"),
        });
        std::iter::once(self.configured.clone()).chain(said).collect::<Vec<_>>().join(",")
    }
}

/// Sends all events from now on to standard error, in colour only on a terminal.
///
/// # Errors
/// Where the level makes no sense (the check of the configuration refuses it before), or it was called twice.
pub(crate) fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let (filter, handle) = reload::Layer::new(filter(&settings.level)?);
    let log = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let registry = registry().with(filter);
    match settings.format {
        LogFormat::Text => registry.with(log).try_init(),
        LogFormat::Json => registry.with(log.json()).try_init(),
    }?;
    LEVELS.lock().configured.clone_from(&settings.level);
    // It was just checked that this is the first time.
    let _first = FILTER.set(handle);
    Ok(())
}

/// Has another level in force, whatever was said before.
///
/// # Errors
/// Where the level makes no sense (the check of the configuration refuses it before).
pub(crate) fn set_level(settings: &LogSettings) -> anyhow::Result<()> {
    let mut levels = LEVELS.lock();
    use_filter(filter(&settings.level)?)?;
    *levels = Levels { configured: settings.level.clone(), said: BTreeMap::new() };
    Ok(())
}

/// What is in force, in the form of the key `log.level`.
pub(crate) fn level() -> String {
    LEVELS.lock().text()
}

/// Has a level in force until the configuration is read again: `LEVEL`, or `TARGET=LEVEL`. Gives what is in force then.
///
/// # Errors
/// It makes no sense, or is one too many.
pub(crate) fn say_level(text: &str) -> Result<String, String> {
    let (target, level) = parse(text)?;
    let mut levels = LEVELS.lock();
    if levels.said.len() >= SAID_MAX && !levels.said.contains_key(&target) {
        return Err(format!("levels of {SAID_MAX} targets were said: quelea ctl reload forgets them"));
    }
    let before = levels.said.insert(target.clone(), level);
    let used = filter(&levels.text()).and_then(use_filter);
    if let Err(error) = used {
        match before {
            Some(before) => levels.said.insert(target, before),
            None => levels.said.remove(&target),
        };
        return Err(error.to_string());
    }
    Ok(levels.text())
}

/// A target, which may be without a name, and its level.
///
/// # Errors
/// It makes no sense.
pub(crate) fn parse(text: &str) -> Result<(String, String), String> {
    let (target, level) = text.split_once('=').map_or((None, text), |(target, level)| (Some(target), level));
    let is_name = |target: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
        (1..=TARGET_BYTES_MAX).contains(&target.len()) && target.chars().all(known)
    };
    if !NAMES.contains(&level) || !target.is_none_or(is_name) {
        let names = NAMES.join(", ");
        return Err(format!(
            "level: {text:?}, expected one of {names}, also of one target: quelea::listener=debug"
        ));
    }
    Ok((target.unwrap_or_default().to_owned(), level.to_owned()))
}

fn use_filter(filter: EnvFilter) -> anyhow::Result<()> {
    Ok(FILTER.get().map_or(Ok(()), |handle| handle.reload(filter))?)
}

fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    Ok(EnvFilter::builder().parse(format!("{QUIET},{level}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_counts_more_than_what_is_configured() {
        let said = [("", "warn"), ("quelea::packet", "trace")];
        let said = said.map(|(target, level)| (target.to_owned(), level.to_owned())).into();
        let levels = Levels { configured: "info,quelea::packet=off,audit=info".into(), said };
        assert_eq!(levels.text(), "info,quelea::packet=off,audit=info,warn,quelea::packet=trace");
        let filter = filter(&levels.text()).unwrap().to_string();
        let parts: Vec<&str> = filter.split(',').collect();
        for part in ["quelea::packet=trace", "audit=info", "warn", "rustls=error"] {
            assert!(parts.contains(&part), "{part} in {filter}");
        }
        assert!(!parts.contains(&"quelea::packet=off") && !parts.contains(&"info"), "{filter}");
    }

    #[test]
    fn a_level_is_one_that_is_known_of_all_or_of_a_target() {
        assert_eq!(parse("debug"), Ok((String::new(), "debug".into())));
        assert_eq!(parse("quelea::listener=off"), Ok(("quelea::listener".into(), "off".into())));
        for wrong in
            ["", "loud", "=debug", "a=b=debug", "a[b]=debug", "quelea=", "info,debug", "a b=info", "DEBUG"]
        {
            let why = parse(wrong).unwrap_err();
            assert!(why.contains(&format!("{wrong:?}")) && why.contains("trace"), "{why}");
        }
    }
}
