//! Puts the layers together: defaults, then the file, then the environment, then flags, and checks the whole once.
//! Called by `cli`; the only place that knows where a setting can come from.

use super::{
    ConfigError, ListenerSettings, Settings,
    check::check,
    keys::{lookup, refuse_unknown, unknown},
};
use std::{fs, path::Path};
use toml::{Table, Value};

/// What the environment variables of the configuration start with.
pub(super) const ENVIRONMENT_PREFIX: &str = "QUELEA__";

/// The settings that have a flag of their own; a flag wins over everything else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// `node.name`
    pub(crate) node_name: Option<String>,
    /// `node.data_dir`
    pub(crate) data_dir: Option<String>,
    /// `listener.mqtt.address`
    pub(crate) mqtt: Option<String>,
    /// `http.address`
    pub(crate) http: Option<String>,
    /// `admin.listen`
    pub(crate) admin: Option<String>,
    /// `cluster.listen`
    pub(crate) cluster: Option<String>,
    /// `cluster.seeds`; none given is none set.
    pub(crate) join: Vec<String>,
    /// `cluster.bootstrap`, where it is true.
    pub(crate) bootstrap: bool,
    /// A line for each packet.
    pub(crate) packet_trace: bool,
}

/// The settings from the file, if one is given, `environment` and `flags`.
///
/// # Errors
/// For the first thing that is wrong, naming key, value and what is allowed.
pub(crate) fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<Settings, ConfigError> {
    let sample = to_table(&Settings::sample());
    let mut table = file.map_or_else(|| Ok(Table::new()), read)?;
    refuse_unknown(&table, &sample)?;
    for (name, value) in environment {
        if let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) {
            set_from_environment(&mut table, &sample, (&name, path), &value)?;
        }
    }
    set_from_flags(&mut table, flags)?;
    let mut settings = of_table(table)?;
    settings.packet_trace = flags.packet_trace;
    Ok(settings)
}

/// The settings in `table`, whose keys are known, checked.
pub(super) fn of_table(table: Table) -> Result<Settings, ConfigError> {
    let mut settings = read_values(table)?;
    if settings.listener.is_empty() {
        settings.listener.insert("mqtt".into(), ListenerSettings::default());
    }
    for (name, listener) in &mut settings.listener {
        listener.complete(name);
    }
    check(&settings)?;
    Ok(settings)
}

/// The settings as a TOML file.
///
/// # Errors
/// Where a path is not text.
pub(crate) fn to_toml(settings: &Settings) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(settings)
}

fn to_table(settings: &Settings) -> Table {
    Table::try_from(settings).unwrap_or_default()
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    text.parse().map_err(|source| ConfigError::Syntax { path: path.into(), source: Box::new(source) })
}

fn read_values(table: Table) -> Result<Settings, ConfigError> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| ConfigError::Kind {
        key: error.path().to_string(),
        message: error.inner().message().to_owned(),
    })
}

/// Sets the key that the variable `(name, path)` stands for, `path` being the part behind the prefix.
fn set_from_environment(
    table: &mut Table,
    sample: &Table,
    (name, path): (&str, &str),
    value: &str,
) -> Result<(), ConfigError> {
    let keys: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
    let origin = || format!(" (environment variable {name})");
    let mut known = sample;
    let mut full = String::new();
    let mut rest = keys.iter().peekable();
    while let Some(key) = rest.next() {
        full = if full.is_empty() { key.clone() } else { format!("{full}.{key}") };
        match (lookup(known, key), rest.peek()) {
            (None, _) => return Err(unknown(&full, key, known, origin())),
            (Some(Value::Table(inner)), Some(_)) => known = inner,
            (Some(Value::Table(_)), None) => {
                return Err(ConfigError::value(
                    &full,
                    &format!("{value:?}"),
                    format!("one more key behind {name}__"),
                ));
            }
            (Some(leaf), None) => return set(table, &keys, from_text(&full, leaf, value)?),
            (Some(_), Some(more)) => {
                return Err(unknown(&format!("{full}.{more}"), more, &Table::new(), origin()));
            }
        }
    }
    Ok(())
}

/// The value that `text` is, for a key whose sample value is `kind`. What does not fit stays text, so that the one
/// check of values names it.
fn from_text(key: &str, kind: &Value, text: &str) -> Result<Value, ConfigError> {
    Ok(match kind {
        Value::Integer(_) => text.trim().parse().map_or_else(|_| Value::String(text.into()), Value::Integer),
        Value::Boolean(_) => text.trim().parse().map_or_else(|_| Value::String(text.into()), Value::Boolean),
        Value::Array(items) if items.first().is_some_and(Value::is_table) => {
            return Err(ConfigError::value(key, &format!("{text:?}"), "to be set in the configuration file"));
        }
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.into())).collect())
        }
        _ => Value::String(text.into()),
    })
}

fn set_from_flags(table: &mut Table, flags: &Flags) -> Result<(), ConfigError> {
    let settings = [
        (["node", "name"].as_slice(), &flags.node_name),
        (&["node", "data_dir"], &flags.data_dir),
        (&["listener", "mqtt", "address"], &flags.mqtt),
        (&["http", "address"], &flags.http),
        (&["admin", "listen"], &flags.admin),
        (&["cluster", "listen"], &flags.cluster),
    ];
    let texts = settings.iter().filter_map(|(keys, value)| Some((*keys, Value::String((*value).clone()?))));
    let seeds: Vec<Value> = flags.join.iter().cloned().map(Value::String).collect();
    let seeds = (!seeds.is_empty()).then_some((["cluster", "seeds"].as_slice(), Value::Array(seeds)));
    let bootstrap = flags.bootstrap.then_some((["cluster", "bootstrap"].as_slice(), Value::Boolean(true)));
    for (keys, value) in texts.chain(seeds).chain(bootstrap) {
        let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
        set(table, &keys, value)?;
    }
    Ok(())
}

/// Sets the value under a path of keys, making the tables on the way.
pub(super) fn set(table: &mut Table, keys: &[String], value: Value) -> Result<(), ConfigError> {
    let Some((last, parents)) = keys.split_last() else { return Ok(()) };
    let mut table = table;
    for (depth, key) in parents.iter().enumerate() {
        let next = table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
        let found = next.to_string();
        let Value::Table(next) = next else {
            let path = keys.iter().take(depth + 1).cloned().collect::<Vec<_>>().join(".");
            return Err(ConfigError::value(path, &found, "a table"));
        };
        table = next;
    }
    table.insert(last.clone(), value);
    Ok(())
}
