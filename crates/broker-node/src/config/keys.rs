//! Which keys there are: compares a table with the sample settings, key by key, and names the nearest known key.
//! Called by `load` on each layer before the values are read; knows no key by name itself.

use super::ConfigError;
use toml::{Table, Value};

/// How alike two keys must be (Jaro-Winkler, 0 to 1) for one to be offered for the other.
const SIMILAR: f64 = 0.75;

/// Refuses the first key of `table` that `sample` does not have.
pub(super) fn refuse_unknown(table: &Table, sample: &Table) -> Result<(), ConfigError> {
    let mut open = vec![(String::new(), table, sample)];
    while let Some((path, table, sample)) = open.pop() {
        for (key, value) in table {
            let full = join(&path, key);
            let known = lookup(sample, key).ok_or_else(|| unknown(&full, key, sample, String::new()))?;
            match (value, known) {
                (Value::Table(value), Value::Table(known)) => open.push((full, value, known)),
                (Value::Array(values), Value::Array(known)) => {
                    let Some(Value::Table(known)) = known.first() else { continue };
                    let tables = values.iter().enumerate();
                    open.extend(
                        tables.filter_map(|(n, v)| Some((format!("{full}[{n}]"), v.as_table()?, known))),
                    );
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What the sample has under `key`; a table with the key `*` takes any name.
pub(super) fn lookup<'a>(sample: &'a Table, key: &str) -> Option<&'a Value> {
    sample.get("*").or_else(|| sample.get(key))
}

/// The error for `key`, which is not in `sample`.
pub(super) fn unknown(full: &str, key: &str, sample: &Table, origin: String) -> ConfigError {
    let parent = full.strip_suffix(key).unwrap_or_default();
    let nearest = sample
        .keys()
        .map(|known| (strsim::jaro_winkler(key, known), known))
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match nearest {
        Some((_, known)) => format!("did you mean {:?}?", format!("{parent}{known}")),
        None if sample.is_empty() => "no key goes deeper here".to_owned(),
        None => {
            let known: Vec<String> = sample.keys().map(|known| format!("{parent}{known}")).collect();
            format!("known keys here are {}", known.join(", "))
        }
    };
    ConfigError::UnknownKey { key: full.to_owned(), origin, hint }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
