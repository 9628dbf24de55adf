//! What of a configuration can change while the node runs, and where it is read from again. Used by `live`; applies nothing.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use toml::{Table, Value};

use super::load::{ENVIRONMENT_PREFIX, Flags, load};
use super::{ConfigError, Settings};

/// The keys that count as soon as they change; all others are read at start. In the order of the alphabet.
pub(super) const LIVE: &[&str] = &[
    "drain.clients_per_second",
    "drain.timeout",
    "limits.pings_per_second_max",
    "limits.write_timeout",
    "log.level",
    "mqtt.max_keep_alive",
    "mqtt.max_session_expiry",
    "mqtt.subscriptions_per_client_max",
];

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    flags: Flags,
}

impl Source {
    /// A file, the environment of this process, and what its command line says.
    pub(crate) fn new(file: Option<PathBuf>, flags: Flags) -> Self {
        // What is not text is made to look like it, so that the error can show it.
        let text = |part: OsString| part.to_string_lossy().into_owned();
        let all = env::vars_os().map(|(name, value)| (text(name), text(value)));
        let environment = all.filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
        Self { file, environment, flags }
    }

    /// Reads it.
    ///
    /// # Errors
    /// For the first thing that is wrong, naming key, value and what is allowed.
    pub(crate) fn load(&self) -> Result<Settings, ConfigError> {
        load(self.file.as_deref(), self.environment.iter().cloned(), &self.flags)
    }
}

/// The keys in which two configurations differ, all of which can change while the node runs.
///
/// # Errors
/// Others differ too.
pub(crate) fn changes(old: &Settings, new: &Settings) -> Result<BTreeSet<String>, ConfigError> {
    let keys = differences(old, new);
    let (live, fixed): (BTreeSet<_>, BTreeSet<_>) =
        keys.into_iter().partition(|key| LIVE.contains(&key.as_str()));
    if fixed.is_empty() {
        return Ok(live);
    }
    let keys = fixed.into_iter().collect::<Vec<_>>().join(", ");
    Err(ConfigError::NotLive { keys })
}

fn differences(old: &Settings, new: &Settings) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let [old_table, new_table] = [old, new].map(|settings| Table::try_from(settings).unwrap_or_default());
    collect("", &old_table, &new_table, &mut keys);
    // What is never shown looks the same.
    if old.cluster.secret != new.cluster.secret {
        keys.insert("cluster.secret".to_owned());
    }
    if old.auth.introspection.client_secret != new.auth.introspection.client_secret {
        keys.insert("auth.introspection.client_secret".to_owned());
    }
    keys
}

/// Adds the keys below `prefix` that are in one table alone, or with another value.
fn collect(prefix: &str, old: &Table, new: &Table, keys: &mut BTreeSet<String>) {
    for key in old.keys().chain(new.keys()) {
        let full = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (old.get(key), new.get(key)) {
            (Some(Value::Table(old)), Some(Value::Table(new))) => collect(&full, old, new, keys),
            (old, new) if old == new => {}
            _ => drop(keys.insert(full)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ListenerSettings, SecretText};
    use super::*;

    #[test]
    fn live_keys_exist_and_are_sorted() {
        let sample = Table::try_from(Settings::sample()).unwrap();
        for key in LIVE {
            let (section, name) = key.split_once('.').unwrap();
            assert!(sample[section].get(name).is_some(), "{key}");
        }
        assert!(LIVE.is_sorted());
    }

    #[test]
    fn what_can_change_is_told_from_what_cannot() {
        let old = Settings::default();
        let mut new = old.clone();
        assert!(changes(&old, &new).unwrap().is_empty());
        new.log.level = "debug".into();
        new.mqtt.max_session_expiry = Some(std::time::Duration::from_secs(1));
        let keys: Vec<String> = changes(&old, &new).unwrap().into_iter().collect();
        assert_eq!(keys, ["log.level", "mqtt.max_session_expiry"]);
        new.node.name = "another".into();
        new.listener.insert("second".into(), ListenerSettings::default());
        let error = changes(&old, &new).unwrap_err().to_string();
        assert!(error.contains("listener.second, node.name") && !error.contains("log.level"), "{error}");
    }

    #[test]
    fn a_secret_that_changes_is_seen_and_not_shown() {
        let mut old = Settings::default();
        let secret = |text: &str| {
            let table: Table = format!("secret = {text:?}").parse().unwrap();
            table["secret"].clone().try_into::<SecretText>().unwrap()
        };
        old.cluster.secret = secret("one secret of 32 characters or more");
        let mut new = old.clone();
        assert!(changes(&old, &new).unwrap().is_empty());
        new.cluster.secret = secret("another one of 32 characters or more");
        let error = changes(&old, &new).unwrap_err().to_string();
        assert!(error.contains("cluster.secret") && !error.contains("32 characters"), "{error}");
    }
}
